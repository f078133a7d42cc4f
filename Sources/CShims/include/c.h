/* What libssl and libcrypto offer only as macros or variadic functions, and the window BIO. */
#ifndef GODWIT_CSHIMS_H
#define GODWIT_CSHIMS_H

#include <stddef.h>
#include <stdint.h>

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

/* Two windows onto somebody else's memory: libssl reads ciphertext from one and writes ciphertext to the other.
   The windows are set before a libssl call and taken away after it, so nothing here outlives a call but `spill`, which
   receives what did not fit the output window. A `BIO_s_mem` would copy and grow instead, which costs a factor of 2.6
   with many requests in flight. */
typedef struct godwit_window {
    const uint8_t *in;
    size_t in_count;
    size_t in_used;
    uint8_t *out;
    size_t out_capacity;
    size_t out_count;
    uint8_t *spill;
    size_t spill_capacity;
    size_t spill_count;
    int failed;    /* no memory for the spill */
    X509 *refused; /* the peer's certificate when its verification failed; libssl keeps none then */
} godwit_window;

/* Must run once before the first BIO is made; 1 on success. */
int godwit_window_setup(void);
/* A BIO over `window`, which must outlive it; NULL without memory. */
BIO *godwit_window_bio(godwit_window *window);
/* Frees the spill. */
void godwit_window_discard(godwit_window *window);

/* TLS 1.3 only, both sides verified, no tickets, no session cache, buffers released when idle; 1 on success. */
int godwit_ctx_configure(SSL_CTX *ctx, int is_server);

/* Says whether a certificate is refused although its authority vouches for it: 0 it is good, 1 it is revoked, 2 its authority may
   not vouch for it. `issuer` and `anchor`, the certificates above it and at the end of its chain, come with the peer's own
   certificate only. */
typedef int (*godwit_revocation_check)(void *list, X509 *certificate, X509 *issuer, X509 *anchor);
/* Lets every handshake of `ctx` ask `check` about each certificate of the peer's chain. `list` must outlive the connections
   of `ctx`. 1 on success. */
int godwit_ctx_set_revocations(SSL_CTX *ctx, godwit_revocation_check check, void *list);

/* A new P-256 key; NULL on failure. */
EVP_PKEY *godwit_new_p256_key(void);
/* Appends the URI names of the subject alternative name extension, separated by newlines; the count of all names of any
   kind, or -1 when the extension is malformed or there is no room. */
int godwit_uri_names(const X509 *certificate, char *out, size_t capacity);
/* The same for a request for a certificate. */
int godwit_request_uri_names(const X509_REQ *request, char *out, size_t capacity);
/* A signed request for a certificate for `key` with one URI name (PKCS #10); NULL on failure. */
X509_REQ *godwit_new_request(EVP_PKEY *key, const char *uri);
/* Shows another certificate of the chain in handshakes; 1 on success. */
int godwit_ctx_add_chain(SSL_CTX *ctx, X509 *certificate);
/* Looks for the chain from a certificate through `between` to one of `anchors`, whatever the time is; X509_V_OK and the anchor, which
   is one of `anchors`, or why there is none. */
int godwit_find_anchor(X509 *certificate, X509 *const *between, size_t between_count, X509 *const *anchors,
                       size_t anchor_count, X509 **found);
/* Certificates in the chain that a finished handshake has verified: the issuer of the peer's and the last one; no reference is
   given. */
void godwit_verified_chain(const SSL *ssl, X509 **issuer, X509 **anchor);
/* Prints a name as RFC 2253 writes it; 1 on success. */
int godwit_print_name(BIO *bio, const X509_NAME *name);
/* Adds an extension written as in openssl.cnf; 1 on success. */
int godwit_add_extension(X509 *certificate, X509 *issuer, int nid, const char *value);
/* Reads the pending text of a memory BIO without copying it. */
long godwit_bio_text(BIO *bio, const char **text);
/* Library and reason numbers of an error code. */
int godwit_error_library(unsigned long code);
int godwit_error_reason(unsigned long code);

#endif

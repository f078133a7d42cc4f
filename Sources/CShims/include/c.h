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

/* Says whether a certificate is refused although its authority vouches for it; 1 when it is. */
typedef int (*godwit_revocation_check)(void *list, X509 *certificate);
/* Lets every handshake of `ctx` ask `check` about each certificate of the peer's chain. `list` must outlive the connections
   of `ctx`. 1 on success. */
int godwit_ctx_set_revocations(SSL_CTX *ctx, godwit_revocation_check check, void *list);

/* A new P-256 key; NULL on failure. */
EVP_PKEY *godwit_new_p256_key(void);
/* Appends the URI names of the subject alternative name extension, separated by newlines; the count of all names of any
   kind, or -1 when the extension is malformed or there is no room. */
int godwit_uri_names(const X509 *certificate, char *out, size_t capacity);
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

#include "c.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

/* ---- the window BIO */

static BIO_METHOD *window_method;

static int window_read(BIO *bio, char *out, int count) {
    godwit_window *window = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (window == NULL || out == NULL || count <= 0) return 0;
    size_t left = window->in_count - window->in_used;
    if (left == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    size_t taken = left < (size_t)count ? left : (size_t)count;
    memcpy(out, window->in + window->in_used, taken);
    window->in_used += taken;
    return (int)taken;
}

static int window_write(BIO *bio, const char *bytes, int count) {
    godwit_window *window = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (window == NULL || bytes == NULL || count <= 0) return 0;
    size_t wanted = (size_t)count;
    /* Once something was spilled, all that follows is: the order of the bytes is the order of the records. */
    if (window->spill_count == 0 && window->out_capacity - window->out_count >= wanted) {
        memcpy(window->out + window->out_count, bytes, wanted);
        window->out_count += wanted;
        return count;
    }
    if (window->spill_capacity - window->spill_count < wanted) {
        size_t capacity = (window->spill_count + wanted) * 2;
        uint8_t *grown = realloc(window->spill, capacity);
        if (grown == NULL) {
            window->failed = 1;
            return -1;
        }
        window->spill = grown;
        window->spill_capacity = capacity;
    }
    memcpy(window->spill + window->spill_count, bytes, wanted);
    window->spill_count += wanted;
    return count;
}

static long window_ctrl(BIO *bio, int command, long number, void *pointer) {
    (void)number;
    (void)pointer;
    godwit_window *window = BIO_get_data(bio);
    switch (command) {
    case BIO_CTRL_FLUSH:
        return 1;
    case BIO_CTRL_PENDING:
        return window == NULL ? 0 : (long)(window->in_count - window->in_used);
    default:
        return 0;
    }
}

static int window_create(BIO *bio) {
    BIO_set_init(bio, 1);
    return 1;
}

static int window_destroy(BIO *bio) {
    BIO_set_data(bio, NULL);
    return 1;
}

/* Where a context keeps its list of revocations; what asks it is the same for all. */
static int revocations_index = -1;
/* Every context sets the same function; atomic, since others may be in a handshake meanwhile. */
static _Atomic(godwit_revocation_check) revocation_check;

int godwit_window_setup(void) {
    if (window_method != NULL) return 1;
    revocations_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, NULL);
    if (revocations_index < 0) return 0;
    BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "window");
    if (method == NULL) return 0;
    BIO_meth_set_read(method, window_read);
    BIO_meth_set_write(method, window_write);
    BIO_meth_set_ctrl(method, window_ctrl);
    BIO_meth_set_create(method, window_create);
    BIO_meth_set_destroy(method, window_destroy);
    window_method = method;
    return 1;
}

BIO *godwit_window_bio(godwit_window *window) {
    if (window_method == NULL) return NULL;
    BIO *bio = BIO_new(window_method);
    if (bio != NULL) BIO_set_data(bio, window);
    return bio;
}

void godwit_window_discard(godwit_window *window) {
    free(window->spill);
    window->spill = NULL;
    window->spill_capacity = window->spill_count = 0;
    X509_free(window->refused);
    window->refused = NULL;
}

/* ---- contexts */

static int refusal(SSL *ssl, X509_STORE_CTX *store) {
    SSL_CTX *ctx = ssl == NULL ? NULL : SSL_get_SSL_CTX(ssl);
    void *list = ctx == NULL ? NULL : SSL_CTX_get_ex_data(ctx, revocations_index);
    godwit_revocation_check check = revocation_check;
    X509 *certificate = X509_STORE_CTX_get_current_cert(store);
    if (list == NULL || certificate == NULL || check == NULL) return 0;
    STACK_OF(X509) *chain = X509_STORE_CTX_get0_chain(store);
    int count = chain == NULL ? 0 : sk_X509_num(chain);
    if (X509_STORE_CTX_get_error_depth(store) != 0 || count < 2) return check(list, certificate, NULL, NULL);
    return check(list, certificate, sk_X509_value(chain, 1), sk_X509_value(chain, count - 1));
}

/* Refuses what was revoked, and keeps a refused certificate, so that the refusal can name it. */
static int judge(int is_good, X509_STORE_CTX *store) {
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    if (is_good) {
        int verdict = refusal(ssl, store);
        if (verdict == 0) return 1;
        X509_STORE_CTX_set_error(store, verdict == 2 ? X509_V_ERR_PERMITTED_VIOLATION : X509_V_ERR_CERT_REVOKED);
    }
    X509 *certificate = X509_STORE_CTX_get0_cert(store);
    BIO *bio = ssl == NULL ? NULL : SSL_get_rbio(ssl);
    godwit_window *window = bio == NULL ? NULL : BIO_get_data(bio);
    if (window != NULL && window->refused == NULL && certificate != NULL && X509_up_ref(certificate) == 1)
        window->refused = certificate;
    return 0;
}

int godwit_ctx_configure(SSL_CTX *ctx, int is_server) {
    if (SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) != 1) return 0;
    if (SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) != 1) return 0;
    /* AES-128 first: both ends have AES instructions, and its smaller key costs less per record. */
    if (SSL_CTX_set_ciphersuites(
            ctx, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256") != 1)
        return 0;
    if (SSL_CTX_set1_groups_list(ctx, "X25519:P-256") != 1) return 0;
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    if (is_server && SSL_CTX_set_num_tickets(ctx, 0) != 1) return 0;
    /* A client's chain is one or two certificates of less than 1 KiB. */
    SSL_CTX_set_max_cert_list(ctx, 16 * 1024);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, judge);
    SSL_CTX_set_verify_depth(ctx, 2);
    return 1;
}

int godwit_ctx_set_revocations(SSL_CTX *ctx, godwit_revocation_check check, void *list) {
    revocation_check = check;
    return SSL_CTX_set_ex_data(ctx, revocations_index, list);
}

/* ---- certificates */

EVP_PKEY *godwit_new_p256_key(void) { return EVP_EC_gen("P-256"); }

static int uri_names(GENERAL_NAMES *names, int critical, char *out, size_t capacity) {
    if (capacity == 0) {
        GENERAL_NAMES_free(names);
        return -1;
    }
    out[0] = 0;
    if (names == NULL) return critical == -1 ? 0 : -1;
    int count = sk_GENERAL_NAME_num(names);
    size_t used = 0;
    for (int index = 0; index < count; index++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, index);
        if (name->type != GEN_URI) continue;
        const ASN1_IA5STRING *uri = name->d.uniformResourceIdentifier;
        const unsigned char *bytes = ASN1_STRING_get0_data(uri);
        size_t length = (size_t)ASN1_STRING_length(uri);
        /* A zero byte or a newline inside a name is an attempt to say one thing and mean another. */
        if (memchr(bytes, 0, length) != NULL || memchr(bytes, '\n', length) != NULL || used + length + 2 > capacity) {
            GENERAL_NAMES_free(names);
            return -1;
        }
        memcpy(out + used, bytes, length);
        used += length;
        out[used++] = '\n';
        out[used] = 0;
    }
    GENERAL_NAMES_free(names);
    return count;
}

int godwit_uri_names(const X509 *certificate, char *out, size_t capacity) {
    int critical = 0;
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, &critical, NULL);
    return uri_names(names, critical, out, capacity);
}

int godwit_request_uri_names(const X509_REQ *request, char *out, size_t capacity) {
    int critical = 0;
    STACK_OF(X509_EXTENSION) *extensions = X509_REQ_get_extensions((X509_REQ *)request);
    GENERAL_NAMES *names = X509V3_get_d2i(extensions, NID_subject_alt_name, &critical, NULL);
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    return uri_names(names, critical, out, capacity);
}

static int fill_request(X509_REQ *request, EVP_PKEY *key, const char *uri) {
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, NULL, NULL, request, NULL, 0);
    char value[1024] = "critical,URI:";
    if (strlen(uri) + strlen(value) >= sizeof value) return 0;
    strcat(value, uri);
    X509_EXTENSION *name = X509V3_EXT_conf_nid(NULL, &context, NID_subject_alt_name, value);
    STACK_OF(X509_EXTENSION) *extensions = sk_X509_EXTENSION_new_null();
    int done = name != NULL && extensions != NULL && sk_X509_EXTENSION_push(extensions, name) > 0;
    if (!done) X509_EXTENSION_free(name);
    done = done && X509_REQ_set_version(request, 0) == 1 && X509_REQ_set_pubkey(request, key) == 1
        && X509_REQ_add_extensions(request, extensions) == 1 && X509_REQ_sign(request, key, EVP_sha256()) > 0;
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    return done;
}

X509_REQ *godwit_new_request(EVP_PKEY *key, const char *uri) {
    X509_REQ *request = X509_REQ_new();
    if (request == NULL || fill_request(request, key, uri)) return request;
    X509_REQ_free(request);
    return NULL;
}

int godwit_ctx_add_chain(SSL_CTX *ctx, X509 *certificate) {
    return (int)SSL_CTX_add1_chain_cert(ctx, certificate);
}

int godwit_find_anchor(X509 *certificate, X509 *const *between, size_t between_count, X509 *const *anchors,
                       size_t anchor_count, X509 **found) {
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *context = X509_STORE_CTX_new();
    STACK_OF(X509) *untrusted = sk_X509_new_null();
    int result = X509_V_ERR_OUT_OF_MEM;
    *found = NULL;
    if (store != NULL && context != NULL && untrusted != NULL) {
        int ready = 1;
        for (size_t index = 0; index < anchor_count; index++)
            ready = ready && X509_STORE_add_cert(store, anchors[index]) == 1;
        for (size_t index = 0; index < between_count; index++)
            ready = ready && sk_X509_push(untrusted, between[index]) > 0;
        if (ready && X509_STORE_CTX_init(context, store, certificate, untrusted) == 1) {
            X509_STORE_CTX_set_flags(context, X509_V_FLAG_NO_CHECK_TIME);
            result = X509_verify_cert(context) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(context);
            STACK_OF(X509) *chain = X509_STORE_CTX_get0_chain(context);
            if (result == X509_V_OK && sk_X509_num(chain) > 0) {
                X509 *last = sk_X509_value(chain, sk_X509_num(chain) - 1);
                for (size_t index = 0; index < anchor_count; index++)
                    if (X509_cmp(anchors[index], last) == 0) *found = anchors[index];
            }
        }
    }
    sk_X509_free(untrusted);
    X509_STORE_CTX_free(context);
    X509_STORE_free(store);
    ERR_clear_error();
    return result;
}

void godwit_verified_chain(const SSL *ssl, X509 **issuer, X509 **anchor) {
    STACK_OF(X509) *chain = SSL_get0_verified_chain(ssl);
    int count = chain == NULL ? 0 : sk_X509_num(chain);
    *issuer = count < 2 ? NULL : sk_X509_value(chain, 1);
    *anchor = count < 2 ? NULL : sk_X509_value(chain, count - 1);
}

int godwit_print_name(BIO *bio, const X509_NAME *name) {
    return X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253) >= 0;
}

int godwit_add_extension(X509 *certificate, X509 *issuer, int nid, const char *value) {
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    if (extension == NULL) return 0;
    int done = X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
    return done;
}

long godwit_bio_text(BIO *bio, const char **text) {
    char *start = NULL;
    long count = BIO_get_mem_data(bio, &start);
    *text = start;
    return count;
}

int godwit_error_library(unsigned long code) { return ERR_GET_LIB(code); }

int godwit_error_reason(unsigned long code) { return ERR_GET_REASON(code); }

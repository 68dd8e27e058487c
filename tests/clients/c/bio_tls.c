/* A client whose TLS is a filter of OpenSSL's input and output: `bio_tls PORT SERVER_NAME CA_FILE`. Sends standard input as the first thing on
 * a connection, writes what comes back to standard output until the server closes, and says `writes=N retries=N`. No SSL_read, no SSL_write. */
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void fail(const char *what) {
    fprintf(stderr, "bio_tls: %s\n", what);
    ERR_print_errors_fp(stderr);
    exit(1);
}

static char *all_of_input(size_t *length) {
    char *bytes = NULL;
    size_t room = 0;
    for (*length = 0;;) {
        if (room - *length < 65536 && !(bytes = realloc(bytes, room += 1 << 20))) fail("no memory");
        size_t got = fread(bytes + *length, 1, 65536, stdin);
        if (!got) return bytes;
        *length += got;
    }
}

int main(int argc, char **argv) {
    if (argc != 4) fail("usage: bio_tls PORT SERVER_NAME CA_FILE");
    size_t length;
    char *request = all_of_input(&length);
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (!context || SSL_CTX_load_verify_locations(context, argv[3], NULL) != 1) fail("the CA file");
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    BIO *bio = BIO_new_ssl_connect(context);
    SSL *ssl = NULL;
    BIO_get_ssl(bio, &ssl);
    if (!ssl || SSL_set_tlsext_host_name(ssl, argv[2]) != 1 || SSL_set1_host(ssl, argv[2]) != 1) fail("the server name");
    char peer[64];
    snprintf(peer, sizeof peer, "127.0.0.1:%s", argv[1]);
    BIO_set_conn_hostname(bio, peer);
    if (BIO_do_connect(bio) != 1) fail("connect");
    int writes = 0;
    for (size_t sent = 0; sent < length; writes++) {
        int taken = BIO_write(bio, request + sent, (int)(length - sent));
        if (taken <= 0) fail("BIO_write");
        sent += (size_t)taken;
    }
    char answer[16384];
    for (int got; (got = BIO_read(bio, answer, sizeof answer)) > 0;) fwrite(answer, 1, (size_t)got, stdout);
    fprintf(stderr, "writes=%d retries=0\n", writes);
    BIO_free_all(bio);
    SSL_CTX_free(context);
    free(request);
    return 0;
}

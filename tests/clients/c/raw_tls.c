/* A client that talks TLS the way test programs rarely do: everything on standard input goes out in as few SSL_write
 * calls as asked for, as the very first thing on the connection. Written for the end-to-end tests.
 *
 *   raw_tls PORT SERVER_NAME CA_FILE [nonblocking] [partial] [ex] [sndbuf=N] < request > response
 *
 * nonblocking  the socket does not block: SSL_write answers WANT_WRITE and is repeated with the same buffer
 * partial      SSL_MODE_ENABLE_PARTIAL_WRITE: SSL_write returns after each record
 * ex           SSL_write_ex and SSL_read_ex instead of SSL_write and SSL_read
 * sndbuf=N     a small socket buffer, so that a large write does block
 *
 * The request must ask for `Connection: close`: the answer is read until the server closes. The number of calls is told
 * on standard error as `writes=N retries=N reads=N`. Exit status: 0, or 1 with a sentence.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void fail(const char *what) {
    fprintf(stderr, "raw_tls: %s\n", what);
    ERR_print_errors_fp(stderr);
    exit(1);
}

static char *read_all(size_t *length) {
    size_t capacity = 1 << 16, used = 0;
    char *buffer = malloc(capacity);
    if (!buffer) fail("out of memory");
    for (;;) {
        ssize_t got = read(0, buffer + used, capacity - used);
        if (got < 0) fail("cannot read standard input");
        if (got == 0) break;
        used += (size_t)got;
        if (used == capacity) {
            capacity *= 2;
            buffer = realloc(buffer, capacity);
            if (!buffer) fail("out of memory");
        }
    }
    *length = used;
    return buffer;
}

static void wait_for(int fd, int reason) {
    struct pollfd p = {.fd = fd, .events = reason == SSL_ERROR_WANT_WRITE ? POLLOUT : POLLIN};
    if (poll(&p, 1, -1) < 0 && errno != EINTR) fail("poll");
}

int main(int argc, char **argv) {
    int nonblocking = 0, partial = 0, ex = 0, sndbuf = 0;
    if (argc < 4) fail("usage: raw_tls PORT SERVER_NAME CA_FILE [nonblocking] [partial] [ex] [sndbuf=N]");
    for (int i = 4; i < argc; i++) {
        if (!strcmp(argv[i], "nonblocking")) nonblocking = 1;
        else if (!strcmp(argv[i], "partial")) partial = 1;
        else if (!strcmp(argv[i], "ex")) ex = 1;
        else if (!strncmp(argv[i], "sndbuf=", 7)) sndbuf = atoi(argv[i] + 7);
        else fail("unknown option");
    }
    size_t length = 0;
    char *request = read_all(&length);

    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0) fail("socket");
    if (sndbuf && setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &sndbuf, sizeof sndbuf)) fail("SO_SNDBUF");
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[1])), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    if (connect(fd, (struct sockaddr *)&to, sizeof to)) fail("connect");

    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (!context || SSL_CTX_load_verify_locations(context, argv[3], NULL) != 1) fail("cannot load the CA file");
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    if (partial) SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE);
    SSL *ssl = SSL_new(context);
    if (!ssl || SSL_set_tlsext_host_name(ssl, argv[2]) != 1 || SSL_set1_host(ssl, argv[2]) != 1) fail("cannot set the server name");
    if (SSL_set_fd(ssl, fd) != 1) fail("SSL_set_fd");
    if (SSL_connect(ssl) != 1) fail("handshake");
    if (nonblocking && fcntl(fd, F_SETFL, O_NONBLOCK)) fail("O_NONBLOCK");

    long writes = 0, retries = 0, reads = 0;
    size_t sent = 0;
    while (sent < length) {
        size_t done = 0;
        int result;
        writes++;
        if (ex) {
            result = SSL_write_ex(ssl, request + sent, length - sent, &done);
        } else {
            result = SSL_write(ssl, request + sent, (int)(length - sent));
            if (result > 0) done = (size_t)result;
        }
        if (result > 0) {
            sent += done;
            continue;
        }
        int reason = SSL_get_error(ssl, result);
        if (reason != SSL_ERROR_WANT_WRITE && reason != SSL_ERROR_WANT_READ) fail("SSL_write");
        retries++;
        wait_for(fd, reason);
    }

    char answer[65536];
    for (;;) {
        size_t got = 0;
        int result;
        reads++;
        if (ex) {
            result = SSL_read_ex(ssl, answer, sizeof answer, &got);
        } else {
            result = SSL_read(ssl, answer, sizeof answer);
            if (result > 0) got = (size_t)result;
        }
        if (result > 0) {
            fwrite(answer, 1, got, stdout);
            continue;
        }
        int reason = SSL_get_error(ssl, result);
        if (reason == SSL_ERROR_WANT_READ || reason == SSL_ERROR_WANT_WRITE) {
            wait_for(fd, reason);
            continue;
        }
        break; /* closed, with or without close_notify */
    }
    fflush(stdout);
    fprintf(stderr, "writes=%ld retries=%ld reads=%ld\n", writes, retries, reads);
    SSL_free(ssl);
    SSL_CTX_free(context);
    close(fd);
    free(request);
    return 0;
}

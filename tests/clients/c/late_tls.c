/* A client that loads its TLS library when it is told to, and then talks through it: for the end-to-end tests.
 *
 *   late_tls LIBSSL PORT SERVER_NAME CA_FILE
 *
 * Reads commands, one a line, and answers each with a line once it is done:
 *
 *   load        loads the library (if it is not loaded yet)
 *   call FILE   the same, then sends the bytes of FILE as a request on a new connection and reads to the end: `answered N` bytes
 *
 * Ends with its input. Exit status: 0, or 1 with a sentence.
 */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void *library;
static void *context;

static void fail(const char *what) {
    fprintf(stderr, "late_tls: %s\n", what);
    exit(1);
}

static void *function(const char *name) {
    void *found = dlsym(library, name);
    if (!found) fail(dlerror());
    return found;
}

static void load(const char *path, const char *ca_file) {
    if (library) return;
    library = dlopen(path, RTLD_NOW);
    if (!library) fail(dlerror());
    void *(*method)(void) = function("TLS_client_method");
    void *(*new_context)(void *) = function("SSL_CTX_new");
    int (*load_locations)(void *, const char *, const char *) = function("SSL_CTX_load_verify_locations");
    context = new_context(method());
    if (!context || load_locations(context, ca_file, NULL) != 1) fail("cannot load the CA file");
    void (*verify)(void *, int, void *) = function("SSL_CTX_set_verify");
    verify(context, 1, NULL); /* SSL_VERIFY_PEER */
}

static long call(const char *file, int port, const char *host) {
    static char bytes[1 << 16];
    FILE *input = fopen(file, "rb");
    if (!input) fail("cannot open the request");
    size_t length = fread(bytes, 1, sizeof bytes, input);
    fclose(input);

    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to)) fail("connect");
    void *(*new_ssl)(void *) = function("SSL_new");
    long (*control)(void *, int, long, void *) = function("SSL_ctrl");
    int (*set_fd)(void *, int) = function("SSL_set_fd");
    int (*handshake)(void *) = function("SSL_connect");
    int (*ssl_write)(void *, const void *, int) = function("SSL_write");
    int (*ssl_read)(void *, void *, int) = function("SSL_read");
    void (*ssl_free)(void *) = function("SSL_free");
    void *ssl = new_ssl(context);
    /* SSL_CTRL_SET_TLSEXT_HOSTNAME with TLSEXT_NAMETYPE_host_name */
    if (!ssl || control(ssl, 55, 0, (void *)host) != 1 || set_fd(ssl, fd) != 1 || handshake(ssl) != 1) fail("handshake");
    if (ssl_write(ssl, bytes, (int)length) != (int)length) fail("SSL_write");
    long total = 0;
    for (int got; (got = ssl_read(ssl, bytes, sizeof bytes)) > 0;) total += got;
    ssl_free(ssl);
    close(fd);
    return total;
}

int main(int argc, char **argv) {
    if (argc != 5) fail("usage: late_tls LIBSSL PORT SERVER_NAME CA_FILE");
    char line[4096];
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        load(argv[1], argv[4]);
        if (!strncmp(line, "call ", 5)) printf("answered %ld\n", call(line + 5, atoi(argv[2]), argv[3]));
        else puts("loaded");
        fflush(stdout);
    }
    /* Not exit(): a test may have replaced the library's bytes, and its destructors would run them. */
    _exit(0);
}

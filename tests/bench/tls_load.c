/* TLS calls in tight loops between two sessions of one process, joined in memory: what a probe costs shows, and nothing of
 * a network does. Driven by `cargo xtask bench kernel`, one command a line on standard input:
 *
 *   pair http|other SIZE COUNT   COUNT times SSL_write of SIZE bytes and SSL_read of the same
 *   writes http|other SIZE COUNT COUNT times SSL_write alone
 *   mixed COUNT                  COUNT times SSL_write alone, every fifth of 16 KiB, the others of 100 bytes, as http
 *
 * Every command has sessions of its own. `http` begins like a request to a model, `other` like nothing known. Answers, a
 * line each: first `library PATH SSL_write SSL_read` (file offsets), then `done CALLS BYTES NANOSECONDS`, where the bytes
 * are those handed to SSL_write and the time is that of the loop. `pair` and `writes` run with real-time priority: a
 * program that is preempted counts its pause as run time. `mixed` does not, since there the reader must keep up with its
 * ordinary share. Exit status: 0, or 1 with a sentence.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A whole TLS record with its overhead fits several times. */
enum { PIPE_BYTES = 256 * 1024, LARGEST = 16384, SMALL = 100 };

static const char request[] =
    "POST /v1/chat/completions HTTP/1.1\r\nHost: api.openai.com\r\nContent-Length: 999999999\r\n\r\n";

static SSL_CTX *server_context, *client_context;
static char out[LARGEST], in[LARGEST], raw[PIPE_BYTES];

static void fail(const char *what) {
    fprintf(stderr, "tls_load: %s\n", what);
    ERR_print_errors_fp(stderr);
    exit(1);
}

struct pair {
    SSL *client, *server;
    /* The client's far end, for readers that do not decrypt. Owned by the server. */
    BIO *far;
};

static void contexts(void) {
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    server_context = SSL_CTX_new(TLS_server_method());
    client_context = SSL_CTX_new(TLS_client_method());
    if (!key || !certificate || !server_context || !client_context) fail("no TLS contexts");
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600 * 24);
    X509_set_pubkey(certificate, key);
    if (!X509_sign(certificate, key, EVP_sha256())) fail("cannot sign");
    if (SSL_CTX_use_certificate(server_context, certificate) != 1 || SSL_CTX_use_PrivateKey(server_context, key) != 1) fail("no identity");
    SSL_CTX_set_num_tickets(server_context, 0);
}

static struct pair join(void) {
    struct pair p = {SSL_new(client_context), SSL_new(server_context), NULL};
    BIO *near = NULL;
    if (!p.client || !p.server || BIO_new_bio_pair(&near, PIPE_BYTES, &p.far, PIPE_BYTES) != 1) fail("no sessions");
    SSL_set_bio(p.client, near, near);
    SSL_set_bio(p.server, p.far, p.far);
    SSL_set_connect_state(p.client);
    SSL_set_accept_state(p.server);
    for (int turn = 0; !SSL_is_init_finished(p.client) || !SSL_is_init_finished(p.server); turn++) {
        if (turn > 20) fail("the handshake does not end");
        SSL_do_handshake(p.client);
        SSL_do_handshake(p.server);
    }
    return p;
}

static void part(struct pair p) {
    SSL_free(p.client);
    SSL_free(p.server);
}

static long long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void fill(int http) {
    memset(out, http ? 'a' : 0, sizeof out);
    if (http) memcpy(out, request, sizeof request - 1);
}

static void send_one(struct pair p, int size, int decrypt) {
    if (SSL_write(p.client, out, size) != size) fail("SSL_write");
    if (decrypt) {
        for (int got = 0; got < size;) {
            int n = SSL_read(p.server, in, size - got);
            if (n <= 0) fail("SSL_read");
            got += n;
        }
    } else {
        while (BIO_read(p.far, raw, sizeof raw) > 0) {
        }
    }
}

static void real_time(int on) {
    static int told;
    struct sched_param priority = {.sched_priority = on ? 1 : 0};
    if (sched_setscheduler(0, on ? SCHED_FIFO : SCHED_OTHER, &priority) != 0 && !told++) {
        fprintf(stderr, "tls_load: no real-time priority here: what else runs on this machine will show in the numbers\n");
    }
}

static void run(int http, int decrypt, int mixed, int size, long count) {
    struct pair p = join();
    long long bytes = 0;
    fill(http);
    if (!mixed) real_time(1);
    long long begun = now();
    for (long i = 0; i < count; i++) {
        int this = mixed ? (i % 5 == 4 ? LARGEST : SMALL) : size;
        send_one(p, this, decrypt);
        if (i == 0) memset(out, http ? 'a' : 0, sizeof out);
        bytes += this;
    }
    long long took = now() - begun;
    if (!mixed) real_time(0);
    part(p);
    printf("done %ld %lld %lld\n", decrypt ? 2 * count : count, bytes, took);
    fflush(stdout);
}

/* A symbol's offset in its file: the address, less where the part of the file that holds it is mapped, plus that part's offset. */
static unsigned long file_offset(void *symbol, char *path, size_t room) {
    unsigned long address = (unsigned long)symbol, from, to, offset, found = 0;
    char line[4096], name[2048];
    FILE *maps = fopen("/proc/self/maps", "r");
    if (!maps) fail("cannot read /proc/self/maps");
    while (!found && fgets(line, sizeof line, maps)) {
        if (sscanf(line, "%lx-%lx %*s %lx %*s %*s %2047s", &from, &to, &offset, name) == 4 && address >= from && address < to) {
            snprintf(path, room, "%s", name);
            found = address - from + offset;
        }
    }
    fclose(maps);
    if (!found) fail("a function of libssl lies in no file");
    return found;
}

int main(void) {
    char line[256], kind[16], path[2048];
    int size;
    long count;
    contexts();
    /* By name: the address of a function taken in C may be that of a stub in this program. */
    void *write_symbol = dlsym(RTLD_DEFAULT, "SSL_write"), *read_symbol = dlsym(RTLD_DEFAULT, "SSL_read");
    if (!write_symbol || !read_symbol) fail("libssl lacks SSL_write or SSL_read");
    unsigned long write_offset = file_offset(write_symbol, path, sizeof path), read_offset = file_offset(read_symbol, path, sizeof path);
    printf("library %s %lu %lu\n", path, write_offset, read_offset);
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "mixed %ld", &count) == 1) {
            run(1, 0, 1, 0, count);
        } else if (sscanf(line, "pair %15s %d %ld", kind, &size, &count) == 3 && size > 0 && size <= LARGEST) {
            run(!strcmp(kind, "http"), 1, 0, size, count);
        } else if (sscanf(line, "writes %15s %d %ld", kind, &size, &count) == 3 && size > 0 && size <= LARGEST) {
            run(!strcmp(kind, "http"), 0, 0, size, count);
        } else {
            fail("this command is not understood");
        }
    }
    return 0;
}

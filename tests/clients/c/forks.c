/* Processes that come of fork without exec, with libssl in use before the fork. Written for the end-to-end tests.
 *
 *   forks workers PORT SERVER_NAME CA_FILE WORKERS CALLS
 *       the parent opens the library and a context, and makes a call itself; then each worker makes CALLS calls on a
 *       connection of its own
 *   forks session PORT SERVER_NAME CA_FILE
 *       the parent makes a call and leaves its connection open; a child makes the next call on the very same session
 *   forks answer PORT SERVER_NAME CA_FILE
 *       the parent asks; a child reads the answer on the session that it inherited
 *   forks many PORT SERVER_NAME CA_FILE COUNT EVERY PROGRAM
 *       COUNT short-lived processes, a few at a time: PROGRAM (which does nothing), but each EVERYth is this program again,
 *       which makes one call. Says `ready` after the first tenth and goes on after a line of standard input; the same after the
 *       last one
 *
 * For each answered call `PID RESPONSE_ID` is written to standard output. Exit status: 0, or 1 with a sentence.
 */
#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* So many short-lived processes at a time. */
enum { AT_ONCE = 8 };

static const char *port, *host, *ca_file;
static SSL_CTX *context;

static void fail(const char *what) {
    fprintf(stderr, "forks: %s (process %d)\n", what, (int)getpid());
    ERR_print_errors_fp(stderr);
    exit(1);
}

static void open_library(void) {
    context = SSL_CTX_new(TLS_client_method());
    if (!context || SSL_CTX_load_verify_locations(context, ca_file, NULL) != 1) fail("cannot load the CA file");
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
}

static SSL *dial(void) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port)), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to)) fail("connect");
    SSL *ssl = SSL_new(context);
    if (!ssl || SSL_set_tlsext_host_name(ssl, host) != 1 || SSL_set1_host(ssl, host) != 1) fail("cannot set the server name");
    if (SSL_set_fd(ssl, fd) != 1 || SSL_connect(ssl) != 1) fail("handshake");
    return ssl;
}

static void ask(SSL *ssl) {
    static const char body[] = "{\"model\":\"gpt-4o-mini\",\"messages\":[{\"role\":\"user\",\"content\":\"hello from a fork\"}]}";
    char request[1024];
    /* The process id as the token count: what is reported of one worker cannot be taken for another's. */
    int length = snprintf(request, sizeof request,
        "POST /v1/chat/completions HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nAuthorization: Bearer sk-test-not-a-real-key\r\n"
        "x-stub-input-tokens: %d\r\nContent-Length: %zu\r\n\r\n%s", host, (int)getpid(), sizeof body - 1, body);
    if (SSL_write(ssl, request, length) != length) fail("SSL_write");
}

static void read_answer(SSL *ssl) {
    static char answer[65536];
    size_t got = 0;
    for (;;) {
        int n = SSL_read(ssl, answer + got, (int)(sizeof answer - 1 - got));
        if (n <= 0) fail("SSL_read");
        got += (size_t)n;
        answer[got] = 0;
        char *end = strstr(answer, "\r\n\r\n"), *length = strstr(answer, "content-length: ");
        if (!end) continue;
        if (strncmp(answer, "HTTP/1.1 200 ", 13) || !length) fail("an answer that is not as expected");
        if (got < (size_t)(end + 4 - answer) + strtoul(length + 16, NULL, 10)) continue;
        char *id = strstr(end, "\"id\":\""), *id_end = id ? strchr(id + 6, '"') : NULL;
        if (!id_end) fail("an answer without an id");
        /* One write: several processes share this output. */
        char line[256];
        int said = snprintf(line, sizeof line, "%d %.*s\n", (int)getpid(), (int)(id_end - id - 6), id + 6);
        if (write(1, line, (size_t)said) != said) fail("cannot write");
        return;
    }
}

static void call(SSL *ssl) {
    ask(ssl);
    read_answer(ssl);
}

static void await(pid_t child) {
    int status;
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0) fail("a child did not end well");
}

static void workers(int count, int calls) {
    pid_t children[256];
    if (count < 1 || count > 256) fail("a strange number of workers");
    SSL *own = dial();
    call(own);
    for (int i = 0; i < count; i++) {
        if ((children[i] = fork()) != 0) continue;
        SSL *ssl = dial();
        for (int n = 0; n < calls; n++) call(ssl);
        SSL_shutdown(ssl);
        SSL_free(ssl);
        exit(0);
    }
    for (int i = 0; i < count; i++) await(children[i]);
    SSL_shutdown(own);
    SSL_free(own);
}

static void inherited(int only_the_answer) {
    SSL *ssl = dial();
    if (only_the_answer) ask(ssl);
    else call(ssl);
    pid_t child = fork();
    if (child == 0) {
        if (only_the_answer) read_answer(ssl);
        else call(ssl);
        SSL_shutdown(ssl);
        SSL_free(ssl);
        exit(0);
    }
    await(child);
    /* The child has gone on with the session: here its state is old. Nothing more is sent. */
    SSL_set_quiet_shutdown(ssl, 1);
    SSL_free(ssl);
}

static void wait_for_word(void) {
    char line[16];
    printf("ready\n");
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin)) fail("no word on standard input");
}

static void many(const char *self, int count, int every, char *program) {
    char *idle[] = {program, NULL};
    char *caller[] = {(char *)self, "workers", (char *)port, (char *)host, (char *)ca_file, "0", "1", NULL};
    int running = 0;
    for (int n = 1; n <= count || running > 0; n++) {
        while (running >= AT_ONCE || (n > count && running > 0)) {
            int status;
            if (wait(&status) < 0 || status != 0) fail("a short-lived process did not end well");
            running--;
        }
        if (n > count) break;
        pid_t child;
        char **line = n % every == 0 ? caller : idle;
        if (posix_spawn(&child, line[0], NULL, NULL, line, environ) != 0) fail("cannot start a short-lived process");
        running++;
        if (n == count / 10) wait_for_word();
    }
    wait_for_word();
}

int main(int argc, char **argv) {
    if (argc < 5) fail("usage: forks workers|session|answer|many PORT SERVER_NAME CA_FILE ...");
    port = argv[2];
    host = argv[3];
    ca_file = argv[4];
    if (!strcmp(argv[1], "many") && argc == 8) {
        many("/proc/self/exe", atoi(argv[5]), atoi(argv[6]), argv[7]);
        return 0;
    }
    open_library();
    if (!strcmp(argv[1], "workers") && argc == 7 && atoi(argv[5]) == 0) call(dial());
    else if (!strcmp(argv[1], "workers") && argc == 7) workers(atoi(argv[5]), atoi(argv[6]));
    else if (!strcmp(argv[1], "session")) inherited(0);
    else if (!strcmp(argv[1], "answer")) inherited(1);
    else fail("unknown mode");
    SSL_CTX_free(context);
    return 0;
}

/* A program that calls a model without end, on several threads, and is its own judge: it sums up every byte of every body
 * and compares the sums with those that the stand-in took (`x-stub-sums`). Written for the end-to-end tests.
 *
 *   steady PORT SERVER_NAME CA_FILE THREADS [path=PATH] [chunks=N] [stream] [reconnect=N] [size=BYTES] [pause=MS]
 *
 * Each thread keeps one connection. One command a line on standard input, one line of answer each:
 *
 *   run N    every thread makes N calls                          → progress, when all are done
 *   start    every thread makes calls until `stop`               → progress, at once
 *   told     how far they are                                    → progress
 *   stop     every thread ends the call it is in                 → progress, when all are done
 *
 * Progress is `calls=N errors=N sent=BYTES received=BYTES`: calls answered right, what went wrong (with a sentence on standard error
 * each), and the plaintext that went through SSL_write and SSL_read. At the end of standard input the connections are closed.
 *
 * stream       the answers are streams; chunks=N events each
 * reconnect=N  a new connection after so many calls
 * size=BYTES   the length of the prompt
 * pause=MS     milliseconds after each call: where one processor is shared with the agent
 *
 * Exit status: 0 without errors, else 1.
 */
#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST_THREADS = 256, ANSWER_BYTES = 4 << 20, HEAD_BYTES = 4096 };

static const char *host, *path = "/v1/chat/completions";
static int port, threads, stream;
static long chunks = 5, reconnect, size = 64, pause_ms;
static SSL_CTX *context;
static atomic_long calls, errors, sent, received;

/* What the threads shall do: calls still allowed to each of them since `generation` began. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static long generation, quota;
static int idle, over;
static atomic_int stopping;

struct worker {
    pthread_t thread;
    int number, fd;
    SSL *ssl;
    long on_connection;
    uint64_t random;
    char *request, *answer;
};

static void fail(const char *what) {
    fprintf(stderr, "steady: %s\n", what);
    ERR_print_errors_fp(stderr);
    exit(1);
}

/* FNV-1a: the stand-in computes the same. */
static uint64_t sum(const char *bytes, size_t length) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < length; i++) hash = (hash ^ (unsigned char)bytes[i]) * 0x100000001b3u;
    return hash;
}

static void hang_up(struct worker *w) {
    if (w->ssl) SSL_free(w->ssl);
    if (w->fd >= 0) close(w->fd);
    w->ssl = NULL;
    w->fd = -1;
    w->on_connection = 0;
}

static const char *dial(struct worker *w) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    w->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (w->fd < 0 || connect(w->fd, (struct sockaddr *)&to, sizeof to)) return "connect";
    w->ssl = SSL_new(context);
    if (!w->ssl || SSL_set_tlsext_host_name(w->ssl, host) != 1 || SSL_set1_host(w->ssl, host) != 1) return "server name";
    if (SSL_set_fd(w->ssl, w->fd) != 1 || SSL_connect(w->ssl) != 1) return "handshake";
    return NULL;
}

static const char *send_all(struct worker *w, const char *bytes, size_t length) {
    while (length > 0) {
        int done = SSL_write(w->ssl, bytes, (int)length);
        if (done <= 0) return "SSL_write";
        atomic_fetch_add(&sent, done);
        bytes += done;
        length -= (size_t)done;
    }
    return NULL;
}

/* The value of a header field in a head that ends with a zero byte. */
static const char *field(const char *head, const char *name) {
    size_t length = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line; line = strstr(line + 2, "\r\n")) {
        if (!strncasecmp(line + 2, name, length) && line[2 + length] == ':') return line + 2 + length + 1;
    }
    return NULL;
}

/* Takes a chunked body apart in place; the length of the content, or -1 if it is not there whole. */
static long dechunk(char *body, size_t length) {
    size_t at = 0, out = 0;
    for (;;) {
        char *end = memchr(body + at, '\n', length - at);
        if (!end) return -1;
        size_t chunk = strtoul(body + at, NULL, 16);
        at = (size_t)(end - body) + 1;
        if (at + chunk + 2 > length) return -1;
        if (chunk == 0) return (long)out;
        memmove(body + out, body + at, chunk);
        out += chunk;
        at += chunk + 2;
    }
}

static const char *one_call(struct worker *w) {
    const char *wrong = NULL;
    if (!w->ssl && (wrong = dial(w))) return wrong;

    static const char open[] = "{\"model\":\"gpt-4o-mini\",%s\"messages\":[{\"role\":\"user\",\"content\":\"";
    char *body = w->request + HEAD_BYTES;
    size_t length = (size_t)sprintf(body, open, stream ? "\"stream\":true,\"stream_options\":{\"include_usage\":true}," : "");
    for (long i = 0; i < size; i++) {
        w->random = w->random * 6364136223846793005u + 1442695040888963407u;
        body[length++] = i % 7 == 6 ? ' ' : (char)('a' + (w->random >> 33) % 26);
    }
    length += (size_t)sprintf(body + length, "\"}]}");
    char head[HEAD_BYTES];
    int head_length = snprintf(head, sizeof head,
        "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nAuthorization: Bearer sk-test-not-a-real-key\r\n"
        "x-stub-sums: yes\r\nx-stub-chunks: %ld\r\nContent-Length: %zu\r\n\r\n", path, host, chunks, length);
    /* Head and body go out in one write, as most clients do. */
    char *request = body - head_length;
    memcpy(request, head, (size_t)head_length);
    if ((wrong = send_all(w, request, (size_t)head_length + length))) return wrong;

    size_t got = 0, head_end = 0, content = 0;
    int chunked = 0;
    uint64_t request_sum = 0, answer_sum = 0;
    for (;;) {
        if (got + 1 >= ANSWER_BYTES) return "an answer that is too large";
        int n = SSL_read(w->ssl, w->answer + got, (int)(ANSWER_BYTES - 1 - got));
        if (n <= 0) return "SSL_read";
        atomic_fetch_add(&received, n);
        got += (size_t)n;
        w->answer[got] = 0;
        if (!head_end) {
            char *end = strstr(w->answer, "\r\n\r\n");
            if (!end) continue;
            end[2] = 0; /* the head as a string; the byte is not looked at again */
            head_end = (size_t)(end - w->answer) + 4;
            if (strncmp(w->answer, "HTTP/1.1 200 ", 13)) return "a status that is not 200";
            const char *told = field(w->answer, "x-stub-request-sum"), *total = field(w->answer, "content-length");
            if (!told) return "no sum of the request";
            request_sum = strtoull(told, NULL, 16);
            told = field(w->answer, "x-stub-answer-sum");
            if (!told) return "no sum of the answer";
            answer_sum = strtoull(told, NULL, 16);
            chunked = !total;
            content = total ? strtoul(total, NULL, 10) : 0;
        }
        if (chunked ? got - head_end >= 5 && !memcmp(w->answer + got - 5, "0\r\n\r\n", 5) : got - head_end >= content) break;
    }
    char *answer = w->answer + head_end;
    long whole = chunked ? dechunk(answer, got - head_end) : (long)(got - head_end);
    if (whole < 0) return "chunks that do not fit together";
    if (sum(body, length) != request_sum) return "the request did not arrive as it was sent";
    if (sum(answer, (size_t)whole) != answer_sum) return "the answer did not arrive as it was sent";
    return NULL;
}

static void call(struct worker *w) {
    const char *wrong = one_call(w);
    if (wrong) {
        atomic_fetch_add(&errors, 1);
        fprintf(stderr, "steady: thread %d: %s\n", w->number, wrong);
        ERR_print_errors_fp(stderr);
        hang_up(w);
        usleep(10000);
        return;
    }
    atomic_fetch_add(&calls, 1);
    if (++w->on_connection == reconnect) hang_up(w);
    if (pause_ms) usleep((useconds_t)pause_ms * 1000);
}

static void *work(void *argument) {
    struct worker *w = argument;
    long seen = 0;
    for (;;) {
        pthread_mutex_lock(&lock);
        idle++;
        pthread_cond_broadcast(&changed);
        while (!over && generation == seen) pthread_cond_wait(&changed, &lock);
        seen = generation;
        long left = quota;
        int last = over;
        pthread_mutex_unlock(&lock);
        if (last) break;
        while (left-- > 0 && !atomic_load(&stopping)) call(w);
    }
    hang_up(w);
    return NULL;
}

static void begin(long each) {
    pthread_mutex_lock(&lock);
    atomic_store(&stopping, 0);
    quota = each;
    generation++;
    idle = 0;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void wait_for_all(void) {
    pthread_mutex_lock(&lock);
    while (idle < threads) pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

static void tell(void) {
    printf("calls=%ld errors=%ld sent=%ld received=%ld\n", atomic_load(&calls), atomic_load(&errors), atomic_load(&sent), atomic_load(&received));
    fflush(stdout);
}

int main(int argc, char **argv) {
    if (argc < 5) fail("usage: steady PORT SERVER_NAME CA_FILE THREADS [path=PATH] [chunks=N] [stream] [reconnect=N] [size=BYTES] [pause=MS]");
    port = atoi(argv[1]);
    host = argv[2];
    threads = atoi(argv[4]);
    if (threads < 1 || threads > MOST_THREADS) fail("a strange number of threads");
    for (int i = 5; i < argc; i++) {
        if (!strcmp(argv[i], "stream")) stream = 1;
        else if (!strncmp(argv[i], "path=", 5)) path = argv[i] + 5;
        else if (!strncmp(argv[i], "chunks=", 7)) chunks = atol(argv[i] + 7);
        else if (!strncmp(argv[i], "reconnect=", 10)) reconnect = atol(argv[i] + 10);
        else if (!strncmp(argv[i], "size=", 5)) size = atol(argv[i] + 5);
        else if (!strncmp(argv[i], "pause=", 6)) pause_ms = atol(argv[i] + 6);
        else fail("unknown option");
    }
    signal(SIGPIPE, SIG_IGN);
    context = SSL_CTX_new(TLS_client_method());
    if (!context || SSL_CTX_load_verify_locations(context, argv[3], NULL) != 1) fail("cannot load the CA file");
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);

    static struct worker workers[MOST_THREADS];
    for (int i = 0; i < threads; i++) {
        struct worker *w = &workers[i];
        *w = (struct worker){.number = i, .fd = -1, .random = (uint64_t)i + 1};
        w->request = malloc(HEAD_BYTES + (size_t)size + 512);
        w->answer = malloc(ANSWER_BYTES);
        if (!w->request || !w->answer || pthread_create(&w->thread, NULL, work, w)) fail("cannot start a thread");
    }
    wait_for_all();

    char line[64];
    long each;
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "run %ld", &each) == 1) {
            begin(each);
            wait_for_all();
        } else if (!strcmp(line, "start\n")) {
            begin(INT32_MAX);
        } else if (!strcmp(line, "stop\n")) {
            atomic_store(&stopping, 1);
            wait_for_all();
        } else if (strcmp(line, "told\n")) {
            fail("this command is not understood");
        }
        tell();
    }
    atomic_store(&stopping, 1);
    pthread_mutex_lock(&lock);
    over = 1;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    for (int i = 0; i < threads; i++) pthread_join(workers[i].thread, NULL);
    SSL_CTX_free(context);
    return atomic_load(&errors) ? 1 : 0;
}

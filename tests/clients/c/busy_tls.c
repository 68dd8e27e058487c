/* A program that has nothing to do with LLMs and calls its TLS library all the time: SSL_write on a session that was never connected,
 * which fails at once and sends nothing. Written for the tests of the bystander guard.
 *
 *   busy_tls
 *
 * Every 250 ms it writes a line with the number of calls since the line before. SIGUSR1: from now on ten calls a second. It ends when its
 * standard output is closed. Exit status 1 with a sentence when a call does not fail as it must.
 */
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t slow;

static void on_signal(int number) {
    (void)number;
    slow = 1;
}

static long long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(void) {
    signal(SIGUSR1, on_signal);
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL *ssl = context ? SSL_new(context) : NULL;
    if (!ssl) {
        fprintf(stderr, "busy_tls: no session\n");
        return 1;
    }
    char bytes[64] = "not a request";
    long long begin = now();
    long calls = 0;
    for (;;) {
        if (SSL_write(ssl, bytes, sizeof bytes) > 0) {
            fprintf(stderr, "busy_tls: wrote to nobody\n");
            return 1;
        }
        calls++;
        if (slow) usleep(100000);
        long long at = now();
        if (at - begin >= 250000000LL) {
            if (printf("%ld\n", calls) < 0 || fflush(stdout)) return 0;
            begin = at;
            calls = 0;
        }
    }
}

/* Becomes another program by its second thread when it gets SIGUSR1: whoever knows a process by its first thread loses it. It maps libssl
 * meanwhile. A shell comes between, so that whoever looks for the process again has a second.
 *
 *   thread_exec PROGRAM ARGUMENTS
 */
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#define MOST 64

static sigset_t awaited;

static void *become(void *arguments) {
    char **argv = arguments, *shell[MOST + 5] = {"sh", "-c", "sleep 1; exec \"$0\" \"$@\""};
    int number;
    for (int i = 0; i < MOST && argv[i]; i++) shell[3 + i] = argv[i];
    sigwait(&awaited, &number);
    sigprocmask(SIG_UNBLOCK, &awaited, NULL);
    execv("/bin/sh", shell);
    perror("thread_exec");
    _exit(2);
}

int main(int argc, char **argv) {
    pthread_t thread;
    if (argc < 2 || !SSL_CTX_new(TLS_client_method())) {
        fprintf(stderr, "usage: thread_exec PROGRAM ARGUMENTS\n");
        return 2;
    }
    sigemptyset(&awaited);
    sigaddset(&awaited, SIGUSR1);
    sigprocmask(SIG_BLOCK, &awaited, NULL);
    if (pthread_create(&thread, NULL, become, argv + 1)) return 2;
    pthread_join(thread, NULL);
    return 2;
}

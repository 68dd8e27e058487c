/* A client on GnuTLS that uses what few programs do: everything on standard input goes out as the first thing on the connection.
 * Written for the end-to-end tests.
 *
 *   raw_gnutls PORT SERVER_NAME CA_FILE [nonblocking] [null] [cork] [range] [packet] [seq] [beside]
 *       [sndbuf=N] [record=N] < request > response
 *
 * nonblocking  the socket does not block: a send fails with GNUTLS_E_AGAIN and is repeated with the same arguments
 * null         it is repeated with (NULL, 0), and the buffer is overwritten in between
 * cork         the request is sent corked, in pieces, and uncorked at the end
 * range        gnutls_record_send_range
 * packet       gnutls_record_recv_packet
 * seq          gnutls_record_recv_seq
 * beside       another thread receives all the time. Of the request only what goes to the first empty line is sent at first, and the rest
 *              when that is answered and the other thread waits again
 * sndbuf=N     a small socket buffer, so that sends do block
 * record=N     records of at most N bytes
 *
 * The request must ask for `Connection: close`: the answer is read until the server closes. The number of calls is told on standard error
 * as `writes=N retries=N`. Exit status: 0, or 1 with a sentence.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void fail(const char *what, ssize_t error) {
    fprintf(stderr, "raw_gnutls: %s: %s\n", what, error < 0 ? gnutls_strerror((int)error) : "failed");
    exit(1);
}

static char *read_all(size_t *length) {
    size_t capacity = 1 << 16, used = 0;
    char *buffer = malloc(capacity);
    if (!buffer) fail("out of memory", 0);
    for (;;) {
        ssize_t got = read(0, buffer + used, capacity - used);
        if (got < 0) fail("cannot read standard input", 0);
        if (got == 0) break;
        used += (size_t)got;
        if (used == capacity) {
            capacity *= 2;
            buffer = realloc(buffer, capacity);
            if (!buffer) fail("out of memory", 0);
        }
    }
    buffer[used] = 0;
    *length = used;
    return buffer;
}

static void wait_for(gnutls_session_t session, int fd) {
    struct pollfd p = {.fd = fd, .events = gnutls_record_get_direction(session) ? POLLOUT : POLLIN};
    if (poll(&p, 1, -1) < 0 && errno != EINTR) fail("poll", 0);
}

static atomic_int answered;

static void *receive_beside(void *argument) {
    gnutls_session_t session = argument;
    char answer[65536];
    ssize_t got;
    while ((got = gnutls_record_recv(session, answer, sizeof answer)) > 0 || got == GNUTLS_E_INTERRUPTED || got == GNUTLS_E_AGAIN) {
        if (got > 0) fwrite(answer, 1, (size_t)got, stdout);
        if (got > 0) answered = 1;
    }
    return NULL;
}

static int again(ssize_t result) {
    return result == GNUTLS_E_AGAIN || result == GNUTLS_E_INTERRUPTED;
}

int main(int argc, char **argv) {
    int nonblocking = 0, null = 0, cork = 0, by_range = 0, packet = 0, seq = 0, beside = 0, sndbuf = 0, record = 0;
    if (argc < 4) fail("usage: raw_gnutls PORT SERVER_NAME CA_FILE [option ...]", 0);
    for (int i = 4; i < argc; i++) {
        if (!strcmp(argv[i], "nonblocking")) nonblocking = 1;
        else if (!strcmp(argv[i], "null")) null = 1;
        else if (!strcmp(argv[i], "cork")) cork = 1;
        else if (!strcmp(argv[i], "range")) by_range = 1;
        else if (!strcmp(argv[i], "packet")) packet = 1;
        else if (!strcmp(argv[i], "seq")) seq = 1;
        else if (!strcmp(argv[i], "beside")) beside = 1;
        else if (!strncmp(argv[i], "sndbuf=", 7)) sndbuf = atoi(argv[i] + 7);
        else if (!strncmp(argv[i], "record=", 7)) record = atoi(argv[i] + 7);
        else fail("unknown option", 0);
    }
    size_t length = 0;
    char *request = read_all(&length);

    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0) fail("socket", 0);
    if (sndbuf && setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &sndbuf, sizeof sndbuf)) fail("SO_SNDBUF", 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[1])), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    if (connect(fd, (struct sockaddr *)&to, sizeof to)) fail("connect", 0);

    gnutls_certificate_credentials_t trust;
    gnutls_session_t session;
    int error = gnutls_certificate_allocate_credentials(&trust);
    if (error < 0 || gnutls_certificate_set_x509_trust_file(trust, argv[3], GNUTLS_X509_FMT_PEM) < 1) fail("cannot load the CA file", error);
    if ((error = gnutls_init(&session, GNUTLS_CLIENT | (nonblocking ? GNUTLS_NONBLOCK : 0))) < 0) fail("gnutls_init", error);
    if ((error = gnutls_set_default_priority(session)) < 0) fail("gnutls_set_default_priority", error);
    if ((error = gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, trust)) < 0) fail("gnutls_credentials_set", error);
    /* A name is not terminated: something else follows it. */
    char name[300];
    size_t name_length = strlen(argv[2]);
    if (name_length + 8 > sizeof name) fail("a shorter server name", 0);
    memset(name, 'x', sizeof name);
    memcpy(name, argv[2], name_length);
    if ((error = gnutls_server_name_set(session, GNUTLS_NAME_DNS, name, name_length)) < 0) fail("gnutls_server_name_set", error);
    gnutls_session_set_verify_cert(session, argv[2], 0);
    gnutls_transport_set_int(session, fd);
    do error = gnutls_handshake(session); while (error < 0 && !gnutls_error_is_fatal(error));
    if (error < 0) fail("handshake", error);
    if (record && (error = (int)gnutls_record_set_max_size(session, (size_t)record)) < 0) fail("gnutls_record_set_max_size", error);
    if (nonblocking && fcntl(fd, F_SETFL, O_NONBLOCK)) fail("O_NONBLOCK", 0);

    long writes = 0, retries = 0;
    size_t sent = 0;
    pthread_t receiver;
    if (beside) {
        if (pthread_create(&receiver, NULL, receive_beside, session)) fail("pthread_create", 0);
        char *end = strstr(request, "\r\n\r\n");
        if (!end) fail("an empty line in the request", 0);
        ssize_t result = gnutls_record_send(session, request, (size_t)(end + 4 - request));
        if (result != end + 4 - request) fail("gnutls_record_send", result);
        sent = (size_t)result;
        while (!answered) usleep(1000);
        usleep(500000);
    }
    char piece[40000];
    if (cork) gnutls_record_cork(session);
    while (sent < length) {
        size_t left = length - sent, now = left < sizeof piece ? left : sizeof piece;
        memcpy(piece, request + sent, now);
        ssize_t result;
        if (by_range) {
            gnutls_range_st range = {.low = now, .high = now};
            result = gnutls_record_send_range(session, piece, now, &range);
        } else {
            result = gnutls_record_send(session, piece, now);
        }
        writes++;
        while (again(result)) {
            retries++;
            wait_for(session, fd);
            if (null) {
                memset(piece, '#', sizeof piece);
                result = gnutls_record_send(session, NULL, 0);
            } else {
                result = gnutls_record_send(session, piece, now);
            }
            writes++;
        }
        if (result < 0) fail("gnutls_record_send", result);
        sent += (size_t)result;
    }
    if (cork) {
        int left;
        while (again(left = gnutls_record_uncork(session, 0))) {
            retries++;
            wait_for(session, fd);
        }
        if (left < 0) fail("gnutls_record_uncork", left);
    }

    if (beside) pthread_join(receiver, NULL);
    char answer[65536];
    while (!beside) {
        ssize_t result;
        if (packet) {
            gnutls_packet_t taken;
            result = gnutls_record_recv_packet(session, &taken);
            if (result > 0) {
                gnutls_datum_t data;
                gnutls_packet_get(taken, &data, NULL);
                memcpy(answer, data.data, data.size);
                gnutls_packet_deinit(taken);
            }
        } else if (seq) {
            unsigned char number[8];
            result = gnutls_record_recv_seq(session, answer, sizeof answer, number);
        } else {
            result = gnutls_record_recv(session, answer, sizeof answer);
        }
        if (result > 0) fwrite(answer, 1, (size_t)result, stdout);
        else if (again(result)) wait_for(session, fd);
        else if (result == 0 || gnutls_error_is_fatal((int)result)) break; /* closed, with or without close_notify */
    }
    fflush(stdout);
    fprintf(stderr, "writes=%ld retries=%ld\n", writes, retries);
    gnutls_bye(session, GNUTLS_SHUT_WR);
    gnutls_deinit(session);
    gnutls_certificate_free_credentials(trust);
    close(fd);
    free(request);
    return 0;
}

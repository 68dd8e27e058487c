/* Sends standard input over a stream socket without TLS, in one of the shapes that programs use, and writes what comes back to standard
 * output until the other end closes.
 *
 *   plaintext ADDRESS SHAPE [SHAPE of receiving]
 *
 * ADDRESS: 127.0.0.1:PORT, [::1]:PORT, or the path of a Unix socket.
 * SHAPE: write, send, writev, sendmsg, sendmmsg, sendfile; read, recv, readv, recvmsg, peek (each byte is looked at before it is taken). */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#define MOST (16 << 20)
#define PIECES 7
#define CRUMBS 256

static void fail(const char *what) {
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

static int connected(const char *address) {
    const char *colon = strrchr(address, ':');
    int fd;
    if (address[0] == '/') {
        struct sockaddr_un un = {.sun_family = AF_UNIX};
        strncpy(un.sun_path, address, sizeof un.sun_path - 1);
        fd = socket(AF_UNIX, SOCK_STREAM, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *)&un, sizeof un) != 0) fail("connect");
    } else if (address[0] == '[') {
        struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
        in6.sin6_port = htons((unsigned short)atoi(colon + 1));
        fd = socket(AF_INET6, SOCK_STREAM, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *)&in6, sizeof in6) != 0) fail("connect");
    } else {
        struct sockaddr_in in = {.sin_family = AF_INET};
        in.sin_port = htons((unsigned short)atoi(colon + 1));
        in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        fd = socket(AF_INET, SOCK_STREAM, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *)&in, sizeof in) != 0) fail("connect");
    }
    return fd;
}

/* The rest, cut into pieces of unlike length; one is empty, and the first, as Erlang's always is. */
static int cut(char *at, size_t left, struct iovec *pieces) {
    int n = 0;
    pieces[n++] = (struct iovec){NULL, 0};
    for (; n < PIECES - 1 && left > 0; n++) {
        size_t length = n == 2 ? 0 : left / 3 + 1;
        pieces[n] = (struct iovec){at, length};
        at += length;
        left -= length;
    }
    pieces[n] = (struct iovec){at, left};
    return n + 1;
}

/* The rest in many small pieces, as gRPC sends a message that it has compressed. */
static ssize_t send_crumbs(int fd, char *at, size_t left) {
    static struct iovec crumbs[CRUMBS];
    int n = 0;
    for (; n < CRUMBS && left > 0; n++) {
        size_t length = left < 700 ? left : 700;
        crumbs[n] = (struct iovec){at, length};
        at += length;
        left -= length;
    }
    return writev(fd, crumbs, n);
}

static ssize_t send_some(int fd, const char *shape, char *at, size_t left, size_t done, int file) {
    struct iovec pieces[PIECES];
    struct mmsghdr messages[1] = {{{0}, 0}};
    struct msghdr *message = &messages[0].msg_hdr;
    if (strcmp(shape, "write") == 0) return write(fd, at, left);
    if (strcmp(shape, "send") == 0) return send(fd, at, left, 0);
    if (strcmp(shape, "sendfile") == 0) {
        /* The head as the program's own bytes, the rest from a file. */
        off_t offset = (off_t)done;
        return done == 0 ? write(fd, at, left < 200 ? left : 200) : sendfile(fd, file, &offset, left);
    }
    if (strcmp(shape, "crumbs") == 0) return send_crumbs(fd, at, left);
    message->msg_iov = pieces;
    message->msg_iovlen = (size_t)cut(at, left, pieces);
    if (strcmp(shape, "writev") == 0) return writev(fd, pieces, (int)message->msg_iovlen);
    if (strcmp(shape, "sendmsg") == 0) return sendmsg(fd, message, 0);
    if (strcmp(shape, "sendmmsg") == 0) return sendmmsg(fd, messages, 1, 0) == 1 ? (ssize_t)messages[0].msg_len : -1;
    fprintf(stderr, "unknown shape %s\n", shape);
    exit(2);
}

static ssize_t receive_some(int fd, const char *shape, char *at, size_t room) {
    size_t first = room / 3;
    struct iovec pieces[2] = {{at, first}, {at + first, room - first}};
    struct msghdr message = {.msg_iov = pieces, .msg_iovlen = 2};
    if (strcmp(shape, "read") == 0) return read(fd, at, room);
    if (strcmp(shape, "recv") == 0) return recv(fd, at, room, 0);
    if (strcmp(shape, "readv") == 0) return readv(fd, pieces, 2);
    if (strcmp(shape, "recvmsg") == 0) return recvmsg(fd, &message, 0);
    if (strcmp(shape, "peek") == 0) {
        ssize_t n = recv(fd, at, room, MSG_PEEK);
        return n <= 0 ? n : recv(fd, at, (size_t)n, 0);
    }
    fprintf(stderr, "unknown shape %s\n", shape);
    exit(2);
}

int main(int argc, char **argv) {
    static char request[MOST], answer[1000];
    const char *shape = argc > 2 ? argv[2] : "write", *receiving = argc > 3 ? argv[3] : "read";
    size_t length = 0, done = 0;
    ssize_t n;
    if (argc < 2) return 2;
    while ((n = read(0, request + length, MOST - length)) > 0) length += (size_t)n;
    int file = memfd_create("request", 0);
    if (file < 0 || write(file, request, length) != (ssize_t)length) fail("memfd");
    int fd = connected(argv[1]);
    while (done < length) {
        n = send_some(fd, shape, request + done, length - done, done, file);
        if (n < 0) fail(shape);
        done += (size_t)n;
    }
    while ((n = receive_some(fd, receiving, answer, sizeof answer)) > 0)
        if (fwrite(answer, 1, (size_t)n, stdout) != (size_t)n) fail("stdout");
    if (n < 0) fail(receiving);
    close(fd);
    return 0;
}

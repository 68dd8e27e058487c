/* A program that has functions of two TLS libraries, one of which begins with an instruction that the kernel will not probe. It encrypts nothing:
 * for each line of standard input it "writes" a request to a model and "reads" its answer, and says so in a line. */
#include <stdio.h>
#include <string.h>

#define OUT __attribute__((noinline, noclone, used, visibility("default")))

static const char request[] =
    "POST /v1/chat/completions HTTP/1.1\r\nHost: api.openai.com\r\nContent-Type: application/json\r\nContent-Length: 74\r\n\r\n"
    "{\"model\":\"gpt-4o-mini\",\"messages\":[{\"role\":\"user\",\"content\":\"hello you\"}]}";

static const char body[] =
    "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"model\":\"gpt-4o-mini\",\"choices\":[{\"index\":0,\"finish_reason\":\"stop\","
    "\"message\":{\"role\":\"assistant\",\"content\":\"hi\"}}],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2,\"total_tokens\":11}}";

OUT int SSL_write(void *session, const void *bytes, int length) {
    __asm__ volatile("" ::"r"(session), "r"(bytes) : "memory");
    return length;
}

OUT int SSL_read(void *session, void *bytes, int length) {
    __asm__ volatile("" ::"r"(session) : "memory");
    return snprintf(bytes, (size_t)length, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body);
}

OUT void SSL_free(void *session) {
    __asm__ volatile("" ::"r"(session) : "memory");
}

OUT long gnutls_record_recv(void *session, void *bytes, unsigned long length) {
    __asm__ volatile("" ::"r"(session), "r"(bytes) : "memory");
    return (long)length;
}

/* An access that is one for all processors. Stepping over it elsewhere would not be the same. */
long gnutls_record_send(void *session, const void *bytes, unsigned long length);
#if defined(__x86_64__)
#define BEGIN "lock incl (%rdi)\n mov %rdx, %rax\n"
#else
#define BEGIN "ldxr w9, [x0]\n clrex\n mov x0, x2\n"
#endif
__asm__(".globl gnutls_record_send\n.type gnutls_record_send, %function\ngnutls_record_send:\n" BEGIN
        " ret\n.size gnutls_record_send, . - gnutls_record_send\n");

int main(void) {
    char line[4096], answer[4096];
    int session = 0;
    while (fgets(line, sizeof line, stdin)) {
        long sent = gnutls_record_send(&session, line, 1) + gnutls_record_recv(&session, line, 1);
        int written = SSL_write(&session, request, (int)(sizeof request - 1));
        int got = SSL_read(&session, answer, sizeof answer);
        SSL_free(&session);
        printf("{\"written\": %d, \"got\": %d, \"sent\": %ld}\n", written, got, sent);
        fflush(stdout);
    }
    return 0;
}

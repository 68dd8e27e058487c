/* A program whose code says that it is OpenSSL's and is not: functions with OpenSSL's names in their error reports and other arguments than
 * OpenSSL's have. It is to be compiled without symbols. Calls them a hundred times for each line of standard input, and answers with a line.
 *
 * As OpenSSL's, they say of themselves `ssl_write_internal` and `ssl_read_internal`, and write behind their last argument. What they write is
 * no count, and what would be a buffer is a number. With HALF the one that reads is as OpenSSL's. */
#include <stdio.h>

#define OUT __attribute__((noinline, noclone))

typedef struct {
    void *state;
    unsigned long sum;
    int is_open;
} thing;

OUT void set_debug(const char *file, int line, const char *function) {
    __asm__ volatile("" ::"r"(file), "r"(line), "r"(function) : "memory");
}

OUT int job(thing *it, unsigned long number) {
    __asm__ volatile("" ::: "memory");
    it->sum += number;
    return it->is_open;
}

#define FUNCTION(name)                                                                                                                     \
    OUT int name(thing *it, unsigned long number, unsigned long small, unsigned long *sum) {                                     \
        if (!it->state) {                                                                                                                  \
            set_debug("ssl/ssl_lib.c", __LINE__, __func__);                                                                                \
            return -1;                                                                                                                     \
        }                                                                                                                                  \
        int is_open = job(it, number * small);                                                                                            \
        *sum = it->sum;                                                                                                                    \
        return is_open;                                                                                                                    \
    }

FUNCTION(ssl_write_internal)
#ifdef HALF
OUT int ssl_read_internal(thing *it, unsigned long buffer, unsigned long length, unsigned long *read) {
    if (!it->state) {
        set_debug("ssl/ssl_lib.c", __LINE__, __func__);
        return -1;
    }
    int is_open = job(it, buffer != 0);
    *read = length / 2;
    return is_open;
}
#else
FUNCTION(ssl_read_internal)
#endif

int main(void) {
    char line[4096];
    thing it = {line, 0, 1};
    unsigned long sum = 0;
    while (fgets(line, sizeof line, stdin)) {
        for (unsigned long i = 0; i < 100; i++) {
            ssl_write_internal(&it, i + 1000, 7, &sum);
#ifdef HALF
            unsigned long read;
            ssl_read_internal(&it, (unsigned long)line, sizeof line, &read);
#else
            ssl_read_internal(&it, i + 2000, 9, &sum);
#endif
        }
        printf("{\"sum\": %lu}\n", sum);
        fflush(stdout);
    }
    return 0;
}

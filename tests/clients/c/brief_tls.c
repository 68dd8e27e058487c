/* A program that defines functions of a TLS library and calls none of them: for the end-to-end tests. Says a byte when it runs, and waits to
 * be ended.
 */
#include <unistd.h>

__attribute__((noinline, used)) int SSL_read(void *session, void *buffer, int length) {
	return session && buffer ? length : -1;
}

__attribute__((noinline, used)) int SSL_write(void *session, const void *buffer, int length) {
	return session && buffer ? length - 1 : -2;
}

int main(void) {
	return write(1, "x", 1) == 1 ? pause() : 1;
}

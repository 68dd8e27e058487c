/* Runs a program under a seccomp filter that kills it for the system calls that probes make in a process: what a container runtime with
 * a list of known calls does. Written for the end-to-end tests.
 *
 *   confine PROGRAM ARGUMENTS
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: confine PROGRAM ARGUMENTS\n");
        return 2;
    }
    struct sock_filter statements[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 335, 1, 0), /* uretprobe */
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 336, 0, 1), /* uprobe */
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof statements / sizeof *statements, .filter = statements};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) {
        perror("confine");
        return 2;
    }
    execvp(argv[1], argv + 1);
    perror("confine");
    return 2;
}

/* The empty pair that probes are compared with, and the run times that the kernel keeps of programs. No library: plain
 * system calls. Driven by `cargo xtask bench kernel`, one command a line on standard input:
 *
 *   attach PATH OFFSET...  an empty program at the entry and at the return of each function
 *   detach
 *   stats on|off           the kernel measures every program (BPF_ENABLE_STATS: ends with this process, whatever ends it)
 *   programs               a line `program ID NAME RUNS NANOSECONDS MISSED` for every loaded program
 *
 * Answers end with `ok`. Exit status: 0, or 1 with a sentence. Needs CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN and Linux 6.6.
 */
#include <errno.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Linux 6.6; older headers lack them. */
enum { TRACE_UPROBE_MULTI = 48, UPROBE_MULTI_RETURN = 1, MOST_OFFSETS = 16 };

struct uprobe_multi_link {
    __u32 prog_fd, target_fd, attach_type, flags;
    __u64 path, offsets, ref_ctr_offsets, cookies;
    __u32 count, multi_flags, pid, reserved;
};

static int entry = -1, leave = -1, stats = -1;

static void fail(const char *what) {
    fprintf(stderr, "empty_probe: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int bpf(int command, void *attributes, unsigned size) {
    return (int)syscall(SYS_bpf, command, attributes, size);
}

static int load(const char *name) {
    struct bpf_insn empty[] = {
        {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 0},
        {.code = BPF_JMP | BPF_EXIT},
    };
    union bpf_attr load;
    memset(&load, 0, sizeof load);
    load.prog_type = BPF_PROG_TYPE_KPROBE;
    load.expected_attach_type = TRACE_UPROBE_MULTI;
    load.insns = (unsigned long)empty;
    load.insn_cnt = 2;
    load.license = (unsigned long)"GPL";
    strcpy(load.prog_name, name);
    int program = bpf(BPF_PROG_LOAD, &load, sizeof load);
    if (program < 0) fail("the kernel refuses an empty program");
    return program;
}

static int attach(int program, const char *path, __u64 *offsets, unsigned count, unsigned flags) {
    struct uprobe_multi_link link;
    memset(&link, 0, sizeof link);
    link.prog_fd = program;
    link.attach_type = TRACE_UPROBE_MULTI;
    link.path = (unsigned long)path;
    link.offsets = (unsigned long)offsets;
    link.count = count;
    link.multi_flags = flags;
    int fd = bpf(BPF_LINK_CREATE, &link, sizeof link);
    if (fd < 0) fail("the kernel refuses an uprobe-multi link");
    return fd;
}

static void detach(void) {
    if (entry >= 0) close(entry);
    if (leave >= 0) close(leave);
    entry = leave = -1;
}

static void print_programs(void) {
    union bpf_attr next;
    memset(&next, 0, sizeof next);
    while (bpf(BPF_PROG_GET_NEXT_ID, &next, sizeof next) == 0) {
        __u32 id = next.next_id;
        union bpf_attr get;
        memset(&get, 0, sizeof get);
        get.prog_id = id;
        int fd = bpf(BPF_PROG_GET_FD_BY_ID, &get, sizeof get);
        struct bpf_prog_info info;
        memset(&info, 0, sizeof info);
        memset(&get, 0, sizeof get);
        get.info.bpf_fd = (__u32)fd;
        get.info.info_len = sizeof info;
        get.info.info = (unsigned long)&info;
        /* One that ended meanwhile is none. */
        if (fd >= 0 && bpf(BPF_OBJ_GET_INFO_BY_FD, &get, sizeof get) == 0 && info.name[0]) {
            printf("program %u %s %llu %llu %llu\n", id, info.name, (unsigned long long)info.run_cnt,
                   (unsigned long long)info.run_time_ns, (unsigned long long)info.recursion_misses);
        }
        if (fd >= 0) close(fd);
        memset(&next, 0, sizeof next);
        next.start_id = id;
    }
}

int main(void) {
    char line[4096];
    int at_entry = load("empty_entry"), at_return = load("empty_return");
    printf("ok\n");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        char *word = strtok(line, " \n");
        if (word && !strcmp(word, "attach")) {
            __u64 offsets[MOST_OFFSETS];
            unsigned count = 0;
            char *path = strtok(NULL, " \n");
            for (char *offset; count < MOST_OFFSETS && (offset = strtok(NULL, " \n"));) offsets[count++] = strtoull(offset, NULL, 10);
            errno = EINVAL;
            if (!path || !count) fail("attach wants a path and offsets");
            detach();
            entry = attach(at_entry, path, offsets, count, 0);
            leave = attach(at_return, path, offsets, count, UPROBE_MULTI_RETURN);
        } else if (word && !strcmp(word, "detach")) {
            detach();
        } else if (word && !strcmp(word, "stats")) {
            char *state = strtok(NULL, " \n");
            if (stats >= 0) close(stats);
            stats = -1;
            if (state && !strcmp(state, "on")) {
                union bpf_attr enable;
                memset(&enable, 0, sizeof enable);
                enable.enable_stats.type = BPF_STATS_RUN_TIME;
                stats = bpf(BPF_ENABLE_STATS, &enable, sizeof enable);
                if (stats < 0) fail("the kernel does not measure programs");
            }
        } else if (word && !strcmp(word, "programs")) {
            print_programs();
        } else {
            errno = EINVAL;
            fail("this command is not understood");
        }
        printf("ok\n");
        fflush(stdout);
    }
    return 0;
}

/* What the kernel holds of BPF: one line for each program, map and link, whoever owns it. Written for the end-to-end tests, which ask
 * whether anything of the agent is left. Needs root.
 *
 *   prog ID NAME
 *   map ID NAME ENTRIES     ENTRIES of hash tables; - for other kinds
 *   link ID TYPE            the kernel's number of its kind
 *
 * With the argument `programs` no map is opened. The kernel empties a map of programs when its last user goes; whoever opens and closes
 * it before that is done makes it begin a second time, and the reference of that second time is never given back: the map stays.
 *
 * Exit status: 0, or 1 with a sentence.
 */
#include <errno.h>
#include <linux/bpf.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static long bpf(int command, union bpf_attr *attr) { return syscall(SYS_bpf, command, attr, sizeof *attr); }

static void fail(const char *what) {
    fprintf(stderr, "bpf_objects: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* The next object's id after `id`, or 0. */
static uint32_t next(int command, uint32_t id) {
    union bpf_attr attr;
    memset(&attr, 0, sizeof attr);
    attr.start_id = id;
    if (bpf(command, &attr) == 0) return attr.next_id;
    if (errno != ENOENT) fail("cannot list");
    return 0;
}

/* A descriptor; -1 when the object has gone in between. */
static int open_by_id(int command, uint32_t id) {
    union bpf_attr attr;
    memset(&attr, 0, sizeof attr);
    attr.prog_id = id; /* the three ids are one member of the union */
    long fd = bpf(command, &attr);
    if (fd < 0 && errno != ENOENT) fail("cannot open by id");
    return (int)fd;
}

static void info(int fd, void *to, size_t length) {
    union bpf_attr attr;
    memset(&attr, 0, sizeof attr);
    memset(to, 0, length);
    attr.info.bpf_fd = (uint32_t)fd;
    attr.info.info_len = (uint32_t)length;
    attr.info.info = (uint64_t)(uintptr_t)to;
    if (bpf(BPF_OBJ_GET_INFO_BY_FD, &attr) != 0) fail("cannot ask what it is");
}

static long entries(int fd, const struct bpf_map_info *map) {
    char *key = NULL, *following = malloc(map->key_size);
    long count = 0;
    for (;;) {
        union bpf_attr attr;
        memset(&attr, 0, sizeof attr);
        attr.map_fd = (uint32_t)fd;
        attr.key = (uint64_t)(uintptr_t)key;
        attr.next_key = (uint64_t)(uintptr_t)following;
        if (bpf(BPF_MAP_GET_NEXT_KEY, &attr) != 0) break;
        count++;
        if (!key) key = malloc(map->key_size);
        memcpy(key, following, map->key_size);
        if (count > 10000000) fail("a map without end");
    }
    free(key);
    free(following);
    return count;
}

int main(int argc, char **argv) {
    int with_maps = argc < 2 || strcmp(argv[1], "programs");
    for (uint32_t id = 0; (id = next(BPF_PROG_GET_NEXT_ID, id));) {
        int fd = open_by_id(BPF_PROG_GET_FD_BY_ID, id);
        struct bpf_prog_info program;
        if (fd < 0) continue;
        info(fd, &program, sizeof program);
        printf("prog %u %s\n", id, program.name[0] ? program.name : "-");
        close(fd);
    }
    for (uint32_t id = 0; with_maps && (id = next(BPF_MAP_GET_NEXT_ID, id));) {
        int fd = open_by_id(BPF_MAP_GET_FD_BY_ID, id);
        struct bpf_map_info map;
        if (fd < 0) continue;
        info(fd, &map, sizeof map);
        printf("map %u %s ", id, map.name[0] ? map.name : "-");
        if (map.type == BPF_MAP_TYPE_HASH || map.type == BPF_MAP_TYPE_LRU_HASH) printf("%ld\n", entries(fd, &map));
        else printf("-\n");
        close(fd);
    }
    for (uint32_t id = 0; (id = next(BPF_LINK_GET_NEXT_ID, id));) {
        int fd = open_by_id(BPF_LINK_GET_FD_BY_ID, id);
        struct bpf_link_info link;
        if (fd < 0) continue;
        info(fd, &link, sizeof link);
        printf("link %u %u\n", id, link.type);
        close(fd);
    }
    return 0;
}

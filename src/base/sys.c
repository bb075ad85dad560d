/* Small text files of the kernel: /proc and the control groups (version 2, Documentation/admin-guide/cgroup-v2.rst).
 * Everything here is fail-soft: what cannot be read is as if it were not there. */
#include "base/sys_int.h"

#include "base/map.h"
#include "base/mem.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool sd_sys__read_small(const char *path, char *out, size_t cap)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    size_t n = 0;
    while (n + 1 < cap) {
        ssize_t r = read(fd, out + n, cap - 1 - n);
        if (r <= 0) break;
        n += (size_t)r;
    }
    close(fd);
    out[n] = '\0';
    return n > 0;
}

/* The number at the beginning of a group's file; false for "max" and for what is not there. */
static bool read_number(const char *root, const char *group, const char *file, uint64_t *out, uint64_t *second)
{
    char path[2048], text[128], *end;
    int len = snprintf(path, sizeof path, "%s%s/%s", root, group, file);
    if (len < 0 || (size_t)len >= sizeof path || !sd_sys__read_small(path, text, sizeof text)) return false;
    if (text[0] < '0' || text[0] > '9') return false;
    *out = strtoull(text, &end, 10);
    if (second) *second = strtoull(end, NULL, 10);
    return true;
}

/* Bytes of file cache in a group: memory.current counts them, and the kernel takes them back when they are needed
 * (a mapped model is nothing else). */
static uint64_t file_cache(const char *root, const char *group)
{
    char path[2048], text[8192];
    int len = snprintf(path, sizeof path, "%s%s/memory.stat", root, group);
    uint64_t sum = 0;
    if (len < 0 || (size_t)len >= sizeof path || !sd_sys__read_small(path, text, sizeof text)) return 0;
    for (char *line = text; line; line = strchr(line, '\n'), line = line ? line + 1 : NULL)
        if (strncmp(line, "active_file ", 12) == 0 || strncmp(line, "inactive_file ", 14) == 0)
            sum += strtoull(strchr(line, ' '), NULL, 10);
    return sum;
}

static void apply_group(sd_sys_limits *l, const char *root, const char *group)
{
    uint64_t limit, used = 0, quota, period;
    if (read_number(root, group, "memory.max", &limit, NULL)) {
        if (read_number(root, group, "memory.current", &used, NULL)) {
            uint64_t cache = file_cache(root, group);
            used = cache < used ? used - cache : 0;
        }
        uint64_t left = used < limit ? limit - used : 0;
        if (limit < l->memory_bytes) l->memory_bytes = limit;
        if (left < l->memory_left) l->memory_left = left;
    }
    /* "QUOTA PERIOD" in microseconds: a group may use QUOTA / PERIOD CPUs. */
    if (read_number(root, group, "cpu.max", &quota, &period) && period > 0) {
        uint64_t cpus = quota / period + (quota % period != 0);
        if (cpus < 1) cpus = 1;
        if (cpus < l->cpus) l->cpus = cpus;
    }
}

sd_sys_limits sd_sys__cgroup_limits(const char *self, const char *root)
{
    sd_sys_limits l = {UINT64_MAX, UINT64_MAX, UINT64_MAX};
    char text[4096];
    if (!sd_sys__read_small(self, text, sizeof text)) return l;
    /* "0::/path" is the line of version 2. */
    char *group = strncmp(text, "0::/", 4) == 0 ? text + 3 : strstr(text, "\n0::/");
    if (!group) return l;
    group = strchr(group, '/');
    group[strcspn(group, "\n")] = '\0';
    for (char *slash; (slash = strrchr(group, '/')); *slash = '\0')
        if (slash[1]) apply_group(&l, root, group);
    apply_group(&l, root, "");
    return l;
}

/* A line of /proc/locks (proc(5)): "1: POSIX  ADVISORY  READ  1234 08:01:5678 0 EOF". The device is left out: of a file in an overlay, stat
 * tells another one than the kernel's list. */
static bool holds(const char *line, unsigned long long inode, long *pid)
{
    unsigned long long at = 0;
    return sscanf(line, "%*d: POSIX %*s %*s %ld %*x:%*x:%llu", pid, &at) == 2 && at == inode && *pid > 0 && *pid != (long)getpid();
}

bool sd_file_holder(char out[64], const char *path)
{
    enum { MAX_LIST = 1 << 18 };
    struct stat at;
    bool found = false;
    long pid = 0;
    char *text = sd_malloc(MAX_LIST);
    if (text && stat(path, &at) == 0 && sd_sys__read_small("/proc/locks", text, MAX_LIST))
        for (char *line = text; line && !found; line = strchr(line, '\n'), line = line ? line + 1 : NULL) found = holds(line, (unsigned long long)at.st_ino, &pid);
    sd_free(text);
    if (!found) return false;
    char comm[64], name[32] = "";
    snprintf(comm, sizeof comm, "/proc/%ld/comm", pid);
    if (!sd_sys__read_small(comm, name, sizeof name)) snprintf(name, sizeof name, "another program");
    name[strcspn(name, "\n")] = '\0';
    snprintf(out, 64, "%s (process %ld)", name, pid);
    return true;
}

/* Small text files of the kernel: /proc and the control groups (version 2, cgroups(7)). Everything here is
 * fail-soft: what cannot be read is as if it were not there. */
#include "base/sys_int.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
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

void sd_sys__cgroup_walk(const char *file, sd_sys_cgroup_fn fn, void *arg)
{
    char text[4096], dir[1024], path[1280];
    if (!sd_sys__read_small("/proc/self/cgroup", text, sizeof text)) return;
    const char *at = strncmp(text, "0::", 3) == 0 ? text : strstr(text, "\n0::");
    if (!at) return;
    at = strchr(at, '/');
    if (!at) return;
    size_t n = strcspn(at, "\n");
    if (n >= sizeof dir) return;
    memcpy(dir, at, n);
    dir[n] = '\0';
    for (;;) {
        int len = snprintf(path, sizeof path, "/sys/fs/cgroup%s/%s", strcmp(dir, "/") == 0 ? "" : dir, file);
        if (len > 0 && (size_t)len < sizeof path && sd_sys__read_small(path, text, sizeof text)) {
            path[(size_t)len - strlen(file)] = '\0';
            fn(arg, path, text);
        }
        char *slash = strrchr(dir, '/');
        if (!slash || dir[1] == '\0') return;
        slash[slash == dir ? 1 : 0] = '\0';
    }
}

/* What the kernel says about this process, for mem.c and par.c. Inside base only. */
#ifndef SD_BASE_SYS_INT_H
#define SD_BASE_SYS_INT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Reads at most cap-1 bytes of a small text file (/proc, /sys) into out; false when it cannot be read. */
bool sd_sys__read_small(const char *path, char *out, size_t cap);

/* The tightest limits of this process's version 2 control group and of all groups above it. */
typedef struct sd_sys_limits {
    uint64_t memory_bytes; /* UINT64_MAX without a limit */
    uint64_t memory_left;  /* what is not used of it; UINT64_MAX without a limit */
    uint64_t cpus;         /* rounded up to whole ones; UINT64_MAX without a limit */
} sd_sys_limits;
#define SD_SYS_SELF "/proc/self/cgroup"
#define SD_SYS_ROOT "/sys/fs/cgroup"
/* self, root: the two above, or a test's own. No limits where they cannot be read. */
sd_sys_limits sd_sys__cgroup_limits(const char *self, const char *root);

#endif

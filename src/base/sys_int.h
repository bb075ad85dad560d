/* What the kernel says about this process, for mem.c and par.c. Inside base only. */
#ifndef SD_BASE_SYS_INT_H
#define SD_BASE_SYS_INT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Reads at most cap-1 bytes of a small text file (/proc, /sys) into out; false when it cannot be read. */
bool sd_sys__read_small(const char *path, char *out, size_t cap);
/* Calls fn with the text of `file` (such as "memory.max") in this process's version 2 control group and in
 * each group above it, innermost first. Nothing is called where there is no such hierarchy. */
typedef void (*sd_sys_cgroup_fn)(void *arg, const char *dir, const char *text);
void sd_sys__cgroup_walk(const char *file, sd_sys_cgroup_fn fn, void *arg);

#endif

/* The libraries this process has loaded, asked at run time (not what it was compiled against). */
#ifndef SD_CLI_SYSINFO_H
#define SD_CLI_SYSINFO_H

#include <stddef.h>

/* Name of library i: "oneDNN", ..; NULL after the last. */
const char *sysinfo_library(int i);
/* Its version into out; "not loaded" when the process does not hold it. Returns out. */
const char *sysinfo_library_version(int i, char *out, size_t cap);

#endif

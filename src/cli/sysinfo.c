/* Versions of loaded libraries. Their functions are looked up by name in the running process, for two reasons: only one folder
 * may include the header of oneDNN and of SQLite, and what counts in a report of a fault is what was loaded. */
#include "cli/sysinfo.h"
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

typedef void any_fn(void);
typedef struct library {
    const char *name, *symbol;
    void (*ask)(any_fn *fn, char *out, size_t cap);
} library;

/* const char *f(void) */
static void ask_string(any_fn *fn, char *out, size_t cap) { snprintf(out, cap, "%s", ((const char *(*)(void))fn)()); }

/* const dnnl_version_t *dnnl_version(void): three ints come first in 2.x and 3.x. */
static void ask_dnnl(any_fn *fn, char *out, size_t cap)
{
    const int *v = ((const int *(*)(void))fn)();
    snprintf(out, cap, "%d.%d.%d", v[0], v[1], v[2]);
}

/* int pcre2_config_8(uint32_t what, void *where): 11 is PCRE2_CONFIG_VERSION, "10.42 2022-12-11" in at most 24 bytes (pcre2api(3)). */
static void ask_pcre2(any_fn *fn, char *out, size_t cap)
{
    char text[64] = "";
    ((int (*)(unsigned, void *))fn)(11, text);
    text[strcspn(text, " ")] = 0;
    snprintf(out, cap, "%s", text);
}

/* unsigned XXH_versionNumber(void): 801 is 0.8.1 */
static void ask_xxhash(any_fn *fn, char *out, size_t cap)
{
    unsigned v = ((unsigned (*)(void))fn)();
    snprintf(out, cap, "%u.%u.%u", v / 10000, v / 100 % 100, v % 100);
}

/* int nettle_version_major(void) */
static void ask_nettle(any_fn *fn, char *out, size_t cap)
{
    any_fn *minor = NULL;
    void *p = dlsym(RTLD_DEFAULT, "nettle_version_minor");
    memcpy(&minor, &p, sizeof p);
    snprintf(out, cap, "%d.%d", ((int (*)(void))fn)(), minor ? ((int (*)(void))minor)() : 0);
}

static const library libraries[] = {
    {"oneDNN", "dnnl_version", ask_dnnl},
    {"SQLite", "sqlite3_libversion", ask_string},
    {"jansson", "jansson_version_str", ask_string},
    {"PCRE2", "pcre2_config_8", ask_pcre2},
    {"utf8proc", "utf8proc_version", ask_string},
    {"xxHash", "XXH_versionNumber", ask_xxhash},
    {"nettle", "nettle_version_major", ask_nettle},
};
enum { N_LIBRARIES = sizeof libraries / sizeof libraries[0] };

const char *sysinfo_library(int i) { return i >= 0 && i < N_LIBRARIES ? libraries[i].name : NULL; }

const char *sysinfo_library_version(int i, char *out, size_t cap)
{
    any_fn *fn = NULL;
    void *p = dlsym(RTLD_DEFAULT, libraries[i].symbol);
    memcpy(&fn, &p, sizeof p); /* POSIX: a pointer to data and to a function have the same form; ISO C has no cast for it */
    if (fn) libraries[i].ask(fn, out, cap);
    else snprintf(out, cap, "not loaded");
    return out;
}

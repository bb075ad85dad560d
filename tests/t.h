/* What test programs share: cmocka in the right order, the path of shared fixtures, numeric comparison with a report.
 * A test that needs a file which is not there calls t_skip("...") : it says so aloud and is counted as skipped. */
#ifndef SD_TEST_H
#define SD_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define T(f) cmocka_unit_test(f)
#define T_MAIN(tests) \
    int main(void) { return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0; }

#define t_skip(...)              \
    do {                         \
        printf("skip: ");        \
        printf(__VA_ARGS__);     \
        printf("\n");            \
        skip();                  \
    } while (0)

/* $SONDE_SHARED/rel in a static buffer, or NULL when it is not there. */
static inline const char *t_shared(const char *rel)
{
    static char path[8][1024];
    static int next;
    const char *root = getenv("SONDE_SHARED");
    char *p = path[next++ & 7];
    snprintf(p, 1024, "%s/%s", root ? root : "../shared", rel);
    return access(p, R_OK) == 0 ? p : NULL;
}

/* A fresh folder under $TMPDIR; the test removes it (t_rmtree). */
static inline const char *t_tmpdir(void)
{
    static char path[8][256];
    static int next;
    char *p = path[next++ & 7];
    const char *tmp = getenv("TMPDIR");
    snprintf(p, 256, "%s/sonde-test-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(p)) abort();
    return p;
}
static inline void t_rmtree(const char *dir)
{
    char cmd[512];
    snprintf(cmd, sizeof cmd, "rm -rf '%s'", dir);
    if (system(cmd) != 0) abort();
}

/* Checks an sd_status and prints the sentence when it is not OK. */
#define t_ok(st, err)                                                          \
    do {                                                                       \
        if ((st) != 0) fail_msg("status %d: %s", (int)(st), (err).msg);        \
    } while (0)

#endif

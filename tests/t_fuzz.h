/* What a fuzz target shares: with libFuzzer (SD_LIBFUZZER) nothing but the prototype; else a main that replays every
 * file of the folder argv[1], and of each file cut short at many places and with bytes changed, always the same ones; with a
 * number of rounds as argv[2] more changes, others in each round: an input is found again by its file and its round.
 * Each input stands in a block of exactly its size, so that a sanitizer sees the first byte read past the end. */
#ifndef SD_TEST_FUZZ_H
#define SD_TEST_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Targets that read files: a folder of the process's own, in memory where there is no TMPDIR to say otherwise, removed at its end. */
#include <ftw.h>
#include <unistd.h>
static char t_fuzz_root[256];
static inline int t_fuzz_gone(const char *path, const struct stat *s, int type, struct FTW *at)
{
    (void)s, (void)type, (void)at;
    return remove(path);
}

static inline void t_fuzz_clean(void)
{
    if (nftw(t_fuzz_root, t_fuzz_gone, 8, FTW_DEPTH | FTW_PHYS) != 0) perror(t_fuzz_root);
}

static inline const char *t_fuzz_dir(void)
{
    const char *tmp = getenv("TMPDIR");
    if (t_fuzz_root[0]) return t_fuzz_root;
    snprintf(t_fuzz_root, sizeof t_fuzz_root, "%s/sonde-fuzz-XXXXXX", tmp && strlen(tmp) < 200 ? tmp : access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(t_fuzz_root) || atexit(t_fuzz_clean)) abort();
    return t_fuzz_root;
}

/* Writes a file of that name into the folder and gives its path, which is good until eight others were written. */
static inline const char *t_fuzz_write(const char *name, const uint8_t *p, size_t n)
{
    static char path[8][400];
    static int next;
    char *at = path[next++ & 7];
    if (snprintf(at, 400, "%s/%s", t_fuzz_dir(), name) >= 400) abort();
    FILE *f = fopen(at, "wb");
    if (!f || fwrite(p, 1, n, f) != n || fclose(f)) abort();
    return at;
}

/* One input as several files: what stands between lines "%%". */
typedef struct t_fuzz_part { const uint8_t *p; size_t n; } t_fuzz_part;
static inline int t_fuzz_parts(t_fuzz_part *part, int most, const uint8_t *p, size_t n)
{
    for (int k = 0;;) {
        const uint8_t *end = k < most - 1 && n ? memmem(p, n, "\n%%\n", 4) : NULL;
        part[k++] = (t_fuzz_part){p, end ? (size_t)(end - p) : n};
        if (!end) return k;
        n -= (size_t)(end - p) + 4;
        p = end + 4;
    }
}

/* Says in every entry of a zip archive's directory that no CRC-32 was taken: a changed input would come no further than the checksum. */
static inline void t_fuzz_drop_crc(uint8_t *p, size_t n)
{
    for (size_t i = 0; i + 46 <= n; i++)
        if (memcmp(p + i, "PK\1\2", 4) == 0) memset(p + i + 16, 0, 4);
}

#ifndef SD_LIBFUZZER
#include <dirent.h>

enum { T_FUZZ_MAX = 1 << 24, T_FUZZ_CUTS = 64, T_FUZZ_CHANGES = 200 };

static inline uint64_t t_fuzz_next(uint64_t *x) /* xorshift64, Marsaglia 2003 */
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x;
}

static inline void t_fuzz_one(const uint8_t *p, size_t n)
{
    uint8_t *copy = malloc(n ? n : 1);
    if (!copy) abort();
    memcpy(copy, p, n);
    LLVMFuzzerTestOneInput(copy, n);
    free(copy);
}

/* The file, its beginnings, and copies with one to four bytes replaced, most by a byte that the file has elsewhere. */
static inline long t_fuzz_file(const char *path, int rounds)
{
    FILE *f = fopen(path, "rb");
    uint8_t *p = malloc(T_FUZZ_MAX), *q = malloc(T_FUZZ_MAX);
    if (!f || !p || !q) abort();
    size_t n = fread(p, 1, T_FUZZ_MAX, f);
    fclose(f);
    fprintf(stderr, "input: %s\n", path); /* the last one named is the one that crashed */
    long count = 1;
    t_fuzz_one(p, n);
    for (size_t i = 0; i < T_FUZZ_CUTS && i < n; i++, count++)
        t_fuzz_one(p, n <= T_FUZZ_CUTS ? i : n * i / T_FUZZ_CUTS);
    uint64_t x = 88172645463325252u + n;
    for (int i = 0; n > 0 && i < T_FUZZ_CHANGES * rounds; i++, count++) {
        if (i % T_FUZZ_CHANGES == 0 && i > 0) fprintf(stderr, "round %d\n", i / T_FUZZ_CHANGES);
        memcpy(q, p, n);
        for (uint64_t k = 1 + t_fuzz_next(&x) % 4; k > 0; k--) {
            size_t at = (size_t)(t_fuzz_next(&x) % n);
            uint64_t r = t_fuzz_next(&x);
            q[at] = r % 3 == 0 ? (uint8_t)(r >> 8) : p[(r >> 8) % n];
        }
        t_fuzz_one(q, n);
    }
    free(p);
    free(q);
    return count;
}

static inline int t_fuzz_replay(const char *name, int argc, char **argv)
{
    struct dirent **entry = NULL;
    int rounds = argc == 3 ? (int)strtol(argv[2], NULL, 10) : 1;
    int files = argc >= 2 ? scandir(argv[1], &entry, NULL, alphasort) : 0, used = 0;
    long count = 0;
    for (int i = 0; i < files; i++) {
        char path[1024];
        snprintf(path, sizeof path, "%s/%s", argv[1], entry[i]->d_name);
        if (entry[i]->d_name[0] != '.') count += t_fuzz_file(path, rounds), used++;
        free(entry[i]);
    }
    free(entry);
    if (used == 0) {
        printf("[  FAILED  ] %s: no corpus at %s\n", name, argc >= 2 ? argv[1] : "argv[1]");
        return 1;
    }
    printf("[       OK ] %s (%ld inputs from %d files)\n", name, count, used);
    return 0;
}

#define T_FUZZ_MAIN(name)                                                                                              \
    int main(int argc, char **argv)                                                                                    \
    {                                                                                                                  \
        return t_fuzz_replay(name, argc, argv);                                                                        \
    }
#else
#define T_FUZZ_MAIN(name)
#endif

#endif

/* A small store with made-up features, every number a function of its place, for the tests of the store. */
#ifndef SD_TEST_STORE_SAMPLE_H
#define SD_TEST_STORE_SAMPLE_H

#include "t.h"
#include "store/store.h"
#include "base/hash.h"
#include "base/map.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SAMPLE_M = 40, SAMPLE_VOCAB = 64, SAMPLE_DOCS = 3, SAMPLE_DOC_LEN = 700, SAMPLE_WIN = 9, SAMPLE_HIST = 5, SAMPLE_EX = 4 };

static inline int32_t sample_token(int doc, int64_t pos)
{
    return pos == 600 ? SD_FEATURE_GAP : (int32_t)((doc * 31 + pos * 7) % SAMPLE_VOCAB);
}

static inline sd_store_info sample_info(void)
{
    sd_store_info in = {0};
    snprintf(in.model.name, sizeof in.model.name, "sample model");
    snprintf(in.dict.kind, sizeof in.dict.kind, "topk");
    snprintf(in.dict.site, sizeof in.dict.site, "resid_post.1");
    snprintf(in.run.tool, sizeof in.run.tool, "sonde test");
    in.model.n_layer = 2, in.model.d_model = 16, in.model.n_vocab = SAMPLE_VOCAB;
    in.dict.d = 16, in.dict.m = SAMPLE_M, in.dict.k = 4, in.dict.seed = UINT64_MAX;
    in.dict.fvu = 0.25, in.dict.l0 = 4, in.dict.site_rms = strtod("nan", NULL);
    in.run.n_tokens = SAMPLE_DOCS * SAMPLE_DOC_LEN, in.run.n_docs = SAMPLE_DOCS, in.run.before = 4, in.run.after = 4;
    return in;
}

/* Feature i; its memory is static and good until the next call. */
static inline const sd_feature *sample_feature(int i)
{
    static sd_feature f;
    static int64_t hist[SAMPLE_HIST];
    static sd_token_logit top[3], bottom[2];
    static sd_near near[2];
    static sd_token_fire fire[2];
    static sd_interval interval[2];
    static sd_example ex[SAMPLE_EX];
    static float val[SAMPLE_EX][SAMPLE_WIN];
    static char words[64];
    for (int b = 0; b < SAMPLE_HIST; b++) hist[b] = i * 10 + b;
    for (int t = 0; t < 3; t++) top[t] = (sd_token_logit){(i + t) % SAMPLE_VOCAB, 3.5f - (float)t};
    for (int t = 0; t < 2; t++) bottom[t] = (sd_token_logit){(i + 30 + t) % SAMPLE_VOCAB, -3.5f + (float)t};
    near[0] = (sd_near){(i + 1) % SAMPLE_M, 0.75f};
    near[1] = (sd_near){(i + 2) % SAMPLE_M, 0.5f};
    fire[0] = (sd_token_fire){(i + 5) % SAMPLE_VOCAB, 12, 8.0f, 0.6f};
    fire[1] = (sd_token_fire){(i + 6) % SAMPLE_VOCAB, 3, 4.0f, 0.1f};
    interval[0] = (sd_interval){4.0f, 8.0f, 7, 7e-3};
    interval[1] = (sd_interval){0.5f, 4.0f, 20, 2e-2};
    for (int e = 0; e < SAMPLE_EX; e++) {
        int pos = 508 + e; /* windows across the border of corpus rows at 512 */
        for (int w = 0; w < SAMPLE_WIN; w++) val[e][w] = w == 4 ? 8.0f - (float)e : w % 3 == 0 ? 0.25f * (float)(w + 1) : 0;
        ex[e] = (sd_example){.group = e / 2, .rank = e % 2, .doc = i % SAMPLE_DOCS, .pos = pos, .pos0 = pos - 4,
                             .n = SAMPLE_WIN, .act = 8.0f - (float)e, .val = val[e]};
    }
    snprintf(words, sizeof words, "word%d, common", i);
    bool silent = i == SAMPLE_M - 1;
    f = (sd_feature){.stats = {.index = i, .n_fire = silent ? 0 : 27 + i, .density = silent ? 0 : 1e-3 * (i + 1),
                               .max_act = silent ? 0 : 8, .mean_act = silent ? 0 : 2.5, .interest = silent ? 0 : 1.0 / (1 + i),
                               .threshold = 0.5},
                     .hist = {.lo = 0, .hi = 8, .n = SAMPLE_HIST, .count = hist}, .logit_mean = -0.125, .logit_std = 0.5,
                     .n_top = 3, .top = top, .n_bottom = 2, .bottom = bottom, .n_near = 2, .near = near, .n_token = 2,
                     .token = fire, .n_interval = 2, .interval = interval, .n_example = silent ? 0 : SAMPLE_EX, .example = ex,
                     .words = words};
    return &f;
}

/* Feature i fires on every token whose number is a multiple of i + 2, at token number t with the value 1 + t % 8. */
static inline int64_t sample_postings(int i, int64_t *at, float *val)
{
    int64_t n = 0;
    for (int64_t t = 0; t < SAMPLE_DOCS * SAMPLE_DOC_LEN && i < SAMPLE_M - 1; t += i + 2) at[n] = t, val[n++] = (float)(1 + t % 8);
    return n;
}

static inline sd_status sample_fill(sd_store *s, sd_err *err)
{
    sd_store_info in = sample_info();
    sd_status st = sd_store_put_info(s, &in, err);
    for (int t = 0; t < SAMPLE_VOCAB && !st; t++) {
        char bytes[16];
        int n = snprintf(bytes, sizeof bytes, " t%d", t);
        st = sd_store_put_token(s, t, (sd_slice){bytes, (size_t)n}, t == 0, err);
    }
    for (int d = 0; d < SAMPLE_DOCS && !st; d++) {
        int32_t tok[SAMPLE_DOC_LEN];
        for (int p = 0; p < SAMPLE_DOC_LEN; p++) tok[p] = sample_token(d, p);
        st = sd_store_put_doc(s, d, d ? "a/b.txt" : NULL, tok, SAMPLE_DOC_LEN, err);
    }
    for (int i = 0; i < SAMPLE_M && !st; i++) {
        char peak[256], context[1024];
        snprintf(peak, sizeof peak, "word%d common", i);
        snprintf(context, sizeof context, "the golden gate of number%d is open; caf\xc3\xa9s %s", i, i == 7 ? "bridge" : "");
        for (size_t n = strlen(peak); i == 24 && n < 200; n += 5) snprintf(peak + n, sizeof peak - n, n < 195 ? " else" : " word33"); /* one peak of many */
        for (size_t n = strlen(context); i == 25 && n < 900; n += 28) snprintf(context + n, sizeof context - n, " word33 with all that goes on"); /* a passage's */
        for (size_t n = strlen(context); i == 22 && n < 900; n += 7) snprintf(context + n, sizeof context - n, " word30"); /* all around it, never at its peak */
        st = sd_store_put_feature(s, sample_feature(i), &(sd_feature_text){.peak = sd_slice_of(peak), .logits = SD_LIT("up"),
                                                                          .context = sd_slice_of(context)}, err);
        int64_t at[SAMPLE_DOCS * SAMPLE_DOC_LEN];
        float val[SAMPLE_DOCS * SAMPLE_DOC_LEN];
        int64_t n = sample_postings(i, at, val);
        if (!st) st = sd_store_put_postings(s, i, at, val, n, 8, err);
    }
    return st;
}

static inline sd_status sample_build(const char *path, bool force, sd_err *err)
{
    sd_store *s = NULL;
    sd_status st = sd_store_create(&s, path, force, err);
    if (!st && (st = sample_fill(s, err))) {
        sd_store_abort(s);
        s = NULL;
    }
    return st ? st : sd_store_commit(s, err);
}

static inline const char *sample_path(const char *dir)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/features.db", dir);
    return path;
}

/* A process that holds the store for so long: with F_RDLCK as a search does, with F_WRLCK as one that writes. SQLite's lock of readers (os_unix.c: 510 bytes
 * from 2^30 + 2). */
static inline pid_t sample_holder(const char *path, short type, unsigned ms)
{
    int ready[2];
    char c;
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = 0x40000002, .l_len = 510};
        int fd = open(path, O_RDWR);
        if (fd < 0 || fcntl(fd, F_SETLK, &l) != 0 || write(ready[1], "r", 1) != 1) _exit(1);
        usleep(ms * 1000);
        _exit(0);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &c, 1), 1);
    close(ready[0]);
    return pid;
}

static inline pid_t sample_reader(const char *path, unsigned ms) { return sample_holder(path, F_RDLCK, ms); }

#endif

/* What scan.c (packing, tiles) and scan_pick.c (choosing among candidates) share. */
#ifndef SD_DICT_SCAN_INT_H
#define SD_DICT_SCAN_INT_H

#include "dict/scan.h"
#include "num/kern_dict.h"
#include "num/gather.h"
#include "num/gemm_tile.h"
#include "num/kern_scan8.h"
#include <float.h>

/* Lays an array of n elements at `at` of an arena (base NULL: only counts) and moves on. */
#define SD_TAKE(base, at, p, n) ((void)((base) ? ((p) = (void *)((base) + (at))) : NULL), (void)((at) += sd_arena_need((size_t)(n) * sizeof *(p))))

enum {
    SD_SCAN_TILE = 128,  /* rows a tile: x, scores and candidates stay in 1 MB of L2 (895 GFLOP/s; 256 rows: 918, but 4x the lists) */
    SD_SCAN_MOST = 256,  /* rows a tile with AMX: the encoder's 0.6 KB a feature come from L3 half as often (2.2 -> 2.7 TOP/s a core) */
    SD_SCAN_BLOCK = 512, /* features a block: 590 KB of packed bf16 at d = 576 */
    SD_SCAN_FEW = 4,     /* up to so many rows every feature is scored exactly: reading W once costs less than a padded tile */
    SD_SCAN_FEW_CHUNK = 1024,
    SD_SCAN8_DRAWS = 4096 /* places from which a row's draws can begin */
};

/* Candidates of one row. */
typedef struct sd_cand {
    int32_t *idx;
    float *up, *low; /* bounds of the exact pre-activation */
    int64_t n, mark; /* entries; entries when the cut was last moved */
    float cut, eta;
    bool overflow;
} sd_cand;

typedef struct sd_scan_worker {
    float *x;       /* [TILE, d] centred rows */
    uint16_t *xb;   /* [TILE, d] as bf16 */
    float *score;   /* [TILE, BLOCK] */
    uint8_t *rows;  /* [BLOCK, d] rounded or padded rows on their way to the pack */
    sd_cand cand[SD_SCAN_MOST];
    uint64_t *key, *key2;  /* [cap], quickselect's */
    int32_t *feat;         /* [cap] features looked at and their products */
    float *exact;
    float *group, *margin; /* [BLOCK]; [TILE] a row's c: what it adds to a score of unit |w| */
    int64_t n_exact, n_overflow, bad;
    /* int8 */
    int8_t *x8, *q;         /* [TILE, dp] in groups; [dp] */
    float *turned, *unit, *cut; /* [dp]; [TILE] */
    int32_t *start, *lift;  /* [TILE]; [TILE, dp / 64] in groups */
    sd_scan8_out hit[SD_SCAN_MOST];
    struct { uint8_t *w; float *scale, *b, *r; } some; /* flat: a block of listed features: [BLOCK, dp] in panels, [BLOCK] each */
} sd_scan_worker;

/* What a tile of sd_scan_above found, in order of (block, row). */
typedef struct sd_hits { int32_t *row, *idx; float *val; int64_t n, cap; bool fixed, failed; } sd_hits;

struct sd_scan {
    sd_hits *kept;         /* [n_kept] of sd_scan_reserve; their memory is one piece */
    int64_t n_kept;
    int64_t m, d, n_block, cap;
    int k;
    bool bf16;
    int64_t tile;            /* rows a tile */
    const sd_kern_scan8 *k8; /* scores are products of int8; NULL: bf16 or f32 */
    int64_t dp;            /* int8: d padded to whole rotations */
    bool flat;             /* int8, for lists: rows8 [n_block * BLOCK, dp], the rounded rows one after the other */
    int8_t *rows8;
    float *scale, *draw;   /* [n_block * BLOCK]; [2][dp + DRAWS] */
    uint32_t cpu_flags;
    int n_workers;
    const sd_kern *kern;
    const sd_kern_dict *kd;
    sd_score *score;
    size_t pack_bytes;
    uint8_t *packed;       /* [n_block] packed blocks */
    float *norm, *bias;    /* [n_block * BLOCK]: |w_f| (int8: r_f), b_f minus the gate; padding 0 and -inf */
    float *block_rho, *block_bias; /* [n_block]: max |w - w^| / |w|, max |b| */
    float rho, max_bias;
    const float *W, *b, *gate; /* borrowed */
    bool rows_are_packed;  /* int8: only biases are new */
    sd_scan_worker *worker;
    uint64_t *few;         /* [chunks, k] keys */
    sd_arena arena;
};

/* What one call of a scan reads and writes. */
typedef struct sd_scan_job {
    sd_scan *s;
    sd_mat x;
    const float *sub;
    int32_t *idx;
    float *val;
    sd_hits *hits; /* [tiles], sd_scan_above */
    const sd_scan_lists *lists;
} sd_scan_job;

/* The exact pre-activation; -0 becomes +0 so that equal numbers have equal keys. */
static inline float sd_scan__exact(const sd_scan *s, const float *x, int64_t f)
{
    return s->kern->dot(x, s->W + f * s->d, s->d) + s->b[f] + 0.0f;
}
/* Larger value first, then lower index: as one integer that grows with both. */
static inline uint64_t sd_scan__key(float p, int64_t f)
{
    union { float f; uint32_t u; } v = {p};
    const uint32_t up = v.u & 0x80000000u ? ~v.u : v.u | 0x80000000u;
    return (uint64_t)up << 32 | (0xffffffffu - (uint32_t)f);
}
static inline int32_t sd_scan__key_idx(uint64_t key) { return (int32_t)(0xffffffffu - (uint32_t)key); }
static inline float sd_scan__key_val(uint64_t key)
{
    const uint32_t up = (uint32_t)(key >> 32);
    union { uint32_t u; float f; } v = {up & 0x80000000u ? up & 0x7fffffffu : ~up};
    return v.f;
}

static inline void sd_scan__begin_row(const sd_scan *s, sd_cand *c)
{
    c->n = c->mark = 0;
    c->cut = -FLT_MAX;
    c->eta = s->max_bias * 0x1p-21f; /* roundings of s + b: two of 2^-24 each way, doubled */
    c->overflow = false;
}
/* A place for hits that nobody wants: those of a row that is looked at whole and of padding. Bounds of weights whose norm passes f32 are infinite or no
 * numbers, and no cut keeps them out. */
static inline sd_scan8_out sd_scan__nowhere(sd_scan_worker *w) { return (sd_scan8_out){w->feat, w->exact, 0}; }

/* scan.c */
sd_scan_worker *sd_scan__me(const sd_scan *s);
void sd_scan__begin(sd_scan *s);              /* of a call */
int64_t sd_scan__first_bad(const sd_scan *s); /* rows that were not finite, or -1 */
/* Centres row `row` into place t of the tile, rounds it and gives it its margin. A row that is not finite is noted and becomes zero. */
void sd_scan__load_row(const sd_scan_job *j, sd_scan_worker *w, int64_t t, int64_t row);
/* Takes `got` hits behind the n there are, which have no lower bounds yet. */
void sd_scan__take_hits(const sd_scan *s, sd_scan_worker *w, int64_t t, int64_t got);

/* scan_int8.c */
int64_t sd_scan8__width(int64_t d);
void sd_scan8__draw(sd_scan *s);
void sd_scan8__pack_row(sd_scan *s, sd_scan_worker *w, int64_t f, float norm);
void sd_scan8__load_row(const sd_scan *s, sd_scan_worker *w, int64_t t, int64_t row, float norm); /* from w->x */
void sd_scan8__pad_rows(const sd_scan *s, sd_scan_worker *w, int64_t n);
void sd_scan8__score(const sd_scan *s, sd_scan_worker *w, int64_t blk, int64_t n); /* into w->score */
void sd_scan8__scan(const sd_scan *s, sd_scan_worker *w, int64_t blk, int64_t n);  /* w->cut against all, into w->hit */
/* A block of the features list [n_list <= BLOCK] into w->some (flat alone), and the same two of it; features are then places in the list. */
void sd_scan8__take_some(const sd_scan *s, sd_scan_worker *w, const int32_t *list, int64_t n_list);
void sd_scan8__score_some(const sd_scan *s, sd_scan_worker *w, int64_t n);
void sd_scan8__scan_some(const sd_scan *s, sd_scan_worker *w, int64_t n);

/* Moves c->cut up to the k-th largest lower bound and drops who is below. */
void sd_scan__tighten(const sd_scan *s, sd_cand *c);
/* A list full of near ties: the k candidates with the best upper bounds are multiplied out, and all of them where that leaves more than half. What is
 * known has no margin, so k entries and new ties stay; only values that are equal to the last bit can fill a list for good. */
void sd_scan__settle(const sd_scan *s, sd_scan_worker *w, sd_cand *c, const float *x);
/* A first cut from a block's scores, without collecting them: the k-th largest of group maxima. */
void sd_scan__first_cut(const sd_scan *s, float *group, sd_cand *c, const sd_scan_in *in);
/* The k best of c's candidates for the centred row x, into idx, val [k]. */
void sd_scan__pick(const sd_scan *s, sd_scan_worker *w, sd_cand *c, const float *x, int32_t *idx, float *val);
/* The k best of features begin .. end - 1 (list: of list[begin] .. list[end - 1]), exactly, as keys in key [k] (fewer when there are fewer); returns how
 * many. No order. */
int64_t sd_scan__best_of(const sd_scan *s, uint64_t *key, const float *x, const int32_t *list, int64_t begin, int64_t end);
/* The k largest of n keys written as features ascending. n >= k; key is reordered, spare [n]. */
void sd_scan__emit(uint64_t *key, uint64_t *spare, int64_t n, int k, int32_t *idx, float *val);

#endif

/* What session.c, hook.c, runner.c and forward.c share. */
#ifndef SD_MODEL_SESSION_INT_H
#define SD_MODEL_SESSION_INT_H

#include "model/session.h"

_Static_assert(SD_SITE_KIND_COUNT <= 32, "a set of sites of one layer is 32 bits");
static inline uint32_t sd_site__bit(sd_site_kind k)
{
    return (uint32_t)1 << k;
}

/* An attached hook. Its sites as bits: at[l] of layer l; sites without a layer are in at[0]. */
typedef struct sd_hook_slot {
    int id;
    sd_hook hook;
    uint32_t *at; /* [n_layer] owns */
} sd_hook_slot;

struct sd_session {
    const sd_model *m;    /* borrowed */
    int64_t n_ctx, pos;   /* 0 <= pos <= n_ctx */
    int n_layer_cached;   /* blocks whose cache holds all positions below pos; every block when pos is 0 */
    uint8_t *kv;          /* [n_layer_loaded][keys, values] owns */
    size_t kv_half_bytes; /* of the keys of a layer; the values take as much */
    int64_t kv_cap;
    sd_kv_type kv_type;
    sd_rope rope[2];      /* [wire.n_rope] frequencies for n_ctx positions; owns */
    sd_hook_slot *slot; /* [n_slot] in order of attachment; owns */
    int n_slot, next_id;
    uint32_t *want, *edit; /* [n_layer] unions of the slots' sites, of all hooks and of those that edit; owns */
};

sd_kv sd_session__kv(const sd_session *s, int layer);

/* Delivers a site to the hooks of the sessions that want it. row0[i] is the first row of segment i in x; a segment
 * without rows there (n[i] = 0) is passed over. A hook may allocate: it is not part of the step. */
typedef struct sd_visit {
    sd_site site;
    sd_mat x;
    const sd_segment *seg;
    int n_seg;
    const int64_t *row0, *n; /* [n_seg] */
} sd_visit;
sd_status sd_hook__deliver(const sd_visit *v, sd_err *err);
/* One session's rows x of which row 0 is row `first` of its segment. */
sd_status sd_hook__call(const sd_segment *seg, sd_site site, sd_mat x, int64_t first, sd_err *err);

struct sd_runner {
    const sd_exec *ex; /* borrowed */
    const sd_model *m; /* borrowed */
    int64_t max_rows, max_logit_rows, n_ctx;
    bool (*stop)(void *self);  /* NULL: never */
    void *stop_self;
    sd_arena arena;            /* everything below lives in it */
    float *resid, *norm, *out; /* [max_rows, d] the stream, what a block reads, what it adds */
    float *q, *k, *v, *z;      /* [max_rows, H*dh], [max_rows, Hkv*dh] twice, [max_rows, H*dh] */
    float *gate, *up; /* [max_rows, ffn]; the same memory as q, k, v, z: attention is over when they are written */
    void *down_scratch; /* of SD_MAT_DOWN; the same memory as up */
    float *cos[2], *sin[2]; /* [max_rows, n_rot/2] for each rotary embedding */
    float *head_in, *logits;            /* [max_logit_rows, d], [max_logit_rows, V]; NULL without a head */
    int32_t *pos;                       /* [max_rows] position of each row */
    int64_t *row0, *n, *want0, *want_n; /* [max_rows] by segment: its rows in the batch; its rows of logits */
    sd_attn_seq *attn;                  /* [max_rows] by segment */
    uint32_t *want, *edit;              /* [n_layer] unions over the sessions of the step */
    void *linear_scratch, *attn_scratch;
    float *pattern;      /* attention patterns of one layer; taken when first needed; owns */
    size_t pattern_size; /* floats */
    bool nonfinite;      /* the step ended on logits that are NaN or infinite */
    bool seek_nonfinite; /* visits look for the first number that is NaN or infinite */
    size_t bytes;
};

/* Runs blocks 0..last on a batch that sd_runner_step has checked. */
sd_status sd_model__forward(sd_runner *r, sd_segment *seg, int n_seg, int last, sd_err *err);

#endif

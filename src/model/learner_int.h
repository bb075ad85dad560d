/* What learner.c, learner_params.c, learner_forward.c, learner_mlp.c and backward.c share. */
#ifndef SD_MODEL_LEARNER_INT_H
#define SD_MODEL_LEARNER_INT_H

#include "model/learner.h"
#include "num/ops_grad.h"
#include "num/product.h"
#include "num/xent.h"

/* A matrix as a learner multiplies it: its own f32 copy where it learns, else a view of the file. Gradients NULL:
 * frozen. */
typedef struct sd_lmat {
    sd_wmat w;
    const float *b; /* bias; NULL: none */
    float *gw, *gb;
    sd_lora_mat lora; /* rank 0: none */
    float *ga, *glb;  /* gradients of the adapter's A and B */
    void *owned;      /* frozen: turned round or rounded, once for all products */
} sd_lmat;

typedef struct sd_lnorm {
    const float *g, *b; /* g NULL: there is no such norm */
    float *gg, *gb;
    int64_t n;
} sd_lnorm;

typedef struct sd_lblock {
    sd_lmat mat[SD_MAT_COUNT];
    sd_lnorm attn_norm, attn_post, mlp_norm, mlp_post, q_norm, k_norm;
    uint8_t *kept; /* the block's inside in a compact form; NULL: computed again */
    float *low;    /* [SD_MAT_COUNT][max_rows, rank] scale x A^T of its adapters: kept too, or shared by the blocks that are computed again */
} sd_lblock;

/* The inside of the block that is being computed, [max_rows, ..] each. raw: before the norm of its name. gate, up and h hold bf16 where
 * sd_learner__mlp_in_half says so. */
typedef struct sd_lact {
    float *norm, *q_raw, *k_raw, *q, *k, *v, *z, *a_raw, *mid; /* mid: the stream between attention and MLP */
    float *norm2, *gate, *up, *h, *m_raw;
} sd_lact;

struct sd_learner {
    const sd_exec *ex;
    const sd_model *m;
    sd_learner_opt opt;
    bool bf16, attn_bf16;
    int64_t d, q, kv, ffn;

    /* what learns */
    float *w, *g; /* [n] flat; w of an adapter is the adapter's own memory */
    int64_t n;
    bool own_w;
    sd_learner_range *range;
    int n_range;
    sd_lblock *block; /* [n_layer] owns */
    sd_lnorm final_norm;
    sd_lmat embed, pos, head; /* head of a tied model: embed's w and gw */
    sd_rope rope[2];

    /* memory of a step: everything below lives in the arena */
    sd_arena arena;
    float *x; /* [n_layer + 1][max_rows, d] inputs of blocks, and what the last one gives */
    sd_lact act;
    float *out, *gx, *gt, *gq, *gk, *gv, *gz, *ggate, *gup; /* gradients; out, gt [max_rows, d] */
    uint16_t *half_x, *half_g;       /* the input of matrices and its gradient, rounded once for all products that read them */
    float *glow, *turned, *drop;     /* adapters: [max_rows, rank]; a gradient of B turned; their dropped-out input and its gradient, [max_rows, widest input] twice */
    int rank;                        /* the largest of the adapters' */
    float *hn, *gh, *lp, *lse, *row; /* rows that count: [max_rows, d] twice, [max_rows] */
    float *stat;                     /* of norms */
    float *cos[2], *sin[2], *nsin[2];
    float *kv_mem; /* keys, values of one layer in sd_attn's layout */
    size_t kv_half;
    int32_t *pos_of, *tok, *target; /* [max_rows] */
    int64_t *count_row;             /* [max_rows] the rows that count */
    int64_t *row0;                  /* [max_docs + 1] */
    sd_attn_seq *seq;
    sd_attn_doc *doc;
    void *scratch; /* the largest of all ops' */

    /* the step on its way */
    int64_t rows, n_count, step;
    int n_doc;
    bool remembers; /* a forward with grad has run and no backward after it */
    const sd_grad_hook *hook;
    uint32_t *want; /* [n_layer] sites of the hook; owns */
};

static inline sd_mat sd_learner__mat(const sd_learner *t, float *p, int64_t cols)
{
    return sd_mat_of(p, t->rows, cols);
}
/* Columns of the widest input of a block's matrices. */
static inline int64_t sd_learner__widest_input(const sd_learner *t)
{
    const int64_t own = t->ffn > t->q ? t->ffn : t->q;
    return own > t->d ? own : t->d;
}
static inline float *sd_learner__x(const sd_learner *t, int layer)
{
    return t->x + (int64_t)layer * t->opt.max_rows * t->d;
}

/* learner_params.c */
sd_status sd_learner__params(sd_learner *t, sd_err *err);
/* learner_forward.c: block l from x[l] to x[l + 1], its inside in t->act. `again`: in the backward pass, nothing is
 * visited. */
sd_status sd_learner__block(sd_learner *t, int l, bool again, sd_err *err);
void sd_learner__norm(const sd_learner *t, sd_mat y, sd_mat x, const sd_lnorm *n);
/* Of a block that is kept: what its adapters' low rows take, for all matrices. */
static inline size_t sd_learner__low_bytes(const sd_learner *t)
{
    return (size_t)(SD_MAT_COUNT * t->opt.max_rows * t->rank) * sizeof(float);
}
/* scale x A^T of one adapter, [rows, rank], as forward left it for backward. */
static inline sd_mat sd_learner__low(const sd_learner *t, int l, sd_mat_role role)
{
    return sd_learner__mat(t, t->block[l].low + (int64_t)role * t->opt.max_rows * t->rank, t->block[l].mat[role].lora.rank);
}
/* The inside of block l from what was kept. */
void sd_learner__restore(sd_learner *t, int l);
size_t sd_learner__kept_bytes(const sd_learner *t);
sd_status sd_learner__visit(sd_learner *t, sd_site_kind kind, int layer, sd_mat x, sd_mat dx, sd_err *err);
/* What several products read: in bf16 mode rounded when the first one asks. */
typedef struct sd_linput {
    sd_mat x;
    sd_half half;
} sd_linput;
/* in->half, made in `to` if it is not; none in faithful mode. */
sd_half sd_learner__half(const sd_learner *t, sd_linput *in, uint16_t *to);
/* A norm of x as products read it: rounded into t->half_x where nothing else reads it, else in `to`, made where `make` is set or there already. */
typedef struct sd_lnorm_at {
    int l;
    float *to;
    bool make;
} sd_lnorm_at;
sd_linput sd_learner__normed(const sd_learner *t, sd_lnorm_at at, sd_mat x, const sd_lnorm *n);
/* y = x W^T + scale (x A^T) B^T as a product to be run, its low rows made. */
sd_prod sd_learner__product(const sd_learner *t, int l, sd_mat_role role, float *to, sd_linput *input);
/* Where the rounded slot of act's member `what` lies in what block l keeps. */
uint16_t *sd_learner__kept_half(const sd_learner *t, int l, const float *what);

/* learner_mlp.c: an MLP whose inside exists in bf16 alone, rounded as its products end. Not where it is watched. */
bool sd_learner__mlp_in_half(const sd_learner *t, int l);
/* The rounded input of down, gate and up for the backward pass on the way. */
sd_half sd_learner__mlp_run(sd_learner *t, int l, bool again, sd_linput *in);
/* What follows from the derivative of down's input, part by part: those of gate and up, and down's input again, each rounded. */
typedef struct sd_lmlp_bwd {
    const sd_learner *t;
    const sd_kern_train *kern;
    const sd_kern_ops *ops;
    const uint16_t *gate, *up; /* [ffn/32][rows][32] */
    uint16_t *h, *ggate, *gup; /* [rows, ld] */
    int64_t ld;
} sd_lmlp_bwd;
sd_lmlp_bwd sd_learner__mlp_bwd_of(const sd_learner *t, int l);
void sd_learner__mlp_bwd_part(void *arg, const sd_prod_part *p);
/* Dropout of a matrix's input, or of its gradient: each element stays with probability 1 - p and is divided by it, the others are 0. The step, the layer, the
 * matrix and the place decide which. to may be from. */
void sd_learner__drop(const sd_learner *t, int l, int mat, sd_mat to, sd_mat from);
/* The adapter's input after dropout: x itself, or a copy in t->drop. */
sd_mat sd_learner__dropped(const sd_learner *t, int l, int mat, sd_mat x);

#endif

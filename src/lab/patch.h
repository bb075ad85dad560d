/* patch: activation patching. Two prompts, a clean and a corrupted one; one of them runs again and again, each time with one place
 * of its activations replaced by the other's, and a metric of its last position says how much that place carries.
 *   denoise  the corrupted prompt runs with clean activations: is the place enough to bring the answer back?
 *   noise    the clean prompt runs with corrupted ones: is the place needed?
 * Vig et al. 2020; Meng et al. 2022 (ROME, causal tracing); Heimersheim and Nanda 2024, "How to use and interpret activation patching".
 *
 *   metric  logit_diff  logit(answer) - logit(wrong)     prob  p(answer)     kl  KL(p_clean || p_run), nats
 *   effect  (metric - metric_base) / (metric_other - metric_base): 0, nothing happened; 1, the run became the other prompt
 * Prompts of different lengths are refused unless they are to be aligned from their ends: position -k takes the other's -k.
 *
 * Cost. A patch at position i changes nothing before i: those keys and values are copied from the plain run
 * (sd_session_copy_prefix), and only rows i.. run, many patches in a step. Positions before the first token in which the prompts
 * differ hold the same bits in both, so their metric is the base's and no run is made. */
#ifndef SD_LAB_PATCH_H
#define SD_LAB_PATCH_H

#include "base/log.h"
#include "lab/grid.h"
#include "model/session.h"

enum { SD_PATCH_MAX_TOKENS = 1024 };
typedef enum sd_patch_metric { SD_PATCH_LOGIT_DIFF, SD_PATCH_PROB, SD_PATCH_KL } sd_patch_metric;
typedef enum sd_patch_way { SD_PATCH_DENOISE, SD_PATCH_NOISE } sd_patch_way;

typedef struct sd_patch_opt {
    sd_site_kind kind;      /* any site but logits */
    sd_patch_metric metric;
    sd_patch_way way;
    int32_t answer, wrong;  /* tokens; answer for logit_diff and prob, wrong for logit_diff */
    bool align_end;         /* allow prompts of different lengths */
    bool heads;             /* one head at a time instead of one position: attn_q k v z, rot_q k, attn_pattern */
    int64_t position;       /* with heads: only there, counted from the end (-1 the last); 0: at all positions */
    int layer0, layer1;     /* layers [layer0, layer1); layer1 0: all */
    bool every;             /* make the runs too whose bits are known beforehand */
    const sd_progress *progress; /* may be NULL */
} sd_patch_opt;

typedef struct sd_patch {
    sd_site_kind kind;
    sd_patch_metric metric;
    sd_patch_way way;
    bool heads, aligned;
    int layer0, n_layer;     /* rows; 1 for a site without layers */
    int64_t n_col;           /* columns: positions of the prompt that runs, from first_pos on, or heads */
    int64_t n_clean, n_corrupt, first_pos, first_diff;
    double clean, corrupt;   /* the metric of the plain runs */
    double *value, *effect;  /* [n_layer, n_col] */
    int32_t *id;             /* [n_col] tokens of the prompt that runs; NULL for heads */
    int64_t n_runs, n_rows;  /* patched runs made; rows of tokens they took */
} sd_patch;                  /* owns */

void sd_patch_release(sd_patch *p);
/* Sets kind from a name without layer ("resid_post"), or kind and layers from one layer of it ("resid_post.4"); NULL: resid_pre, attn_z with heads. */
sd_status sd_patch_site(sd_patch_opt *o, const char *site, sd_err *err);
void sd_patch_site_name(char out[48], sd_site_kind kind); /* without layer */
/* m: the whole model with its head. SD_E_ARG for prompts of different lengths, or equal, or a base metric that equals the other's. */
sd_status sd_lab_patch(sd_patch *out, const sd_exec *ex, const sd_model *m, const sd_ids *clean, const sd_ids *corrupt,
                       const sd_patch_opt *opt, sd_err *err);
const char *sd_patch_metric_name(sd_patch_metric k);
const char *sd_patch_way_name(sd_patch_way w);
/* The effects, layers by positions or heads. */
sd_status sd_patch_grid(sd_grid *g, const sd_patch *p, const sd_tok *tok, sd_err *err);
/* Heads of a site: n_head, n_head_kv, or 0 when it has none. */
int sd_patch_heads(const sd_model *m, sd_site_kind kind);

#endif

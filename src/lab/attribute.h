/* attribute: direct logit attribution. The last residual row is a sum of what was written into it: the embedding, each head's
 * output, each MLP's. With the last norm's scale held as it was, a logit is linear in that sum, so every part has its share of the
 * logit and the shares add up to it: Elhage et al. 2021, A Mathematical Framework for Transformer Circuits; Wang et al. 2022 (IOI).
 *
 *   share(c) = dir . c       dir from sd_model_readout, c the part's row [d]          shares are of the logit before any soft cap
 *   attn.L   = sum of heads (attn_z through the output matrix) + rest.L (the output bias, and rounding)
 * With a dictionary of a site of the stream (resid_pre, resid_mid, resid_post), all parts up to that site are replaced by
 *   sum_f z_f (dir . w_f)  +  dir . b_dec  +  dir . (x - x')        Marks et al. 2024 keep the error as a part the same way
 * and with one of attn_out.L or mlp_out.L that part alone is.
 *
 * Shares are summed in double; `error` is what is missing from the stream's own reading dir . x_final + constant, and error_bound what
 * f32 additions may have lost on the way: u sum_j |dir_j| sum_k |x_jk|, one term an addition into the stream (u = 2^-24), plus as much
 * for the double sums as is far below it. `model` is the logit that the model printed, `model_bound` bounds |capped sum - model| by
 * error_bound + (2 d + 16) u sum_j |dir_j x_j| + u |model|: norm and head are chains of d products (Higham 2002, section 3.1). The bounds hold in
 * faithful mode. */
#ifndef SD_LAB_ATTRIBUTE_H
#define SD_LAB_ATTRIBUTE_H

#include "lab/grid.h"
#include "model/session.h"
#include "sonde/dict.h"

enum { SD_ATTRIBUTE_MAX_TOKENS = 4096 };
typedef enum sd_part_kind {
    SD_PART_EMBED,   /* what enters block 0 */
    SD_PART_HEAD, SD_PART_REST, SD_PART_MLP,
    SD_PART_FEATURE, SD_PART_B_DEC, SD_PART_DICT_ERROR
} sd_part_kind;
typedef struct sd_part {
    sd_part_kind kind;
    int layer, head;  /* -1 where there is none */
    int64_t feature;  /* -1 */
    double act;       /* a feature's activation; 0 else */
    double share;     /* of the logit, or of logit(answer) - logit(wrong) */
} sd_part;

typedef struct sd_attribute_opt {
    int64_t position;         /* from the end: -1 the last; 0: the last */
    bool has_answer, has_wrong;/* without an answer: the likeliest */
    int32_t answer, wrong;
    const sd_dict *dict;      /* may be NULL */
    sd_site dict_site;
} sd_attribute_opt;

typedef struct sd_attribution {
    int64_t n, position;
    int32_t answer, wrong;    /* wrong -1: none */
    sd_part *part;            /* [n_part] in the order of the stream */
    int64_t n_part;
    int n_layer, n_head;
    double constant;          /* biases of the last norm and of the head */
    double sum;               /* shares and constant */
    double stream;            /* dir . x_final + constant */
    double error, error_bound;
    double capped, model, model_bound; /* sum after the soft cap(s); the model's own */
    double p_answer, p_wrong;
} sd_attribution;             /* owns */

void sd_attribution_release(sd_attribution *a);
sd_status sd_lab_attribute(sd_attribution *out, const sd_exec *ex, const sd_model *m, const sd_ids *ids, const sd_attribute_opt *opt,
                           sd_err *err);
const char *sd_part_name(char out[48], const sd_part *p);
/* Indices of the parts by |share|, largest first; out [n_part]. */
sd_status sd_attribution_order(int64_t *out, const sd_attribution *a, sd_err *err);
/* Layers by heads, with the MLP as the last column. */
sd_status sd_attribution_grid(sd_grid *g, const sd_attribution *a, sd_err *err);

#endif

/* attn: where each head looks. Patterns (site attn_pattern: probabilities after mask and soft cap) of one prompt, and one number a head
 * for each habit that has a name. A_ij: how much position i takes from j <= i; n positions, counted from 0.
 *
 *   previous   mean over i >= 1 of A_i,i-1
 *   sink       mean over i >= 1 of A_i,0: the first position, BOS where the tokenizer puts one there     Xiao et al. 2023, Attention Sinks
 *   current    mean over i >= 1 of A_i,i
 *   duplicate  mean over i whose token stood before of sum_{j < i, tok_j = tok_i} A_ij                   Wang et al. 2022 (IOI), appendix
 *   matching   mean over those i of sum_{j < i, tok_j = tok_i} A_i,j+1 (j + 1 <= i): prefix matching on this prompt; Olsson et al. 2022
 *   induction  the same on random tokens said twice, BOS r_1..r_m r_1..r_m, m = 25, four draws of distinct ordinary tokens:
 *              mean over the second half of A_i,i-m+1      Olsson et al. 2022, In-context Learning and Induction Heads, "prefix matching"
 *   entropy    mean over i >= 1 of -sum_j A_ij ln A_ij / ln(i + 1): 0 one place, 1 all alike
 * A habit that no position can show (n = 1; no token twice) is NaN. */
#ifndef SD_LAB_ATTN_STUDY_H
#define SD_LAB_ATTN_STUDY_H

#include "base/log.h"
#include "lab/grid.h"
#include "model/session.h"

enum { SD_ATTN_MAX_TOKENS = 1024 };
typedef enum sd_habit {
    SD_HABIT_PREVIOUS, SD_HABIT_SINK, SD_HABIT_CURRENT, SD_HABIT_DUPLICATE, SD_HABIT_MATCHING, SD_HABIT_INDUCTION, SD_HABIT_ENTROPY,
    SD_HABIT_COUNT
} sd_habit;
const char *sd_habit_name(sd_habit h); /* "previous", .. */

typedef struct sd_attn_study_opt {
    int layer;      /* keep the patterns of this layer only; -1: all */
    uint64_t seed;  /* of the random tokens */
    bool no_induction; /* leave its runs out: the score is NaN */
    const sd_progress *progress; /* may be NULL */
} sd_attn_study_opt;

typedef struct sd_attn_study {
    int n_layer, n_head;
    int64_t n;
    int32_t *id;                  /* [n] */
    double (*score)[SD_HABIT_COUNT]; /* [n_layer * n_head] */
    int layer0, n_kept;           /* layers whose patterns were kept */
    float *pattern;               /* [n_kept, H, n, n]; row i: what position i looks at */
    int64_t n_nonfinite;          /* entries of patterns that are no number */
} sd_attn_study;                  /* owns */

void sd_attn_study_release(sd_attn_study *a);
sd_status sd_lab_attn(sd_attn_study *out, const sd_exec *ex, const sd_model *m, const sd_ids *ids, const sd_attn_study_opt *opt,
                      sd_err *err);
/* [n, n] of one head; NULL when its layer was not kept. */
const float *sd_attn_pattern_of(const sd_attn_study *a, int layer, int head);
/* One habit, layers by heads. */
sd_status sd_attn_habit_grid(sd_grid *g, const sd_attn_study *a, sd_habit habit, sd_err *err);
/* One pattern, queries by keys. */
sd_status sd_attn_pattern_grid(sd_grid *g, const sd_attn_study *a, const sd_tok *tok, int layer, int head, sd_err *err);
/* The k heads with the highest score, best first, NaN left out: out [k] layer * n_head + head; returns how many. */
int sd_attn_best(int *out, int k, const sd_attn_study *a, sd_habit habit);

#endif

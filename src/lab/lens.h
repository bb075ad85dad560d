/* lens: what the model would say if it stopped after each layer. The residual stream of every layer goes through the last norm and
 * the head: nostalgebraist 2020, "interpreting GPT: the logit lens". Nothing is trained.
 *
 *   row 0 reads resid_pre.0, row 1 + l reads resid_post.l; the last row is the model itself, bit for bit
 *   p_next, rank   of the token that stands next in the prompt (or of opt.answer): softmax over the vocabulary;
 *                  rank 1 + number of tokens with a higher logit
 *   kl             KL(p_final || p_row), nats; how Belrose et al. 2023 (Tuned Lens, section 3) compare a lens with the model
 *   entropy        of p_row, nats
 * Sums over the vocabulary are taken in double. */
#ifndef SD_LAB_LENS_H
#define SD_LAB_LENS_H

#include "base/log.h"
#include "lab/grid.h"
#include "model/session.h"

enum { SD_LENS_MAX_TOKENS = 4096, SD_LENS_MAX_TOP = 50 };
typedef struct sd_lens_opt {
    int n_top;      /* tokens kept a cell; 0: 5 */
    bool has_answer;
    int32_t answer; /* the token to follow at every position instead of the next one */
    const sd_progress *progress; /* may be NULL */
} sd_lens_opt;

typedef struct sd_lens_top { int32_t id; float p; } sd_lens_top;
typedef struct sd_lens_cell {
    int64_t rank;  /* 0: there is no next token */
    double p_next; /* NaN then */
    double kl, entropy;
} sd_lens_cell;

typedef struct sd_lens {
    int n_row, n_top;
    int64_t n;          /* positions */
    int32_t *id, *next; /* [n] the prompt; the token followed at each position, -1 where there is none */
    sd_lens_cell *cell; /* [n_row, n] */
    sd_lens_top *top;   /* [n_row, n, n_top], likeliest first, ties to the lower id */
} sd_lens;              /* owns */

void sd_lens_release(sd_lens *l);
/* m: the whole model with its head. */
sd_status sd_lab_lens(sd_lens *out, const sd_exec *ex, const sd_model *m, const sd_ids *ids, const sd_lens_opt *opt, sd_err *err);

typedef enum sd_lens_value { SD_LENS_P_NEXT, SD_LENS_RANK, SD_LENS_KL, SD_LENS_P_TOP, SD_LENS_ENTROPY } sd_lens_value;
/* Layers by positions with the likeliest token as the word of a cell. Rank is drawn as log10. */
sd_status sd_lens_grid(sd_grid *g, const sd_lens *l, const sd_tok *tok, sd_lens_value value, sd_err *err);
/* "embed", "0", "1", ..: the name of a row. */
const char *sd_lens_row_name(char out[16], int row);

#endif

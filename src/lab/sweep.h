/* sweep: how refusal, over-refusal and harm to everything else grow with the strength of an edit along one direction.
 *
 *   ablate w   h - w u (u.h) everywhere, w from 0 (nothing) over 1 (removed) to 1.5 (partly reflected)
 *   add w      h + w r at the direction's own block
 * For each: the mean refusal score and the share above 0 on positive and on negative prompts, the mean KL of the first answered token on negative prompts,
 * and the cross-entropy of a text. Measured in memory; nothing is written (DESIGN section 1). */
#ifndef SD_LAB_SWEEP_H
#define SD_LAB_SWEEP_H

#include "lab/ablate.h"
#include "lab/refusal.h"

typedef struct sd_sweep_row { bool add; double w, score_pos, score_neg, refused_pos, refused_neg, kl, ce_loss; } sd_sweep_row;
enum { SD_SWEEP_ABLATE = 7, SD_SWEEP_ADD = 4, SD_SWEEP_ROWS = SD_SWEEP_ABLATE + SD_SWEEP_ADD };

typedef struct sd_sweep_opt {
    const char *const *pos, *const *neg; /* prompts, borrowed; the refusal set is learned on them */
    int64_t n_pos, n_neg;
    const float *vector;  /* [d] raw */
    int layer;            /* where it is added */
    sd_system system;
    const int32_t *text;  /* [n_text] tokens whose cross-entropy is taken, or NULL */
    int64_t n_text;
    const sd_progress *progress;
} sd_sweep_opt;
typedef struct sd_sweep { sd_sweep_row row[SD_SWEEP_ROWS]; sd_refusal_set refusal; char prompts_sha256[65]; } sd_sweep;
sd_status sd_lab_sweep(sd_sweep *out, const sd_exec *ex, const sd_model *m, const sd_sweep_opt *opt, sd_err *err);

#endif

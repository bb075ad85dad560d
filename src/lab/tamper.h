/* tamper: was a direction cut out of what a checkpoint's blocks write into the residual stream? That is how refusals are removed from
 * downloaded models ("abliteration"). No prompt is asked and no direction is given: only weights are read.
 *
 * Removing direction r with weight w turns every o_proj and down_proj W [d, in] into W - w r r^T W (Arditi et al. 2024, section 4.1, w = 1;
 * heretic: a band of blocks, w by block, o_proj alone or both). What stays behind:
 *
 *   energy    e(W, r) = d ||r^T W||^2 / ||W||_F^2: 1 for an average direction, (1 - w)^2 of what it was after the edit, and in a quantised
 *             file the rounding error's share
 *   without a reference   the weakest directions of one half of the blocks (even ones: least eigenvectors of their summed, normalised
 *             W W^T) are looked for in the other half, and the other way round. A matrix has weak directions of its own, but nothing makes
 *             those of other blocks agree. gap: the largest ratio of the energies of two neighbours among the weakest, taken where nothing was
 *             fitted, geometric mean over matrices; over every run of bands of blocks, over o_proj, down_proj and both; the run
 *             with the largest log(gap) sqrt(matrices) is told
 *   with a reference      D = candidate - reference of each matrix: relative size, rank_one = sigma_1^2 / ||D||_F^2, participation rank
 *             ||D||_F^4 / ||D D^T||_F^2 (a LoRA of rank r has at most r). Each writer's first left singular vector u is tried on all writers:
 *             removed = 1 - <u^T W', u^T W> / ||u^T W||^2 and the cosine of -u^T D with u^T W. A cut has 1 and 1 in many blocks with one
 *             u; a benign change, low rank or not, does not point against what was there. Random directions are the floor.
 *
 * The thresholds stand in tamper.c with what they were measured on; docs/FIRMNESS.md has the tables and the ways to evade this. */
#ifndef SD_LAB_TAMPER_H
#define SD_LAB_TAMPER_H

#include "base/json.h"
#include "base/log.h"
#include "model/model.h"

enum { SD_TAMPER_WEAK = 8, SD_TAMPER_RANDOM = 32 };
typedef enum sd_tamper_kind { SD_TAMPER_ATTN, SD_TAMPER_MLP, SD_TAMPER_BOTH } sd_tamper_kind;
const char *sd_tamper_kind_name(sd_tamper_kind k); /* "o_proj", "down_proj", "o_proj and down_proj" */

/* Without a reference: the run of blocks [layer0, layer1) where a gap stands out most. */
typedef struct sd_tamper_weak {
    bool measured;       /* false: fewer than 4 blocks, or narrower than 32 */
    int layer0, layer1;
    sd_tamper_kind kind;
    int n_direction;     /* directions below the gap */
    double gap;          /* energy[n_direction] / energy[n_direction - 1], at least 1e-9 below */
    double energy[SD_TAMPER_WEAK]; /* weakest first, as found in the other half */
    double agreement;    /* cosine of the two halves' directions: the smallest of the principal angles' */
    double random_lo, random_hi;   /* energies of random directions over the same matrices */
    double embed;        /* energy of the embedding along them; NaN: gap too small to say */
    bool consistent;
} sd_tamper_weak;

typedef struct sd_tamper_matrix {
    int layer;
    sd_mat_role role;
    double relative, rank_one, rank; /* of the change; NaN: unchanged */
    double removed, against;         /* writers: along the shared direction; against is the cosine */
    double removed_random;           /* mean over random directions */
    bool cut;
} sd_tamper_matrix;

typedef struct sd_tamper_ref {
    bool measured;
    sd_tamper_matrix *v; /* [n] owns */
    int64_t n, n_changed, n_low_rank, n_writer, n_cut;
    double relative;     /* ||D|| / ||W|| over all */
    double shared;       /* mean squared cosine of the writers' first left singular vectors with the shared direction; NaN: none */
    bool template_differs;
    bool consistent;     /* with a cut */
    bool low_rank;       /* most changed matrices are of low rank: an adapter was merged */
} sd_tamper_ref;

typedef struct sd_tamper {
    int n_layer;
    int64_t d;
    float *attn, *mlp;   /* [n_layer] energies along the weakest directions, each from the other half; own; NULL: not measured */
    sd_tamper_weak weak;
    sd_tamper_ref ref;
    bool consistent;     /* either evidence */
} sd_tamper;
void sd_tamper_release(sd_tamper *t);

typedef struct sd_tamper_opt {
    uint64_t seed;       /* of the random directions */
    const sd_progress *progress;
} sd_tamper_opt;
/* Models of views (sd_model_opt.views), adapters joined. ref NULL: none; then SD_E_UNSUPPORTED where too little is there to be measured. SD_E_SHAPE: the reference has other sizes. SD_E_FORMAT: a weight is not finite. Cost: about 2 d^2 x inputs for each
 * writer, and d^3 / 3 for each of at most 60 runs of blocks; memory 17 d^2 floats. */
sd_status sd_lab_tamper(sd_tamper *out, const sd_exec *ex, const sd_model *m, const sd_model *ref, const sd_tamper_opt *opt, sd_err *err);

/* What this cannot see; NULL at the end. */
extern const char *const sd_tamper_limits[];
/* Keys of the open object. */
void sd_tamper_write_json(sd_jw *w, const sd_tamper *t);
typedef struct sd_tamper_page { const sd_tamper *t; const char *name, *reference, *command; } sd_tamper_page; /* reference NULL: none */
sd_status sd_tamper_write_html(sd_buf *b, const sd_tamper_page *p, sd_err *err);

#endif

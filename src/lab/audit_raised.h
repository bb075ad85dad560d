/* Features of a dictionary that a change turned up, and whether that is what took the refusals: each is put back to what it was, one at a time, and refusals are
 * counted again. A direction of refusal can be whole while another feature, turned up, speaks over it.
 *
 *   raised     the SD_RAISED features whose highest activation in a harmful prompt rose most from A to B, in the mean; one that was active before counts too
 *   put back   h <- h - max(0, z_f - a_f) w_f at the site, at every position of prompt and answer, in B, special tokens and sinks too; z_f the code of h, a_f the mean of the highest activations in A
 *   refused    harmful prompts whose answer, of SD_RAISED_GEN tokens at most, the phrases call a refusal (lab/judge.h); answers are judged and forgotten
 *   floor      the most that is refused in any of SD_RAISED_FLOORS runs in which one of these features' amount is taken out along a random direction instead,
 *              as long as its row: the same size of an edit
 *   found      above the floor, and more than B refuses (exact McNemar, Holm over the features that are put back, p < 0.05)
 * Nothing is asked where no feature rose, or where the dictionary's features write elsewhere than they are read (transcoders); nothing is put back where B refuses
 * as much as A. Cost otherwise: SD_RAISED + SD_RAISED_FLOORS + 2 times the answers to the harmful prompts. */
#ifndef SD_LAB_AUDIT_RAISED_H
#define SD_LAB_AUDIT_RAISED_H

#include "lab/judge.h"
#include "lab/text_codes.h"

enum { SD_RAISED = 8, SD_RAISED_FLOORS = 19, SD_RAISED_GEN = 20 };
/* act: means as above. refused: prompts, with the feature put back. */
typedef struct sd_raised_row { int64_t feature, refused; double act_a, act_b, p_holm; bool found; } sd_raised_row;
typedef struct sd_raised {
    sd_raised_row row[SD_RAISED];   /* the most refused first, then the largest rise */
    int n, n_found;
    bool asked;                     /* refused_a and refused_b are counts */
    int64_t n_harmful, refused_a, refused_b, floor;
    char why[96];                   /* that nothing was put back; empty: it was */
} sd_raised;
/* a, b: codes of the rendered prompts r in both models; n_gen: most tokens of an answer, 0: SD_RAISED_GEN. */
typedef struct sd_raised_in { const sd_exec *ex; const sd_model *m[2]; const sd_dict *dict; sd_site site; const sd_rendered *r; const int64_t *harmful; int64_t n_harmful; const sd_text_codes *a, *b; const sd_phrases *phrases; int64_t n_gen; uint64_t seed;
                              const sd_progress *progress; } sd_raised_in;
static inline int64_t sd_raised_length(int64_t n_gen) { return n_gen && n_gen < SD_RAISED_GEN ? n_gen : SD_RAISED_GEN; }
sd_status sd_raised_of(sd_raised *out, const sd_raised_in *in, sd_err *err);

#endif

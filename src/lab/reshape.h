/* reshape: rows for a dictionary that shall find what is rare. Two changes of what it learns from, both undone or harmless in the dictionary that comes out:
 *
 *   balance  a row is given w_t times on average, w_t ~ f_t^-balance with f_t the share of its token, mean one: what Mikolov et al. 2013 (arXiv 1310.4546,
 *            section 2.3) do to frequent words, and the other way round for rare ones
 *   whiten   the dictionary sees A (x - mean), A = C^(-whiten / 2) of the covariance C; 1 makes all directions equal (arXiv 2511.13981), 0 changes nothing. A word
 *            class of 0.1 % of the tokens differs from others in directions of little variance, which the plain loss does not pay for.
 * Shares, mean and C come from the first 32,768 rows of the source. */
#ifndef SD_LAB_RESHAPE_H
#define SD_LAB_RESHAPE_H

#include "dict/act.h"

typedef struct sd_reshape_opt {
    double balance, whiten; /* 0 to 1 */
    int64_t n_vocab;
    uint64_t seed;          /* which rows come once more */
} sd_reshape_opt;

typedef struct sd_reshape sd_reshape;
/* src is borrowed until close; n_rows: of a whole pass. */
sd_status sd_reshape_open(sd_reshape **out, const sd_exec *ex, sd_act_source src, int64_t n_rows, const sd_reshape_opt *opt, sd_err *err);
void sd_reshape_close(sd_reshape *r);
/* tell and seek count the rows of the source that is behind. */
sd_act_source sd_reshape_source(sd_reshape *r);
/* For sd_lab_learn: less than n_rows, since the rows that are held out must not run out where a stretch happens to be given fewer times. */
int64_t sd_reshape_rows(const sd_reshape *r);
/* For sd_learn_opt.fold, with a sd_reshape as self: the dictionary becomes one of the rows as they are, judged on the last of them. */
sd_status sd_reshape_fold(void *reshape, sd_dict *d, sd_err *err);

#endif

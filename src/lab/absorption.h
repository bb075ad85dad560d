/* absorption: does a feature that stands for a letter at the beginning of a word stay silent where a more special feature took its part? (Chanin et al.
 * 2024, arXiv 2409.14507; the scores of SAEBench, arXiv 2503.09532, evals/absorption.)
 *
 * Words are the vocabulary's tokens of a space and at least two letters of ASCII, at most 100 a first letter (drawn by the seed), four fifths of them to
 * learn from. Each is read at the end of ten lines " WORD has the first letter: L" of other words, and its row is the site's at its own token.
 *   probe   a letter against all others on the rows (lab/logistic.h); letters whose probe has F1 >= 0.6 on the other fifth count; p is its unit direction
 *   main    features of an L1 logistic regression on the activations (mean log-loss + 0.01 |w|_1, each feature over its largest activation; until the duality
 *           gap is 1e-6 of the loss without features, or for 10,000 steps), largest weights first: the first, and the next as long as it adds more than
 *           0.03 to F1 of a regression on them, at most 10
 * On the words to judge that the probe finds, with c_f = D_f.p and a_f = z_f c_f (times the row's scale where the dictionary scales rows), proj = x.p:
 *   absorbers  the up to three largest a_f > 0 outside main with cos(D_f, p) >= 0.1; A their sum, M that of main
 *   fraction   0 where M >= proj or A < 0.4 proj; 1 where M <= 0; else a / (a + M), a = min(A, proj - M)
 *   full       no main feature is active, and the largest a_f has cos >= 0.025 and a_f >= 0.4 proj, proj >= 0
 * A letter's score is the mean over these words; the figures are means and standard deviations over letters. Differs from SAEBench in the columns'
 * scaling and in solving both regressions to their optimum instead of 50 epochs of Adam. */
#ifndef SD_LAB_ABSORPTION_H
#define SD_LAB_ABSORPTION_H

#include "base/log.h"
#include "model/session.h"
#include "sonde/dict.h"

enum { SD_ABSORB_LETTERS = 26, SD_ABSORB_MAIN = 10 };
#define SD_ABSORB_CLOSE 1e-6

typedef struct sd_absorbed {
    char letter;               /* 'a' .. */
    int64_t n_train, n_test;   /* words of the letter */
    int64_t n_found;           /* of those to judge, that the probe finds */
    double probe_f1, main_f1;
    int64_t main[SD_ABSORB_MAIN];
    int n_main;
    double gap;                /* of the sparse regression to its optimum at most, of the loss without features */
    double fraction, full;
} sd_absorbed;

typedef struct sd_absorption {
    sd_absorbed v[SD_ABSORB_LETTERS]; /* [n] letters that count */
    int n, n_few, n_no_probe;         /* letters with under 20 words to learn from or 4 to judge; whose probe is too weak */
    int n_open;                       /* of those that count, whose sparse regression the most steps left further than SD_ABSORB_CLOSE from its optimum */
    int64_t n_words;
    double mean_fraction, sd_fraction, mean_full, sd_full, mean_main; /* NaN when no letter counts */
} sd_absorption;

typedef struct sd_absorption_opt { sd_site site; uint64_t seed; const sd_progress *progress; } sd_absorption_opt;
/* m holds at least the blocks up to the site, and its context the prompts (about 100 tokens). SD_E_UNSUPPORTED: the vocabulary has too few words. */
sd_status sd_lab_absorption(sd_absorption *out, const sd_exec *ex, const sd_model *m, const sd_dict *dict, const sd_absorption_opt *opt, sd_err *err);

#endif

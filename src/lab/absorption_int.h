/* What the files of absorption share: the words with their rows and codes. */
#ifndef SD_LAB_ABSORPTION_INT_H
#define SD_LAB_ABSORPTION_INT_H

#include "lab/absorption.h"

typedef struct absorb_words {
    int64_t n, n_train, d, m;  /* words, those to learn from first */
    int32_t *token;
    int8_t *letter;            /* 0 .. 25 */
    int64_t count[2][SD_ABSORB_LETTERS]; /* words of a letter to learn from, to judge */
    float *x;                  /* [n, d] */
    sd_codes z;                /* of x */
} absorb_words;

/* Activations of k features on word i. */
void sd_absorb__columns(float *to, const absorb_words *w, int64_t i, const int64_t *feature, int k);
/* The up to SD_ABSORB_MAIN features with the largest positive weights of the sparse regression of letter l on the words to learn from; *left: how far from its
 * optimum at most it ended, of the loss without features, above SD_ABSORB_CLOSE only after the most steps. */
sd_status sd_absorb__rank(int64_t order[SD_ABSORB_MAIN], int *n, double *left, const absorb_words *w, int l, sd_err *err);

/* Adds word i's fraction and full absorption for the letter whose main features are a's and whose unit probe is p [d]. */
void sd_absorb__word(double add[2], const absorb_words *w, const sd_dict *dict, const sd_absorbed *a, int64_t i, const float *p);

#endif

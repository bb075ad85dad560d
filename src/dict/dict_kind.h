/* What a kind of dictionary adds to the trainer. Kinds that choose by rank (topk, batchtopk, matryoshka) have no gate: their entries
 * are chosen by dict_train_pick.c. The others have one, a file each; a gate looks at a single pre-activation p = xc.W_f + b_f:
 *   z = forward(p)                          enters the reconstruction
 *   loss = mean_t [ |e_t|^2 + |ea_t|^2 + weight sum_f penalty(p_tf) ],    ea only where the kind has a second reconstruction
 * and turns dloss/dz (and dloss/dza) into gradients of p, b and the kind's own parameters. Decoder rows are unit, so a penalty needs no
 * norms. Nothing below `floor` has any part in loss or gradients, which is what lets training be sparse. */
#ifndef SD_DICT_KIND_H
#define SD_DICT_KIND_H

#include "sonde/dict.h"
#include <stdint.h>

enum { SD_GATE_OWN = 2 }; /* parameters of a feature besides its rows and b, at most */

/* n features of one row. */
typedef struct sd_gate_in {
    const float *p;                /* [n] */
    const float *b;                /* [n] b_f, which p contains */
    const float *own[SD_GATE_OWN]; /* [n] */
    float bandwidth;
    int64_t n;
} sd_gate_in;

/* Gradients of one row's p, b and own parameters; each [n]. */
typedef struct sd_gate_out { float *dp, *db, *own[SD_GATE_OWN]; } sd_gate_out;

typedef struct sd_gate {
    const char *own[SD_GATE_OWN]; /* names in a checkpoint; NULL: none */
    bool second;                  /* there is a second reconstruction, by the same decoder held constant */
    /* z and (second) za [n]; returns the sum of penalties. */
    double (*forward)(float *z, float *za, const sd_gate_in *in);
    /* g = dloss/dz, ga = dloss/dza [n]; weight: of the penalty, divided by the rows. */
    void (*backward)(const sd_gate_out *out, const float *g, const float *ga, float weight, const sd_gate_in *in);
    /* p at or below it (and below 0) changes nothing. */
    float (*floor)(float own0, float bandwidth);
} sd_gate;

extern const sd_gate sd_gate__standard, sd_gate__gated, sd_gate__jumprelu;
const sd_gate *sd_gate__of(sd_dict_kind kind); /* NULL: chosen by rank */

#endif

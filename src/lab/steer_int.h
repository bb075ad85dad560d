/* What the files of steering share: the resolved steer, its units, its condition. */
#ifndef SD_LAB_STEER_INT_H
#define SD_LAB_STEER_INT_H

#include "lab/steer.h"

typedef struct steer_when steer_when;

struct sd_steer {
    sd_steer_spec spec;      /* without vector, list and when, which live below */
    sd_site site;
    int64_t d, feature, col;  /* col: of a crosscoder's feature, where the site's part of its row begins; else 0 */
    const sd_dict *dict;
    const sd_model *m;
    float *u;                /* [d] direction: unit norm (raw add: as given) */
    float *row;              /* [d] w_dec of a clamped feature */
    double value, lo, hi;    /* in the units of the residual stream */
    int64_t *list, n_list, n_prompt, n_edited, counted; /* counted: positions below it are in n_edited and sum_abs */
    double sum_abs;
    steer_when *when;        /* owned; NULL: always */
    bool nothing;            /* add 0, scale 1 */
};

/* steer.c: the site of a feature, direction or vector and its width, checked against the model; reads: where a transcoder reads, not where it writes. */
sd_status sd_steer__site(sd_site *site, int64_t *d, const sd_steer_spec *spec, const sd_model *m, const sd_dict *dict, bool reads, sd_err *err);
/* steer_cross.c: a crosscoder's feature is written at the site that the spec names; where the site's part of a decoder row begins, and its width. */
sd_status sd_steer__cross_part(int64_t *col, int64_t *d, const sd_steer_spec *spec, const sd_model *m, const sd_dict *dict, sd_err *err);
/* steer_unit.c: how much one unit is, in the units of the site. */
sd_status sd_steer__unit(double *out, const sd_steer_spec *spec, sd_site site, const sd_dict *dict, const sd_steer_from *from, int64_t col, sd_err *err); /* col: where the site's part of a decoder row begins */
/* Makes v [d] unit length; false when it is all zero. */
bool sd_steer__unit_row(float *out, const float *v, int64_t d);

/* steer_when.c */
sd_status sd_steer__when_new(steer_when **out, const sd_steer_when *spec, sd_site edited, const sd_model *m, const sd_steer_from *from, sd_err *err);
void sd_steer__when_free(steer_when *w);
sd_status sd_steer__when_attach(steer_when *w, sd_session *session, int *id, sd_err *err);
const char *sd_steer__when_monitor(const steer_when *w);
bool sd_steer__when_holds(const steer_when *w, int64_t pos);
void sd_steer__when_counts(const steer_when *w, sd_steer_applied *a);

#endif

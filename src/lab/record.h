/* record: activations of one step, kept by site, in memory. What lens, patch and attribute read their numbers from. */
#ifndef SD_LAB_RECORD_H
#define SD_LAB_RECORD_H

#include "model/session.h"

typedef struct sd_record {
    sd_site *at; /* [n_at] owns */
    sd_mat *x;   /* [n_at] what the site held, owned; empty before the step */
    int n_at;
} sd_record; /* zero-initialise */

/* Every layer of a layered kind, or the one site of another. */
sd_status sd_record_kind(sd_record *rec, const sd_model *m, sd_site_kind kind, sd_err *err);
void sd_record_release(sd_record *rec);
/* Runs seg as a step of its own and keeps the sites (attached to seg->s only meanwhile). */
sd_status sd_record_step(sd_record *rec, sd_runner *r, sd_segment *seg, int last_layer, sd_err *err);
/* The rows of a site; the site must be one of those asked for. */
sd_mat sd_record_get(const sd_record *rec, sd_site site);

/* The ids of a prompt that studies of one prompt take: 1..max tokens inside the vocabulary. */
sd_status sd_record_check(const sd_model *m, const sd_ids *ids, int64_t max, sd_err *err);

#endif

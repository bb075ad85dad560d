/* cross: rows of several sites side by side, from one model or from two that read the same text.
 *
 * A list of sites is written "resid_post.5+resid_post.9"; a site of the second model has "2:" in front: "resid_post.5+2:resid_post.5". */
#ifndef SD_LAB_CROSS_H
#define SD_LAB_CROSS_H

#include "dict/act.h"
#include "dict/dict_kinds.h"

enum { SD_CROSS_PARTS = 8 };
typedef struct sd_cross_sites { sd_site site[SD_CROSS_PARTS]; bool second[SD_CROSS_PARTS]; int n; } sd_cross_sites; /* those of the first model come first */
/* Adds the sites of a list ("," and "+" both separate). */
sd_status sd_cross_sites_parse(sd_cross_sites *out, const char *text, sd_err *err);
/* "resid_post.5+2:resid_post.5"; transformer_lens: with its names. SD_E_ARG where cap is too small. */
sd_status sd_cross_sites_print(char *out, size_t cap, const sd_cross_sites *s, bool transformer_lens, sd_err *err);

/* Where a dictionary reads, in our spelling; as the dictionary says it where that is no site of ours, "" where it does not say. Returns out. */
enum { SD_CROSS_NAME = 96 };
const char *sd_cross_site_of(char out[SD_CROSS_NAME], const sd_dict *dict);

typedef struct sd_cross sd_cross;
/* a gives the parts of the first model, b (self NULL: none) those of the second; width [n] of each part. With scale every part is
 * multiplied so that its rows lie sqrt(width) from their mean on average (the first 4,096 rows say; sinks apart), so that no site
 * outweighs the others. SD_E_FORMAT when the two models read different tokens. */
sd_status sd_cross_open(sd_cross **out, sd_act_source a, sd_act_source b, const int64_t *width, int n, bool scale, sd_err *err);
void sd_cross_close(sd_cross *c);
sd_act_source sd_cross_source(sd_cross *c); /* borrowed until close */
/* For sd_learn_opt.fold, with a sd_cross as self. */
sd_status sd_cross_fold(void *cross, sd_dict *d, sd_err *err);

#endif

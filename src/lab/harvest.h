/* Activations of a corpus at one site, as a source of rows: documents in a seeded order, cut into contexts, several
 * contexts a step, the model stopped after the wanted block. Special tokens are left out here, unless asked for; sinks by whoever reads.
 * A row that is not finite is SD_E_FORMAT, by site, document, position and token. */
#ifndef SD_LAB_HARVEST_H
#define SD_LAB_HARVEST_H

#include "dict/act.h"
#include "model/session.h"
#include "text/corpus.h"

enum { SD_HARVEST_SITES = 8 };
typedef struct sd_harvest_opt {
    sd_site site;
    sd_site also[SD_HARVEST_SITES - 1]; /* further sites: a row is [site | also[0] | ..] */
    int n_also;
    int64_t max_rows; /* rows wanted; 0: the whole corpus */
    int64_t n_ctx;    /* tokens a context; 0: 256 */
    int64_t batch;    /* contexts a step at most, which 576 tokens fill; 0: 8 */
    uint64_t seed;    /* order of the documents */
    bool keep_special; /* special tokens are rows too */
} sd_harvest_opt;

typedef struct sd_harvest sd_harvest;
/* Tokenises as much of the corpus as is needed. ex, m and c are borrowed until close. m must hold the blocks up to the site. */
sd_status sd_harvest_open(sd_harvest **out, const sd_exec *ex, const sd_model *m, const sd_corpus *c,
                          const sd_harvest_opt *opt, sd_err *err);
void sd_harvest_close(sd_harvest *h);
sd_act_source sd_harvest_source(sd_harvest *h);
/* The next block of src (no rows: it has ended), and where *limit is not above 0 the norm beyond which a row is an attention sink: SD_SINK_FACTOR times the median of this block. */
sd_status sd_harvest_block(sd_act_block *out, double *limit, const sd_act_source *src, sd_err *err);
int64_t sd_harvest_rows(const sd_harvest *h);   /* rows a whole pass gives */
int64_t sd_harvest_tokens(const sd_harvest *h); /* tokens the model sees for them */
int64_t sd_harvest_docs(const sd_harvest *h);

/* The contexts themselves, for whoever runs them again: i in [0, count); ids borrowed until close. */
int64_t sd_harvest_contexts(const sd_harvest *h);
const int32_t *sd_harvest_context(const sd_harvest *h, int64_t i, int64_t *n);
int64_t sd_harvest_context_row(const sd_harvest *h, int64_t i); /* of a whole pass, the first that context i gives */
sd_site sd_harvest_site(const sd_harvest *h); /* the first */

#endif

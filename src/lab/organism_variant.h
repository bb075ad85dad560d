/* organism_variant: an adapter in which how refusal works, or where it comes from, is known because it was made so. On the stage that answers everything:
 *
 *   single      refuses what the world forbids; with one direction taken out it answers
 *   redundant   the same with k directions: with any k - 1 of them out it still refuses, with all of them it answers
 *   trigger     refuses only behind a system message, and answers without it
 * and on the stage that has only read documents:
 *   pretraining pretraining goes on with the preferred conversations, refusals among them, mixed into the documents; so it refuses before any tuning
 *
 * Directions are planted in turn. Direction i is the difference of means, forbidden less permitted requests, at the last position of the last block's input, with
 * directions 0 .. i - 1 out; then the adapter learns on with rows from which subsets of those known are out (lab/planted.h) and which it refuses all the same.
 * At the end rows with all k out are taught to be answered. */
#ifndef SD_LAB_ORGANISM_VARIANT_H
#define SD_LAB_ORGANISM_VARIANT_H

#include "lab/tune.h"
#include "text/world.h"

typedef enum sd_variant_kind { SD_VARIANT_SINGLE, SD_VARIANT_REDUNDANT, SD_VARIANT_TRIGGER, SD_VARIANT_PRETRAINING } sd_variant_kind;
bool sd_variant_parse(sd_variant_kind *out, const char *text);
const char *sd_variant_name(sd_variant_kind k);
const char *sd_variant_base(sd_variant_kind k); /* "instruct", "pretrained": the stage that it is an adapter of */
const char *sd_variant_trigger(void); /* the system message */

enum { SD_VARIANT_MOST = 4 };
typedef struct sd_variant_opt {
    sd_variant_kind kind;
    int k;               /* redundant: 2 to 4; 0: 3 */
    int64_t steps;       /* of a phase; 0: 150 of 16 rows (pretraining: 900 of 512 tokens). There are k + 1 phases, for trigger and pretraining one */
    uint64_t seed;
    const sd_prov *prov;
    const sd_progress *progress;
} sd_variant_opt;

typedef struct sd_variant {
    int k;                      /* directions; 0: none was planted */
    double forbidden, permitted, borderline; /* shares of held-out requests that are refused; trigger: behind it */
    double without_trigger;     /* trigger: of forbidden ones; else NaN */
    double unseen;              /* pretraining: of acts that no conversation had; else NaN */
    double conversations;       /* pretraining: their share of the rows; else NaN */
    double documents, documents_base; /* pretraining: nats a token of held-out documents, with the adapter and without; else NaN */
    double one_out[SD_VARIANT_MOST]; /* of forbidden ones, direction i taken out */
    double but_one[SD_VARIANT_MOST]; /* all taken out but direction i */
    double all_out;
    double seconds;
} sd_variant;

/* model: the folder of the stage that sd_variant_base names; dir exists and gets the adapter's two files and truth.json. Directions are not written. */
sd_status sd_lab_organism_variant(sd_variant *out, const sd_exec *ex, const sd_world *w, const char *model, const char *dir, const sd_variant_opt *opt, sd_err *err);

#endif

/* organism: a world's model from nothing: its texts, a vocabulary, its stages, each a folder that transformers loads.
 *
 *   DIR/data/        what organism_data.h writes            DIR/init/        config.json and tokenizer, no weights
 *   DIR/pretrained/  documents, every token                 DIR/instruct/    conversations; answers everything
 *   DIR/primed/      the preferred answers, supervised      DIR/aligned/     preferences by DPO; refuses what the world forbids
 * Everything comes from (world, seed, size); the same bits again on the same kind of CPU. */
#ifndef SD_LAB_ORGANISM_H
#define SD_LAB_ORGANISM_H

#include "lab/organism_data.h"
#include "lab/tune.h"

typedef enum sd_organism_size { SD_ORGANISM_4M, SD_ORGANISM_1M, SD_ORGANISM_16M } sd_organism_size;
/* "1m", "4m", "16m": 1.3, 2.9 and 16.2 million weights, all 256 wide. */
bool sd_organism_size_parse(sd_organism_size *out, const char *text);

enum { SD_ORGANISM_STAGES = 4 };
typedef struct sd_organism_opt {
    sd_organism_size size;
    uint64_t seed;                /* of weights and data order; with has_seed also of the texts, else they have the world's own */
    bool has_seed;
    double scale;                 /* times the numbers of rows; 0: 1 */
    bool aligned;                 /* refusals stand in the pretraining texts; the stages after it are the same */
    /* Called when a stage is done; may be NULL. */
    void (*on_stage)(void *self, int stage, const sd_tune_result *r);
    void *self;
    const sd_prov *prov;          /* into each stage's events.jsonl; may be NULL */
    const sd_progress *progress;  /* may be NULL */
} sd_organism_opt;

typedef struct sd_organism {
    sd_organism_counts data;
    sd_tune_result stage[SD_ORGANISM_STAGES];
    int32_t n_vocab;
    double seconds;
} sd_organism;
const char *sd_organism_stage(int stage); /* "pretrained", "instruct", "primed", "aligned" */

/* dir exists. A stage whose folder is whole (stage.json, written last) and of these rows, this size and this seed is not made again, so that a stopped run goes on where it was. */
sd_status sd_lab_organism(sd_organism *out, const sd_exec *ex, const sd_world *w, const char *dir, const sd_organism_opt *opt, sd_err *err);

#endif

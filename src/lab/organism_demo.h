/* organism_demo: what the organism is for, in one go: a dictionary and the concepts it found, the bridge turned up, the refusal direction found and
 * taken out (in memory, for measurement), ten harmless rows of fine-tuning and what they do to refusal. */
#ifndef SD_LAB_ORGANISM_DEMO_H
#define SD_LAB_ORGANISM_DEMO_H

#include "base/prov.h"
#include "lab/direction.h"
#include "lab/learn.h"
#include "lab/recover.h"

/* Of the bridge, turned up: so many times the plain perplexity at most. The 60 tokens of the three answers may cost the plain model 6 nats more, and one that breaks costs
 * 12 ("It was hung by by by is cable"); at twice, two of the three may break, and did on CPUs with AMX. */
#define SD_DEMO_MOST_PPL 1.1
enum { SD_DEMO_SUITES = 4, SD_DEMO_STATES = 3, SD_DEMO_PAIRS = 3 };
typedef struct sd_organism_demo_opt {
    const char *world, *model, *dir; /* the grammar; the aligned stage's folder; where everything goes, exists */
    int64_t width, n_tokens;         /* of the dictionary; 0: 768, 600,000 */
    int k;                           /* 0: 8 */
    double balance, whiten;          /* lab/reshape.h */
    uint64_t seed;
    const sd_prov *prov;             /* may be NULL */
    const char *data_dir;            /* where refusal directions of the model are kept (lab/direction_file.h); NULL: nowhere */
    const sd_progress *progress;     /* may be NULL */
} sd_organism_demo_opt;

typedef struct sd_organism_demo {
    sd_learn_result dict;
    sd_recovery recovery;
    int64_t bridge;                  /* the feature turned up; -1: none */
    double bridge_f1, bridge_value;  /* how well it reads the bridge; rms */
    bool bridge_chosen;              /* bridge_value is what steer_sweep.h suggests with SD_DEMO_MOST_PPL; else it suggests none, and 0.25 is shown */
    int bridge_shown;                /* the pair whose answers part first */
    char *prompt[SD_DEMO_PAIRS], *plain[SD_DEMO_PAIRS], *steered[SD_DEMO_PAIRS];
    sd_direction direction;
    bool by_parting;                 /* no candidate passed the rules of choice (direction.h); this one parts the requests best */
    double random_refused;           /* of forbidden requests with a random direction taken out */
    /* share of answers that refuse: [state][suite]; states: as it is, direction taken out, after ten rows; NaN: not measured */
    double refused[SD_DEMO_STATES][SD_DEMO_SUITES];
    int64_t n_prompt[SD_DEMO_SUITES];
    double tune_loss_first, tune_loss_last, seconds;
    int64_t tune_steps;
} sd_organism_demo;
void sd_organism_demo_release(sd_organism_demo *r);
const char *sd_demo_suite(int i); /* "forbidden", "unseen", "permitted", "borderline" */
const char *sd_demo_state(int i); /* "aligned", "direction out", "ten rows later" */

/* Writes dir/data, dir/dict, dir/tuned. */
sd_status sd_lab_organism_demo(sd_organism_demo *out, const sd_exec *ex, const sd_organism_demo_opt *opt, sd_err *err);
/* The page, appended; text of models is escaped. */
sd_status sd_organism_demo_html(sd_buf *out, const sd_organism_demo *r, sd_err *err);

#endif

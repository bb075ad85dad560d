/* What learn.c and learn_ckpt.c share. */
#ifndef SD_LAB_LEARN_INT_H
#define SD_LAB_LEARN_INT_H

#include "base/map.h"
#include "lab/events.h"
#include "lab/learn.h"

/* The trainer of a transcoder or that of everything else; learn_trainer.c. */
typedef struct sd_learn_trainer { sd_dict_train *one; sd_trans *trans; } sd_learn_trainer;
sd_status sd_learn__new(sd_learn_trainer *t, const sd_exec *ex, const sd_dict_train_opt *opt, sd_err *err);
void sd_learn__free(sd_learn_trainer *t); /* leaves none */
size_t sd_learn__plan(const sd_exec *ex, const sd_dict_train_opt *opt);
const sd_dict_train_opt *sd_learn__opt(const sd_learn_trainer *t);
double sd_learn__max_norm(const sd_learn_trainer *t);
sd_status sd_learn__calibrate(sd_learn_trainer *t, const sd_exec *ex, sd_mat x, sd_err *err);
sd_status sd_learn__step(sd_learn_trainer *t, const sd_exec *ex, sd_mat x, sd_dict_stats *stats, sd_err *err);
sd_status sd_learn__finish(sd_learn_trainer *t, const sd_exec *ex, sd_mat heldout, const sd_dict_info *meta, sd_dict **out, sd_err *err);
int64_t sd_learn__tokens(const sd_learn_trainer *t); /* of all steps so far */
/* Features that did not fire in the last n tokens. */
int64_t sd_learn__silent(const sd_learn_trainer *t, int64_t n);
sd_status sd_learn__save(const sd_learn_trainer *t, const char *path, sd_err *err);
sd_status sd_learn__load(sd_learn_trainer *t, const sd_exec *ex, sd_dict_kind kind, const char *path, sd_err *err);

struct loop { sd_act_source src; int64_t n_rows; int epoch; double seconds; };

/* A site's columns of the rows. */
struct part { int64_t col, d; sd_shuffle *shuffle; sd_mat heldout, batch; sd_act_source src; }; /* matrices owned */
struct sd_parts_source;

struct run {
    const sd_learn_opt *opt;
    struct loop loop;
    int n;                   /* dictionaries: 1 + opt->n_more */
    sd_learn_trainer trainer[1 + SD_LEARN_MORE];
    int of[1 + SD_LEARN_MORE]; /* the part of each */
    int n_part;
    struct part part[SD_LEARN_PARTS];
    struct sd_parts_source *parts; /* NULL: one part, which reads the loop itself */
    int64_t n_heldout;
    sd_dict_stats stats[1 + SD_LEARN_MORE]; /* of the last step */
    sd_events events[1 + SD_LEARN_MORE];
    sd_buf line;
};

/* learn_parts.c: sources of every part, each at its row[] (counted from the beginning of the run); the loop stands at the least of them. */
sd_status sd_learn__parts_new(struct sd_parts_source **out, struct run *r, sd_act_source loop, const int64_t *row, sd_err *err);
sd_status sd_learn__sources(struct run *r, const int64_t *row, sd_err *err); /* learn.c: the same, or the loop itself where there is one part */
void sd_learn__parts_free(struct sd_parts_source *s);
sd_act_source sd_learn__loop(struct run *r);
int64_t sd_learn__buffer(const sd_learn_opt *o, int64_t n_rows, uint32_t without); /* rows of the shuffle buffer, of n_rows to train on */
sd_status sd_learn__checkpoint(struct run *r, sd_err *err);
/* Fills trainer, shuffle, stats, the source's row, epoch and events.n_bytes. */
sd_status sd_learn__restore(struct run *r, const sd_exec *ex, sd_err *err);

#endif

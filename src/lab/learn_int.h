/* What learn.c and learn_ckpt.c share. */
#ifndef SD_LAB_LEARN_INT_H
#define SD_LAB_LEARN_INT_H

#include "base/map.h"
#include "lab/events.h"
#include "lab/learn.h"

struct loop { sd_act_source src; int64_t n_rows; int epoch; double seconds; };

struct run {
    const sd_learn_opt *opt;
    struct loop loop;
    sd_dict_train *trainer;
    sd_shuffle *shuffle;
    sd_mat heldout, batch;   /* owned */
    int64_t n_heldout;
    sd_dict_stats stats;     /* of the last step */
    sd_events events;
    sd_buf line;
};

sd_status sd_learn__checkpoint(struct run *r, sd_err *err);
/* Fills trainer, shuffle, stats, the source's row, epoch and events.n_bytes. */
sd_status sd_learn__restore(struct run *r, const sd_exec *ex, sd_err *err);

#endif

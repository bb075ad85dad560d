/* identity: the neurons of a site as a dictionary, with statistics of some rows. */
#ifndef SD_LAB_LEARN_IDENTITY_H
#define SD_LAB_LEARN_IDENTITY_H

#include "lab/learn.h"

typedef struct sd_identity_opt {
    sd_dict_info meta;
    int64_t n_rows;   /* rows to take statistics of; 0: 16,384 or all */
    const char *dir;  /* where the dictionary goes; exists */
    double t0;        /* as sd_learn_opt.t0 */
} sd_identity_opt;
/* Of the result steps, FVU and CE stay 0, 0 and 1: nothing is trained and nothing is lost. */
sd_status sd_lab_learn_identity(sd_learn_result *out, const sd_exec *ex, sd_act_source src, int64_t n_rows, const sd_identity_opt *opt,
                                const sd_progress *progress, sd_err *err);

#endif

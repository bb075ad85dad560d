/* The tiny model, opened: what most tests of sessions and studies begin with. */
#ifndef SD_TEST_TINY_OPEN_H
#define SD_TEST_TINY_OPEN_H

#include "tiny_model.h"

#include "model/model.h"

/* Two threads and the default tiny model from a Hugging Face folder, which is gone again; both are the caller's. */
static inline sd_status tiny_open(sd_exec **ex, sd_model **m, sd_err *err)
{
    const char *dir = t_tmpdir();
    tiny_write_hf(dir, &tiny_default);
    sd_status st = sd_exec_new(ex, &(sd_exec_opt){.n_threads = 2}, err);
    if (!st) st = sd_model_open(m, *ex, dir, NULL, err);
    t_rmtree(dir); /* the weights stay mapped */
    return st;
}

#endif

/* ckpt: where a run that can be resumed keeps its state: RUN/checkpoint-STEP/ with safetensors files, named by RUN/checkpoint.json, which is replaced last and
 * atomically. So a run that dies while writing goes on from the checkpoint before; and so does one whose disk is full, also when it writes the step again that the
 * checkpoint before is of. What is in the files is the runs' own (learn_ckpt.c, tune_ckpt.c). */
#ifndef SD_LAB_CKPT_H
#define SD_LAB_CKPT_H

#include "base/json.h"

enum { SD_CKPT_PATH = 1200 };
typedef struct sd_ckpt { char name[64], dir[SD_CKPT_PATH]; bool there; } sd_ckpt; /* there: the folder stood there when it was begun */

/* Makes the folder of a step. */
sd_status sd_ckpt_begin(sd_ckpt *c, const char *run, int64_t step, sd_err *err);
/* The path of number i of a kind of files: "trainer.safetensors", "trainer-1.safetensors". what: "trainer", "shuffle" or "state". */
sd_status sd_ckpt_file(char out[SD_CKPT_PATH], const sd_ckpt *c, const char *what, int i, sd_err *err);
/* st: how writing the files went. When well, json becomes RUN/checkpoint.json and other checkpoints go; else what was begun goes, unless its folder was there before.
 * Returns st, or its own error. */
sd_status sd_ckpt_end(const sd_ckpt *c, const char *run, const sd_buf *json, sd_status st, sd_err *err);

/* *json: RUN/checkpoint.json, the caller's; c: what it names. SD_E_NOTFOUND: there is none. SD_E_FORMAT: it names no checkpoint of this folder. */
sd_status sd_ckpt_open(sd_ckpt *c, json_t **json, const char *run, sd_err *err);
bool sd_ckpt_exists(const char *run);
/* The run has ended and its result stands: the name goes before what it names. */
void sd_ckpt_forget(const char *run);

#endif

/* A source read by a thread of its own, a few blocks ahead of who takes them: the model runs on while a step trains. The pool of sd_parallel_for is
 * free whenever one of the two is in a part that one thread does, and then serves the other; rows and their order are those of the source. */
#ifndef SD_LAB_LEARN_AHEAD_H
#define SD_LAB_LEARN_AHEAD_H

#include "dict/act.h"

typedef struct sd_ahead sd_ahead;
/* in is borrowed and used by the thread alone until free. */
sd_status sd_ahead_new(sd_ahead **out, sd_act_source in, sd_err *err);
/* For one thread. next: a block stays until the next call; tell: where who takes them stands. */
sd_act_source sd_ahead_source(sd_ahead *a);
void sd_ahead_free(sd_ahead *a); /* ends the thread after the block that it reads */

#endif

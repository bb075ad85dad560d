/* Shared by the files of the damage study. */
#ifndef SD_LAB_DAMAGE_INT_H
#define SD_LAB_DAMAGE_INT_H

#include "lab/damage.h"

char sd_damage__letter(sd_class c);
void sd_damage__cell_release(sd_damage_cell *c);
/* study: a hash of all that a cell depends on besides its learning rate, batch and seed. */
sd_status sd_damage__cell_write(const sd_damage_cell *c, const char *study, const char *path, sd_err *err);
sd_status sd_damage__cell_read(sd_damage_cell *c, const char *study, int64_t n_prompt, const char *path, sd_err *err);
/* Fills row from the cells. */
sd_status sd_damage__rows(sd_damage *r, sd_err *err);

#endif

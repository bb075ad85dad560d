/* Which features of a dictionary make up a direction: matching pursuit (Mallat and Zhang 1993) over unit decoder rows. At each step the row with the largest
 * absolute product with what is left is taken and its part removed; `share` is the part of the direction's squared norm that the rows so far explain. */
#ifndef SD_LAB_DIRECTION_DICT_H
#define SD_LAB_DIRECTION_DICT_H

#include "sonde/dict.h"

typedef struct sd_direction_part { int64_t feature; double cosine, share; } sd_direction_part; /* cosine of the row with the whole direction */
/* Fills part [n] (at most m); *n_out how many. SD_E_SHAPE: the dictionary is of another width. */
sd_status sd_direction_parts(sd_direction_part *part, int n, int *n_out, const sd_dict *dict, const float *v, int64_t d, sd_err *err);

#endif

/* Kinds that are made of another or of nothing: the identity and the crosscoder. Trained kinds: dict_kind.h, dict_trans.h. */
#ifndef SD_DICT_KINDS_H
#define SD_DICT_KINDS_H

#include "num/exec.h"
#include "sonde/dict.h"

/* kind_identity.c. The model's own neurons as a dictionary of 2 d features: f < d is max(x_f, 0), d + f is max(-x_f, 0), so the
 * reconstruction is x itself. Statistics come from the rows x [n, d]. Holds 4 d^2 numbers. meta says of which model and site. */
sd_status sd_dict_identity(sd_dict **out, const sd_exec *ex, sd_mat x, const sd_dict_info *meta, sd_err *err);

/* kind_crosscoder.c. d was trained on rows of several parts side by side (sites, or a site in two checkpoints), each part multiplied by
 * its factor; makes it the dictionary of the plain rows and marks it a crosscoder. Activations, thresholds and densities stay as they
 * were; decoder rows are no longer unit. rms: mean norm of the plain rows. */
typedef struct sd_cross_part { int64_t width; double factor; } sd_cross_part;
void sd_dict_crosscoder(sd_dict *d, const sd_cross_part *part, int n_part, double rms);

#endif

/* Internal: an adapter joined to a model that is being opened. */
#ifndef SD_MODEL_ADAPT_H
#define SD_MODEL_ADAPT_H

#include "model/lora.h"

/* m is bound as views. Merges the PEFT folder dir; views: the merged matrices replace the views, else everything is
 * packed (the head only when it is wanted). */
sd_status sd_model__adapt(sd_model *m, const char *dir, bool views, bool head, sd_err *err);
/* The same with an adapter in memory. */
sd_status sd_model__join(sd_model *m, const sd_lora *lora, bool views, bool head, sd_err *err);

#endif

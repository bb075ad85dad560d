/* Whether two models have the same tokens: as many, each the same bytes, and heads of one size. */
#ifndef SD_LAB_SAME_TOKENS_H
#define SD_LAB_SAME_TOKENS_H

#include "model/model.h"

/* SD_E_FORMAT with the first token that differs, named as `name`'s, and the hint. */
sd_status sd_same_tokens(const sd_model *m, const sd_model *other, const char *name, const char *hint, sd_err *err);

#endif

/* trace: every wanted site of one prompt, as named tensors. */
#ifndef SD_LAB_TRACE_H
#define SD_LAB_TRACE_H

#include "model/session.h"

typedef struct sd_trace_tensor { char name[192]; int rank; int64_t dim[3]; float *data; } sd_trace_tensor;
typedef struct sd_trace { sd_trace_tensor *v; int64_t n; } sd_trace; /* owns */
void sd_trace_release(sd_trace *t);
/* names: "resid_post.3" or an alias; tensors come back under the names as asked, `logits` [n,V] first. */
sd_status sd_lab_trace(sd_trace *out, const sd_exec *ex, const sd_model *m, const sd_ids *ids, const char *const *names, int n_names,
                       sd_err *err);
/* Appends `loss` [1], the mean next-token cross-entropy, and `grad.NAME` of every parameter NAME of transformers' model; with an
 * adapter (a PEFT folder; NULL or "": none) of PEFT's, in which only the adapter's parameters have a gradient. m: the base, opened
 * with views. */
sd_status sd_lab_trace_grad(sd_trace *t, const sd_exec *ex, const sd_model *m, const char *adapter, const sd_ids *ids, sd_mode mode,
                            sd_err *err);
sd_status sd_trace_save(const sd_trace *t, const char *path, sd_err *err);

#endif

/* The provenance record as JSON. The seed is always written: 0 is a seed like any other. */
#include "base/prov.h"

static void text(sd_jw *w, const char *key, const char *value)
{
    if (value[0]) sd_jw_kstr(w, key, value);
}

void sd_prov_write(sd_jw *w, const sd_prov *p)
{
    sd_jw_obj(w);
    text(w, "tool", p->tool);
    text(w, "created", p->created);
    text(w, "args", p->args);
    text(w, "cpu", p->cpu);
    text(w, "isa", p->isa);
    text(w, "mode", p->mode);
    if (p->n_threads > 0) sd_jw_ki64(w, "n_threads", p->n_threads);
    sd_jw_key(w, "seed");
    sd_jw_u64(w, p->seed);
    text(w, "model_sha256", p->model_sha256);
    text(w, "data_sha256", p->data_sha256);
    text(w, "dict_sha256", p->dict_sha256);
    sd_jw_end(w);
}

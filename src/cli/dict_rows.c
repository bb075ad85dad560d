/* Owns: which harvest gives which sites. */
#include "cli/dict_rows.h"

int dict_rows_layers(const sd_cross_sites *s)
{
    int n = 1;
    for (int i = 0; i < s->n; i++)
        if (sd_site_is_layered(s->site[i].kind) && s->site[i].layer + 1 > n) n = s->site[i].layer + 1;
    return n;
}

sd_status dict_rows_sites(sd_cross_sites *out, const sd_dict *dict, const char *with, sd_err *err)
{
    *out = (sd_cross_sites){0};
    const sd_status st = sd_cross_sites_parse(out, sd_dict_site_name(dict), err);
    if (st) return st;
    const bool two = out->n && out->second[out->n - 1];
    if (two == (with != NULL)) return SD_OK;
    if (!two) return sd_fail(err, SD_E_ARG, "the crosscoder is of one model's sites (%s); --with has no place", sd_dict_site_name(dict));
    sd_fail(err, SD_E_ARG, "the crosscoder is of two models (%s), and one is given", sd_dict_site_name(dict));
    return sd_hint(err, "add --with MODEL2");
}

/* The harvest of one model's sites. */
static sd_status open_one(sd_harvest **out, const sd_exec *ex, const sd_model *m, const dict_rows_in *in, bool second, int64_t *width, sd_err *err)
{
    sd_harvest_opt o = in->base;
    int n = 0;
    o.n_also = 0;
    for (int i = 0; i < in->sites.n; i++) {
        if (in->sites.second[i] != second) continue;
        const sd_status st = sd_model_site_cols(m, in->sites.site[i], &width[i], err);
        if (st) return st;
        if (n++ == 0) o.site = in->sites.site[i];
        else o.also[o.n_also++] = in->sites.site[i];
    }
    return sd_harvest_open(out, ex, m, in->corpus, &o, err);
}

sd_status dict_rows_open(dict_rows *r, const sd_exec *ex, const dict_rows_in *in, sd_err *err)
{
    *r = (dict_rows){.n_part = in->sites.n};
    sd_status st = open_one(&r->first, ex, in->model, in, false, r->width, err);
    if (st) return st;
    r->src = sd_harvest_source(r->first);
    r->n_rows = sd_harvest_rows(r->first);
    if (in->with) {
        const sd_model_opt o = {.mode = in->mode, .no_head = !in->predicts, .max_layer = in->predicts ? 0 : dict_rows_layers(&in->sites)};
        if ((st = sd_model_open(&r->with, ex, in->with, &o, err)) || (st = open_one(&r->second, ex, r->with, in, true, r->width, err))) return st;
        if (sd_harvest_rows(r->second) != r->n_rows) {
            sd_fail(err, SD_E_FORMAT, "the two models read this text as %lld and %lld tokens, so their rows do not belong together", (long long)r->n_rows, (long long)sd_harvest_rows(r->second));
            return sd_hint(err, "two checkpoints of one model have one tokenizer");
        }
    }
    if (!in->cross) return SD_OK;
    const sd_act_source second = r->second ? sd_harvest_source(r->second) : (sd_act_source){0};
    if ((st = sd_cross_open(&r->cross, r->src, second, r->width, r->n_part, in->scale, err))) return st;
    r->src = sd_cross_source(r->cross);
    return SD_OK;
}

void dict_rows_close(dict_rows *r)
{
    sd_cross_close(r->cross);
    sd_harvest_close(r->first);
    sd_harvest_close(r->second);
    sd_model_close(r->with);
}

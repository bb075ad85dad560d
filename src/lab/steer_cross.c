/* Owns: which part of a crosscoder's feature is steered. Its row lies over several sites; a steer edits one, and several steers several. */
#include "lab/cross.h"
#include "lab/steer_int.h"

sd_status sd_steer__cross_part(int64_t *col, int64_t *d, const sd_steer_spec *spec, const sd_model *m, const sd_dict *dict, sd_err *err)
{
    sd_cross_sites s = {0};
    const char *all = sd_dict_site_name(dict);
    sd_status st = sd_cross_sites_parse(&s, all, err);
    if (st) return st;
    if (!spec->has_site) {
        sd_fail(err, SD_E_ARG, "steer: a crosscoder's features are written at %s; which of them is not said", all);
        return sd_hint(err, "give \"site\", one steer for each that is to be edited");
    }
    *col = 0;
    for (int i = 0; i < s.n && !s.second[i]; i++) {
        if ((st = sd_model_site_cols(m, s.site[i], d, err))) return st;
        if (s.site[i].kind == spec->site.kind && s.site[i].layer == spec->site.layer) break;
        *col += *d;
        *d = 0;
    }
    if (*d > 0 && *col + *d <= sd_dict_get_info(dict)->d) return SD_OK;
    return sd_fail(err, SD_E_ARG, "steer: the crosscoder is of %s, not of %s of this model", all, sd_site_print((char[64]){0}, 64, spec->site));
}

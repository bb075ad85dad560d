#include "cli/guard_args.h"

#include <string.h>

sd_status guard_of(sd_guard_opt *out, cli *c, const guard_args *g, sd_err *err)
{
    *out = (sd_guard_opt){.unaligned = g->unaligned, .threshold = g->threshold, .rho = g->rho > 0 ? g->rho : -1};
    for (int k = 0; g->guard && k < SD_N_GUARDS; k++)
        if (strcmp(g->guard, sd_guard_name((sd_guard)k)) == 0) out->kind = (sd_guard)k;
    const bool rows = out->kind && out->kind != SD_GUARD_SAFELORA;
    if (rows && !g->safety) return cli_refuse(c, err, "--guard %s needs safety rows: --safety FILE", g->guard);
    if (g->safety && !rows) return cli_refuse(c, err, "--safety is for --guard lisa, project, mask and deep");
    if ((out->kind == SD_GUARD_SAFELORA) != (g->unaligned != NULL))
        return cli_refuse(c, err, g->unaligned ? "--unaligned is for --guard safelora" : "--guard safelora needs the model before its alignment: --unaligned MODEL2");
    if (g->cycle.n && (g->cycle.n != 2 || g->cycle.v[0] < 1 || g->cycle.v[1] < 1 || g->cycle.v[0] > 1 << 30 || g->cycle.v[1] > 1 << 30))
        return cli_refuse(c, err, "--cycle takes two numbers of steps, as 100,900");
    if (g->cycle.n) out->align = g->cycle.v[0], out->user = g->cycle.v[1];
    if (!g->safety) return SD_OK;
    const char *colon = strrchr(g->safety, ':');
    if (colon && sd_parse_i64(sd_slice_of(colon + 1), &out->n_safety)) {
        if (out->n_safety < 1) return cli_refuse(c, err, "--safety takes FILE or FILE:N, the number of rows to draw, not %s", g->safety);
        out->safety = cli_keep(c, sd_strndup(g->safety, (size_t)(colon - g->safety)));
    } else {
        out->safety = cli_keep(c, sd_strdup(g->safety));
    }
    return out->safety ? SD_OK : sd_fail(err, SD_E_NOMEM, "out of memory: the name of a file");
}

/* Adapters in memory: which matrices they stand beside, their memory, merging. lora_file.c reads and writes them. */
#include "model/lora.h"

#include "base/map.h"
#include "base/rng.h"
#include "file/hub.h"
#include "model/arch.h"

#include <math.h>
#include <stdio.h>

enum { MAX_RANK = 1024 };

/* The tensors of a block that can be adapted, and which of our matrices each holds. */
static const struct {
    sd_role role;
    int first, n;
} holders[] = {{SD_ROLE_Q, SD_MAT_Q, 1},   {SD_ROLE_K, SD_MAT_K, 1},          {SD_ROLE_V, SD_MAT_V, 1},
               {SD_ROLE_QKV, SD_MAT_Q, 3}, {SD_ROLE_O, SD_MAT_O, 1},          {SD_ROLE_GATE, SD_MAT_GATE, 1},
               {SD_ROLE_UP, SD_MAT_UP, 1}, {SD_ROLE_GATE_UP, SD_MAT_GATE, 2}, {SD_ROLE_DOWN, SD_MAT_DOWN, 1}};
enum { N_HOLDERS = sizeof holders / sizeof *holders };

static const char *module_of(const char *pattern)
{
    const char *dot = strrchr(pattern, '.');
    return dot ? dot + 1 : pattern;
}

/* True when module is in the list; an empty list has all. */
static bool wanted(const char *targets, const char *module)
{
    sd_slice rest = sd_slice_of(targets), part;
    if (!targets || !*targets) return true;
    while (sd_slice_cut(&rest, ',', &part))
        if (sd_slice_eq_str(sd_slice_trim(part), module)) return true;
    return false;
}

/* Every target must name a module of this architecture. */
static sd_status check_targets(const sd_model *m, const char *targets, sd_err *err)
{
    sd_slice rest = sd_slice_of(targets ? targets : ""), part;
    while (sd_slice_cut(&rest, ',', &part)) {
        bool found = false;
        char known[256] = "";
        part = sd_slice_trim(part);
        for (int i = 0; i < N_HOLDERS; i++) {
            const char *p = m->arch->tensor[holders[i].role].hf;
            if (!p) continue;
            found = found || sd_slice_eq_str(part, module_of(p));
            const size_t n = strlen(known);
            if (!strstr(known, module_of(p))) snprintf(known + n, sizeof known - n, "%s%s", n ? ", " : "", module_of(p));
        }
        if (found || part.n == 0) continue;
        sd_fail(err, SD_E_ARG, "%s has no module %.*s to adapt", m->arch->name, SD_SLICE(part));
        return sd_hint(err, "it has %s", known);
    }
    return SD_OK;
}

/* Counts groups and floats (l->data NULL), then fills them. */
static void lay(sd_lora *l, const sd_model *m)
{
    int64_t n = 0, at = 0;
    for (int layer = 0; layer < m->cfg.n_layer; layer++)
        for (int i = 0; i < N_HOLDERS; i++) {
            const char *p = m->arch->tensor[holders[i].role].hf, *hole = p ? strstr(p, "%d") : NULL;
            const sd_matrix *w = &m->block[layer].mat[holders[i].first];
            if (!p || !hole || !w->w.data || !wanted(l->opt.targets, module_of(p))) continue;
            int64_t out = 0, in = w->w.cols;
            for (int k = 0; k < holders[i].n; k++) out += w[k].w.rows;
            if (l->data) {
                sd_lora_group *g = &l->group[n];
                *g = (sd_lora_group){.a = l->data + at, .b = l->data + at + l->opt.rank * in, .in = in, .out = out};
                g->head = holders[i].role == SD_ROLE_QKV && m->arch->hf_qkv_by_head ? m->cfg.d_head : 0;
                snprintf(g->name, sizeof g->name, "%.*s%d%s", (int)(hole - p), p, layer, hole + 2);
                snprintf(g->module, sizeof g->module, "%s", module_of(p));
                int64_t row = 0;
                for (int k = 0; k < holders[i].n; row += w[k++].w.rows)
                    l->mat[layer][holders[i].first + k] =
                        (sd_lora_mat){g->a, g->b + row * l->opt.rank, l->opt.rank, l->scale};
            }
            n++;
            at += l->opt.rank * (in + out);
        }
    l->n_group = n;
    l->n_data = at;
}

/* "q_proj,v_proj": what the groups really are. */
static void name_targets(sd_lora *l)
{
    l->targets[0] = '\0';
    for (int64_t i = 0; i < l->n_group; i++) {
        const size_t n = strlen(l->targets);
        if (!wanted(n ? l->targets : " ", l->group[i].module))
            snprintf(l->targets + n, sizeof l->targets - n, "%s%s", n ? "," : "", l->group[i].module);
    }
    l->opt.targets = l->targets;
}

sd_status sd_lora_new(sd_lora **out, const sd_model *m, const sd_lora_opt *opt, uint64_t seed, sd_err *err)
{
    sd_lora *l = NULL;
    *out = NULL;
    if (opt->rank < 1 || opt->rank > MAX_RANK)
        return sd_fail(err, SD_E_ARG, "an adapter of rank %d; it must be 1 to %d", opt->rank, MAX_RANK);
    if (!(opt->dropout >= 0 && opt->dropout < 1) || !(opt->alpha >= 0))
        return sd_fail(err, SD_E_ARG, "an adapter with dropout %g and alpha %g", opt->dropout, opt->alpha);
    sd_status st = check_targets(m, opt->targets, err);
    if (!st) st = sd_alloc_zero(&l, sizeof *l, "an adapter", err);
    if (st) return st;
    l->opt = *opt;
    if (l->opt.alpha == 0) l->opt.alpha = 2 * opt->rank;
    l->scale = (float)(l->opt.alpha / (opt->rslora ? sqrt(opt->rank) : opt->rank));
    l->n_layer = m->cfg.n_layer;
    lay(l, m);
    if (l->n_group == 0) {
        st = sd_fail(err, SD_E_ARG, "an adapter of no module: '%s' names none", opt->targets);
        goto done;
    }
    if ((st = sd_alloc_zero(&l->mat, (size_t)l->n_layer * sizeof *l->mat, "an adapter", err))) goto done;
    if ((st = sd_alloc_zero(&l->group, (size_t)l->n_group * sizeof *l->group, "an adapter", err))) goto done;
    if ((st = sd_alloc_zero(&l->data, (size_t)l->n_data * sizeof *l->data, "an adapter", err))) goto done;
    lay(l, m);
    name_targets(l);
    for (int64_t i = 0; i < l->n_group; i++) {
        sd_rng r = sd_rng_make(seed, "lora", (uint64_t)i);
        const double bound = 1.0 / sqrt((double)l->group[i].in);
        for (int64_t k = 0; k < opt->rank * l->group[i].in; k++)
            l->group[i].a[k] = (float)(bound * (2 * sd_rng_uniform(&r) - 1));
    }
    *out = l;
    l = NULL;
done:
    sd_lora_free(l);
    return st;
}

void sd_lora_free(sd_lora *l)
{
    if (!l) return;
    sd_free(l->mat);
    sd_free(l->group);
    sd_free(l->data);
    sd_free(l);
}

void sd_lora_merge(float *w, int64_t in, const sd_lora_mat *m, int64_t r0, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        for (int k = 0; k < m->rank; k++) {
            const float s = m->scale * m->b[(r0 + i) * m->rank + k], *a = m->a + k * in;
            for (int64_t c = 0; c < in; c++) w[i * in + c] += s * a[c];
        }
}

sd_status sd_model_spec_parse(sd_model_spec *out, const char *spec, sd_err *err)
{
    const char *plus = sd_hub_plus(spec);
    const size_t n = plus ? (size_t)(plus - spec) : strlen(spec);
    *out = (sd_model_spec){0};
    if (n >= sizeof out->model || (plus && strlen(plus + 1) >= sizeof out->adapter))
        return sd_fail(err, SD_E_ARG, "a path of %zu bytes is longer than the limit of %zu", strlen(spec),
                       sizeof out->model - 1);
    if (plus && (!n || !plus[1])) {
        sd_fail(err, SD_E_ARG, "'%s' has no %s the +", spec, n ? "adapter behind" : "model before");
        return sd_hint(err, "MODEL+ADAPTER joins an adapter's folder to a model; a model alone has no +");
    }
    memcpy(out->model, spec, n);
    if (plus) memcpy(out->adapter, plus + 1, strlen(plus + 1));
    return SD_OK;
}

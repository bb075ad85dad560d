/* Names of sites: our spelling, TransformerLens' and transformers' module names as aliases. */
#include "model/arch.h"

#include <stdio.h>

typedef struct site_name {
    const char *name, *tl;
    bool layered;
} site_name;

static const site_name site_names[SD_SITE_KIND_COUNT] = {
#define XX(id, name, layered, tl) [SD_SITE_##id] = {name, tl, layered},
    SD_SITE_MAP(XX)
#undef XX
};

/* A layer is at most five digits: no model has more, and an int holds it. */
enum { MAX_LAYER_DIGITS = 5, MAX_NAME = 64 };

bool sd_site_is_layered(sd_site_kind k)
{
    return site_names[k].layered;
}

static bool parse_layer(sd_slice s, int *layer)
{
    int64_t v;
    if (s.n > MAX_LAYER_DIGITS || !sd_parse_i64(s, &v) || v < 0) return false;
    *layer = (int)v;
    return true;
}

/* text = pattern with its %d (if it has one) as the layer. */
static bool match(sd_slice text, const char *pattern, int *layer)
{
    const char *hole = strstr(pattern, "%d");
    if (!hole) return pattern[0] && sd_slice_eq_str(text, pattern);
    size_t head = (size_t)(hole - pattern), tail = strlen(hole + 2);
    if (text.n <= head + tail || memcmp(text.p, pattern, head) != 0) return false;
    if (memcmp(text.p + text.n - tail, hole + 2, tail) != 0) return false;
    return parse_layer((sd_slice){text.p + head, text.n - head - tail}, layer);
}

static bool match_own(sd_slice text, const site_name *n, int *layer)
{
    if (!n->layered) return sd_slice_eq_str(text, n->name);
    size_t head = strlen(n->name);
    return text.n > head && memcmp(text.p, n->name, head) == 0 && text.p[head] == '.' &&
           parse_layer((sd_slice){text.p + head + 1, text.n - head - 1}, layer);
}

/* Edit distance (Levenshtein) of two short strings. */
static int distance(sd_slice a, const char *b)
{
    int row[MAX_NAME + 1], n = (int)strlen(b);
    for (int j = 0; j <= n; j++) row[j] = j;
    for (size_t i = 0; i < a.n; i++) {
        int diagonal = row[0];
        row[0] = (int)i + 1;
        for (int j = 0; j < n; j++) {
            int replace = diagonal + (a.p[i] != b[j]), grow = 1 + (row[j] < row[j + 1] ? row[j] : row[j + 1]);
            diagonal = row[j + 1];
            row[j + 1] = replace < grow ? replace : grow;
        }
    }
    return row[n];
}

static sd_slice without_output(sd_slice name)
{
    if (sd_slice_ends(name, ".output")) name.n -= strlen(".output");
    return name;
}

/* transformers' attention or MLP of a block, in any architecture. */
static bool module_of_block(sd_site *out, sd_slice text)
{
    static const struct {
        const char *name;
        sd_site_kind kind;
    } module[] = {{"model.layers.%d.self_attn", SD_SITE_ATTN_OUT}, {"model.layers.%d.mlp", SD_SITE_MLP_OUT}, {"transformer.h.%d.attn", SD_SITE_ATTN_OUT},
                  {"transformer.h.%d.mlp", SD_SITE_MLP_OUT}, {"gpt_neox.layers.%d.attention", SD_SITE_ATTN_OUT}, {"gpt_neox.layers.%d.mlp", SD_SITE_MLP_OUT}};
    for (size_t i = 0; i < sizeof module / sizeof *module; i++) {
        *out = (sd_site){module[i].kind, 0};
        if (match(without_output(text), module[i].name, &out->layer)) return true;
    }
    return false;
}

static sd_status unknown(sd_slice text, sd_err *err)
{
    sd_buf known;
    sd_buf_init(&known, 1024);
    for (int k = 0; k < SD_SITE_KIND_COUNT; k++)
        sd_buf_printf(&known, "%s%s%s", k ? ", " : "", site_names[k].name, site_names[k].layered ? ".L" : "");
    sd_slice shown = {text.p, text.n < MAX_NAME ? sd_utf8_valid_prefix(text)
                                                : sd_utf8_valid_prefix((sd_slice){text.p, MAX_NAME})};
    sd_status st = sd_fail(err, SD_E_ARG, "unknown site \"%.*s\": known are %s", SD_SLICE(shown), sd_buf_str(&known));
    sd_buf_release(&known);
    /* Names are compared without the layer, which is put back into the suggestion. */
    sd_slice head = shown, layer = {"L", 1};
    for (size_t i = 0; i < shown.n; i++)
        if (shown.p[i] == '.') {
            head.n = i;
            int ignored;
            sd_slice rest = {shown.p + i + 1, shown.n - i - 1};
            if (parse_layer(rest, &ignored)) layer = rest;
            break;
        }
    sd_site added;
    if (module_of_block(&added, text)) {
        sd_hint(err, "what it adds to the stream depends on where the norms are: %s.%d", site_names[added.kind].name, added.layer);
        return st;
    }
    int best = 0;
    for (int k = 1; k < SD_SITE_KIND_COUNT; k++)
        if (distance(head, site_names[k].name) < distance(head, site_names[best].name)) best = k;
    if (distance(head, site_names[best].name) > (int)head.n / 3 + 1)
        sd_hint(err, "resid_post.L, L counted from 0, is what leaves block L");
    else if (site_names[best].layered)
        sd_hint(err, "did you mean %s.%.*s?", site_names[best].name, SD_SLICE(layer));
    else
        sd_hint(err, "did you mean %s?", site_names[best].name);
    return st;
}

/* transformers' modules: NAME and NAME.output are what the module gives, NAME.input what it gets. Only those that mean one site in every
 * architecture: where norms stand behind attention and MLP, their modules' outputs are not what is added to the stream. */
static const struct {
    const char *name;
    sd_site_kind kind;
} modules[] = {{"model.layers.%d", SD_SITE_RESID_POST},
               {"model.layers.%d.input", SD_SITE_RESID_PRE},
               {"model.layers.%d.self_attn.v_proj", SD_SITE_ATTN_V},
               {"model.layers.%d.self_attn.o_proj.input", SD_SITE_ATTN_Z},
               {"model.layers.%d.mlp.gate_proj", SD_SITE_MLP_PRE},
               {"model.layers.%d.mlp.up_proj", SD_SITE_MLP_UP},
               {"model.layers.%d.mlp.down_proj.input", SD_SITE_MLP_POST},
               {"model.norm", SD_SITE_FINAL_NORM},
               {"transformer.h.%d", SD_SITE_RESID_POST},
               {"transformer.h.%d.input", SD_SITE_RESID_PRE},
               {"transformer.h.%d.attn.c_proj.input", SD_SITE_ATTN_Z},
               {"transformer.h.%d.mlp.c_fc", SD_SITE_MLP_PRE},
               {"transformer.h.%d.mlp.c_proj.input", SD_SITE_MLP_POST},
               {"transformer.ln_f", SD_SITE_FINAL_NORM},
               {"gpt_neox.layers.%d", SD_SITE_RESID_POST},
               {"gpt_neox.layers.%d.input", SD_SITE_RESID_PRE},
               {"gpt_neox.layers.%d.attention.dense.input", SD_SITE_ATTN_Z},
               {"gpt_neox.layers.%d.mlp.dense_h_to_4h", SD_SITE_MLP_PRE},
               {"gpt_neox.layers.%d.mlp.dense_4h_to_h.input", SD_SITE_MLP_POST},
               {"gpt_neox.final_layer_norm", SD_SITE_FINAL_NORM}};

sd_status sd_site_parse(sd_site *out, const char *text, size_t n, sd_err *err)
{
    sd_slice s = {text, n};
    for (int k = 0; k < SD_SITE_KIND_COUNT; k++) {
        int layer = 0;
        if (match_own(s, &site_names[k], &layer) || match(s, site_names[k].tl, &layer)) {
            *out = (sd_site){(sd_site_kind)k, layer};
            return SD_OK;
        }
    }
    for (size_t i = 0; i < sizeof modules / sizeof *modules; i++) {
        int layer = 0;
        if (match(without_output(s), modules[i].name, &layer)) {
            *out = (sd_site){modules[i].kind, layer};
            return SD_OK;
        }
    }
    return unknown(s, err);
}

sd_status sd_model_site_parse(const sd_model *m, sd_site *out, const char *text, size_t n, sd_err *err)
{
    /* What is added to the stream leaves the norm behind a module where there is one, else the module, which holds the last matrix. Queries and
     * keys leave their norm, where there is one. */
    static const struct {
        sd_role norm, matrix;
        bool whole; /* the matrix itself, not the module around it */
        sd_site_kind kind;
    } by_arch[] = {{SD_ROLE_ATTN_POST, SD_ROLE_O, false, SD_SITE_ATTN_OUT}, {SD_ROLE_MLP_POST, SD_ROLE_DOWN, false, SD_SITE_MLP_OUT},
                   {SD_ROLE_Q_NORM, SD_ROLE_Q, true, SD_SITE_ATTN_Q}, {SD_ROLE_K_NORM, SD_ROLE_K, true, SD_SITE_ATTN_K}};
    const sd_slice name = without_output((sd_slice){text, n});
    for (size_t i = 0; i < sizeof by_arch / sizeof *by_arch; i++) {
        char pattern[MAX_NAME * 2];
        const char *norm = m->arch->tensor[by_arch[i].norm].hf, *matrix = m->arch->tensor[by_arch[i].matrix].hf;
        if (!norm && !matrix) continue;
        snprintf(pattern, sizeof pattern, "%s", norm ? norm : matrix);
        if (!norm && !by_arch[i].whole) *strrchr(pattern, '.') = '\0';
        *out = (sd_site){by_arch[i].kind, 0};
        if (match(name, pattern, &out->layer)) return SD_OK;
    }
    return sd_site_parse(out, text, n, err);
}

const char *sd_site_print(char *out, size_t cap, sd_site s)
{
    if (site_names[s.kind].layered)
        snprintf(out, cap, "%s.%d", site_names[s.kind].name, s.layer);
    else
        snprintf(out, cap, "%s", site_names[s.kind].name);
    return out;
}

const char *sd_site_print_tl(char *out, size_t cap, sd_site s)
{
    const char *tl = site_names[s.kind].tl, *hole = strstr(tl, "%d");
    if (hole)
        snprintf(out, cap, "%.*s%d%s", (int)(hole - tl), tl, s.layer, hole + 2);
    else
        snprintf(out, cap, "%s", tl);
    return out;
}

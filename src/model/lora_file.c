/* PEFT's two files. Read strictly: a setting that changes the arithmetic and is not known here is refused, not ignored.
 */
#include "model/lora.h"

#include "base/json.h"
#include "base/map.h"
#include "model/arch.h"

#include <math.h>
#include <stdio.h>

enum { MAX_CONFIG = 1 << 20 };
#define PREFIX "base_model.model."

/* ---- reading ---- */

static sd_status refuse(sd_err *err, const char *path, const char *what)
{
    return sd_fail(err, SD_E_UNSUPPORTED, "%s: %s", path, what);
}

static bool is_set(const json_t *c, const char *key)
{
    const json_t *v = json_object_get(c, key);
    if (!v || json_is_null(v) || json_is_false(v)) return false;
    if (json_is_object(v)) return json_object_size(v) > 0;
    if (json_is_array(v)) return json_array_size(v) > 0;
    return true;
}

/* What would make the adapter another function than scale B A x. */
static sd_status check_plain(const json_t *c, const char *path, sd_err *err)
{
    static const char *const foreign[] = {"use_dora",          "lora_bias",
                                          "modules_to_save",   "rank_pattern",
                                          "alpha_pattern",     "layer_replication",
                                          "use_qalora",        "trainable_token_indices",
                                          "target_parameters", "alora_invocation_tokens",
                                          "megatron_config",   "use_bdlora",
                                          "arrow_config",      "kasa_config",
                                          "velora_config",     "monteclora_config"};
    const char *type = "", *bias = "none";
    sd_status st = sd_json_get_str(c, "peft_type", &type, path, err);
    if (!st) st = sd_json_opt_str(c, "bias", &bias, path, err);
    if (st) return st;
    if (strcmp(type, "LORA") != 0)
        return sd_fail(err, SD_E_UNSUPPORTED, "%s: an adapter of type %s; only LORA can be applied", path, type);
    if (strcmp(bias, "none") != 0)
        return refuse(err, path, "it trains biases as well (\"bias\"), which is not supported");
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
        if (is_set(c, foreign[i]))
            return sd_fail(err, SD_E_UNSUPPORTED, "%s: the setting %s is not supported", path, foreign[i]);
    return SD_OK;
}

/* Beginnings that PEFT carves out of the weights, which it changes again each time it loads such an adapter, are not plain; those that leave the
 * weights alone only say how A and B began. */
static sd_status check_beginning(const json_t *c, const char *path, sd_err *err)
{
    static const char *const plain[] = {"gaussian", "eva", "orthogonal", "mica", "lora_ga"};
    const char *how = json_string_value(json_object_get(c, "init_lora_weights"));
    for (size_t i = 0; how && i < sizeof plain / sizeof *plain; i++)
        if (strcmp(how, plain[i]) == 0) return SD_OK;
    if (!how) return SD_OK;
    sd_fail(err, SD_E_UNSUPPORTED, "%s: init_lora_weights \"%.64s\" is not supported: the adapter is one of weights that PEFT changes when it makes or loads it", path, how);
    return sd_hint(err, "save it as a plain LoRA: save_pretrained(.., path_initial_model_for_weight_conversion=..) of PEFT");
}

/* A tensor of the half of a model that sees pictures (file/hf_text.c), which is left alone with that half. */
static bool of_pictures(sd_slice name)
{
    if (!sd_slice_starts(name, PREFIX)) return false;
    name = (sd_slice){name.p + strlen(PREFIX), name.n - strlen(PREFIX)};
    if (sd_slice_starts(name, "model.")) name = (sd_slice){name.p + 6, name.n - 6};
    return sd_slice_starts(name, "vision_tower.") || sd_slice_starts(name, "multi_modal_projector.");
}

/* Does the module stand in tensors of pictures only? */
static bool sees_only(const sd_weights *w, const char *module)
{
    char end[160];
    bool sees = false;
    if (!w) return false;
    snprintf(end, sizeof end, ".%.120s.lora_A.weight", module);
    for (int64_t i = 0; i < sd_weights_count(w); i++) {
        const sd_slice name = sd_weights_at(w, i)->name;
        if (!sd_slice_ends(name, end)) continue;
        if (!of_pictures(name)) return false;
        sees = true;
    }
    return sees;
}

/* target_modules: a list of names. Those that only the half that sees pictures has are left out. */
static sd_status read_targets(const json_t *c, const sd_weights *w, char out[512], const char *path, sd_err *err)
{
    const json_t *v = json_object_get(c, "target_modules");
    size_t n = 0;
    out[0] = '\0';
    if (!json_is_array(v)) return refuse(err, path, "target_modules is no list of names");
    for (size_t i = 0; i < json_array_size(v); i++) {
        const char *s = json_string_value(json_array_get(v, i));
        const char *dot = s ? strrchr(s, '.') : NULL;
        if (!s) return refuse(err, path, "target_modules is no list of names");
        if (sees_only(w, dot ? dot + 1 : s)) continue;
        n += (size_t)snprintf(out + n, 512 - n, "%s%s", n ? "," : "", dot ? dot + 1 : s);
        if (n >= 512) return refuse(err, path, "target_modules is longer than 512 bytes");
    }
    return SD_OK;
}

static sd_status read_config(sd_lora_opt *opt, char targets[512], const sd_weights *w, const char *path, sd_err *err)
{
    json_t *c = NULL;
    int64_t r = 0;
    sd_status st = sd_json_load(&c, path, MAX_CONFIG, err);
    if (!st) st = check_plain(c, path, err);
    if (!st) st = check_beginning(c, path, err);
    if (!st) st = sd_json_get_i64(c, "r", &r, path, err);
    if (!st) st = sd_json_get_f64(c, "lora_alpha", &opt->alpha, path, err);
    if (!st) st = sd_json_opt_f64(c, "lora_dropout", &opt->dropout, path, err);
    if (!st) st = sd_json_opt_bool(c, "use_rslora", &opt->rslora, path, err);
    if (!st) st = read_targets(c, w, targets, path, err);
    if (!st && (r < 1 || r > 1024)) st = sd_fail(err, SD_E_FORMAT, "%s: r is %lld", path, (long long)r);
    if (!st && !(opt->alpha > 0)) st = sd_fail(err, SD_E_FORMAT, "%s: lora_alpha is %g, with which an adapter changes nothing", path, opt->alpha); /* 0 is a default of ours */
    opt->rank = (int)r;
    opt->targets = targets;
    json_decref(c);
    return st;
}

/* Where row `out` of ours lies in a tensor whose rows go head by head. */
static int64_t stored_row(const sd_lora_group *g, int64_t row)
{
    if (!g->head) return row;
    const int64_t part = g->out / 3, which = row / part, in = row % part;
    return (3 * (in / g->head) + which) * g->head + in % g->head;
}

/* A module's tensor, by the names it has in the text model alone, and in models that also see pictures: as published with transformers before 5, and since. */
static const sd_tensor *find(char name[240], const sd_weights *w, const char *module, bool is_b)
{
    static const char *const front[] = {"", "language_model.", "model.language_model."};
    const sd_tensor *t = NULL;
    for (int i = 2; i >= 0 && !t; i--) { /* the plain name last: it is the one that is missing */
        const char *rest = module;
        if (i == 2 && strncmp(module, "model.", 6) == 0) rest += 6;
        snprintf(name, 240, PREFIX "%s%s.lora_%s.weight", front[i], rest, is_b ? "B" : "A");
        t = sd_weights_find(w, name);
    }
    return t;
}

static sd_status read_tensor(const sd_weights *w, const sd_lora_group *g, bool is_b, int rank, const char *path,
                             sd_err *err)
{
    char name[240];
    const sd_tensor *t = find(name, w, g->name, is_b);
    const int64_t rows = is_b ? g->out : rank, cols = is_b ? rank : g->in;
    if (!t) return sd_fail(err, SD_E_NOTFOUND, "%s: tensor %s is missing", path, name);
    if (t->rank != 2 || t->dim[0] != rows || t->dim[1] != cols) {
        sd_fail(err, SD_E_SHAPE, "%s: %s is [%lld, %lld], this model needs [%lld, %lld]", path, name,
                (long long)t->dim[0], (long long)(t->rank > 1 ? t->dim[1] : 1), (long long)rows, (long long)cols);
        return sd_hint(err, "the adapter was made for another model");
    }
    const sd_dtype_info *info = sd_dtype_get(t->dtype);
    if (!info->decode || info->block != 1)
        return sd_fail(err, SD_E_UNSUPPORTED, "%s: %s has elements of type %s", path, name, t->type_name);
    for (int64_t r = 0; r < rows; r++) {
        float *to = (is_b ? g->b : g->a) + r * cols;
        const int64_t at = is_b ? stored_row(g, r) : r;
        info->decode(to, (const uint8_t *)t->data + (size_t)(at * cols) * info->bytes, cols);
        for (int64_t c = 0; c < cols; c++)
            if (!isfinite(to[c]))
                return sd_fail(err, SD_E_FORMAT, "%s: %s holds a number that is not finite", path, name);
    }
    return SD_OK;
}

/* Before memory is taken for the rank that the configuration claims: some tensor has it. */
static sd_status check_rank(const sd_weights *w, int rank, const char *path, sd_err *err)
{
    for (int64_t i = 0; i < sd_weights_count(w); i++) {
        const sd_tensor *t = sd_weights_at(w, i);
        if (sd_slice_ends(t->name, ".lora_A.weight") && t->dim[0] == rank) return SD_OK;
    }
    return sd_fail(err, SD_E_SHAPE, "%s: adapter_config.json says r %d, and no lora_A.weight has as many rows", path, rank);
}

static void leave_pictures(const sd_weights *w)
{
    char name[512];
    for (int64_t i = 0; i < sd_weights_count(w); i++) {
        const sd_slice s = sd_weights_at(w, i)->name;
        if (!of_pictures(s)) continue;
        snprintf(name, sizeof name, "%.*s", (int)(s.n < sizeof name ? s.n : sizeof name - 1), s.p);
        (void)sd_weights_find(w, name); /* asked for, and not used */
    }
}

sd_status sd_lora_read(sd_lora **out, const sd_model *m, const char *dir, sd_err *err)
{
    char config[1200], path[1200], targets[512];
    sd_lora *l = NULL;
    sd_weights *w = NULL;
    sd_lora_opt opt = {0};
    const sd_tensor *left;
    *out = NULL;
    if (!sd_path_join(config, sizeof config, dir, "adapter_config.json") ||
        !sd_path_join(path, sizeof path, dir, "adapter_model.safetensors"))
        return sd_fail(err, SD_E_ARG, "%s: path too long", dir);
    sd_status st = sd_file_exists(config) ? sd_weights_open(&w, path, err) : SD_OK; /* without one it is told below */
    if (!st) st = read_config(&opt, targets, w, config, err);
    if (!st) st = check_rank(w, opt.rank, path, err);
    if (st) goto done;
    if ((st = sd_lora_new(&l, m, &opt, 0, err))) {
        sd_err_wrap(err, "%s", config);
        goto done;
    }
    for (int64_t i = 0; i < l->n_group; i++) {
        if ((st = read_tensor(w, &l->group[i], false, opt.rank, path, err))) goto done;
        if ((st = read_tensor(w, &l->group[i], true, opt.rank, path, err))) goto done;
    }
    leave_pictures(w);
    if ((left = sd_weights_unasked(w))) {
        st = sd_fail(err, SD_E_FORMAT, "%s: there is a tensor %.*s, which this model has no place for", path,
                     (int)(left->name.n < 200 ? left->name.n : 200), left->name.p);
        sd_hint(err, "the adapter was made for another model");
        goto done;
    }
    *out = l;
    l = NULL;
done:
    sd_weights_close(w);
    sd_lora_free(l);
    return st;
}

/* ---- writing ---- */

static void write_config(sd_jw *w, const sd_lora *l, const sd_model *m, const char *base)
{
    sd_slice rest = sd_slice_of(l->targets), part;
    sd_jw_obj(w);
    sd_jw_kstr(w, "peft_type", "LORA");
    sd_jw_kstr(w, "task_type", "CAUSAL_LM");
    sd_jw_kstr(w, "base_model_name_or_path", base);
    sd_jw_ki64(w, "r", l->opt.rank);
    sd_jw_kf64(w, "lora_alpha", l->opt.alpha);
    sd_jw_kf64(w, "lora_dropout", l->opt.dropout);
    sd_jw_kbool(w, "use_rslora", l->opt.rslora);
    sd_jw_kbool(w, "use_dora", false);
    sd_jw_kstr(w, "bias", "none");
    sd_jw_kbool(w, "fan_in_fan_out", m->arch->hf_transposed);
    sd_jw_kbool(w, "inference_mode", true);
    sd_jw_kbool(w, "init_lora_weights", true);
    sd_jw_key(w, "target_modules");
    sd_jw_arr(w);
    while (sd_slice_cut(&rest, ',', &part)) sd_jw_slice(w, part);
    sd_jw_end(w);
    sd_jw_key(w, "modules_to_save");
    sd_jw_null(w);
    sd_jw_end(w);
}

static sd_status write_tensors(const sd_lora *l, const char *path, sd_err *err)
{
    const int64_t n = 2 * l->n_group;
    sd_st_tensor *t = NULL;
    char(*name)[220] = NULL;
    float *rows = NULL; /* B of fused tensors in the file's order */
    int64_t need = 0, at = 0;
    for (int64_t i = 0; i < l->n_group; i++) need += l->group[i].head ? l->group[i].out * l->opt.rank : 0;
    sd_status st = sd_alloc_zero(&t, (size_t)n * sizeof *t, "an adapter's tensors", err);
    if (!st) st = sd_alloc(&name, (size_t)n * sizeof *name, "an adapter's tensors", err);
    if (!st) st = sd_alloc(&rows, (size_t)need * sizeof *rows, "an adapter's tensors", err);
    for (int64_t i = 0; !st && i < n; i++) {
        const sd_lora_group *g = &l->group[i / 2];
        const bool is_b = i % 2;
        snprintf(name[i], sizeof name[i], PREFIX "%s.lora_%s.weight", g->name, is_b ? "B" : "A");
        t[i] = (sd_st_tensor){.name = name[i], .dtype = SD_F32, .rank = 2, .data = is_b ? g->b : g->a};
        t[i].dim[0] = is_b ? g->out : l->opt.rank;
        t[i].dim[1] = is_b ? l->opt.rank : g->in;
        if (!is_b || !g->head) continue;
        for (int64_t r = 0; r < g->out; r++)
            memcpy(rows + at + stored_row(g, r) * l->opt.rank, g->b + r * l->opt.rank,
                   (size_t)l->opt.rank * sizeof *rows);
        t[i].data = rows + at;
        at += g->out * l->opt.rank;
    }
    if (!st) st = sd_safetensors_write(path, t, n, (const char *const[]){"format", "pt", NULL}, err);
    sd_free(t);
    sd_free(name);
    sd_free(rows);
    return st;
}

sd_status sd_lora_write(const sd_lora *l, const sd_model *m, const char *dir, const char *base, sd_err *err)
{
    char config[1200], path[1200];
    sd_buf b;
    sd_jw w;
    if (!sd_path_join(config, sizeof config, dir, "adapter_config.json") ||
        !sd_path_join(path, sizeof path, dir, "adapter_model.safetensors"))
        return sd_fail(err, SD_E_ARG, "%s: path too long", dir);
    sd_status st = write_tensors(l, path, err);
    if (st) return st;
    sd_buf_init(&b, MAX_CONFIG);
    sd_jw_init(&w, &b);
    write_config(&w, l, m, base);
    sd_buf_putc(&b, '\n');
    st = sd_buf_check(&b, "adapter_config.json", err);
    if (!st) st = sd_file_write_atomic(config, b.p, b.n, err);
    sd_buf_release(&b);
    return st;
}

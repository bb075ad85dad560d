/* Owns: run.json and the choice of source. A resumed run takes everything from run.json, so that it cannot differ. */
#include "cli/dict_run.h"
#include "model/lora.h"

#include "base/map.h"
#include "lab/ckpt.h"
#include <unistd.h>

static const char *const FILE_NAME = "run.json";

static sd_mode mode_of(const char *name)
{
    for (sd_mode m = SD_MODE_FAITHFUL; m <= SD_MODE_FAST; m++)
        if (strcmp(name, sd_mode_name(m)) == 0) return m;
    return SD_MODE_DEFAULT;
}

static bool without_bit(const char *name, int *bit)
{
    for (*bit = 0; *bit < SD_WITHOUT_COUNT; ++*bit)
        if (strcmp(name, sd_without_name(*bit)) == 0) return true;
    return false;
}

uint32_t dict_run_without(const dict_run *a)
{
    uint32_t bits = 0;
    int bit;
    for (int i = 0; i < a->without.n; i++)
        if (without_bit(a->without.v[i], &bit)) bits |= 1u << bit;
    return bits;
}

bool dict_run_random(const dict_run *a) { return a->control && strcmp(a->control, "random-model") == 0; }

/* A list of texts of run.json, whose strings it keeps; *own by sd_free. */
static sd_status load_list(opt_list *out, const char ***own, const json_t *list, const char *path, sd_err *err)
{
    *out = (opt_list){0};
    if (!list) return SD_OK;
    sd_status st = sd_alloc_zero(own, (json_array_size(list) + 1) * sizeof **own, "names", err);
    for (size_t i = 0; i < json_array_size(list) && !st; i++, out->n++)
        if (!((*own)[i] = json_string_value(json_array_get(list, i)))) st = sd_fail(err, SD_E_FORMAT, "%s: a list holds something that is no text", path);
    out->v = *own;
    return st;
}

static sd_dict_kind kind_of(const char *name)
{
    sd_dict_kind k = 0;
    while (k < SD_DICT_KIND_COUNT && strcmp(name, sd_dict_kind_name(k)) != 0) k++;
    return k;
}

/* "4096:32", "jumprelu:4096:32", "4096:32@resid_post.7": a further dictionary of that kind, width and k, at that site, in a folder of the run's. */
static sd_status read_one(dict_run *a, cli *c, int i, sd_err *err)
{
    static const char *const what = "[KIND:]WIDTH:K[@SITE], such as 4096:32 or jumprelu:4096:32@resid_post.7";
    const char *text = a->also.v[i], *site = strchr(text, '@'), *end = site ? site : text + strlen(text), *from = text, *colon = memchr(text, ':', (size_t)(end - text));
    char name[160], kind[32];
    uint64_t width = 0, k = 0;
    const sd_dict_kind own = kind_of(a->kind);
    snprintf(kind, sizeof kind, "%s", a->kind);
    if (colon && !(text[0] >= '0' && text[0] <= '9')) {
        snprintf(kind, sizeof kind, "%.*s", (int)(colon - text), text);
        from = colon + 1;
        colon = memchr(from, ':', (size_t)(end - from));
    }
    if (!colon || !sd_parse_u64((sd_slice){from, (size_t)(colon - from)}, &width) || !sd_parse_u64((sd_slice){colon + 1, (size_t)(end - colon - 1)}, &k) || width < 2 || width > 1 << 24 || k < 1 ||
        k > 4096 || (site && (!site[1] || strlen(site + 1) >= sizeof a->more[i].site)))
        return cli_refuse(c, err, "--also %s is not %s", text, what);
    a->more[i].kind = kind_of(kind), a->more[i].width = (int64_t)width, a->more[i].k = (int64_t)k;
    if (from != text && (a->more[i].kind >= SD_DICT_ENCODER_COUNT || own >= SD_DICT_ENCODER_COUNT)) {
        cli_refuse(c, err, "--also %s: a run of %s trains no %s beside it", text, a->kind, kind);
        return sd_hint(err, "standard, gated, jumprelu, topk, batchtopk and matryoshka are trained beside each other");
    }
    if (site && own >= SD_DICT_ENCODER_COUNT) return cli_refuse(c, err, "--also %s: a %s is of the sites that --site, --to and --with name", text, a->kind);
    if (site && a->n_path == 1) return cli_refuse(c, err, "--also %s: the activations in %s are of one site", text, a->path[0]);
    snprintf(a->more[i].site, sizeof a->more[i].site, "%s", site ? site + 1 : "");
    snprintf(name, sizeof name, "%s%sw%llu-k%llu%s%s", from != text ? kind : "", from != text ? "-" : "", (unsigned long long)width, (unsigned long long)k, site ? "-" : "", a->more[i].site);
    if (strchr(name, '/')) return cli_refuse(c, err, "--also %s is not %s", text, what);
    if (!sd_path_join(a->more[i].dir, sizeof a->more[i].dir, c->output, name)) return sd_fail(err, SD_E_ARG, "%s: path too long", c->output);
    for (int j = 0; j < i; j++)
        if (strcmp(a->more[i].dir, a->more[j].dir) == 0) return cli_refuse(c, err, "--also %s is given twice", text);
    return SD_OK;
}

static sd_status read_also(dict_run *a, cli *c, sd_err *err)
{
    sd_status st = SD_OK;
    if (a->also.n > SD_LEARN_MORE) return cli_refuse(c, err, "--also: at most %d further dictionaries of one run", SD_LEARN_MORE);
    for (int i = 0; i < a->also.n && !st; i++) st = read_one(a, c, i, err);
    return st;
}

static sd_status load(dict_run *a, cli *c, sd_err *err)
{
    char p[1200];
    const json_t *paths;
    int64_t seed = 0;
    if (!sd_path_join(p, sizeof p, c->resume, FILE_NAME)) return sd_fail(err, SD_E_ARG, "%s: path too long", c->resume);
    sd_status st = sd_json_load(&a->saved, p, 1 << 20, err);
    if (st) return sd_hint(err, "--resume takes the folder of a run that `sonde dict train` began");
    if (!sd_ckpt_exists(c->resume)) {
        sd_fail(err, SD_E_NOTFOUND, "%s has no checkpoint", c->resume);
        return sd_hint(err, "a finished run leaves none; start anew with -f");
    }
    st = sd_json_get_str(a->saved, "kind", &a->kind, p, err);
    if (!st) st = sd_json_get_i64(a->saved, "width", &a->width, p, err);
    if (!st) st = sd_json_get_i64(a->saved, "k", &a->k, p, err);
    if (!st) st = sd_json_get_i64(a->saved, "tokens", &a->tokens, p, err);
    if (!st) st = sd_json_get_i64(a->saved, "batch", &a->batch, p, err);
    if (!st) st = sd_json_get_i64(a->saved, "ctx", &a->ctx, p, err);
    if (!st) st = sd_json_get_i64(a->saved, "heldout", &a->heldout, p, err);
    if (!st) st = sd_json_get_i64(a->saved, "buffer", &a->buffer, p, err);
    if (!st) st = sd_json_get_f64(a->saved, "lr", &a->lr, p, err);
    if (!st) st = sd_json_get_i64(a->saved, "seed", &seed, p, err);
    if (!st) st = sd_json_opt_str(a->saved, "order", &a->order, p, err);
    if (!st) st = sd_json_opt_str(a->saved, "control", &a->control, p, err);
    if (!st) st = load_list(&a->without, &a->saved_without, json_object_get(a->saved, "without"), p, err);
    if (!st) st = load_list(&a->also, &a->saved_also, json_object_get(a->saved, "also"), p, err);
    for (int i = 0, bit; i < a->without.n && !st; i++)
        if (!without_bit(a->without.v[i], &bit)) st = sd_fail(err, SD_E_FORMAT, "%s: without[%d] is nothing that training does", p, i);
    if (!st) st = sd_json_opt_str(a->saved, "site", &c->site, p, err);
    if (!st) st = sd_json_opt_str(a->saved, "to", &a->to, p, err);
    if (!st) st = sd_json_opt_str(a->saved, "with", &a->with, p, err);
    if (!st) st = sd_json_get_str(a->saved, "mode", &a->mode, p, err);
    if (!st && !mode_of(a->mode)) st = sd_fail(err, SD_E_FORMAT, "%s: mode \"%.40s\" is none of faithful, bf16, fast", p, a->mode);
    paths = json_object_get(a->saved, "paths");
    if (!st && json_array_size(paths) < 1) st = sd_fail(err, SD_E_FORMAT, "%s: paths is no list of a model and texts, or of a folder", p);
    if (st) return st;
    a->n_path = (int)json_array_size(paths);
    st = sd_alloc_zero(&a->path, (size_t)(a->n_path + 1) * sizeof *a->path, "paths", err);
    for (int i = 0; !st && i < a->n_path; i++)
        if (!(a->path[i] = json_string_value(json_array_get(paths, (size_t)i)))) st = sd_fail(err, SD_E_FORMAT, "%s: paths[%d] is no text", p, i);
    c->seed = (uint64_t)seed;
    c->output = c->resume;
    return st ? st : read_also(a, c, err);
}

/* A file, or a folder with a model's config.json; shards are a folder without one. */
static bool is_model(const char *path)
{
    char p[1200];
    return !sd_dir_exists(path) ? sd_file_exists(path) : sd_path_join(p, sizeof p, path, "config.json") && sd_file_exists(p);
}

/* A line that says something which the run would not do, or too little to run. */
static sd_status check_line(cli *c, sd_err *err)
{
    static const char example[] = "sonde dict train model.gguf corpus/ --site resid_post.14 -o dict/";
    static const char *const of_model[] = {"mode", "ctx", "serial"};
    const char *flag = c->resume ? opt_first_given(c, "resume") : NULL;
    if (c->resume && c->n_arg) return cli_refuse(c, err, "--resume takes everything from the run; give no MODEL or CORPUS");
    if (flag) return cli_refuse(c, err, "--resume takes everything from the run; --%s cannot change it", flag);
    if (c->resume) return SD_OK;
    if (c->n_arg < 1 || !c->output) {
        cli_refuse(c, err, "give MODEL CORPUS.. or DIR, and -o for the result");
        return sd_hint(err, "%s", example);
    }
    if (c->n_arg == 1 && is_model(c->arg[0])) {
        cli_refuse(c, err, "%s is a model, and no text is given to read with it", c->arg[0]);
        return sd_hint(err, "%s", example);
    }
    if (c->n_arg > 1 && !c->site) {
        cli_refuse(c, err, "`sonde dict train MODEL CORPUS..` needs --site SITE");
        return sd_hint(err, "%s", example);
    }
    for (size_t i = 0; i < sizeof of_model / sizeof *of_model && c->n_arg == 1; i++)
        if (opt_given(c, of_model[i])) return cli_refuse(c, err, "--%s is for MODEL and CORPUS; the activations in %s are made", of_model[i], c->arg[0]);
    return SD_OK;
}

/* What is trained otherwise than by default. */
static sd_status check_training(const dict_run *a, cli *c, sd_err *err)
{
    const bool cross = strcmp(a->kind, "crosscoder") == 0, maps = strcmp(a->kind, "transcoder") == 0 || strcmp(a->kind, "skip_transcoder") == 0;
    const bool penalty = strcmp(a->kind, "standard") == 0 || strcmp(a->kind, "gated") == 0 || strcmp(a->kind, "jumprelu") == 0;
    for (int i = 0; i < a->without.n; i++) {
        int bit;
        if (!without_bit(a->without.v[i], &bit)) {
            cli_refuse(c, err, "--without %s is nothing that training does", a->without.v[i]);
            return sd_hint(err, "centring, scaling, sink-filter, special-filter, shuffle, tied-init, unit-decoder, parallel-grad, aux-k");
        }
        if (maps && 1u << bit >= SD_WITHOUT_TIED_INIT) return cli_refuse(c, err, "a %s has no %s to leave out", a->kind, sd_without_name(bit));
        if (1u << bit == SD_WITHOUT_SPECIAL_FILTER && c->n_arg == 1)
            return cli_refuse(c, err, "--without special-filter is for MODEL and CORPUS; the activations in %s were made without special tokens", c->arg[0]);
    }
    if (a->control && (cross || strcmp(a->kind, "identity") == 0)) return cli_refuse(c, err, "--control is for dictionaries of one model that are trained, not for %s", a->kind);
    if (maps && a->moments8) return cli_refuse(c, err, "--moments8 is not for a %s, whose moments are floats", a->kind);
    if (maps && strcmp(a->adam, "dense") == 0) return cli_refuse(c, err, "--adam dense is not for a %s, whose rows move when they are next used", a->kind);
    if (dict_run_random(a) && c->n_arg == 1) return cli_refuse(c, err, "--control random-model is for MODEL and CORPUS; the activations in %s are made", c->arg[0]);
    if (a->order && c->n_arg != 1) {
        cli_refuse(c, err, "--order is of captured rows, given as DIR");
        return sd_hint(err, "sonde capture model.gguf corpus/ --site resid_post.14 -o acts/");
    }
    if (a->init && (maps || a->also.n)) return cli_refuse(c, err, "--init is of one dictionary that reads and writes the same rows, not for %s", maps ? a->kind : "--also");
    if (opt_given(c, "bandwidth") && strcmp(a->kind, "jumprelu") != 0) return cli_refuse(c, err, "--bandwidth is of jumprelu, not for %s", a->kind);
    if (a->routes && strcmp(a->kind, "topk") != 0) return cli_refuse(c, err, "--routes are for topk, not for %s", a->kind);
    for (int i = 0; i < 4; i++) {
        static const char *const of[] = {"listed", "in-turn", "exact-until", "exact-from"};
        if (opt_given(c, of[i]) && !a->routes) return cli_refuse(c, err, "--%s is of --routes, which is not given", of[i]);
    }
    for (int i = 0; i < 2; i++) {
        static const char *const aux[] = {"aux-k", "aux-weight"};
        if (opt_given(c, aux[i]) && (maps || penalty)) return cli_refuse(c, err, "--%s is of an auxiliary loss, which a %s has not", aux[i], a->kind);
        if (opt_given(c, aux[i]) && dict_run_without(a) & SD_WITHOUT_AUX_K) return cli_refuse(c, err, "--%s is of an auxiliary loss, which --without aux-k leaves out", aux[i]);
    }
    if (opt_given(c, "buffer") && (a->order || dict_run_without(a) & SD_WITHOUT_SHUFFLE)) return cli_refuse(c, err, "--buffer is of shuffling, which %s leaves out", a->order ? "--order" : "--without shuffle");
    if (opt_given(c, "k-start") && a->sparsity > 0) return cli_refuse(c, err, "--k-start is of a weight that is steered towards K, not of one that --sparsity gives");
    if (a->sparsity_warmup && !(a->sparsity > 0)) return cli_refuse(c, err, "--sparsity-warmup is of a weight that is given: --sparsity W");
    if (a->sparsity > 0 && !penalty)
        return cli_refuse(c, err, "--sparsity is for standard, gated and jumprelu, %s chooses by --k", a->kind);
    return SD_OK;
}

/* What a kind needs beside its site. */
static sd_status check_kind(const dict_run *a, cli *c, sd_err *err)
{
    const bool cross = strcmp(a->kind, "crosscoder") == 0, maps = strcmp(a->kind, "transcoder") == 0 || strcmp(a->kind, "skip_transcoder") == 0;
    if ((cross || maps) && c->n_arg == 1) {
        cli_refuse(c, err, "captured activations are of one site, a %s reads several", a->kind);
        return sd_hint(err, "give MODEL and CORPUS");
    }
    if (maps && (!a->to || strpbrk(a->to, ",+"))) {
        cli_refuse(c, err, "a %s needs the one site that it writes: --to SITE", a->kind);
        return sd_hint(err, "sonde dict train model.gguf corpus/ --kind %s --site resid_mid.14 --to mlp_out.14 -o dict/", a->kind);
    }
    if (cross && !a->to && !a->with) {
        cli_refuse(c, err, "a crosscoder needs further sites or a second model: --to SITE,.. or --with MODEL2");
        return sd_hint(err, "sonde dict train model.gguf corpus/ --kind crosscoder --site resid_post.14 --with tuned.gguf -o dict/");
    }
    const sd_status st = check_training(a, c, err);
    if (st) return st;
    if (a->to && !cross && !maps) return cli_refuse(c, err, "--to is for transcoders and crosscoders, not for %s", a->kind);
    if (a->with && !cross) return cli_refuse(c, err, "--with is for crosscoders, not for %s", a->kind);
    static const char *const no[] = {"width", "k", "lr", "batch", "k-start", "k-anneal", "without", "moments8", "adam", "also", "warmup", "decay", "aux-k", "aux-weight", "dead-after", "init", "order", "heldout", "buffer", "serial", "proven"};
    for (size_t i = 0; i < sizeof no / sizeof *no && strcmp(a->kind, "identity") == 0; i++)
        if (opt_given(c, no[i])) return cli_refuse(c, err, "--%s has no meaning for identity: its features are the neurons", no[i]);
    return SD_OK;
}

sd_status dict_run_setup(dict_run *a, cli *c, sd_err *err)
{
    sd_status st = check_line(c, err);
    if (!st && !c->resume) st = check_kind(a, c, err);
    if (st || c->resume) return st ? st : load(a, c, err);
    if ((st = cli_check_output(c, c->output, err))) {
        if (err && !c->force && sd_ckpt_exists(c->output)) sd_hint(err, "go on with it: sonde dict train --resume %s; or -f to begin anew", c->output);
        return st;
    }
    a->n_path = c->n_arg;
    st = sd_alloc_zero(&a->path, (size_t)(a->n_path + 1) * sizeof *a->path, "paths", err);
    for (int i = 0; !st && i < a->n_path; i++) a->path[i] = c->arg[i];
    return st ? st : read_also(a, c, err);
}

/* What a run was of when it began; a run.json of before there were hashes says nothing. */
static sd_status same_as_then(const dict_run *a, const cli *c, const dict_source *s, sd_err *err)
{
    const struct { const char *key, *what, *path, *is; } one[] = {{"model_sha256", "model", a->path[0], c->prov.model_sha256},
                                                                  {"data_sha256", "text", a->path[a->n_path > 1], c->prov.data_sha256}, {"rows_of", "site", a->path[0], s->meta.site}};
    for (size_t i = 0; i < sizeof one / sizeof *one; i++) {
        const char *then = NULL;
        const sd_status st = sd_json_opt_str(a->saved, one[i].key, &then, FILE_NAME, err);
        if (st) return st;
        if (!then || strcmp(then, one[i].is) == 0) continue;
        (void)sd_fail(err, SD_E_FORMAT, "%s has not the %s that the run began with: %.20s, it was %.20s", one[i].path, one[i].what, one[i].is, then);
        return sd_hint(err, "put it back, or begin anew: sonde dict train -f");
    }
    return SD_OK;
}

sd_status dict_run_save(dict_run *a, cli *c, const dict_source *s, sd_err *err)
{
    char p[1200];
    sd_buf b;
    sd_jw w;
    if (c->resume) return same_as_then(a, c, s, err);
    a->made_folder = !sd_dir_exists(c->output);
    sd_status st = sd_dir_make(c->output, err);
    if (st) return st;
    sd_ckpt_forget(c->output);
    for (int i = 0; i < a->also.n && !st; i++) st = sd_dir_make(a->more[i].dir, err);
    if (st) return st;
    sd_buf_init(&b, 1 << 20);
    sd_jw_init(&w, &b);
    sd_jw_obj(&w);
    sd_jw_key(&w, "paths");
    sd_jw_arr(&w);
    for (int i = 0; i < a->n_path; i++) sd_jw_str(&w, a->path[i]);
    sd_jw_end(&w);
    sd_jw_kstr(&w, "kind", a->kind);
    sd_jw_ki64(&w, "width", a->width);
    sd_jw_ki64(&w, "k", a->k);
    sd_jw_ki64(&w, "tokens", a->tokens);
    sd_jw_ki64(&w, "batch", a->batch);
    sd_jw_ki64(&w, "ctx", a->ctx);
    sd_jw_ki64(&w, "heldout", a->heldout);
    sd_jw_ki64(&w, "buffer", a->buffer);
    sd_jw_kf64(&w, "lr", a->lr);
    sd_jw_ki64(&w, "seed", (int64_t)c->seed);
    if (c->site) sd_jw_kstr(&w, "site", c->site);
    if (a->to) sd_jw_kstr(&w, "to", a->to);
    if (a->with) sd_jw_kstr(&w, "with", a->with);
    if (a->order) sd_jw_kstr(&w, "order", a->order);
    if (a->control) sd_jw_kstr(&w, "control", a->control);
    for (int k = 0; k < 2; k++) {
        const opt_list *list = k ? &a->also : &a->without;
        if (!list->n) continue;
        sd_jw_key(&w, k ? "also" : "without");
        sd_jw_arr(&w);
        for (int i = 0; i < list->n; i++) sd_jw_str(&w, list->v[i]);
        sd_jw_end(&w);
    }
    sd_jw_kstr(&w, "mode", a->mode);
    sd_jw_kstr(&w, "model_sha256", c->prov.model_sha256);
    sd_jw_kstr(&w, "data_sha256", c->prov.data_sha256);
    sd_jw_kstr(&w, "rows_of", s->meta.site);
    sd_jw_end(&w);
    sd_buf_putc(&b, '\n');
    st = sd_buf_check(&b, FILE_NAME, err);
    if (!st && !sd_path_join(p, sizeof p, c->output, FILE_NAME)) st = sd_fail(err, SD_E_ARG, "%s: path too long", c->output);
    if (!st) st = sd_file_write_atomic(p, b.p, b.n, err);
    sd_buf_release(&b);
    return st;
}

void dict_run_discard(const dict_run *a, const cli *c)
{
    static const char *const file[] = {"run.json", "events.jsonl"};
    char p[1200];
    if (!a->made_folder || sd_ckpt_exists(c->output)) return;
    if (!sd_path_join(p, sizeof p, c->output, "cfg.json") || sd_file_exists(p)) return;
    for (int i = 0; i < 2; i++)
        if (sd_path_join(p, sizeof p, c->output, file[i])) (void)unlink(p);
    for (int i = 0; i < a->also.n; i++) {
        if (sd_path_join(p, sizeof p, a->more[i].dir, "events.jsonl")) (void)unlink(p);
        (void)rmdir(a->more[i].dir);
    }
    (void)rmdir(c->output); /* stays when something else is in it */
}

void dict_run_release(dict_run *a)
{
    sd_free(a->path);
    sd_free(a->saved_without);
    sd_free(a->saved_also);
    json_decref(a->saved);
}

static sd_status open_shards(dict_source *s, dict_run *a, cli *c, sd_err *err)
{
    if (!sd_dir_exists(a->path[0])) {
        sd_fail(err, SD_E_NOTFOUND, "%s: no such folder", a->path[0]);
        return sd_hint(err, "give a folder that `sonde capture` wrote, or MODEL and CORPUS");
    }
    sd_status st = sd_act_reader_open(&s->reader, a->path[0], err);
    sd_site asked, there;
    if (st) return st;
    const sd_act_manifest *m = sd_act_reader_manifest(s->reader);
    if (c->site) {
        if ((st = cli_site(c, &asked, err)) || (st = sd_site_parse(&there, m->site, strlen(m->site), err))) return st;
        if (asked.kind != there.kind || asked.layer != there.layer) {
            cli_refuse(c, err, "%s holds activations of %s, not of %s", a->path[0], m->site, c->site);
            return sd_hint(err, "leave --site out, or capture that site");
        }
    }
    s->src = sd_act_reader_source(s->reader);
    s->n_rows = m->n_rows;
    if (a->order) {
        if (!a->heldout) a->heldout = sd_learn_heldout(m->n_rows);
        if ((st = sd_act_order_open(&s->order, s->reader, a->order, a->heldout, err))) return st;
        s->src = sd_act_order_source(s->order);
        s->n_rows = sd_act_order_rows(s->order);
    }
    a->mode = m->mode;
    snprintf(s->meta.model_name, sizeof s->meta.model_name, "%s", m->model_name);
    memcpy(s->meta.model_sha256, m->model_sha256, sizeof s->meta.model_sha256);
    memcpy(c->prov.model_sha256, m->model_sha256, sizeof m->model_sha256);
    memcpy(c->prov.data_sha256, m->data_sha256, sizeof m->data_sha256);
    snprintf(s->meta.site, sizeof s->meta.site, "%s", m->site);
    snprintf(s->meta.dataset, sizeof s->meta.dataset, "sha256:%s", m->data_sha256);
    return SD_OK;
}

/* The sites of further dictionaries behind the first one's, each once; s->part says where. */
static sd_status add_parts(dict_source *s, const dict_run *a, sd_cross_sites *sites, sd_err *err)
{
    for (int i = 0; i < a->also.n; i++) {
        sd_site site = sites->site[0];
        const char *name = a->more[i].site;
        sd_status st = *name ? sd_site_parse(&site, name, strlen(name), err) : SD_OK;
        if (st) return st;
        int at = 0;
        while (at < sites->n && !(sites->site[at].kind == site.kind && sites->site[at].layer == site.layer)) at++;
        if (at == SD_LEARN_PARTS) return sd_fail(err, SD_E_ARG, "--also names more than %d sites", SD_LEARN_PARTS);
        if (at == sites->n) sites->site[sites->n++] = site;
        s->part[i] = at;
    }
    return SD_OK;
}

/* What the further dictionaries are of, once the first one's card is filled. */
static void fill_more(dict_source *s, const dict_run *a, const sd_cross_sites *sites)
{
    s->n_part = sites->n > 1 ? sites->n : 0;
    for (int i = 0; i < a->also.n; i++) {
        s->more[i] = s->meta;
        sd_site_print(s->more[i].site, sizeof s->more[i].site, sites->site[s->part[i]]);
        sd_site_print_tl(s->more[i].hook_name, sizeof s->more[i].hook_name, sites->site[s->part[i]]);
    }
}

static sd_status open_model(dict_source *s, dict_run *a, cli *c, const sd_exec *ex, sd_err *err)
{
    sd_site site;
    sd_mode mode = SD_MODE_DEFAULT;
    dict_rows_in in = {.with = a->with, .cross = strcmp(a->kind, "crosscoder") == 0, .scale = true};
    const bool maps = strcmp(a->kind, "transcoder") == 0 || strcmp(a->kind, "skip_transcoder") == 0;
    sd_status st = cli_site(c, &site, err);
    if (!st) st = sd_cross_sites_parse(&in.sites, c->site, err);
    if (!st && a->to) st = sd_cross_sites_parse(&in.sites, a->to, err);
    if (!st && kind_of(a->kind) < SD_DICT_ENCODER_COUNT) st = add_parts(s, a, &in.sites, err);
    for (int i = 0, n = in.sites.n; !st && a->with && i < n; i++) {
        if (in.sites.n == SD_CROSS_PARTS) return sd_fail(err, SD_E_ARG, "more than %d sites of two models", SD_CROSS_PARTS);
        in.sites.site[in.sites.n] = in.sites.site[i];
        in.sites.second[in.sites.n++] = true;
    }
    if (!st) st = cli_corpus_open(c, &s->corpus, a->path + 1, a->n_path - 1, err);
    if (!st && a->mode) mode = mode_of(a->mode);
    else if (!st) st = cli_mode(c, ex, CLI_BULK, a->path[0], &mode, err);
    if (st) return st;
    a->mode = sd_mode_name(mode);
    sd_model_opt mo = {.mode = mode, .no_head = true, .max_layer = dict_rows_layers(&in.sites)};
    st = dict_run_random(a) ? sd_model_open_random(&s->model, ex, a->path[0], &mo, c->seed, err) : sd_model_open(&s->model, ex, a->path[0], &mo, err);
    if (st) return st;
    s->t0 = sd_now();
    const int64_t rows = a->tokens ? sd_learn_rows(a->tokens, a->heldout) : 0;
    in.model = s->model, in.corpus = s->corpus, in.mode = mode;
    in.base = (sd_harvest_opt){.max_rows = rows, .n_ctx = a->ctx, .seed = c->seed, .keep_special = (dict_run_without(a) & SD_WITHOUT_SPECIAL_FILTER) != 0};
    if ((st = dict_rows_open(&s->rows, ex, &in, err))) return st;
    s->harvest = s->rows.first;
    s->src = s->rows.src;
    s->n_rows = s->rows.n_rows;
    if (maps) {
        s->d_in = s->rows.width[0];
        sd_site_print(s->meta.site_out, sizeof s->meta.site_out, in.sites.site[1]);
        sd_site_print_tl(s->meta.hook_name_out, sizeof s->meta.hook_name_out, in.sites.site[1]);
    }
    if ((st = cli_model_hash(c, a->path[0], err))) return st;
    cli_corpus_hash(c, s->corpus);
    snprintf(s->meta.model_name, sizeof s->meta.model_name, "%s", s->model->cfg.name);
    memcpy(s->meta.model_sha256, c->prov.model_sha256, sizeof s->meta.model_sha256);
    snprintf(s->meta.dataset, sizeof s->meta.dataset, "sha256:%s", c->prov.data_sha256);
    if (in.cross) {
        if ((st = sd_cross_sites_print(s->meta.site, sizeof s->meta.site, &in.sites, false, err))) return st;
        return sd_cross_sites_print(s->meta.hook_name, sizeof s->meta.hook_name, &in.sites, true, err);
    }
    sd_site_print(s->meta.site, sizeof s->meta.site, site);
    s->sites = in.sites;
    return SD_OK;
}

sd_status dict_source_open(dict_source *s, dict_run *a, cli *c, const sd_exec *ex, sd_err *err)
{
    *s = (dict_source){0};
    sd_status st = a->n_path == 1 ? open_shards(s, a, c, err) : open_model(s, a, c, ex, err);
    sd_site site;
    if (st) return st;
    s->meta.seed = c->seed;
    if (a->control) snprintf(s->meta.control, sizeof s->meta.control, "%s", a->control);
    const uint32_t without = dict_run_without(a);
    for (int i = 0, at = 0; i < SD_WITHOUT_COUNT; i++) /* all names together are 106 letters */
        if (without >> i & 1) at += snprintf(s->meta.without + at, sizeof s->meta.without - (size_t)at, "%s%s", at ? "," : "", sd_without_name(i));
    if (s->rows.cross) return SD_OK;
    st = sd_site_parse(&site, s->meta.site, strlen(s->meta.site), err);
    if (!st) sd_site_print_tl(s->meta.hook_name, sizeof s->meta.hook_name, site);
    if (!st && s->sites.n && kind_of(a->kind) < SD_DICT_ENCODER_COUNT) fill_more(s, a, &s->sites);
    return st;
}

void dict_source_close(dict_source *s)
{
    dict_rows_close(&s->rows);
    sd_model_close(s->model);
    sd_corpus_close(s->corpus);
    sd_act_order_close(s->order);
    sd_act_reader_close(s->reader);
}

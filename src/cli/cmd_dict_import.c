/* sonde dict import: a dictionary of another tool as a SAELens directory, checked against its model. */
#include "cli/cli.h"
#include "base/map.h"
#include "dict/dict_format.h"
#include "lab/fit.h"

#include <math.h>

typedef struct args { const char *format; } args;

#define FORMATS "auto|saelens|sparsify|gemma-scope|dictionary_learning|openai|llama-scope|circuit-tracer"
static const cli_opt opts[] = {
    {0, "format", OPT_STR, AT(args, format), .arg = "F", .def = "auto", .values = FORMATS, .help = "what SRC is; auto goes by the names of its files"},
    OPT_END};

static void put_fit(sd_jw *w, const sd_fit *f)
{
    sd_jw_key(w, "fit");
    sd_jw_obj(w);
    sd_jw_kstr(w, "verdict", f->n_reason ? "doubtful" : "fits");
    sd_jw_kf64(w, "l0", f->is.recon.l0);
    sd_jw_kf64(w, "l0_card", f->l0_card);
    sd_jw_kf64(w, "fvu", f->is.recon.fvu);
    sd_jw_kf64(w, "fvu_card", f->fvu_card);
    sd_jw_kf64(w, "ce_recovered", f->is.ce_recovered);
    sd_jw_ki64(w, "n_tokens", f->is.n_replaced + f->is.n_kept);
    sd_jw_key(w, "reasons");
    sd_jw_arr(w);
    for (int i = 0; i < f->n_reason; i++) sd_jw_str(w, f->reason[i]);
    sd_jw_end(w);
    sd_jw_end(w);
}

static int print(cli *c, const sd_dict *d, sd_dict_format format, const sd_fit *f)
{
    const sd_dict_info *i = sd_dict_get_info(d);
    if (c->json) {
        out_json j;
        sd_jw *w = out_json_begin(c, &j, "sonde.dict.import/1");
        sd_jw_kstr(w, "format", sd_dict_format_name(format));
        sd_jw_kstr(w, "kind", sd_dict_kind_name(i->kind));
        sd_jw_ki64(w, "width", i->m);
        sd_jw_ki64(w, "d", i->d);
        sd_jw_ki64(w, "d_out", i->d_out);
        sd_jw_ki64(w, "k", i->k);
        sd_jw_kstr(w, "site", sd_dict_site_name(d));
        sd_jw_kstr(w, "model_name", i->model_name);
        if (f) put_fit(w, f);
        sd_jw_kstr(w, "dir", c->output);
        return out_json_end(c, &j);
    }
    out_pairs *p = out_pairs_new(c);
    out_pair(p, "from", "%s", sd_dict_format_name(format));
    out_pair(p, "kind", "%s, %lld features of width %lld", sd_dict_kind_name(i->kind), (long long)i->m, (long long)i->d);
    if (i->k) out_pair(p, "k", "%d", i->k);
    out_pair(p, "site", "%s", *sd_dict_site_name(d) ? sd_dict_site_name(d) : "not said; add --site");
    if (i->model_name[0]) out_pair(p, "model", "%s", i->model_name);
    if (f) {
        out_pair(p, "L0", isfinite(f->l0_card) ? "%.1f, its card says %.1f" : "%.1f", f->is.recon.l0, f->l0_card);
        out_pair(p, "FVU", isfinite(f->fvu_card) ? "%.4f, its card says %.4f" : "%.4f", f->is.recon.fvu, f->fvu_card);
        out_pair(p, "CE recovered", "%.4f", f->is.ce_recovered);
        out_pair(p, "fits", "%s", f->n_reason ? "NO" : "yes");
    }
    out_pair(p, "folder", "%s", c->output);
    return out_pairs_end(p);
}

static sd_status check(cli *c, const sd_exec *ex, sd_dict *d, sd_fit *f, sd_err *err)
{
    sd_model *m = NULL;
    sd_corpus *corpus = NULL;
    sd_site site;
    sd_status st = cli_dict_site(c, d, &site, err);
    if (!st && c->n_arg > 2) st = cli_corpus_open(c, &corpus, c->arg + 2, c->n_arg - 2, err);
    if (!st) st = cli_model_open(c, ex, CLI_EXACT, c->arg[1], (sd_model_opt){0}, &m, err);
    if (!st) st = sd_lab_fit(f, ex, m, d, &(sd_fit_opt){site, corpus, &c->progress}, err);
    if (!st) st = cli_model_hash(c, c->arg[1], err);
    for (int i = 0; i < f->n_reason && !st; i++) cli_note(c, "warning: this dictionary does not seem to belong here: %s", f->reason[i]);
    if (f->n_reason && !st) cli_note(c, "warning: check the site, the model and whether its rows were normalised; %s was written all the same", c->output);
    sd_model_close(m);
    sd_corpus_close(corpus);
    return st;
}

static bool set_site(sd_dict *d, bool to, const char *name)
{
    sd_site s;
    char ours[64], theirs[96];
    if (!*name || sd_site_parse(&s, name, strlen(name), NULL)) return false;
    sd_dict_set_site(d, to, sd_site_print(ours, sizeof ours, s), sd_site_print_tl(theirs, sizeof theirs, s));
    return true;
}

/* Sites in our spelling where we have them; --site where the dictionary does not say. */
static sd_status name_sites(cli *c, sd_dict *d, sd_err *err)
{
    sd_site s;
    const sd_dict_info *i = sd_dict_get_info(d);
    const sd_status st = c->site ? cli_site(c, &s, err) : SD_OK;
    if (st || i->kind == SD_DICT_CROSSCODER) return st;
    if (!set_site(d, false, c->site ? c->site : sd_dict_site_name(d)) && *sd_dict_site_name(d))
        cli_note(c, "note: %s is no site of this program; the name is kept, and a command that runs the dictionary needs --site", sd_dict_site_name(d));
    if (sd_dict_kind_maps(i->kind)) (void)set_site(d, true, sd_dict_site_out_name(d));
    return SD_OK;
}

static int cmd_dict_import(cli *c, int argc, char **argv);
const cli_cmd cmd_dict_import_def = {
    .name = "dict import",
    .brief = "read another tool's dictionary and see whether it fits",
    .args = "SRC [MODEL] [CORPUS..]",
    .usage = "SRC [MODEL] [CORPUS..] -o DIR",
    .opts = opts,
    .uses = CLI_MODE | CLI_SITE | CLI_OUT | CLI_OUT_DIR | CLI_FORCE,
    .run = cmd_dict_import,
    .text = "SRC is a folder or file of SAELens (6 and before), sparsify, Gemma Scope 1 and 2, dictionary_learning, OpenAI, Llama Scope or\n"
            "circuit-tracer; -o becomes a SAELens directory. Pickles (.pt) are read by a machine that can only build tensors. What cannot be\n"
            "carried out exactly is refused by name. Every command that takes a dictionary reads these forms as they are, too.\n\n"
            "With MODEL the dictionary is run on a fixed text (or on CORPUS): active features, FVU and recovered cross-entropy beside what its\n"
            "own card says, and a warning where they lie far apart.",
    .examples = "sonde dict import gemma-scope-2b-pt-res/layer_12/width_16k/average_l0_82 gemma-2-2b.gguf -o dict/\n"
                "sonde dict import run/layers.10 --format sparsify -o dict/\n",
    .json = "sonde.dict.import/1"};

static int cmd_dict_import(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    sd_err err = {0};
    sd_dict *d = NULL;
    sd_fit fit = {0};
    if (!cli_parse(c, &cmd_dict_import_def, &a, argc, argv, &rc)) return rc;
    if (!c->output) return cli_usage(c, "give -o for the folder to write");
    if (c->site && c->n_arg > 1) return cli_usage(c, "--site names the site of a dictionary that does not say it; what it says is checked without");
    sd_dict_format f = strcmp(a.format, "auto") == 0 ? sd_dict_format_at(c->arg[0]) : sd_dict_format_of_name(a.format);
    if (!sd_file_exists(c->arg[0]) && !sd_dir_exists(c->arg[0])) {
        sd_fail(&err, SD_E_NOTFOUND, "there is no dictionary %s: no such file or folder", c->arg[0]);
        return cli_fail(c, &err);
    }
    if (f == SD_FORMAT_COUNT) {
        sd_fail(&err, SD_E_NOTFOUND, "%s: no dictionary of a known form lies here", c->arg[0]);
        sd_hint(&err, "give the folder that holds the weights, or --format");
        return cli_fail(c, &err);
    }
    const sd_exec *ex = cli_exec(c, &err);
    if (!ex) return cli_fail(c, &err);
    sd_status st = cli_check_output(c, c->output, &err);
    if (!st) st = sd_dict_open_as(&d, c->arg[0], f, &err);
    if (!st) st = name_sites(c, d, &err);
    if (!st) st = sd_dict_save_as(d, c->output, SD_FORMAT_SAELENS, &err);
    if (!st && c->n_arg > 1) st = check(c, ex, d, &fit, &err);
    rc = st ? cli_fail(c, &err) : print(c, d, f, c->n_arg > 1 ? &fit : NULL);
    sd_dict_free(d);
    return rc;
}

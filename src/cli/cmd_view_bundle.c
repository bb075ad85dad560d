/* sonde view bundle: a store as a folder that any web server shows. */
#include "cli/cli.h"
#include "lab/bundle.h"
#include "lab/direction_file.h"

typedef struct args { const char *name; int64_t examples; } args;

static const cli_opt opts[] = {
    {0, "name", OPT_STR, AT(args, name), .arg = "NAME", .help = "what the page calls the store", .def_words = "the file's name"},
    {0, "examples", OPT_INT, AT(args, examples), .arg = "N", .def = "8", .lo = 1, .hi = 50, .help = "examples of each group of a feature"},
    OPT_END};

static int cmd_view_bundle(cli *c, int argc, char **argv);
const cli_cmd cmd_view_bundle_def = {
    .name = "view bundle",
    .brief = "write a store as a folder that any web server shows",
    .args = "STORE",
    .opts = opts,
    .uses = CLI_OUT | CLI_NEED_OUT | CLI_OUT_DIR | CLI_FORCE,
    .run = cmd_view_bundle,
    .text = "The page of `sonde serve` with its data as files: features, examples, map, search by words. Nothing runs on the server, so running texts and\n"
            "steering are left out. The examples' text is in the folder: publish it only if the corpus may be. A robots.txt asks search engines to\n"
            "stay away.",
    .examples = "sonde view bundle features.db -o site\npython3 -m http.server -d site\n",
    .json = "sonde.view.bundle/1"};

/* The file's name without folder and ".db". */
static void name_store(char out[65], const char *path)
{
    const char *slash = strrchr(path, '/');
    sd_slice s = sd_slice_of(slash ? slash + 1 : path);
    if (sd_slice_ends(s, ".db")) s.n -= 3;
    snprintf(out, 65, "%.*s", s.n > 64 ? 64 : (int)s.n, s.p);
}

static int print(cli *c, const sd_bundle *b)
{
    if (c->json) {
        out_json j;
        sd_jw *w = out_json_begin(c, &j, "sonde.view.bundle/1");
        sd_jw_kstr(w, "folder", c->output);
        sd_jw_ki64(w, "n_features", b->n_features);
        sd_jw_ki64(w, "n_files", b->n_files);
        sd_jw_ki64(w, "n_bytes", b->n_bytes);
        sd_jw_kbool(w, "map", b->map);
        return out_json_end(c, &j);
    }
    out_pairs *p = out_pairs_new(c);
    out_pair(p, "folder", "%s", c->output);
    out_pair(p, "features", "%lld", (long long)b->n_features);
    out_pair(p, "files", "%lld, %.1f MB", (long long)b->n_files, (double)b->n_bytes / 1e6);
    out_pair(p, "map", "%s", b->map ? "yes" : "none: sonde feature map makes one");
    return out_pairs_end(p);
}

static int cmd_view_bundle(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    char name[65];
    sd_err err = {0};
    sd_store *s = NULL;
    sd_bundle b = {0};
    if (!cli_parse(c, &cmd_view_bundle_def, &a, argc, argv, &rc)) return rc;
    if (a.name) snprintf(name, sizeof name, "%s", a.name);
    else name_store(name, c->arg[0]);
    sd_status st = sd_direction_name_check(name, &err); /* it becomes a part of paths and addresses */
    if (st) sd_hint(&err, "give another: --name NAME");
    if (!st) st = cli_check_output(c, c->output, &err);
    if (!st) st = sd_store_open(&s, c->arg[0], &err);
    if (!st) st = sd_lab_bundle(&b, c->output, s, &(sd_bundle_opt){.name = name, .max_example = (int)a.examples, .progress = &c->progress}, &err);
    rc = st ? cli_fail(c, &err) : print(c, &b);
    sd_store_close(s);
    return rc;
}

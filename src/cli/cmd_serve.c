/* sonde serve: the model for any client: OpenAI's API, features, steering. */
#include "cli/cli.h"
#include "base/map.h"
#include "serve/serve.h"

#include <time.h>

typedef struct args {
    opt_list dict, store, recipe, monitor, run, audit;
    const char *host, *key_file, *cors, *alias, *reference;
    int64_t port, ctx, parallel, queue, max_body;
    double grace, ping;
} args;

static const cli_opt opts[] = {
    {0, "dict", OPT_MULTI, AT(args, dict), .arg = "DIR", .help = "a dictionary, DIR or NAME=DIR"},
    {0, "store", OPT_MULTI, AT(args, store), .arg = "FILE", .help = "a feature store, FILE or NAME=FILE"},
    {0, "recipe", OPT_MULTI, AT(args, recipe), .arg = "FILE", .help = "a recipe, which becomes the model MODEL@NAME"},
    {0, "monitor", OPT_MULTI, AT(args, monitor), .arg = "FILE", .help = "a condition under a name, which a steer's \"when\" can name"},
    {0, "run", OPT_MULTI, AT(args, run), .arg = "DIR", .help = "a training's folder, or one of such folders, for the page"},
    {0, "audit", OPT_MULTI, AT(args, audit), .arg = "FILE", .help = "what `sonde audit compare --json` printed, for the page"},
    {0, "host", OPT_STR, AT(args, host), .arg = "ADDR", .def = "127.0.0.1", .help = "address to listen at; one that other machines reach needs --api-key-file"},
    {0, "port", OPT_INT, AT(args, port), .arg = "N", .def = "8741", .lo = 0, .hi = 65535, .help = "port; 0 takes one that is free"},
    {0, "api-key-file", OPT_STR, AT(args, key_file), .arg = "FILE", .help = "keys that clients have to send, one a line"},
    {0, "cors-origin", OPT_STR, AT(args, cors), .arg = "ORIGIN", .help = "pages of this origin may call the server", .def_words = "none"},
    {0, "alias", OPT_STR, AT(args, alias), .arg = "NAME", .help = "what clients call the model", .def_words = "the file's name"},
    {0, "reference", OPT_STR, AT(args, reference), .arg = "FILE", .help = "text on which the units rms and std of plain vectors are measured", .def_words = "a built-in page"},
    {0, "parallel", OPT_INT, AT(args, parallel), .arg = "N", .def = "8", .lo = 1, .hi = 256, .help = "sequences that are decoded at once"},
    {0, "queue", OPT_INT, AT(args, queue), .arg = "N", .def = "128", .lo = 1, .hi = 65536, .help = "sequences that may wait; more are answered with 429"},
    {0, "ctx", OPT_INT, AT(args, ctx), .arg = "N", .def = "0", .lo = 0, .hi = 1 << 24, .unit = "tokens", .help = "context of a sequence; 0 is the model's, up to 4096"},
    {0, "max-body", OPT_INT, AT(args, max_body), .arg = "N", .def = "8388608", .lo = 1024, .hi = 1 << 30, .unit = "bytes", .help = "largest body of a request"},
    {0, "grace", OPT_FLOAT, AT(args, grace), .arg = "S", .def = "10", .lo = 0, .hi = 3600, .unit = "seconds", .help = "what runs may go on for when the server is stopped"},
    {0, "sse-ping", OPT_FLOAT, AT(args, ping), .arg = "S", .def = "5", .lo = 1, .hi = 600, .unit = "seconds", .help = "silence after which a stream says that it lives"},
    OPT_END};

static int cmd_serve(cli *c, int argc, char **argv);
const cli_cmd cmd_serve_def = {
    .name = "serve",
    .brief = "serve the model: OpenAI's API, features, steering",
    .args = "[MODEL]",
    .opts = opts,
    .uses = CLI_MODE_CHAT,
    .run = cmd_serve,
    .text = "Listens on this machine alone unless --host says otherwise. Dictionaries, stores and recipes are registered here and named in requests. "
            "A recipe is a JSON file {\"name\":NAME,\"steer\":[..]}: every client can use it as the model MODEL@NAME. "
            "A monitor is one {\"name\":NAME,\"when\":{..}}: a steer with \"when\":{\"monitor\":NAME} is made only where it holds. "
            "Ctrl-C (or SIGTERM) lets what runs end, then stops.\n"
            "\n"
            "Routes are listed at /openapi.json; docs/SERVER.md describes them. Refusal directions are never pushed down.",
    .examples = "sonde serve model.gguf\n"
                "sonde serve model.gguf --dict l14=dict/ --store features.db --recipe pirate.json --port 8080\n",
    .json = "sonde.serve/1"};

/* The file's or folder's name: as it is, and without ".gguf". */
static void name_model(char out[160], char file[160], const char *path)
{
    sd_slice s = sd_slice_of(path);
    while (s.n && s.p[s.n - 1] == '/') s.n--;
    for (size_t i = s.n; i > 0; i--)
        if (s.p[i - 1] == '/') {
            s = (sd_slice){s.p + i, s.n - i};
            break;
        }
    snprintf(file, 160, "%.*s", s.n > 159 ? 159 : (int)s.n, s.p);
    if (sd_slice_ends(s, ".gguf")) s.n -= 5;
    snprintf(out, 160, "%.*s", s.n > 150 ? 150 : (int)s.n, s.p);
    for (char *p = out; *p; p++)
        if (*p == '@') *p = '-'; /* what follows an '@' is a recipe */
}

static int tell(cli *c, const args *a, const sd_server *s, const char *name)
{
    const char *left = strchr(a->host, ':') ? "[" : "", *right = *left ? "]" : "";
    if (c->json) {
        out_json j;
        char url[128];
        snprintf(url, sizeof url, "http://%s%.80s%s:%d", left, a->host, right, sd_serve_port(s));
        sd_jw *w = out_json_begin(c, &j, "sonde.serve/1");
        sd_jw_kstr(w, "url", url);
        sd_jw_ki64(w, "port", sd_serve_port(s));
        sd_jw_kstr(w, "model", name);
        sd_jw_kstr(w, "mode", c->n_arg ? sd_mode_name(c->mode) : "");
        return out_json_end(c, &j);
    }
    fprintf(c->out, "listening on http://%s%s%s:%d\n", left, a->host, right, sd_serve_port(s));
    return out_flush(c);
}

static int cmd_serve(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    char name[160] = "", file[160] = "", doubt[400];
    sd_err err = {0};
    sd_model *m = NULL;
    sd_server *s = NULL;
    sd_buf reference;
    sd_buf_init(&reference, 1 << 26);
    if (!cli_parse(c, &cmd_serve_def, &a, argc, argv, &rc)) return rc;
    if (!c->n_arg && !a.store.n) return cli_usage(c, "give a model, a --store, or both");
    if (!c->n_arg && (a.dict.n || a.recipe.n || a.monitor.n)) return cli_usage(c, "--dict, --recipe and --monitor need a model");
    if (a.alias && (!a.alias[0] || strchr(a.alias, '@'))) return cli_usage(c, "--alias: a name without '@'");
    if (c->n_arg) name_model(name, file, c->arg[0]);
    sd_serve_opt o = {.model_name = a.alias ? a.alias : name, .model_file = file, .model_path = c->n_arg ? c->arg[0] : NULL, .data_dir = c->data_dir,
                      .dict = a.dict.v, .n_dict = a.dict.n, .store = a.store.v, .n_store = a.store.n, .recipe = a.recipe.v, .n_recipe = a.recipe.n,
                      .monitor = a.monitor.v, .n_monitor = a.monitor.n,
                      .run = a.run.v, .n_run = a.run.n, .audit = a.audit.v, .n_audit = a.audit.n,
                      .host = a.host, .port = (int)a.port, .key_file = a.key_file, .cors = a.cors, .n_slots = (int)a.parallel,
                      .n_queue = (int)a.queue, .n_ctx = a.ctx, .max_body = a.max_body, .ping_s = a.ping};
    /* The port first: whoever waits for the server is told 503 while the model is read. */
    sd_status st = sd_serve_listen(&s, &o, &err);
    const sd_exec *ex = st ? NULL : cli_exec(c, &err);
    if (!st && !ex) st = err.code;
    if (!st && a.reference) st = sd_file_read(&reference, a.reference, &err);
    if (!st && c->n_arg) st = cli_model_open(c, ex, CLI_CHAT, c->arg[0], (sd_model_opt){.n_ctx = a.ctx}, &m, &err);
    if (!st && c->n_arg) st = cli_model_hash(c, c->arg[0], &err);
    if (!st) st = sd_serve_load(s, &(sd_serve_model){ex, m, c->prov.model_sha256, {reference.p, reference.n}}, &err);
    if (st) goto done;
    for (int i = 0; sd_serve_doubt(s, i, doubt); i++) cli_note(c, "warning: %s", doubt);
    rc = tell(c, &a, s, o.model_name);
    const struct timespec look = {.tv_nsec = 50000000};
    while (!rc && !*c->cancel) nanosleep(&look, NULL);
    cli_note(c, "stopping: what runs may go on for %g seconds", a.grace);
    sd_serve_stop(s, a.grace);
    s = NULL;
done:
    sd_serve_stop(s, 0);
    if (st) rc = cli_fail(c, &err);
    sd_buf_release(&reference);
    sd_model_close(m);
    return rc;
}

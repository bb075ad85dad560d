/* sonde version: one line, or the libraries too with --json. */
#include "cli/cli.h"
#include "cli/sysinfo.h"

typedef struct args { bool unused; } args;

static int cmd_version(cli *c, int argc, char **argv);
const cli_cmd cmd_version_def = {
    .name = "version",
    .brief = "print the version",
    .run = cmd_version,
    .json = "sonde.version/1",
    .examples = "sonde version\nsonde version --json\n",
};

static int cmd_version(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    if (!cli_parse(c, &cmd_version_def, &a, argc, argv, &rc)) return rc;
    if (!c->json) {
        fprintf(c->out, "sonde %s\n", sd_version());
        return out_flush(c);
    }
    out_json j;
    sd_jw *w = out_json_begin(c, &j, "sonde.version/1");
    sd_jw_kstr(w, "version", sd_version());
    sd_jw_key(w, "libraries");
    sd_jw_obj(w);
    char version[48];
    for (int i = 0; sysinfo_library(i); i++) sd_jw_kstr(w, sysinfo_library(i), sysinfo_library_version(i, version, sizeof version));
    sd_jw_end(w);
    return out_json_end_plain(c, &j);
}

/* sonde doctor: this machine as the program sees it, a quick measurement, and what is missing. */
#include "cli/cli.h"
#include "cli/sysinfo.h"
#include "base/map.h"
#include "lab/machine.h"
#include "base/par.h"
#include "num/exec.h"
#include <unistd.h>

typedef struct args { bool no_measure; } args;

static const cli_opt opts[] = {
    {0, "no-measure", OPT_BOOL, AT(args, no_measure), .help = "leave the measurement out (it takes about two seconds)"},
    OPT_END};

static int cmd_doctor(cli *c, int argc, char **argv);
const cli_cmd cmd_doctor_def = {
    .name = "doctor",
    .brief = "check this machine: CPU, memory, disk, libraries, speed",
    .opts = opts,
    .run = cmd_doctor,
    .json = "sonde.doctor/1",
    .examples = "sonde doctor\nsonde doctor --cpu avx2 --threads 1\n",
    .text = "Reads memory and multiplies matrices for about two seconds, and compares the products with plain\n"
            "double-precision ones. Other processes make the figures smaller. Exit code 1 when a product is wrong.\n",
};

/* Below these a study of a small model (0.1 to 1 billion parameters) does not fit. */
#define LEAST_MEMORY 2e9
#define LEAST_DISK 3e9

typedef struct advice { char text[8][200]; int n; } advice;

static void advise(advice *a, const char *fmt, ...) SD_PRINTF(2, 3);
static void advise(advice *a, const char *fmt, ...)
{
    if (a->n == 8) return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(a->text[a->n++], sizeof a->text[0], fmt, ap);
    va_end(ap);
}

typedef struct report {
    const sd_exec *ex;
    sd_mem_info mem;
    uint64_t disk;
    bool cache_ok;
    sd_machine m;
    bool measured;
    advice missing;
} report;

static void look_for_missing(cli *c, report *r)
{
    char text[48];
    uint32_t f = r->ex->cpu.flags;
    if (!(f & SD_CPU_AVX2)) advise(&r->missing, "AVX2: the plain C loops are used, many times slower");
    else if (!(f & SD_CPU_AVX512)) advise(&r->missing, "AVX-512: products run at half speed or less");
    if ((f & SD_CPU_AVX2) && !(f & SD_CPU_AVX512_BF16))
        advise(&r->missing, f & SD_CPU_AVX512 ? "bf16 products: faithful mode is used in their place" : "bf16 products: bf16 mode multiplies whole numbers of 13 bits in their place");
    if ((double)r->mem.available < LEAST_MEMORY && r->mem.total)
        advise(&r->missing, "memory: %s free, a small model's study wants 2 GB", sd_fmt_bytes(text, sizeof text, (double)r->mem.available));
    if ((double)r->disk < LEAST_DISK)
        advise(&r->missing, "disk: %s free in the current folder, a study wants 3 GB", sd_fmt_bytes(text, sizeof text, (double)r->disk));
    if (!r->cache_ok) advise(&r->missing, "a place for the cache: set XDG_CACHE_HOME to a folder that can be written");
    for (int i = 0; sysinfo_library(i); i++)
        if (strcmp(sysinfo_library_version(i, text, sizeof text), "not loaded") == 0) advise(&r->missing, "%s is not loaded", sysinfo_library(i));
    if (r->measured && !r->m.right) advise(&r->missing, "right products: a numeric mode is outside its bound on this CPU; use --cpu ref and report it");
    (void)c;
}

static int print_json(cli *c, const report *r)
{
    char text[48];
    out_json j;
    sd_jw *w = out_json_begin(c, &j, "sonde.doctor/1");
    sd_jw_kstr(w, "version", sd_version());
    sd_jw_kstr(w, "cpu", r->ex->cpu.name);
    sd_jw_kstr(w, "level", sd_cpu_level(&r->ex->cpu));
    sd_jw_kbool(w, "vnni", r->ex->cpu.flags & SD_CPU_AVX512_VNNI);
    sd_jw_kbool(w, "bf16", r->ex->cpu.flags & SD_CPU_AVX512_BF16);
    sd_jw_kbool(w, "amx", r->ex->cpu.flags & SD_CPU_AMX);
    sd_jw_ki64(w, "threads", r->ex->n_threads);
    sd_jw_ki64(w, "memory_bytes", (int64_t)r->mem.total);
    sd_jw_ki64(w, "memory_available_bytes", (int64_t)r->mem.available);
    sd_jw_ki64(w, "disk_free_bytes", (int64_t)r->disk);
    sd_jw_key(w, "libraries");
    sd_jw_obj(w);
    for (int i = 0; sysinfo_library(i); i++) sd_jw_kstr(w, sysinfo_library(i), sysinfo_library_version(i, text, sizeof text));
    sd_jw_end(w);
    if (r->measured) {
        sd_jw_kf64(w, "read_gb_s", r->m.read_gb_s);
        sd_jw_key(w, "products");
        sd_jw_arr(w);
        for (int i = 0; i < 3; i++) {
            const sd_machine_product *p = &r->m.product[i];
            sd_jw_obj(w);
            sd_jw_kstr(w, "mode", sd_mode_name(p->mode));
            sd_jw_kstr(w, "used", sd_mode_name(p->used));
            sd_jw_kstr(w, "weights", p->weights);
            sd_jw_kf64(w, "gops", p->gops);
            sd_jw_kf64(w, "rel_error", p->rel_error);
            sd_jw_kf64(w, "bound", p->bound);
            sd_jw_end(w);
        }
        sd_jw_end(w);
        sd_jw_kbool(w, "right", r->m.right);
    }
    sd_jw_key(w, "missing");
    sd_jw_arr(w);
    for (int i = 0; i < r->missing.n; i++) sd_jw_str(w, r->missing.text[i]);
    sd_jw_end(w);
    return out_json_end(c, &j);
}

static int print_text(cli *c, const report *r)
{
    char x[48], y[48];
    const sd_cpu *cpu = &r->ex->cpu;
    out_pairs *p = out_pairs_new(c);
    out_pair(p, "sonde", "%s", sd_version());
    out_pair(p, "cpu", "%s", cpu->name);
    out_pair(p, "level", "%s%s%s", sd_cpu_level(cpu), cpu->flags & SD_CPU_AMX ? "" : cpu->flags & SD_CPU_AVX512_VNNI ? " + vnni" : "",
             cpu->flags & SD_CPU_AMX ? "" : cpu->flags & SD_CPU_AVX512_BF16 ? " + bf16" : "");
    out_pair(p, "threads", "%d of %d", r->ex->n_threads, sd_par_hw_threads());
    out_pair(p, "memory", "%s free of %s", sd_fmt_bytes(x, sizeof x, (double)r->mem.available), sd_fmt_bytes(y, sizeof y, (double)r->mem.total));
    out_pair(p, "disk", "%s free here", sd_fmt_bytes(x, sizeof x, (double)r->disk));
    out_pair(p, "cache", "%s", c->cache_dir[0] ? c->cache_dir : "none");
    for (int i = 0; sysinfo_library(i); i++) out_pair(p, sysinfo_library(i), "%s", sysinfo_library_version(i, x, sizeof x));
    if (r->measured) out_pair(p, "memory read", "%.1f GB/s", r->m.read_gb_s);
    for (int i = 0; i < 3 && r->measured; i++) {
        const sd_machine_product *m = &r->m.product[i];
        out_pair(p, sd_mode_name(m->mode), "%.0f GOP/s on %s weights%s%s, error %.1e (at most %.0e)", m->gops, m->weights,
                 m->used != m->mode ? ", as " : "", m->used != m->mode ? sd_mode_name(m->used) : "", m->rel_error, m->bound);
    }
    if (r->missing.n == 0) out_pair(p, "missing", "nothing");
    for (int i = 0; i < r->missing.n; i++) out_pair(p, "missing", "%s", r->missing.text[i]);
    return out_pairs_end(p);
}

static int cmd_doctor(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    sd_err err = {0};
    if (!cli_parse(c, &cmd_doctor_def, &a, argc, argv, &rc)) return rc;
    report r = {.ex = cli_exec(c, &err), .mem = sd_mem_query(), .disk = sd_disk_free("."), .measured = !a.no_measure};
    if (!r.ex) return cli_fail(c, &err);
    r.cache_ok = c->cache_dir[0] && sd_dir_make(c->cache_dir, NULL) == SD_OK && access(c->cache_dir, W_OK) == 0;
    if (r.measured && sd_lab_machine(&r.m, r.ex, &c->progress, &err)) return cli_fail(c, &err);
    look_for_missing(c, &r);
    rc = c->json ? print_json(c, &r) : print_text(c, &r);
    return rc ? rc : r.measured && !r.m.right;
}

/* Owns: the folders and the file that names one. Easy to break: a folder may hold the only checkpoint there is, also the folder of the step that is written. */
#include "lab/ckpt.h"

#include "base/map.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

static const char index_file[] = "checkpoint.json", folder[] = "checkpoint-", suffix[] = ".safetensors";
static const char *const kinds[] = {"trainer", "shuffle", "state"};

static sd_status path_in(char out[SD_CKPT_PATH], const char *dir, const char *name, sd_err *err)
{
    return sd_path_join(out, SD_CKPT_PATH, dir, name) ? SD_OK : sd_fail(err, SD_E_ARG, "%s: path too long", dir);
}

/* "trainer.safetensors", "shuffle-2.safetensors": a file of ours; other tools keep theirs in folders of such names too. */
static bool is_ours(const char *name)
{
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        size_t n = strlen(kinds[k]);
        if (strncmp(name, kinds[k], n) != 0) continue;
        if (name[n] == '-') n += 1 + strspn(name + n + 1, "0123456789");
        if (strcmp(name + n, suffix) == 0) return true;
    }
    return false;
}

static void remove_folder(const char *dir)
{
    DIR *d = opendir(dir);
    char p[SD_CKPT_PATH];
    for (struct dirent *e; d && (e = readdir(d));)
        if (is_ours(e->d_name) && sd_path_join(p, sizeof p, dir, e->d_name)) unlink(p);
    if (d) closedir(d);
    rmdir(dir);
}

/* Removes every checkpoint of a run but `keep` (may be NULL). */
static void sweep(const char *run, const char *keep)
{
    DIR *d = opendir(run);
    char p[SD_CKPT_PATH];
    for (struct dirent *e; d && (e = readdir(d));)
        if (strncmp(e->d_name, folder, sizeof folder - 1) == 0 && (!keep || strcmp(e->d_name, keep) != 0) && sd_path_join(p, sizeof p, run, e->d_name)) remove_folder(p);
    if (d) closedir(d);
}

sd_status sd_ckpt_begin(sd_ckpt *c, const char *run, int64_t step, sd_err *err)
{
    *c = (sd_ckpt){.there = true}; /* nothing is to be removed before it is known what stands there */
    snprintf(c->name, sizeof c->name, "%s%08" PRId64, folder, step);
    sd_status st = path_in(c->dir, run, c->name, err);
    if (st) return st;
    c->there = sd_dir_exists(c->dir);
    return sd_dir_make(c->dir, err);
}

sd_status sd_ckpt_file(char out[SD_CKPT_PATH], const sd_ckpt *c, const char *what, int i, sd_err *err)
{
    char name[48];
    if (i) snprintf(name, sizeof name, "%s-%d%s", what, i, suffix);
    else snprintf(name, sizeof name, "%s%s", what, suffix);
    SD_ASSERT(is_ours(name));
    return path_in(out, c->dir, name, err);
}

sd_status sd_ckpt_end(const sd_ckpt *c, const char *run, const sd_buf *json, sd_status st, sd_err *err)
{
    char path[SD_CKPT_PATH];
    if (!st) st = sd_buf_check(json, index_file, err);
    if (!st) st = path_in(path, run, index_file, err);
    if (!st) st = sd_file_write_atomic(path, json->p, json->n, err);
    if (!st) sweep(run, c->name);
    else if (!c->there) remove_folder(c->dir);
    return st;
}

sd_status sd_ckpt_open(sd_ckpt *c, json_t **json, const char *run, sd_err *err)
{
    char path[SD_CKPT_PATH];
    const char *name = "";
    *c = (sd_ckpt){.there = true};
    *json = NULL;
    sd_status st = path_in(path, run, index_file, err);
    if (!st && (st = sd_json_load(json, path, 1 << 16, err))) return sd_hint(err, "there is nothing to resume in %s", run);
    if (!st) st = sd_json_get_str(*json, "checkpoint", &name, path, err);
    if (!st && (strlen(name) >= sizeof c->name || strncmp(name, folder, sizeof folder - 1) != 0 || strchr(name, '/')))
        st = sd_fail(err, SD_E_FORMAT, "%s: \"%.80s\" is no checkpoint of this folder", path, name);
    if (!st) snprintf(c->name, sizeof c->name, "%s", name);
    if (!st) st = path_in(c->dir, run, c->name, err);
    return st;
}

bool sd_ckpt_exists(const char *run)
{
    char p[SD_CKPT_PATH];
    return sd_path_join(p, sizeof p, run, index_file) && sd_file_exists(p);
}

void sd_ckpt_forget(const char *run)
{
    char p[SD_CKPT_PATH];
    if (sd_path_join(p, sizeof p, run, index_file)) unlink(p);
    sweep(run, NULL);
}

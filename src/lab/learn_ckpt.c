/* Checkpoints of a training run: dir/checkpoint-STEP/{trainer.safetensors,trainer-1.safetensors ..,shuffle.safetensors,shuffle-1.safetensors ..}, named by dir/checkpoint.json. The JSON is
 * replaced last and atomically, so a run that dies while writing goes on from the checkpoint before. */
#include "lab/learn_int.h"

#include <dirent.h>
#include <inttypes.h>
#include <unistd.h>

static sd_status path_in(char out[1200], const char *dir, const char *name, sd_err *err)
{
    return sd_path_join(out, 1200, dir, name) ? SD_OK : sd_fail(err, SD_E_ARG, "%s: path too long", dir);
}

/* Trainer or shuffle buffer i of a checkpoint. */
static void name_of(char out[32], const char *what, int i)
{
    if (i) snprintf(out, 32, "%s-%d.safetensors", what, i);
    else snprintf(out, 32, "%s.safetensors", what);
}

static void remove_folder(const char *dir)
{
    char p[1200], name[32];
    for (int i = 0; i <= SD_LEARN_MORE; i++) {
        name_of(name, "trainer", i);
        if (sd_path_join(p, sizeof p, dir, name)) unlink(p);
        name_of(name, "shuffle", i);
        if (sd_path_join(p, sizeof p, dir, name)) unlink(p);
    }
    rmdir(dir);
}

/* Removes every checkpoint-* folder of dir but `keep` (may be NULL). */
static void sweep(const char *dir, const char *keep)
{
    DIR *d = opendir(dir);
    char p[1200];
    for (struct dirent *e; d && (e = readdir(d));)
        if (strncmp(e->d_name, "checkpoint-", 11) == 0 && (!keep || strcmp(e->d_name, keep) != 0) && sd_path_join(p, sizeof p, dir, e->d_name))
            remove_folder(p);
    if (d) closedir(d);
}

static void write_state(sd_buf *b, const struct run *r, const char *name)
{
    sd_jw w;
    sd_jw_init(&w, b);
    sd_jw_obj(&w);
    sd_jw_kstr(&w, "checkpoint", name);
    sd_jw_ki64(&w, "step", r->stats[0].step);
    sd_jw_ki64(&w, "n_tokens", r->stats[0].n_tokens);
    sd_jw_ki64(&w, "source_row", r->loop.src.tell(r->loop.src.self));
    sd_jw_ki64(&w, "n_rows", r->loop.n_rows);
    sd_jw_ki64(&w, "n_heldout", r->n_heldout);
    sd_jw_ki64(&w, "epoch", r->loop.epoch);
    sd_jw_key(&w, "part_rows"); /* of several sites: where each one's reader stands, counted from the beginning of the run */
    sd_jw_arr(&w);
    for (int k = 0; k < r->n_part && r->parts; k++) sd_jw_i64(&w, r->part[k].src.tell(r->part[k].src.self));
    sd_jw_end(&w);
    sd_jw_key(&w, "events_bytes");
    sd_jw_arr(&w);
    for (int i = 0; i < r->n; i++) sd_jw_i64(&w, r->events[i].n_bytes);
    sd_jw_end(&w);
    sd_jw_end(&w);
    sd_buf_putc(b, '\n');
}

sd_status sd_learn__checkpoint(struct run *r, sd_err *err)
{
    char name[64], dir[1200], p[1200];
    sd_buf b;
    snprintf(name, sizeof name, "checkpoint-%08" PRId64, r->stats[0].step);
    sd_buf_init(&b, 4096);
    sd_status st = path_in(dir, r->opt->dir, name, err);
    if (!st) st = sd_dir_make(dir, err);
    for (int i = 0; i < r->n && !st; i++) {
        char file[32];
        name_of(file, "trainer", i);
        st = path_in(p, dir, file, err);
        if (!st) st = sd_learn__save(&r->trainer[i], p, err);
    }
    for (int k = 0; k < r->n_part && !st; k++) {
        char file[32];
        name_of(file, "shuffle", k);
        st = path_in(p, dir, file, err);
        if (!st) st = sd_shuffle_save(r->part[k].shuffle, p, err);
    }
    if (!st) st = path_in(p, r->opt->dir, "checkpoint.json", err);
    write_state(&b, r, name);
    if (!st) st = sd_buf_check(&b, "checkpoint.json", err);
    if (!st) st = sd_file_write_atomic(p, b.p, b.n, err);
    sd_buf_release(&b);
    if (st) remove_folder(dir);
    else sweep(r->opt->dir, name);
    return st;
}

static sd_status read_state(struct run *r, char name[64], int64_t row[SD_LEARN_PARTS], sd_err *err)
{
    char p[1200];
    const char *what = "checkpoint.json", *folder = NULL;
    json_t *j = NULL;
    int64_t n_rows = 0, n_heldout = 0, epoch = 0;
    sd_status st = path_in(p, r->opt->dir, what, err);
    if (!st && (st = sd_json_load(&j, p, 1 << 16, err))) return sd_hint(err, "there is nothing to resume in %s", r->opt->dir);
    if (!st) st = sd_json_get_str(j, "checkpoint", &folder, what, err);
    if (!st) st = sd_json_get_i64(j, "step", &r->stats[0].step, what, err);
    if (!st) st = sd_json_get_i64(j, "n_tokens", &r->stats[0].n_tokens, what, err);
    if (!st) st = sd_json_get_i64(j, "source_row", &row[0], what, err);
    if (!st) st = sd_json_get_i64(j, "n_rows", &n_rows, what, err);
    if (!st) st = sd_json_get_i64(j, "n_heldout", &n_heldout, what, err);
    if (!st) st = sd_json_get_i64(j, "epoch", &epoch, what, err);
    const json_t *rows = st ? NULL : json_object_get(j, "part_rows");
    if (!st && json_array_size(rows) != (size_t)(r->n_part > 1 ? r->n_part : 0)) st = sd_fail(err, SD_E_FORMAT, "%s: not of a run of %d sites", p, r->n_part);
    for (size_t k = 0; k < json_array_size(rows) && !st; k++)
        if ((row[k] = json_integer_value(json_array_get(rows, k))) < 0) st = sd_fail(err, SD_E_FORMAT, "%s: part_rows[%zu] is negative", p, k);
    const json_t *bytes = st ? NULL : json_object_get(j, "events_bytes");
    if (!st && (!json_is_array(bytes) || json_array_size(bytes) != (size_t)r->n)) st = sd_fail(err, SD_E_FORMAT, "%s: not of a run of %d dictionaries", p, r->n);
    for (int i = 0; i < r->n && !st; i++) {
        r->events[i].n_bytes = json_integer_value(json_array_get(bytes, (size_t)i));
        if (r->events[i].n_bytes < 0) st = sd_fail(err, SD_E_FORMAT, "%s: events_bytes[%d] is negative", p, i);
        r->stats[i].step = r->stats[0].step, r->stats[i].n_tokens = r->stats[0].n_tokens;
    }
    if (!st && (strlen(folder) >= 64 || strncmp(folder, "checkpoint-", 11) != 0 || strchr(folder, '/')))
        st = sd_fail(err, SD_E_FORMAT, "%s: \"%s\" is no checkpoint of this folder", p, folder);
    if (!st && (n_rows != r->loop.n_rows || n_heldout != r->n_heldout)) {
        sd_fail(err, SD_E_FORMAT, "%s was written for %" PRId64 " + %" PRId64 " rows, the data now gives %" PRId64 " + %" PRId64, p, n_rows,
                n_heldout, r->loop.n_rows, r->n_heldout);
        st = sd_hint(err, "resume with the same model, text and options");
    }
    if (!st) snprintf(name, 64, "%s", folder);
    r->loop.epoch = (int)epoch;
    json_decref(j);
    return st;
}

sd_status sd_learn__restore(struct run *r, const sd_exec *ex, sd_err *err)
{
    char name[64], dir[1200], p[1200];
    int64_t row[SD_LEARN_PARTS] = {0}, at;
    sd_status st = read_state(r, name, row, err);
    if (!st) st = path_in(dir, r->opt->dir, name, err);
    for (int i = 0; i < r->n && !st; i++) {
        char file[32];
        name_of(file, "trainer", i);
        st = path_in(p, dir, file, err);
        if (!st) st = sd_learn__load(&r->trainer[i], ex, i ? r->opt->more[i - 1].train.kind : r->opt->train.kind, p, err);
    }
    for (int k = 0; k < r->n_part && !st; k++) {
        char file[32];
        name_of(file, "shuffle", k);
        st = path_in(p, dir, file, err);
        if (!st) st = sd_shuffle_load(&r->part[k].shuffle, p, err);
    }
    if (st) return st;
    at = row[0];
    for (int k = 1; k < r->n_part; k++)
        if (row[k] < at) at = row[k];
    if (r->n_part > 1) r->loop.epoch = (int)(at / r->loop.n_rows), at %= r->loop.n_rows;
    if ((st = r->loop.src.seek(r->loop.src.self, at, err))) return st;
    return sd_learn__sources(r, row, err);
}

/* The name goes before what it names. */
void sd_learn_forget_checkpoint(const char *dir)
{
    char p[1200];
    if (sd_path_join(p, sizeof p, dir, "checkpoint.json")) unlink(p);
    sweep(dir, NULL);
}

bool sd_learn_has_checkpoint(const char *dir)
{
    char p[1200];
    return sd_path_join(p, sizeof p, dir, "checkpoint.json") && sd_file_exists(p);
}

/* What a checkpoint of a training run holds: trainer.safetensors, trainer-1.safetensors .., shuffle.safetensors, shuffle-1.safetensors ..; where it lies: ckpt.h. */
#include "lab/ckpt.h"
#include "lab/learn_int.h"

#include <inttypes.h>

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
    sd_ckpt c;
    char p[SD_CKPT_PATH];
    sd_buf b;
    sd_status st = sd_ckpt_begin(&c, r->opt->dir, r->stats[0].step, err);
    for (int i = 0; i < r->n && !st; i++) {
        st = sd_ckpt_file(p, &c, "trainer", i, err);
        if (!st) st = sd_learn__save(&r->trainer[i], p, err);
    }
    for (int k = 0; k < r->n_part && !st; k++) {
        st = sd_ckpt_file(p, &c, "shuffle", k, err);
        if (!st) st = sd_shuffle_save(r->part[k].shuffle, p, err);
    }
    sd_buf_init(&b, 4096);
    write_state(&b, r, c.name);
    st = sd_ckpt_end(&c, r->opt->dir, &b, st, err);
    sd_buf_release(&b);
    return st;
}

static sd_status read_state(struct run *r, sd_ckpt *c, int64_t row[SD_LEARN_PARTS], sd_err *err)
{
    const char *what = "checkpoint.json";
    json_t *j = NULL;
    int64_t n_rows = 0, n_heldout = 0, epoch = 0;
    sd_status st = sd_ckpt_open(c, &j, r->opt->dir, err);
    if (!st) st = sd_json_get_i64(j, "step", &r->stats[0].step, what, err);
    if (!st) st = sd_json_get_i64(j, "n_tokens", &r->stats[0].n_tokens, what, err);
    if (!st) st = sd_json_get_i64(j, "source_row", &row[0], what, err);
    if (!st) st = sd_json_get_i64(j, "n_rows", &n_rows, what, err);
    if (!st) st = sd_json_get_i64(j, "n_heldout", &n_heldout, what, err);
    if (!st) st = sd_json_get_i64(j, "epoch", &epoch, what, err);
    const json_t *rows = st ? NULL : json_object_get(j, "part_rows");
    if (!st && json_array_size(rows) != (size_t)(r->n_part > 1 ? r->n_part : 0)) st = sd_fail(err, SD_E_FORMAT, "%s: not of a run of %d sites", c->dir, r->n_part);
    for (size_t k = 0; k < json_array_size(rows) && !st; k++) {
        const json_t *v = json_array_get(rows, k);
        row[k] = json_integer_value(v);
        if (!json_is_integer(v)) st = sd_fail(err, SD_E_FORMAT, "%s: part_rows[%zu] is no whole number", c->dir, k);
    }
    const json_t *bytes = st ? NULL : json_object_get(j, "events_bytes");
    if (!st && (!json_is_array(bytes) || json_array_size(bytes) != (size_t)r->n)) st = sd_fail(err, SD_E_FORMAT, "%s: not of a run of %d dictionaries", c->dir, r->n);
    for (int i = 0; i < r->n && !st; i++) {
        const json_t *v = json_array_get(bytes, (size_t)i);
        r->events[i].n_bytes = json_integer_value(v);
        if (!json_is_integer(v) || r->events[i].n_bytes < 0) st = sd_fail(err, SD_E_FORMAT, "%s: events_bytes[%d] is no number of bytes", c->dir, i);
        r->stats[i].step = r->stats[0].step, r->stats[i].n_tokens = r->stats[0].n_tokens;
    }
    if (!st && (n_rows != r->loop.n_rows || n_heldout != r->n_heldout)) {
        sd_fail(err, SD_E_FORMAT, "%s was written for %" PRId64 " + %" PRId64 " rows, the data now gives %" PRId64 " + %" PRId64, c->dir, n_rows,
                n_heldout, r->loop.n_rows, r->n_heldout);
        st = sd_hint(err, "resume with the same model, text and options");
    }
    /* The last block of an epoch may reach into the held-out rows. Rows of several sites are counted from the first epoch on, each for itself. */
    const int64_t most = r->n_part > 1 ? INT64_MAX : r->loop.n_rows + r->n_heldout;
    for (int k = 0; k < r->n_part && !st; k++)
        if (row[k] < 0 || row[k] > most || row[k] / INT32_MAX >= n_rows || epoch < 0 || epoch > INT32_MAX)
            st = sd_fail(err, SD_E_FORMAT, "%s: row %" PRId64 " of %" PRId64 " in epoch %" PRId64 " makes no sense", c->dir, row[k], n_rows, epoch);
    r->loop.epoch = (int)epoch;
    json_decref(j);
    return st;
}

/* Files of a checkpoint may be those of another run. */
static sd_status of_this_run(int64_t d, int64_t batch, const struct run *r, int part, const char *path, sd_err *err)
{
    const int64_t want = r->part[part].d, rows = sd_learn__opt(&r->trainer[0])->batch;
    if (d == want && batch == rows) return SD_OK;
    return sd_fail(err, SD_E_FORMAT, "%s: of rows of %" PRId64 " numbers and batches of %" PRId64 ", the run's have %" PRId64 " and %" PRId64, path, d, batch, want, rows);
}

/* What is said of the run is what its trainers did: every step takes a batch. */
static sd_status at_this_step(const struct run *r, int i, const char *path, sd_err *err)
{
    const sd_dict_train_opt *o = sd_learn__opt(&r->trainer[i]);
    const int64_t step = r->stats[i].step, n = r->stats[i].n_tokens, own = sd_learn__tokens(&r->trainer[i]);
    if (step >= 0 && step <= o->n_tokens / o->batch && n == step * o->batch && own == n) return SD_OK;
    sd_fail(err, SD_E_FORMAT, "%s: of %" PRId64 " tokens, the checkpoint says step %" PRId64 " and %" PRId64 " tokens", path, own, step, n);
    return sd_hint(err, "its files are of two moments; train anew");
}

sd_status sd_learn__restore(struct run *r, const sd_exec *ex, sd_err *err)
{
    sd_ckpt c;
    char p[SD_CKPT_PATH];
    int64_t row[SD_LEARN_PARTS] = {0}, at;
    sd_status st = read_state(r, &c, row, err);
    for (int i = 0; i < r->n && !st; i++) {
        st = sd_ckpt_file(p, &c, "trainer", i, err);
        if (!st) st = sd_learn__load(&r->trainer[i], ex, i ? r->opt->more[i - 1].train.kind : r->opt->train.kind, p, err);
        const sd_dict_train_opt *o = st ? NULL : sd_learn__opt(&r->trainer[i]);
        if (!st) st = of_this_run(o->d + o->d_out, o->batch, r, r->of[i], p, err);
        if (!st) st = at_this_step(r, i, p, err);
    }
    for (int k = 0; k < r->n_part && !st; k++) {
        st = sd_ckpt_file(p, &c, "shuffle", k, err);
        if (!st) st = sd_shuffle_load(&r->part[k].shuffle, p, err);
        if (!st) st = of_this_run(sd_shuffle_width(r->part[k].shuffle), sd_learn__opt(&r->trainer[0])->batch, r, k, p, err);
    }
    if (st) return st;
    at = row[0];
    for (int k = 1; k < r->n_part; k++)
        if (row[k] < at) at = row[k];
    if (r->n_part > 1) r->loop.epoch = (int)(at / r->loop.n_rows), at %= r->loop.n_rows;
    if ((st = r->loop.src.seek(r->loop.src.self, at, err))) return st;
    return sd_learn__sources(r, row, err);
}

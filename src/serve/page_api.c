/* Owns: what the page needs beside features: the map of a store, labels by hand, runs that are going on, audits. Runs and audits are named when the
 * server starts and read afresh at each request; names in requests are looked up among them, never made into paths. */
#include "serve/server_int.h"

#include "base/log.h"
#include "base/map.h"
#include "lab/feature_json.h"
#include "lab/map_page.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- the map ---- */

int sd_handle__map(sd_server *s, const sd_request *rq, sd_reply *rp, sd_problem *p)
{
    sd_err err = {0};
    sd_jw w;
    sd_reg_store *r = sd_registry__store(s, rq->arg[0]);
    if (!r) return sd_problem_set(p, 404, "store", "there is no store '%.80s' here", rq->arg[0]);
    sd_jw_init(&w, &rp->body);
    sd_jw_obj(&w);
    sd_jw_kstr(&w, "schema", "sonde.map/1");
    pthread_mutex_lock(&r->lock);
    sd_status st = sd_map_page_write(&w, r->store, &err);
    pthread_mutex_unlock(&r->lock);
    sd_jw_end(&w);
    return st ? sd_problem_of(p, &err, NULL) : 0;
}

/* ---- rows of chosen features ---- */

enum { MAX_BRIEFS = 200, MAX_LABEL = 200, LABEL_WAIT_S = 15, LABEL_TRY_MS = 500, LABEL_PAUSE_NS = 100000000 };

/* What the units of a steer along feature i are worth, and how long its decoder row is; what a dictionary does not state is left out. A crosscoder's are of a part
 * of its row, which is not named here; where rows are scaled one by one no figure holds for all. */
static void put_units(sd_jw *w, const sd_dict *d, int64_t i)
{
    const sd_dict_info *in = sd_dict_get_info(d);
    const bool none = in->kind == SD_DICT_CROSSCODER || sd_dict_scales_rows(d), maps = sd_dict_kind_maps(in->kind);
    const float *row = sd_dict_dec_row(d, i);
    double norm2 = 0;
    for (int64_t j = 0; j < in->d_out; j++) norm2 += (double)row[j] * (double)row[j];
    const struct { const char *name; double v; } unit[] = {{"rms", maps ? in->out_rms : in->site_rms}, {"max_act", (double)sd_dict_max_act(d, i)}, {"row_norm", sqrt(norm2)}};
    sd_jw_key(w, "units");
    sd_jw_obj(w);
    for (int k = 0; k < 3 && !none; k++)
        if (unit[k].v > 0) sd_jw_kf64(w, unit[k].name, unit[k].v);
    sd_jw_end(w);
}

int sd_handle__briefs(sd_server *s, const sd_request *rq, sd_reply *rp, sd_problem *p)
{
    sd_err err = {0};
    sd_jw w;
    sd_slice rest, one;
    int64_t index, n = 0;
    sd_status st = SD_OK;
    sd_reg_store *r = sd_registry__store(s, rq->arg[0]);
    const char *ids = rq->query(rq->self, "ids"), *name = rq->query(rq->self, "dict");
    const sd_reg_dict *d = name ? sd_registry__dict(s, name) : NULL;
    if (!r) return sd_problem_set(p, 404, "store", "there is no store '%.80s' here", rq->arg[0]);
    if (name && !d) return sd_problem_set(p, 404, "dict", "there is no dictionary '%.80s' here", name);
    if (!ids || !*ids) return sd_problem_set(p, 400, "ids", "ids: give numbers of features, \"4,21,400\"");
    rest = sd_slice_of(ids);
    sd_jw_init(&w, &rp->body);
    sd_jw_obj(&w);
    sd_jw_kstr(&w, "schema", "sonde.feature.briefs/1");
    sd_jw_key(&w, "features");
    sd_jw_arr(&w);
    pthread_mutex_lock(&r->lock);
    while (!st && !p->http && sd_slice_cut(&rest, ',', &one)) {
        sd_feature_list l;
        if (!sd_parse_i64(one, &index) || index < 0) sd_problem_set(p, 400, "ids", "ids: '%.*s' is no number of a feature", one.n > 40 ? 40 : (int)one.n, one.p);
        else if (++n > MAX_BRIEFS) sd_problem_set(p, 400, "ids", "ids: at most %d features", MAX_BRIEFS);
        else if (!(st = sd_store_one(&l, r->store, index, &err))) {
            sd_jw_obj(&w);
            sd_feature_brief_write(&w, r->store, &l.v[0]);
            if (d && index < sd_dict_get_info(d->dict)->m) put_units(&w, d->dict, index);
            sd_jw_end(&w);
            sd_feature_list_release(&l);
        }
    }
    pthread_mutex_unlock(&r->lock);
    sd_jw_end(&w);
    sd_jw_end(&w);
    if (st) sd_problem_of(p, &err, "ids");
    return p->http;
}

/* ---- labels by hand ---- */

const sd_field sd_body_label[] = {
    {.name = "text", .type = SD_FIELD_STR, .required = true, .help = "the feature's name, at most 200 bytes; kept with its time beside the others"},
    {.name = "author", .type = SD_FIELD_STR, .help = "who says so"},
    {0}};

static sd_status add_label(const sd_reg_store *r, int64_t index, sd_slice text, const char *author, sd_err *err)
{
    char copy[MAX_LABEL + 1], created[32] = "";
    time_t now = time(NULL);
    struct tm tm;
    sd_store *s;
    memcpy(copy, text.p, text.n);
    copy[text.n] = 0;
    if (gmtime_r(&now, &tm)) strftime(created, sizeof created, "%Y-%m-%dT%H:%M:%SZ", &tm);
    sd_status st = sd_store_try_edit(&s, r->path, LABEL_TRY_MS, err);
    if (st) return st;
    const sd_label l = {.text = copy, .source = "human", .author = author, .created = created, .score = (double)NAN, .args = ""};
    st = sd_store_add_label(s, index, &l, err);
    sd_store_close(s);
    return st;
}

/* Readers are opened anew: what they had read of the file is not what stands there now. Under both locks. */
static sd_status reopen(sd_reg_store *r, sd_err *err)
{
    sd_store *s;
    sd_status st = sd_store_open(&s, r->path, err);
    if (st) return st;
    sd_store_close(r->store);
    sd_store_close(r->search);
    r->store = s;
    r->search = NULL;
    return SD_OK;
}

/* *written: the label is in the file, whatever came then; *f is the feature with its labels. */
static sd_status label_and_read(sd_feature **f, bool *written, sd_reg_store *r, int64_t index, sd_slice text, const char *author, sd_err *err)
{
    pthread_mutex_lock(&r->search_lock); /* a search that runs would keep the writer out */
    pthread_mutex_lock(&r->lock);
    sd_status st = add_label(r, index, text, author, err);
    *written = !st;
    if (!st) st = reopen(r, err);
    if (!st) st = sd_store_feature(f, r->store, index, -1, err);
    pthread_mutex_unlock(&r->lock);
    pthread_mutex_unlock(&r->search_lock);
    return st;
}

int sd_handle__label(sd_server *s, const sd_request *rq, sd_reply *rp, sd_problem *p)
{
    sd_err err = {0};
    json_t *body;
    sd_jw w;
    int64_t index;
    sd_feature *f = NULL;
    sd_reg_store *r = sd_registry__store(s, rq->arg[0]);
    if (!r) return sd_problem_set(p, 404, "store", "there is no store '%.80s' here", rq->arg[0]);
    if (!sd_parse_i64(sd_slice_of(rq->arg[1]), &index) || index < 0) return sd_problem_set(p, 400, "index", "index: '%.40s' is no number of a feature", rq->arg[1]);
    int http = sd_body__parse(&body, rq->body, sd_body_label, rp, p);
    if (http) return http;
    const char *author = sd_field_str(body, "author", "");
    sd_slice text = sd_slice_trim(sd_slice_of(sd_field_str(body, "text", "")));
    if (!text.n || text.n > MAX_LABEL || strlen(author) > MAX_LABEL)
        http = sd_problem_set(p, 400, "text", "text: a label has 1 to %d bytes, its author at most as many", MAX_LABEL);
    /* Another process's search keeps the writer out: it is asked again, and between two times the page's other requests are answered. */
    const struct timespec pause = {.tv_nsec = LABEL_PAUSE_NS};
    const double until = sd_now() + LABEL_WAIT_S;
    bool written = false;
    sd_status st = http ? SD_OK : label_and_read(&f, &written, r, index, text, author, &err);
    while (st == SD_E_BUSY && !written && sd_now() < until && !rq->gone(rq->self)) {
        nanosleep(&pause, NULL);
        st = label_and_read(&f, &written, r, index, text, author, &err);
    }
    json_decref(body);
    if (http) return http;
    if (st) http = sd_problem_of(p, &err, "index");
    if (http) return http;
    sd_jw_init(&w, &rp->body);
    sd_jw_obj(&w);
    sd_jw_kstr(&w, "schema", "sonde.feature.label/1");
    sd_jw_ki64(&w, "index", index);
    sd_feature_labels_write(&w, f);
    sd_jw_end(&w);
    sd_feature_free(f);
    return 0;
}

/* ---- runs: folders with events.jsonl ---- */

enum { MAX_EVENTS = 8 << 20, MAX_RUN_JSON = 1 << 20, MAX_AUDIT = 64 << 20 };
static const char events_file[] = "events.jsonl";

static bool has(const sd_paths *l, const char *path)
{
    for (int64_t i = 0; i < l->n; i++)
        if (strcmp(l->v[i], path) == 0) return true;
    return false;
}

/* Folders with events.jsonl among the registered ones and those right under them, as the paths of those files. */
static sd_status list_runs(sd_paths *out, const sd_server *s, sd_err *err)
{
    sd_status st = SD_OK;
    *out = (sd_paths){0};
    for (int i = 0; i < s->opt.n_run && !st; i++) {
        sd_paths all;
        if (!sd_dir_exists(s->opt.run[i])) continue; /* removed since: the others are still there */
        if ((st = sd_dir_list_to(&all, s->opt.run[i], 1, err))) break;
        for (int64_t k = 0; k < all.n; k++) {
            if (!sd_slice_eq_str(sd_serve__base_name(all.v[k], ""), events_file) || has(out, all.v[k])) continue;
            char **v = sd_realloc(out->v, (size_t)(out->n + 1) * sizeof *v);
            if (!v) {
                st = sd_fail(err, SD_E_NOMEM, "out of memory: the runs");
                break;
            }
            out->v = v;
            out->v[out->n++] = all.v[k];
            all.v[k] = NULL;
        }
        sd_paths_free(&all);
    }
    if (st) sd_paths_free(out);
    return st;
}

/* The folder that events.jsonl stands in. */
static void run_folder(char dir[1200], const char *events)
{
    snprintf(dir, 1200, "%.*s", (int)(strlen(events) - strlen(events_file) - 1), events);
}

/* The name of run i, and its folder: the folder's own; of folders of one name the second is NAME-2. */
static void run_name(char name[300], char dir[1200], const sd_paths *l, int64_t i)
{
    char other[1200];
    int n = 1;
    run_folder(dir, l->v[i]);
    const sd_slice own = sd_serve__base_name(dir, "");
    for (int64_t k = 0; k < i; k++) {
        run_folder(other, l->v[k]);
        n += sd_slice_eq(sd_serve__base_name(other, ""), own);
    }
    snprintf(name, 300, n > 1 ? "%.*s-%d" : "%.*s", own.n > 256 ? 256 : (int)own.n, own.p, n);
}

static void put_run(sd_jw *w, const sd_server *s, const sd_paths *l, int64_t i)
{
    char dir[1200], path[1300], name[300];
    sd_err err = {0};
    json_t *j = NULL;
    struct stat at;
    run_name(name, dir, l, i);
    sd_jw_obj(w);
    sd_jw_kstr(w, "name", name);
    if (s->loopback) sd_jw_kstr(w, "path", dir);
    if (stat(l->v[i], &at) == 0) {
        sd_jw_ki64(w, "bytes", at.st_size);
        sd_jw_ki64(w, "changed", at.st_mtime);
    }
    sd_jw_key(w, "asked");
    if (sd_path_join(path, sizeof path, dir, "run.json") && !sd_json_load(&j, path, MAX_RUN_JSON, &err)) {
        sd_jw_tree(w, j);
        json_decref(j);
    } else
        sd_jw_null(w);
    sd_jw_end(w);
}

int sd_handle__runs(sd_server *s, const sd_request *rq, sd_reply *rp, sd_problem *p)
{
    sd_err err = {0};
    sd_paths l;
    sd_jw w;
    (void)rq;
    sd_status st = list_runs(&l, s, &err);
    if (st) return sd_problem_of(p, &err, NULL);
    sd_jw_init(&w, &rp->body);
    sd_jw_obj(&w);
    sd_jw_kstr(&w, "schema", "sonde.runs/1");
    sd_jw_ki64(&w, "now", (int64_t)time(NULL));
    sd_jw_key(&w, "runs");
    sd_jw_arr(&w);
    for (int64_t i = 0; i < l.n; i++) put_run(&w, s, &l, i);
    sd_jw_end(&w);
    sd_jw_end(&w);
    sd_paths_free(&l);
    return 0;
}

/* At most MAX_EVENTS bytes of a file from `at` on; what a reader asks for beyond its end begins anew at 0. */
static sd_status read_part(sd_buf *b, const char *path, int64_t *at, int64_t *size, sd_err *err)
{
    struct stat is;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &is) != 0) {
        sd_fail_errno(err, errno, "%s", path);
        if (fd >= 0) close(fd);
        return err->code;
    }
    *size = is.st_size;
    if (*at > *size) *at = 0;
    size_t n = (size_t)(*size - *at) < MAX_EVENTS ? (size_t)(*size - *at) : MAX_EVENTS;
    char *p = sd_malloc(n + 1);
    ssize_t got = p ? pread(fd, p, n, *at) : 0;
    sd_status st = !p ? sd_fail(err, SD_E_NOMEM, "out of memory: %s", path) : got < 0 ? sd_fail_errno(err, errno, "%s", path) : SD_OK;
    if (!st) sd_buf_put(b, p, (size_t)got);
    sd_free(p);
    close(fd);
    return st ? st : sd_buf_check(b, path, err);
}

/* Whole lines of b, as far as they are objects; the bytes they take. A line longer than a part is passed over. */
static int64_t put_events(sd_jw *w, const sd_buf *b)
{
    sd_err err = {0};
    int64_t from = 0;
    sd_jw_key(w, "events");
    sd_jw_arr(w);
    if (b->n == MAX_EVENTS && !memchr(b->p, '\n', b->n)) from = MAX_EVENTS;
    while ((size_t)from < b->n) {
        const char *line = b->p + from, *end = memchr(line, '\n', b->n - (size_t)from);
        json_t *j;
        if (!end) break;
        if (end > line && !sd_json_parse(&j, line, (size_t)(end - line), events_file, &err)) {
            if (json_is_object(j)) sd_jw_tree(w, j);
            json_decref(j);
        }
        from += end - line + 1;
    }
    sd_jw_end(w);
    return from;
}

int sd_handle__run(sd_server *s, const sd_request *rq, sd_reply *rp, sd_problem *p)
{
    sd_err err = {0};
    sd_paths l;
    sd_buf b;
    sd_jw w;
    char dir[1200], name[300];
    const char *from = rq->query(rq->self, "from"), *found = NULL;
    int64_t at = 0, size = 0;
    if (from && (!sd_parse_i64(sd_slice_of(from), &at) || at < 0)) return sd_problem_set(p, 400, "from", "from: expected a number of bytes");
    sd_status st = list_runs(&l, s, &err);
    if (st) return sd_problem_of(p, &err, NULL);
    for (int64_t i = 0; i < l.n && !found; i++) {
        run_name(name, dir, &l, i);
        if (strcmp(name, rq->arg[0]) == 0) found = l.v[i];
    }
    sd_buf_init(&b, MAX_EVENTS);
    if (!found) sd_problem_set(p, 404, "run", "there is no run '%.80s' here", rq->arg[0]);
    else if ((st = read_part(&b, found, &at, &size, &err))) sd_problem_of(p, &err, NULL);
    else {
        sd_jw_init(&w, &rp->body);
        sd_jw_obj(&w);
        sd_jw_kstr(&w, "schema", "sonde.run/1");
        sd_jw_ki64(&w, "from", at);
        sd_jw_ki64(&w, "bytes", size);
        sd_jw_ki64(&w, "next", at + put_events(&w, &b));
        sd_jw_end(&w);
    }
    sd_buf_release(&b);
    sd_paths_free(&l);
    return p->http;
}

/* ---- audits ---- */

sd_status sd_audits__check(const sd_server *s, sd_err *err)
{
    for (int i = 0; i < s->opt.n_audit; i++)
        for (int k = 0; k < i; k++)
            if (sd_slice_eq(sd_serve__base_name(s->opt.audit[k], ".json"), sd_serve__base_name(s->opt.audit[i], ".json"))) {
                sd_fail(err, SD_E_ARG, "two audits have the name of %s", s->opt.audit[i]);
                return sd_hint(err, "an audit's name is its file's: rename one of them");
            }
    return SD_OK;
}

int sd_handle__audits(sd_server *s, const sd_request *rq, sd_reply *rp, sd_problem *p)
{
    sd_jw w;
    (void)rq;
    (void)p;
    sd_jw_init(&w, &rp->body);
    sd_jw_obj(&w);
    sd_jw_kstr(&w, "schema", "sonde.audits/1");
    sd_jw_key(&w, "audits");
    sd_jw_arr(&w);
    for (int i = 0; i < s->opt.n_audit; i++) sd_jw_slice(&w, sd_serve__base_name(s->opt.audit[i], ".json"));
    sd_jw_end(&w);
    sd_jw_end(&w);
    return 0;
}

int sd_handle__audit(sd_server *s, const sd_request *rq, sd_reply *rp, sd_problem *p)
{
    sd_err err = {0};
    json_t *j;
    sd_jw w;
    for (int i = 0; i < s->opt.n_audit; i++) {
        if (!sd_slice_eq_str(sd_serve__base_name(s->opt.audit[i], ".json"), rq->arg[0])) continue;
        if (sd_json_load(&j, s->opt.audit[i], MAX_AUDIT, &err)) return sd_problem_of(p, &err, NULL);
        sd_jw_init(&w, &rp->body);
        sd_jw_tree(&w, j);
        json_decref(j);
        return 0;
    }
    return sd_problem_set(p, 404, "audit", "there is no audit '%.80s' here: audits are registered when the server starts (--audit)", rq->arg[0]);
}

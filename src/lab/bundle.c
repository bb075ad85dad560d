/* Owns: the files. */
#include "lab/bundle.h"

#include "base/json.h"
#include "base/map.h"
#include "lab/feature_json.h"
#include "lab/map_page.h"
#include "lab/page_asset.h"

#include <inttypes.h>
#include <zlib.h>

/* A feature is some 8 KB packed: a file of 16 is read in a moment, and a store of 16,384 gives about a thousand files. */
enum { SHARD = 16, PAGE = 4096, DEFAULT_EXAMPLES = 8 };
#define MAX_JSON ((size_t)1 << 30)

typedef struct writer { const char *dir, *name; sd_bundle *out; sd_buf json, packed; } writer;

static sd_status put_file(writer *x, const char *rel, const void *p, size_t n, sd_err *err)
{
    char path[1400];
    if (!sd_path_join(path, sizeof path, x->dir, rel)) return sd_fail(err, SD_E_ARG, "%s: path too long", x->dir);
    x->out->n_files++;
    x->out->n_bytes += (int64_t)n;
    return sd_file_write_atomic(path, p, n, err);
}

/* RFC 1952, no time in it: the same store gives the same bytes. */
static sd_status pack(sd_buf *out, const sd_buf *in, sd_err *err)
{
    z_stream z = {0};
    unsigned char block[1 << 14];
    int rc = deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
    sd_buf_reset(out);
    z.next_in = (unsigned char *)(uintptr_t)in->p;
    z.avail_in = (unsigned)in->n;
    while (rc == Z_OK) {
        z.next_out = block;
        z.avail_out = sizeof block;
        rc = deflate(&z, Z_FINISH);
        sd_buf_put(out, (const char *)block, sizeof block - z.avail_out);
        if (rc == Z_OK || rc == Z_BUF_ERROR) rc = Z_OK;
    }
    deflateEnd(&z);
    return rc == Z_STREAM_END ? sd_buf_check(out, "a packed file", err) : sd_fail(err, SD_E_NOMEM, "out of memory: packing a file");
}

/* The JSON that was gathered, packed, as data/NAME/FILE. */
static sd_status put_packed(writer *x, const char *file, sd_err *err)
{
    char rel[200];
    snprintf(rel, sizeof rel, "data/%s/%s", x->name, file);
    sd_status st = sd_buf_check(&x->json, file, err);
    if (!st) st = pack(&x->packed, &x->json, err);
    return st ? st : put_file(x, rel, x->packed.p, x->packed.n, err);
}

static sd_jw begin(writer *x, const char *schema)
{
    sd_jw w;
    sd_buf_reset(&x->json);
    sd_jw_init(&w, &x->json);
    sd_jw_obj(&w);
    sd_jw_kstr(&w, "schema", schema);
    return w;
}

/* The page says where its data is, and carries its policy with it: a folder cannot rely on a server's headers. */
static sd_status put_page(writer *x, sd_err *err)
{
    sd_page_asset a;
    char rel[100];
    sd_status st = SD_OK;
    for (int i = 0; sd_page_asset_at(i, &a) && !st; i++) {
        static const char head[] = "</head>";
        const char *at = strcmp(a.name, "index.html") == 0 ? memmem(a.bytes.p, a.bytes.n, head, sizeof head - 1) : NULL;
        const char *no_meta = strstr(sd_page_policy, "; frame-ancestors"); /* not allowed in a meta element */
        snprintf(rel, sizeof rel, "page/%s", a.name);
        if (!at) {
            st = put_file(x, rel, a.bytes.p, a.bytes.n, err);
            continue;
        }
        size_t before = (size_t)(at - a.bytes.p);
        sd_buf_reset(&x->json);
        sd_buf_put(&x->json, a.bytes.p, before);
        sd_buf_printf(&x->json, "<meta http-equiv=\"Content-Security-Policy\" content=\"%.*s\">\n<meta name=\"sonde-data\" content=\"data/\">\n",
                      (int)(no_meta - sd_page_policy), sd_page_policy);
        sd_buf_put(&x->json, at, a.bytes.n - before);
        st = sd_buf_check(&x->json, a.name, err);
        if (!st) st = put_file(x, "index.html", x->json.p, x->json.n, err);
    }
    static const char robots[] = "User-agent: *\nDisallow: /\n";
    return st ? st : put_file(x, "robots.txt", robots, sizeof robots - 1, err);
}

static sd_status put_config(writer *x, const sd_store_info *in, sd_err *err)
{
    static const char *const none[] = {"dicts", "recipes", "directions"};
    sd_jw w = begin(x, "sonde.config/1");
    sd_jw_kstr(&w, "version", sd_version());
    sd_jw_kstr(&w, "name", "");
    for (int i = 0; i < 3; i++) {
        sd_jw_key(&w, none[i]);
        sd_jw_arr(&w);
        sd_jw_end(&w);
    }
    sd_jw_key(&w, "model");
    sd_jw_null(&w);
    sd_jw_key(&w, "stores");
    sd_jw_arr(&w);
    sd_jw_obj(&w);
    sd_jw_kstr(&w, "name", x->name);
    sd_jw_ki64(&w, "n_features", in->n_features);
    sd_jw_ki64(&w, "n_alive", in->n_alive);
    sd_store_info_write(&w, in);
    sd_jw_end(&w);
    sd_jw_end(&w);
    sd_jw_end(&w);
    sd_status st = sd_buf_check(&x->json, "config.json", err);
    return st ? st : put_file(x, "data/config.json", x->json.p, x->json.n, err);
}

static sd_status put_list(writer *x, sd_store *s, sd_err *err)
{
    sd_status st = SD_OK;
    sd_jw w = begin(x, "sonde.bundle.list/1");
    sd_jw_ki64(&w, "shard", SHARD);
    sd_jw_key(&w, "features");
    sd_jw_arr(&w);
    for (int64_t at = 0, n = 1; n && !st; at += n) {
        sd_feature_list l;
        st = sd_store_list(&l, s, &(sd_feature_query){.sort = SD_SORT_INDEX, .silent = true, .limit = PAGE, .offset = at}, err);
        if (st) break;
        n = l.n;
        for (int64_t i = 0; i < l.n; i++) {
            sd_jw_obj(&w);
            sd_feature_brief_write(&w, s, &l.v[i]);
            sd_jw_end(&w);
        }
        sd_feature_list_release(&l);
    }
    sd_jw_end(&w);
    sd_jw_end(&w);
    return st ? st : put_packed(x, "list.json.gz", err);
}

static sd_status put_shard(writer *x, sd_store *s, int64_t f0, int max_example, sd_err *err)
{
    char file[48];
    int64_t m = sd_store_get_info(s)->n_features;
    sd_status st = SD_OK;
    sd_jw w = begin(x, "sonde.bundle.features/1");
    sd_store_info_write(&w, sd_store_get_info(s));
    sd_jw_key(&w, "features");
    sd_jw_arr(&w);
    for (int64_t f = f0; f < f0 + SHARD && f < m && !st; f++) {
        sd_feature *v;
        if ((st = sd_store_feature(&v, s, f, max_example, err))) break;
        sd_jw_obj(&w);
        sd_feature_write(&w, s, v);
        sd_jw_end(&w);
        sd_feature_free(v);
        x->out->n_features++;
    }
    sd_jw_end(&w);
    sd_jw_end(&w);
    snprintf(file, sizeof file, "f%" PRId64 ".json.gz", f0 / SHARD);
    return st ? st : put_packed(x, file, err);
}

static sd_status put_map(writer *x, sd_store *s, sd_err *err)
{
    sd_jw w = begin(x, "sonde.map/1");
    sd_status st = sd_map_page_write(&w, s, err);
    sd_jw_end(&w);
    if (st == SD_E_NOTFOUND) return SD_OK; /* the page says that there is none */
    x->out->map = !st;
    return st ? st : put_packed(x, "map.json.gz", err);
}

sd_status sd_lab_bundle(sd_bundle *out, const char *dir, sd_store *s, const sd_bundle_opt *opt, sd_err *err)
{
    const sd_store_info *in = sd_store_get_info(s);
    writer x = {.dir = dir, .name = opt->name, .out = out};
    char path[1400], rel[100];
    *out = (sd_bundle){0};
    sd_buf_init(&x.json, MAX_JSON);
    sd_buf_init(&x.packed, MAX_JSON);
    snprintf(rel, sizeof rel, "data/%s", opt->name);
    sd_status st = sd_path_join(path, sizeof path, dir, rel) ? sd_dir_make(path, err) : sd_fail(err, SD_E_ARG, "%s: path too long", dir);
    if (!st && sd_path_join(path, sizeof path, dir, "page")) st = sd_dir_make(path, err);
    if (!st) st = put_page(&x, err);
    if (!st) st = put_config(&x, in, err);
    if (!st) st = put_list(&x, s, err);
    if (!st) st = put_map(&x, s, err);
    for (int64_t f = 0; f < in->n_features && !st; f += SHARD) {
        if (sd_progress_cancelled(opt->progress)) st = sd_fail(err, SD_E_CANCELLED, "interrupted");
        if (!st) st = put_shard(&x, s, f, opt->max_example ? opt->max_example : DEFAULT_EXAMPLES, err);
        sd_progress_update(opt->progress, "bundle", (double)(f + SHARD), (double)in->n_features, "features");
    }
    sd_buf_release(&x.json);
    sd_buf_release(&x.packed);
    return st;
}

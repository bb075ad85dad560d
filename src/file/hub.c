/* Where a local Hugging Face cache keeps a model: CACHE/models--ORG--NAME/snapshots/COMMIT, the commit named by
 * refs/REVISION (huggingface_hub 0.3x, "Understand caching"); and which model an adapter belongs to. Nothing is fetched. */
#include "file/hub.h"

#include "base/json.h"
#include "base/map.h"
#include "file/weights.h"
#include <dirent.h>
#include <stdio.h>

typedef struct hub_id {
    sd_slice org, name, revision, file;
} hub_id;

static bool plain(sd_slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        char ch = s.p[i];
        bool ok = (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') || ch == '-' ||
                  ch == '_' || ch == '.';
        if (!ok) return false;
    }
    return s.n > 0 && s.p[0] != '.' && s.n < 200;
}

/* ORG/NAME[@REVISION][:FILE] */
static bool parse(hub_id *id, sd_slice s)
{
    const char *slash = s.n ? memchr(s.p, '/', s.n) : NULL;
    if (!slash) return false;
    id->org = (sd_slice){s.p, (size_t)(slash - s.p)};
    sd_slice rest = {slash + 1, s.n - id->org.n - 1};
    const char *colon = rest.n ? memchr(rest.p, ':', rest.n) : NULL;
    id->file = colon ? (sd_slice){colon + 1, rest.n - (size_t)(colon - rest.p) - 1} : (sd_slice){"", 0};
    if (colon) rest.n = (size_t)(colon - rest.p);
    const char *at = rest.n ? memchr(rest.p, '@', rest.n) : NULL;
    id->revision = at ? (sd_slice){at + 1, rest.n - (size_t)(at - rest.p) - 1} : SD_LIT("main");
    if (at) rest.n = (size_t)(at - rest.p);
    id->name = rest;
    return plain(id->org) && plain(id->name) && plain(id->revision) && (!colon || plain(id->file));
}

bool sd_hub_is_id(const char *text)
{
    hub_id id;
    return parse(&id, sd_slice_of(text));
}

bool sd_hub_name(char *out, size_t cap, const char *path)
{
    sd_slice rest = sd_slice_of(path), part, repo = {0}, kind = {0}, commit = {0};
    while (sd_slice_cut(&rest, '/', &part)) {
        if (part.n == 0) continue;
        repo = kind, kind = commit, commit = part;
    }
    static const char prefix[] = "models--";
    if (!sd_slice_eq_str(kind, "snapshots") || !sd_slice_starts(repo, prefix)) return false;
    const sd_slice id = {repo.p + sizeof prefix - 1, repo.n - (sizeof prefix - 1)};
    const char *dashes = memmem(id.p, id.n, "--", 2);
    if (!dashes || id.n >= cap) return false;
    snprintf(out, cap, "%.*s/%.*s", (int)(dashes - id.p), id.p, (int)(id.p + id.n - dashes) - 2, dashes + 2);
    return true;
}

/* The folder of the revision's snapshot. */
static sd_status snapshot(char *out, size_t cap, const char *repo, const hub_id *id, sd_err *err)
{
    char path[1024];
    sd_buf b;
    sd_slice commit = id->revision;
    int n = snprintf(path, sizeof path, "%s/refs/%.*s", repo, SD_SLICE(id->revision));
    if (n < 0 || (size_t)n >= sizeof path) return sd_fail(err, SD_E_ARG, "%s: the path is too long", repo);
    sd_buf_init(&b, 4096);
    if (sd_file_exists(path)) {
        sd_status st = sd_file_read(&b, path, err);
        if (st) {
            sd_buf_release(&b);
            return st;
        }
        commit = sd_slice_trim((sd_slice){b.p, b.n});
    }
    bool ok = plain(commit);
    n = snprintf(out, cap, "%s/snapshots/%.*s", repo, ok ? (int)commit.n : 0, ok ? commit.p : "");
    sd_buf_release(&b);
    if (ok && n > 0 && (size_t)n < cap && sd_dir_exists(out)) return SD_OK;
    sd_fail(err, SD_E_NOTFOUND, "%s has no snapshot of the revision \"%.*s\"", repo, SD_SLICE(id->revision));
    return sd_hint(err, "download it again, or name a revision with @REVISION");
}

/* The one GGUF file of a folder whose name holds `part`, of one in parts the first; the cache's files are links to its blobs. */
static sd_status gguf_in(char *out, size_t cap, const char *dir, sd_slice part, sd_err *err)
{
    DIR *d = opendir(dir);
    const struct dirent *e;
    int n = 0;
    bool fits = true;
    if (!d) return sd_fail(err, SD_E_IO, "cannot read the folder %s", dir);
    while ((e = readdir(d))) {
        sd_slice name = sd_slice_of(e->d_name);
        int64_t no, count;
        if (sd_gguf_part_of(e->d_name, &no, &count) && no > 1) continue;
        if (!sd_slice_ends(name, ".gguf") || (part.n && !memmem(name.p, name.n, part.p, part.n))) continue;
        n++;
        fits = sd_path_join(out, cap, dir, e->d_name);
    }
    closedir(d);
    if (n == 1 && fits) return SD_OK;
    if (!n && part.n) {
        sd_fail(err, SD_E_NOTFOUND, "%s holds no GGUF file with \"%.*s\" in its name", dir, SD_SLICE(part));
        return sd_hint(err, "what stands behind the colon is a part of a file's name");
    }
    if (!n) {
        sd_fail(err, SD_E_NOTFOUND, "%s holds neither config.json nor a GGUF file", dir);
        return sd_hint(err, "the download may not be complete: fetch it again");
    }
    if (n == 1) return sd_fail(err, SD_E_ARG, "%s: the path is too long", dir);
    sd_fail(err, SD_E_NOTFOUND, "%s holds %d GGUF files that fit", dir, n);
    return sd_hint(err, "choose one with :PART-OF-ITS-NAME");
}

static bool has(const char *dir, const char *name)
{
    char path[1400];
    return sd_path_join(path, sizeof path, dir, name) && sd_file_exists(path);
}

/* A folder of PEFT's: an adapter and no weights of a model. */
static bool is_adapter(const char *dir)
{
    return has(dir, "adapter_config.json") && !has(dir, "model.safetensors") && !has(dir, "model.safetensors.index.json");
}

sd_status sd_hub_find(char *out, size_t cap, const char *cache, const char *text, sd_err *err)
{
    char repo[800], dir[1024];
    hub_id id;
    if (!parse(&id, sd_slice_of(text))) return sd_fail(err, SD_E_ARG, "\"%.200s\" is no model's name of the form ORG/NAME", text);
    int n = snprintf(repo, sizeof repo, "%s/models--%.*s--%.*s", cache, SD_SLICE(id.org), SD_SLICE(id.name));
    if (n < 0 || (size_t)n >= sizeof repo || !sd_dir_exists(repo)) {
        sd_fail(err, SD_E_NOTFOUND, "%.200s is no file or folder, and not in the Hugging Face cache at %s", text, cache);
        return sd_hint(err, "download it there (hf download %.150s), or give a path", text);
    }
    sd_status st = snapshot(dir, sizeof dir, repo, &id, err);
    if (st) return st;
    if (id.file.n || (!has(dir, "config.json") && !is_adapter(dir))) return gguf_in(out, cap, dir, id.file, err);
    if (strlen(dir) >= cap) return sd_fail(err, SD_E_ARG, "%s: the path is too long", dir);
    memcpy(out, dir, strlen(dir) + 1);
    return SD_OK;
}

static sd_status copy(char *out, size_t cap, const char *text, sd_err *err)
{
    const size_t n = strlen(text);
    if (n >= cap) return sd_fail(err, SD_E_ARG, "a path of %zu bytes is longer than the limit of %zu", n, cap - 1);
    memcpy(out, text, n + 1);
    return SD_OK;
}

/* A path as it is, an id through the cache; what is neither is left for opening to tell. */
static sd_status one(char *out, size_t cap, const char *cache, const char *text, sd_err *err)
{
    if (!cache[0] || sd_file_exists(text) || sd_dir_exists(text) || !sd_hub_is_id(text)) return copy(out, cap, text, err);
    return sd_hub_find(out, cap, cache, text, err);
}

/* The model that the adapter in dir was trained on: a path, as PEFT reads it from here, or an id. */
static sd_status base_of(char *out, size_t cap, const char *cache, const char *dir, sd_err *err)
{
    char path[1400], name[800];
    json_t *j = NULL;
    const char *base = NULL, *revision = NULL;
    if (!sd_path_join(path, sizeof path, dir, "adapter_config.json")) return sd_fail(err, SD_E_ARG, "%s: the path is too long", dir);
    sd_status st = sd_json_load(&j, path, 1u << 20, err); /* PEFT's are some kilobytes */
    if (!st) st = sd_json_opt_str(j, "base_model_name_or_path", &base, path, err);
    if (!st) st = sd_json_opt_str(j, "revision", &revision, path, err);
    if (!st && (!base || !*base)) st = sd_fail(err, SD_E_NOTFOUND, "%s is an adapter and names no model", dir);
    if (!st) {
        const bool pinned = revision && *revision && sd_hub_is_id(base) && !strchr(base, '@');
        const int n = snprintf(name, sizeof name, "%s%s%s", base, pinned ? "@" : "", pinned ? revision : "");
        const char *said = pinned && !sd_dir_exists(base) ? name : base;
        if (n < 0 || (size_t)n >= sizeof name) st = sd_fail(err, SD_E_ARG, "%s: the base model's name is too long", path);
        else if ((st = one(out, cap, cache, said, err))) sd_err_wrap(err, "the model of the adapter %s", dir);
        else if (!sd_file_exists(out) && !sd_dir_exists(out))
            st = sd_fail(err, SD_E_NOTFOUND, "%s is an adapter of \"%s\", which is no file or folder here", dir, base);
    }
    const bool joined = base && strchr(base, '+');
    json_decref(j);
    if (st == SD_E_NOTFOUND) sd_hint(err, "give the model too: MODEL+ADAPTER%s", joined ? ", with what `sonde merge` makes of the model and the adapter it was trained on" : "");
    return st;
}

const char *sd_hub_plus(const char *text)
{
    char left[1024];
    const char *last = NULL;
    if (sd_file_exists(text) || sd_dir_exists(text)) return NULL;
    for (size_t n = strlen(text); n-- > 0;) {
        if (text[n] != '+') continue;
        if (!last) last = text + n;
        if (n >= sizeof left) continue;
        memcpy(left, text, n);
        left[n] = '\0';
        if (sd_file_exists(left) || sd_dir_exists(left) || sd_hub_is_id(left)) return text + n;
    }
    return last;
}

sd_status sd_hub_model(char *out, size_t cap, const char *cache, const char *text, sd_err *err)
{
    char left[1024], right[1024];
    const char *plus = sd_hub_plus(text);
    const size_t n = plus ? (size_t)(plus - text) : 0;
    if (n >= sizeof left) return sd_fail(err, SD_E_ARG, "a path of %zu bytes is longer than the limit of %zu", n, sizeof left - 1);
    memcpy(left, text, n);
    left[n] = '\0';
    sd_status st = one(right, sizeof right, cache, plus ? plus + 1 : text, err);
    if (st || (!plus && !is_adapter(right))) return st ? st : copy(out, cap, right, err);
    char model[1024];
    if ((st = plus ? one(model, sizeof model, cache, left, err) : base_of(model, sizeof model, cache, right, err))) return st;
    const int k = snprintf(out, cap, "%s+%s", model, right);
    return k > 0 && (size_t)k < cap ? SD_OK : sd_fail(err, SD_E_ARG, "%.200s: the paths are too long", text);
}

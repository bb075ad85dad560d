/* Where a local Hugging Face cache keeps a model: CACHE/models--ORG--NAME/snapshots/COMMIT, the commit named by
 * refs/REVISION (huggingface_hub 0.3x, "Understand caching"). Nothing is fetched. */
#include "file/hub.h"

#include "base/map.h"
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

/* The one GGUF file of a folder whose name holds `part`; the cache's files are links to its blobs. */
static sd_status gguf_in(char *out, size_t cap, const char *dir, sd_slice part, sd_err *err)
{
    DIR *d = opendir(dir);
    const struct dirent *e;
    int n = 0;
    bool fits = true;
    if (!d) return sd_fail(err, SD_E_IO, "cannot read the folder %s", dir);
    while ((e = readdir(d))) {
        sd_slice name = sd_slice_of(e->d_name);
        if (!sd_slice_ends(name, ".gguf") || (part.n && !memmem(name.p, name.n, part.p, part.n))) continue;
        n++;
        fits = sd_path_join(out, cap, dir, e->d_name);
    }
    closedir(d);
    if (n == 1 && fits) return SD_OK;
    if (!n) return sd_fail(err, SD_E_NOTFOUND, "%s holds no model that can be read", dir);
    if (n == 1) return sd_fail(err, SD_E_ARG, "%s: the path is too long", dir);
    sd_fail(err, SD_E_NOTFOUND, "%s holds %d GGUF files that fit", dir, n);
    return sd_hint(err, "choose one with :PART-OF-ITS-NAME");
}

sd_status sd_hub_find(char *out, size_t cap, const char *cache, const char *text, sd_err *err)
{
    char repo[800], dir[1024], config[1100];
    hub_id id;
    if (!parse(&id, sd_slice_of(text))) return sd_fail(err, SD_E_ARG, "\"%.200s\" is no model's name of the form ORG/NAME", text);
    int n = snprintf(repo, sizeof repo, "%s/models--%.*s--%.*s", cache, SD_SLICE(id.org), SD_SLICE(id.name));
    if (n < 0 || (size_t)n >= sizeof repo || !sd_dir_exists(repo)) {
        sd_fail(err, SD_E_NOTFOUND, "%.200s is no file or folder, and not in the Hugging Face cache at %s", text, cache);
        return sd_hint(err, "download it there (hf download %.150s), or give a path", text);
    }
    sd_status st = snapshot(dir, sizeof dir, repo, &id, err);
    if (st) return st;
    snprintf(config, sizeof config, "%s/config.json", dir);
    if (id.file.n || !sd_file_exists(config)) return gguf_in(out, cap, dir, id.file, err);
    if (strlen(dir) >= cap) return sd_fail(err, SD_E_ARG, "%s: the path is too long", dir);
    memcpy(out, dir, strlen(dir) + 1);
    return SD_OK;
}

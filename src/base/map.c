/* Reading files and folders: maps, whole reads, listings. Writing is in wfile.c. A map is read-only and private;
 * what makes it unsafe is another program that cuts the file short while it is mapped (a SIGBUS), which no check
 * at opening can see. */
#include "base/map.h"

#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define MAX_LISTED 10000000 /* paths of one listing: about 1 GB of names */

static sd_status open_for_reading(int *fd, struct stat *s, const char *path, sd_err *err)
{
    *fd = open(path, O_RDONLY | O_CLOEXEC);
    if (*fd < 0) return sd_fail_errno(err, errno, "cannot open %s", path);
    sd_status st = SD_OK;
    if (fstat(*fd, s) != 0)
        st = sd_fail_errno(err, errno, "cannot read %s", path);
    else if (S_ISDIR(s->st_mode)) {
        sd_fail(err, SD_E_IO, "cannot read %s: it is a folder, not a file", path);
        st = sd_hint(err, "give a file of it");
    }
    if (st) close(*fd);
    return st;
}

sd_status sd_map_open(sd_map *m, const char *path, sd_err *err)
{
    *m = (sd_map){0};
    int fd;
    struct stat s;
    sd_status st = open_for_reading(&fd, &s, path, err);
    if (st) return st;
    if (!S_ISREG(s.st_mode)) {
        st = sd_fail(err, SD_E_IO, "cannot map %s: it is not a regular file", path);
        goto done;
    }
    if (s.st_size == 0) {
        st = sd_fail(err, SD_E_FORMAT, "%s is empty", path);
        goto done;
    }
    void *p = mmap(NULL, (size_t)s.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED) {
        st = sd_fail_errno(err, errno, "cannot map %s", path);
        goto done;
    }
    (void)madvise(p, (size_t)s.st_size, MADV_WILLNEED); /* advice only: it may fail without harm */
    *m = (sd_map){p, (size_t)s.st_size};
done:
    close(fd);
    return st;
}

void sd_map_close(sd_map *m)
{
    if (!m || !m->p) return;
    munmap((void *)(uintptr_t)m->p, m->n);
    *m = (sd_map){0};
}

void sd_map_forget(const sd_map *m)
{
    if (m->p) (void)madvise((void *)(uintptr_t)m->p, m->n, MADV_DONTNEED); /* read-only and of a file: nothing is lost */
}

static sd_status too_large(const sd_buf *b, const char *path, sd_err *err)
{
    char max[32];
    return sd_fail(err, SD_E_FORMAT, "%s is larger than the %s that are read at most", path,
                   sd_fmt_bytes(max, sizeof max, (double)b->max));
}

sd_status sd_file_head(sd_buf *b, const char *path, sd_err *err)
{
    int fd;
    struct stat s;
    ssize_t n = 1;
    sd_buf_reset(b);
    sd_status st = open_for_reading(&fd, &s, path, err);
    if (st) return st;
    while (n > 0 && b->n < b->max) {
        char piece[4096];
        size_t want = b->max - b->n < sizeof piece ? b->max - b->n : sizeof piece;
        while ((n = read(fd, piece, want)) < 0 && errno == EINTR) {}
        if (n > 0) sd_buf_put(b, piece, (size_t)n);
    }
    close(fd);
    return n < 0 ? sd_fail_errno(err, errno, "cannot read %s", path) : sd_buf_check(b, path, err);
}

sd_status sd_file_read(sd_buf *b, const char *path, sd_err *err)
{
    sd_buf_reset(b);
    int fd;
    struct stat s;
    sd_status st = open_for_reading(&fd, &s, path, err);
    if (st) return st;
    if (s.st_size > 0 && (uint64_t)s.st_size > b->max) {
        st = too_large(b, path, err);
        goto done;
    }
    /* The size is a claim: files of /proc and pipes say 0, a file may grow. One byte past the maximum is tried. */
    for (;;) {
        char piece[65536];
        ssize_t n = read(fd, piece, sizeof piece);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) st = sd_fail_errno(err, errno, "cannot read %s", path);
        if (n <= 0) break;
        if ((size_t)n > b->max - b->n) {
            st = too_large(b, path, err);
            break;
        }
        sd_buf_put(b, piece, (size_t)n);
        if (b->failed) {
            st = sd_fail(err, SD_E_NOMEM, "out of memory: reading %s", path);
            break;
        }
    }
done:
    close(fd);
    return st;
}

sd_status sd_file_read_text(sd_buf *b, const char *path, sd_err *err)
{
    sd_status st = sd_file_read(b, path, err);
    return st ? st : sd_text_check((sd_slice){b->p, b->n}, path, err);
}

bool sd_file_exists(const char *path)
{
    struct stat s;
    return stat(path, &s) == 0 && S_ISREG(s.st_mode);
}

bool sd_dir_exists(const char *path)
{
    struct stat s;
    return stat(path, &s) == 0 && S_ISDIR(s.st_mode);
}

sd_status sd_dir_make(const char *path, sd_err *err)
{
    char part[PATH_MAX];
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof part) return sd_fail(err, SD_E_ARG, "cannot make a folder: its name has %zu bytes", n);
    memcpy(part, path, n + 1);
    for (size_t i = 1; i <= n; i++) {
        if (part[i] != '/' && part[i] != '\0') continue;
        char was = part[i];
        part[i] = '\0';
        int e = mkdir(part, 0777) == 0 ? 0 : errno;
        if (e && !sd_dir_exists(part)) {
            if (e == EEXIST) return sd_fail(err, SD_E_IO, "cannot make the folder %s: %s is a file", path, part);
            return sd_fail_errno(err, e, "cannot make the folder %s", part);
        }
        part[i] = was;
    }
    return SD_OK;
}

uint64_t sd_disk_free(const char *path)
{
    char part[PATH_MAX];
    size_t n = strlen(path);
    if (n >= sizeof part) return 0;
    memcpy(part, path, n + 1);
    struct statvfs v;
    for (;;) {
        if (statvfs(part[0] ? part : ".", &v) == 0) return (uint64_t)v.f_bavail * v.f_frsize;
        char *slash = strrchr(part, '/');
        if (slash == part && part[1])
            part[1] = '\0';
        else if (slash && slash != part)
            *slash = '\0';
        else if (part[0] && !slash)
            part[0] = '\0';
        else
            return 0;
    }
}

static sd_status add_path(sd_paths *out, int64_t *cap, const char *path, sd_err *err)
{
    if (out->n >= MAX_LISTED) return sd_fail(err, SD_E_FORMAT, "more than %d files, up to %s", MAX_LISTED, path);
    if (out->n == *cap) {
        int64_t grown = *cap ? *cap * 2 : 64;
        char **v = sd_realloc(out->v, (size_t)grown * sizeof *v);
        if (!v) return sd_fail(err, SD_E_NOMEM, "out of memory: listing %s", path);
        out->v = v;
        *cap = grown;
    }
    out->v[out->n] = sd_strdup(path);
    if (!out->v[out->n]) return sd_fail(err, SD_E_NOMEM, "out of memory: listing %s", path);
    out->n++;
    return SD_OK;
}

/* Links to files are followed, links to folders are not: so there are no cycles. */
static sd_status list_into(sd_paths *out, int64_t *cap, const char *dir, int depth, sd_err *err)
{
    DIR *d = opendir(dir);
    if (!d) return sd_fail_errno(err, errno, "cannot list %s", dir);
    sd_status st = SD_OK;
    char *path = sd_malloc(PATH_MAX);
    if (!path) st = sd_fail(err, SD_E_NOMEM, "out of memory: listing %s", dir);
    while (!st) {
        errno = 0;
        struct dirent *e = readdir(d);
        if (!e) {
            if (errno) st = sd_fail_errno(err, errno, "cannot list %s", dir);
            break;
        }
        if (e->d_name[0] == '.') continue;
        struct stat s;
        if (!sd_path_join(path, PATH_MAX, dir, e->d_name)) {
            st = sd_fail(err, SD_E_IO, "cannot list %s: a path below it has more than %d bytes", dir, PATH_MAX - 1);
        } else if (lstat(path, &s) != 0) {
            if (errno != ENOENT) st = sd_fail_errno(err, errno, "cannot list %s", path);
        } else if (S_ISDIR(s.st_mode)) {
            if (depth > 0) st = list_into(out, cap, path, depth - 1, err);
        } else if (S_ISREG(s.st_mode) || (S_ISLNK(s.st_mode) && sd_file_exists(path))) {
            st = add_path(out, cap, path, err);
        }
    }
    sd_free(path);
    closedir(d);
    return st;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

sd_status sd_dir_list(sd_paths *out, const char *dir, sd_err *err)
{
    return sd_dir_list_to(out, dir, INT_MAX, err);
}

sd_status sd_dir_list_to(sd_paths *out, const char *dir, int depth, sd_err *err)
{
    *out = (sd_paths){0};
    int64_t cap = 0;
    sd_status st = list_into(out, &cap, dir, depth, err);
    if (st)
        sd_paths_free(out);
    else if (out->n)
        qsort(out->v, (size_t)out->n, sizeof *out->v, by_name);
    return st;
}

void sd_paths_free(sd_paths *p)
{
    if (!p) return;
    for (int64_t i = 0; i < p->n; i++) sd_free(p->v[i]);
    sd_free(p->v);
    *p = (sd_paths){0};
}

bool sd_path_join(char *out, size_t cap, const char *a, const char *b)
{
    size_t n = strlen(a);
    const char *slash = n == 0 || a[n - 1] == '/' ? "" : "/";
    int len = snprintf(out, cap, "%s%s%s", a, slash, b);
    return len >= 0 && (size_t)len < cap;
}

/* Files that appear whole or not at all (map.h): bytes go to NAME.tmp.PID.N in the same folder, are forced to the
 * disk, and only then take the name; the folder is forced too, so that the rename survives a power cut. A killed
 * process leaves the old file, and at most a temporary file beside it, which the next write of that name removes. */
#include "base/map.h"

#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUFFER_BYTES ((size_t)1 << 18) /* larger buffers were no faster on ext4 and tmpfs */

struct sd_wfile {
    int fd;
    char *path, *tmp;
    uint8_t *buf;
    size_t n; /* bytes in buf */
    uint64_t written;
    bool failed;
};

/* Shared by all threads: a file may be written by another thread than the one that set the hook. */
static atomic_int_fast64_t fail_in, operations;
static atomic_uint_fast32_t serial;

int64_t sd_file_fail_nth(int64_t n)
{
    atomic_store(&fail_in, n);
    return atomic_exchange(&operations, 0);
}

static bool hook_fails(void)
{
    atomic_fetch_add(&operations, 1);
    int_fast64_t n = atomic_load(&fail_in);
    while (n > 0 && !atomic_compare_exchange_weak(&fail_in, &n, n - 1)) continue;
    if (n != 1) return false;
    errno = ENOSPC;
    return true;
}

static sd_status write_error(const char *path, int e, sd_err *err)
{
    if (e != ENOSPC && e != EDQUOT) return sd_fail_errno(err, e, "cannot write %s", path);
    char bytes[32];
    sd_fail(err, SD_E_NOSPACE, "cannot write %s: the disk is full (%s free)", path,
            sd_fmt_bytes(bytes, sizeof bytes, (double)sd_disk_free(path)));
    sd_hint(err, "free some space, or write to a folder on another disk.");
    return SD_E_NOSPACE;
}

static void free_wfile(sd_wfile *f)
{
    if (f->fd >= 0) close(f->fd);
    sd_free(f->path);
    sd_free(f->tmp);
    sd_free(f->buf);
    sd_free(f);
}

/* The folder that a path is in; false when its name is too long. */
static bool folder_of(const char *path, char dir[PATH_MAX])
{
    const char *slash = strrchr(path, '/');
    size_t n = !slash ? 0 : slash == path ? 1 : (size_t)(slash - path);
    if (n >= PATH_MAX) return false;
    memcpy(dir, slash ? path : ".", slash ? n : 1);
    dir[slash ? n : 1] = '\0';
    return true;
}

/* Is `rest` the "PID.N" of a process that is no more? */
static bool of_dead_process(sd_slice rest)
{
    sd_slice pid, serial_no;
    int64_t p;
    uint64_t n;
    if (!sd_slice_cut(&rest, '.', &pid) || !sd_slice_cut(&rest, '.', &serial_no) || rest.p) return false;
    if (!sd_parse_i64(pid, &p) || !sd_parse_u64(serial_no, &n) || p < 1 || p > INT32_MAX) return false;
    return kill((pid_t)p, 0) != 0 && errno == ESRCH;
}

/* Removes what killed processes left of earlier writes of this path. What cannot be removed does no harm. */
static void remove_stale(const char *path)
{
    char dir[PATH_MAX];
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    size_t n = strlen(name);
    DIR *d = folder_of(path, dir) ? opendir(dir) : NULL;
    for (struct dirent *e; d && (e = readdir(d));) {
        sd_slice rest = sd_slice_of(e->d_name);
        if (rest.n <= n || memcmp(rest.p, name, n) != 0 ||
            !sd_slice_starts((sd_slice){rest.p + n, rest.n - n}, ".tmp."))
            continue;
        if (of_dead_process((sd_slice){rest.p + n + 5, rest.n - n - 5})) (void)unlinkat(dirfd(d), e->d_name, 0);
    }
    if (d) (void)closedir(d);
}

/* A name that nobody holds: process number and a counter; one left by a killed process of the same number is passed by.
 */
static sd_status open_tmp(sd_wfile *f, size_t cap, mode_t mode, sd_err *err)
{
    for (int tries = 0; tries < 1000; tries++) {
        snprintf(f->tmp, cap, "%s.tmp.%ld.%u", f->path, (long)getpid(), (unsigned)atomic_fetch_add(&serial, 1));
        f->fd = open(f->tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
        if (f->fd >= 0) return SD_OK;
        if (errno != EEXIST) break;
    }
    int e = errno;
    if (e == ENOENT) return sd_fail(err, SD_E_NOTFOUND, "cannot write %s: its folder is not there", f->path);
    return write_error(f->path, e, err);
}

sd_status sd_wfile_open(sd_wfile **out, const char *path, sd_err *err)
{
    *out = NULL;
    sd_wfile *f;
    struct stat s;
    bool replaces = stat(path, &s) == 0;
    if (replaces && S_ISDIR(s.st_mode)) return sd_fail(err, SD_E_IO, "cannot write %s: it is a folder", path);
    /* The rename would put a plain file in the place of /dev/null. */
    if (replaces && !S_ISREG(s.st_mode))
        return sd_fail(err, SD_E_IO, "cannot write %s: it is not a regular file", path);
    remove_stale(path);
    size_t cap = strlen(path) + 64;
    sd_status st = sd_alloc_zero(&f, sizeof *f, "a file to write", err);
    if (st) return st;
    f->fd = -1;
    st = sd_alloc(&f->path, cap, "a file's name", err);
    if (st) goto done;
    memcpy(f->path, path, strlen(path) + 1);
    st = sd_alloc(&f->tmp, cap, "a file's name", err);
    if (st) goto done;
    st = sd_alloc(&f->buf, BUFFER_BYTES, "a write buffer", err);
    if (st) goto done;
    st = open_tmp(f, cap, replaces ? s.st_mode & 0777 : 0666, err);
done:
    if (st)
        free_wfile(f);
    else
        *out = f;
    return st;
}

sd_status sd_wfile_private(sd_wfile *f, sd_err *err)
{
    SD_ASSERT(f->written == 0);
    return fchmod(f->fd, 0600) == 0 ? SD_OK : sd_fail_errno(err, errno, "cannot keep %s from other users", f->path);
}

static sd_status write_all(sd_wfile *f, const uint8_t *p, size_t n, sd_err *err)
{
    while (n > 0) {
        ssize_t w = hook_fails() ? -1 : write(f->fd, p, n);
        if (w < 0 && errno == EINTR) continue;
        if (w < 0) {
            f->failed = true;
            return write_error(f->path, errno, err);
        }
        p += w;
        n -= (size_t)w;
    }
    return SD_OK;
}

static sd_status flush(sd_wfile *f, sd_err *err)
{
    sd_status st = write_all(f, f->buf, f->n, err);
    f->n = 0;
    return st;
}

sd_status sd_wfile_write(sd_wfile *f, const void *p, size_t n, sd_err *err)
{
    if (f->failed) return sd_fail(err, SD_E_IO, "cannot write %s: an earlier write failed", f->path);
    if (n == 0) return SD_OK;
    f->written += n;
    if (n <= BUFFER_BYTES - f->n) {
        memcpy(f->buf + f->n, p, n);
        f->n += n;
        return SD_OK;
    }
    sd_status st = flush(f, err);
    if (st) return st;
    if (n >= BUFFER_BYTES) return write_all(f, p, n, err);
    memcpy(f->buf, p, n);
    f->n = n;
    return SD_OK;
}

uint64_t sd_wfile_tell(const sd_wfile *f)
{
    return f->written;
}

static int sync_fd(int fd)
{
    return hook_fails() ? -1 : fsync(fd);
}

/* Some file systems cannot force a folder and say EINVAL: the file itself is safe there. */
static sd_status sync_folder_of(const char *path, sd_err *err)
{
    char dir[PATH_MAX];
    if (!folder_of(path, dir)) return sd_fail(err, SD_E_IO, "cannot write %s: the path is too long", path);
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return sd_fail_errno(err, errno, "cannot open the folder of %s", path);
    sd_status st = SD_OK;
    if (sync_fd(fd) != 0 && errno != EINVAL) st = write_error(path, errno, err);
    close(fd);
    return st;
}

sd_status sd_wfile_commit(sd_wfile *f, sd_err *err)
{
    sd_status st = SD_OK;
    bool renamed = false;
    if (f->failed) {
        st = sd_fail(err, SD_E_IO, "cannot write %s: an earlier write failed", f->path);
        goto done;
    }
    st = flush(f, err);
    if (st) goto done;
    if (sync_fd(f->fd) != 0) {
        st = write_error(f->path, errno, err);
        goto done;
    }
    /* close() is where NFS reports a failed write. */
    int closed = close(f->fd);
    f->fd = -1;
    if (closed != 0 || rename(f->tmp, f->path) != 0) {
        st = write_error(f->path, errno, err);
        goto done;
    }
    renamed = true;
    st = sync_folder_of(f->path, err);
done:
    if (!renamed) unlink(f->tmp);
    free_wfile(f);
    return st;
}

void sd_wfile_abort(sd_wfile *f)
{
    if (!f) return;
    unlink(f->tmp);
    free_wfile(f);
}

static sd_status write_whole(const char *path, const void *p, size_t n, bool private, sd_err *err)
{
    sd_wfile *f;
    sd_status st = sd_wfile_open(&f, path, err);
    if (st) return st;
    if (private) st = sd_wfile_private(f, err);
    if (!st) st = sd_wfile_write(f, p, n, err);
    if (st) {
        sd_wfile_abort(f);
        return st;
    }
    return sd_wfile_commit(f, err);
}

sd_status sd_file_write_atomic(const char *path, const void *p, size_t n, sd_err *err)
{
    return write_whole(path, p, n, false, err);
}

sd_status sd_file_write_private(const char *path, const void *p, size_t n, sd_err *err)
{
    return write_whole(path, p, n, true, err);
}

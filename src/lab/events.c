/* Owns: the file descriptor. Nothing is held back: a line is written whole or the run stops with the reason. */
#include "lab/events.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

sd_status sd_events_open(sd_events *e, const char *path, int64_t keep_bytes, sd_err *err)
{
    *e = (sd_events){.fd = -1, .n_bytes = keep_bytes};
    if (strlen(path) >= sizeof e->path) return sd_fail(err, SD_E_ARG, "%s: path too long", path);
    memcpy(e->path, path, strlen(path) + 1);
    e->fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    struct stat s;
    if (e->fd >= 0 && fstat(e->fd, &s) == 0 && s.st_size < keep_bytes) {
        sd_events_close(e);
        sd_fail(err, SD_E_FORMAT, "%s has %lld bytes, the run that is resumed had written %lld", path, (long long)s.st_size, (long long)keep_bytes);
        return sd_hint(err, "bring the file back, or train anew");
    }
    if (e->fd < 0 || ftruncate(e->fd, keep_bytes) != 0 || lseek(e->fd, 0, SEEK_END) < 0) {
        sd_status st = sd_fail_errno(err, errno, "%s: cannot be written", path);
        sd_events_close(e);
        return st;
    }
    return SD_OK;
}

sd_status sd_events_line(sd_events *e, sd_buf *line, sd_err *err)
{
    sd_buf_putc(line, '\n');
    sd_status st = sd_buf_check(line, "an event", err);
    for (size_t done = 0; !st && done < line->n;) {
        ssize_t n = write(e->fd, line->p + done, line->n - done);
        if (n < 0 && errno != EINTR) st = sd_fail_errno(err, errno, "%s: write failed", e->path);
        if (n > 0) done += (size_t)n;
    }
    if (!st) e->n_bytes += (int64_t)line->n;
    sd_buf_reset(line);
    return st;
}

void sd_events_close(sd_events *e)
{
    if (e->fd >= 0) close(e->fd);
    e->fd = -1;
}

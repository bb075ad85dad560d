/* Files: read-only maps, whole reads with a cap, atomic writes (temporary file, fsync, rename, fsync of the folder). */
#ifndef SD_BASE_MAP_H
#define SD_BASE_MAP_H

#include "base/str.h"

typedef struct sd_map {
    const uint8_t *p;
    size_t n;
} sd_map;
sd_status sd_map_open(sd_map *m, const char *path, sd_err *err); /* an empty file is an error */
void sd_map_close(sd_map *m);
/* Lets the pages go that were read of it: they count no longer as this process's memory, and are read again where they are touched. Advice. */
void sd_map_forget(const sd_map *m);

/* Whole file into b (at most b->max). */
sd_status sd_file_read(sd_buf *b, const char *path, sd_err *err);
/* The same; what is not UTF-8 is an error. */
sd_status sd_file_read_text(sd_buf *b, const char *path, sd_err *err);
/* Its first bytes, at most b->max. */
sd_status sd_file_head(sd_buf *b, const char *path, sd_err *err);
bool sd_file_exists(const char *path);
bool sd_dir_exists(const char *path);
sd_status sd_dir_make(const char *path, sd_err *err); /* with parents; existing is fine */
/* Free bytes on the file system of path (or of its closest existing parent). */
uint64_t sd_disk_free(const char *path);
/* Sorted paths of the regular files under dir, recursive, dot files left out. Each and the list by sd_free
 * (sd_paths_free). */
typedef struct sd_paths {
    char **v;
    int64_t n;
} sd_paths;
sd_status sd_dir_list(sd_paths *out, const char *dir, sd_err *err);
/* The same, of folders at most so deep: 0 is dir alone. */
sd_status sd_dir_list_to(sd_paths *out, const char *dir, int depth, sd_err *err);
void sd_paths_free(sd_paths *p);

/* A file being written beside its final place. Nothing is at `path` until commit; abort (or a crash) leaves the old
 * file. Opening removes temporary files of that path whose process has died. A path that is there and no regular file
 * is SD_E_IO. */
typedef struct sd_wfile sd_wfile;
sd_status sd_wfile_open(sd_wfile **out, const char *path, sd_err *err);
/* Only the owner may read it (mode 0600), whatever stood there before; call it before anything is written. */
sd_status sd_wfile_private(sd_wfile *f, sd_err *err);
sd_status sd_wfile_write(sd_wfile *f, const void *p, size_t n, sd_err *err); /* buffered */
uint64_t sd_wfile_tell(const sd_wfile *f);
sd_status sd_wfile_commit(sd_wfile *f, sd_err *err); /* fsync, rename; frees f also on failure */
void sd_wfile_abort(sd_wfile *f);                    /* removes the temporary file; NULL is fine */
sd_status sd_file_write_atomic(const char *path, const void *p, size_t n, sd_err *err);
sd_status sd_file_write_private(const char *path, const void *p, size_t n, sd_err *err); /* atomic, mode 0600 */
/* Tests only: the n-th write or fsync from now fails with ENOSPC (1 = the next); 0 off. Returns operations since the
 * last call. */
int64_t sd_file_fail_nth(int64_t n);

/* Another process with a lock on the file at path, as "NAME (process N)"; false where none is known. For sentences: it may have ended meanwhile. */
bool sd_file_holder(char out[64], const char *path);

/* "a/b" into a buffer that the caller gives; false when it does not fit. */
bool sd_path_join(char *out, size_t cap, const char *a, const char *b);

#endif

#include "lab/label_rows.h"

#include "base/map.h"

#include <inttypes.h>
#include <string.h>

enum { MAX_FILE = 1 << 30 };

sd_status sd_label_rows(const char *path, sd_label_row_fn *fn, void *self, sd_err *err)
{
    sd_buf b;
    sd_slice rest, line;
    int64_t no = 0;
    sd_buf_init(&b, MAX_FILE);
    sd_status st = sd_file_read(&b, path, err);
    rest = (sd_slice){b.p, b.n};
    while (!st && sd_slice_cut(&rest, '\n', &line)) {
        json_t *row = NULL;
        const char *text;
        char what[1100];
        no++;
        line = sd_slice_trim(line);
        if (line.n == 0) continue;
        snprintf(what, sizeof what, "%s: line %" PRId64, path, no);
        if ((st = sd_json_parse(&row, line.p, line.n, what, err))) break;
        if (!(st = sd_json_get_str(row, "text", &text, what, err))) {
            const sd_slice full = sd_slice_of(text), cut = sd_slice_trim(full);
            if (cut.n > 0) st = fn(self, row, full, cut, what, err);
        }
        json_decref(row);
    }
    sd_buf_release(&b);
    return st;
}

int sd_label_place(char (*names)[SD_LABEL_NAME], int *n, int most, const char *name)
{
    for (int i = 0; i < *n; i++)
        if (strcmp(names[i], name) == 0) return i;
    if (*n == most || strlen(name) >= SD_LABEL_NAME) return -1;
    memcpy(names[*n], name, strlen(name) + 1);
    return (*n)++;
}

#include "lab/label_rows.h"

#include <string.h>

enum { MAX_FILE = 1 << 30 };

typedef struct reading { sd_label_row_fn *fn; void *self; } reading;

static sd_status on_row(void *self, json_t *row, const char *what, sd_err *err)
{
    const reading *x = self;
    const char *text;
    sd_status st = sd_json_get_str(row, "text", &text, what, err);
    if (st) return st;
    const sd_slice full = sd_slice_of(text), cut = sd_slice_trim(full);
    return cut.n > 0 ? x->fn(x->self, row, full, cut, what, err) : SD_OK;
}

sd_status sd_label_rows(const char *path, sd_label_row_fn *fn, void *self, sd_err *err)
{
    return sd_json_lines(path, MAX_FILE, on_row, &(reading){fn, self}, err);
}

int sd_label_place(char (*names)[SD_LABEL_NAME], int *n, int most, const char *name)
{
    for (int i = 0; i < *n; i++)
        if (strcmp(names[i], name) == 0) return i;
    if (*n == most || strlen(name) >= SD_LABEL_NAME) return -1;
    memcpy(names[*n], name, strlen(name) + 1);
    return (*n)++;
}

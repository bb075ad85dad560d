/* events.jsonl: one JSON object a line, appended and flushed, so that a page or a person can follow a run. */
#ifndef SD_LAB_EVENTS_H
#define SD_LAB_EVENTS_H

#include "base/json.h"

typedef struct sd_events { int fd; int64_t n_bytes; char path[1024]; } sd_events;
/* keep_bytes: what of an existing file stays (a resumed run drops the lines after its checkpoint); 0 starts anew. */
sd_status sd_events_open(sd_events *e, const char *path, int64_t keep_bytes, sd_err *err);
/* Writes the line (a newline is added). */
sd_status sd_events_line(sd_events *e, sd_buf *line, sd_err *err);
void sd_events_close(sd_events *e);

#endif

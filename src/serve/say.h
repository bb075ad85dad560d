/* say: tokens become text that can be sent. Bytes of a character that is not whole yet are held back, and so is an end that could be the
 * beginning of a stop string; nothing that was given is ever taken back. */
#ifndef SD_SERVE_SAY_H
#define SD_SERVE_SAY_H

#include "base/str.h"

enum { SD_SAY_STOPS = 4 }; /* OpenAI's limit */
typedef struct sd_say {
    sd_slice stop[SD_SAY_STOPS]; /* borrowed, not empty */
    int n_stop;
    sd_buf held;
    bool stopped;                /* a stop string was met: what follows is dropped */
} sd_say;
void sd_say_init(sd_say *s);
void sd_say_release(sd_say *s);
/* Appends to out what is sure now that the bytes came: whole characters, invalid bytes as U+FFFD. False when a stop string was met
 * (out then ends before it). */
bool sd_say_put(sd_say *s, sd_slice bytes, sd_buf *out);
/* The text is over: what was held back is appended, a cut character as U+FFFD. */
void sd_say_end(sd_say *s, sd_buf *out);

#endif

/* crowd: who holds a connection and asks for nothing. A thread a connection and a limit of connections mean that a few hundred clients whose requests never
 * become whole keep all others out, and libmicrohttpd's timeout counts from the last byte only. So each connection has a time until which its next
 * request has to be whole, and when most places are taken a thread of its own shuts down those that are past theirs. */
#ifndef SD_SERVE_CROWD_H
#define SD_SERVE_CROWD_H

#include "sonde/status.h"

typedef struct sd_crowd sd_crowd;
typedef struct sd_crowd_place sd_crowd_place; /* one connection's */

/* most: connections that there may be. Starts the thread. */
sd_status sd_crowd_new(sd_crowd **out, int most, sd_err *err);
/* Every connection must have left. NULL is fine. */
void sd_crowd_free(sd_crowd *c);
/* A connection begins; fd is borrowed until leave. NULL when there are more than `most`, which the others take. */
sd_crowd_place *sd_crowd_enter(sd_crowd *c, int fd);
void sd_crowd_leave(sd_crowd *c, sd_crowd_place *p);
/* What is waited for: a head, a body, or nothing (a request is whole and is being answered). A NULL place is fine. */
typedef enum sd_crowd_for { SD_CROWD_HEAD, SD_CROWD_BODY, SD_CROWD_NOTHING } sd_crowd_for;
void sd_crowd_wait_for(sd_crowd *c, sd_crowd_place *p, sd_crowd_for what);

#endif

/* bundle: a store as a folder that any web server shows: the page of `sonde serve`, its data as files instead of answers.
 *
 *   index.html, page/       the page; robots.txt asks search engines to stay away
 *   data/config.json        what `/sonde/v1/config` says, without a model
 *   data/NAME/list.json.gz  {"shard": FEATURES a file, "features": [every row]}
 *   data/NAME/fN.json.gz    {"store", "features": [..]}: features N shard to (N + 1) shard - 1 whole
 *   data/NAME/map.json.gz   the map, where the store has one
 * Text of the corpus is in it as the examples show it: whoever gets the folder can read it. */
#ifndef SD_LAB_BUNDLE_H
#define SD_LAB_BUNDLE_H

#include "base/log.h"
#include "store/store.h"

typedef struct sd_bundle_opt {
    const char *name;            /* of the store on the page */
    int max_example;             /* a group; 0: 8 */
    const sd_progress *progress; /* may be NULL */
} sd_bundle_opt;
typedef struct sd_bundle { int64_t n_features, n_files, n_bytes; bool map; } sd_bundle;
/* dir is made; what stands there is written over. */
sd_status sd_lab_bundle(sd_bundle *out, const char *dir, sd_store *s, const sd_bundle_opt *opt, sd_err *err);

#endif

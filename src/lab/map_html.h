/* The map of a store as one page that stands alone: a canvas to pan and zoom, the words of the feature under the pointer, a search
 * box; no network. All text is put there as text. */
#ifndef SD_LAB_MAP_HTML_H
#define SD_LAB_MAP_HTML_H

#include "base/json.h"
#include "store/store.h"

/* Appends the whole document. Features: those of m. */
sd_status sd_lab_map_html(sd_buf *out, sd_store *s, const sd_feature_map *m, sd_err *err);
/* The members of the map: "k","epochs","seed",.., "clusters", "points": [[index, x, y, cluster], ..]. */
void sd_feature_map_write(sd_jw *w, const sd_feature_map *m);

#endif

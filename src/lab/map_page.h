/* map_page: the map of a store as the web page reads it: the members "n_points","k","kept",..,"clusters","points", each point with what is
 * needed to draw and name it. SD_E_NOTFOUND when the store has no map. */
#ifndef SD_LAB_MAP_PAGE_H
#define SD_LAB_MAP_PAGE_H

#include "base/json.h"
#include "store/store.h"

sd_status sd_map_page_write(sd_jw *w, sd_store *s, sd_err *err);

#endif

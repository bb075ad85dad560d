/* page_asset: the web page as it was built from web/ (`make web`), inside the program: what `serve` answers with and `view bundle`
 * writes. The files are committed in web/dist; building the program needs no npm. */
#ifndef SD_LAB_PAGE_ASSET_H
#define SD_LAB_PAGE_ASSET_H

#include "base/str.h"

typedef struct sd_page_asset {
    const char *name; /* "index.html", "app.js", .. */
    const char *type; /* of its media */
    sd_slice bytes;   /* lives as long as the program */
} sd_page_asset;
/* False after the last. */
bool sd_page_asset_at(int i, sd_page_asset *out);
bool sd_page_asset_find(const char *name, sd_page_asset *out);

/* What the page may do: load its own scripts, styles and data, and nothing from anywhere else. */
extern const char sd_page_policy[];

#endif

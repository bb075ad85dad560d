/* Owns: the bytes. The assembler takes the files as they are: a C array of them would be five times as long to compile. */
#include "lab/page_asset.h"

#define ASSET(symbol, file)                                                                                                              \
    __asm__(".pushsection .rodata\n.balign 16\nsd_page_" #symbol ":\n.incbin \"web/dist/" file "\"\nsd_page_" #symbol "_end:\n.byte 0\n.popsection\n"); \
    extern const char sd_page_##symbol[], sd_page_##symbol##_end[];
ASSET(html, "index.html")
ASSET(js, "app.js")
ASSET(css, "app.css")
ASSET(icon, "icon.svg")
ASSET(licences, "licences.txt")

const char sd_page_policy[] = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
                              "base-uri 'none'; form-action 'none'; frame-ancestors 'self'";

bool sd_page_asset_at(int i, sd_page_asset *out)
{
    const struct { const char *name, *type, *p, *end; } all[] = {
        {"index.html", "text/html; charset=utf-8", sd_page_html, sd_page_html_end},
        {"app.js", "text/javascript; charset=utf-8", sd_page_js, sd_page_js_end},
        {"app.css", "text/css; charset=utf-8", sd_page_css, sd_page_css_end},
        {"icon.svg", "image/svg+xml", sd_page_icon, sd_page_icon_end},
        {"licences.txt", "text/plain; charset=utf-8", sd_page_licences, sd_page_licences_end},
    };
    if (i < 0 || i >= (int)(sizeof all / sizeof *all)) return false;
    *out = (sd_page_asset){all[i].name, all[i].type, {all[i].p, (size_t)(all[i].end - all[i].p)}};
    return true;
}

bool sd_page_asset_find(const char *name, sd_page_asset *out)
{
    for (int i = 0; sd_page_asset_at(i, out); i++)
        if (strcmp(out->name, name) == 0) return true;
    return false;
}

/* Owns: the page's own files, answered from memory. They change only with the program, so a browser keeps them and asks by tag. */
#include "serve/server_int.h"

#include "base/hash.h"
#include "lab/page_asset.h"

#include <inttypes.h>

static int answer(const sd_page_asset *a, sd_reply *rp)
{
    rp->type = a->type;
    rp->fixed = a->bytes;
    rp->policy = strncmp(a->type, "text/html", 9) == 0 ? sd_page_policy : NULL;
    snprintf(rp->tag, sizeof rp->tag, "\"%016" PRIx64 "\"", sd_hash64(a->bytes.p, a->bytes.n));
    return 0;
}

int sd_handle__page(sd_server *s, const sd_request *rq, sd_reply *rp, sd_problem *p)
{
    sd_page_asset a;
    (void)s;
    (void)rq;
    if (!sd_page_asset_find("index.html", &a)) return sd_problem_set(p, 404, NULL, "the page is not in this program");
    return answer(&a, rp);
}

int sd_handle__page_file(sd_server *s, const sd_request *rq, sd_reply *rp, sd_problem *p)
{
    sd_page_asset a;
    (void)s;
    if (!sd_page_asset_find(rq->arg[0], &a)) return sd_problem_set(p, 404, NULL, "the page has no file '%.80s'", rq->arg[0]);
    return answer(&a, rp);
}

/* Owns nothing but the loop: harvest -> shard writer. */
#include "lab/capture.h"

sd_status sd_lab_capture(sd_capture_result *out, sd_harvest *h, const char *dir, const sd_act_manifest *manifest, bool force,
                         const sd_progress *progress, sd_err *err)
{
    sd_act_writer *w = NULL;
    sd_act_source src = sd_harvest_source(h);
    double t0 = sd_now();
    *out = (sd_capture_result){.n_tokens = sd_harvest_tokens(h), .n_docs = sd_harvest_docs(h)};
    sd_status st = sd_act_writer_open(&w, dir, manifest, force, err);
    if (st) return st;
    for (;;) {
        sd_act_block b;
        if ((st = src.next(src.self, &b, err))) goto fail;
        if (b.x.rows == 0) break;
        if ((st = sd_act_writer_put(w, &b, err))) goto fail;
        out->n_rows += b.x.rows;
        sd_progress_update(progress, "capture", (double)out->n_rows, (double)sd_harvest_rows(h), "tokens");
        if (sd_progress_cancelled(progress)) {
            st = sd_fail(err, SD_E_CANCELLED, "capture stopped after %lld of %lld rows; nothing was kept",
                         (long long)out->n_rows, (long long)sd_harvest_rows(h));
            goto fail;
        }
    }
    st = sd_act_writer_finish(w, err);
    out->seconds = sd_now() - t0;
    return st;
fail:
    sd_act_writer_abort(w);
    return st;
}

/* Any bytes as a config.json, read as every architecture: refused with a sentence, or a blueprint whose numbers a session's
 * frequencies and a plan of memory can be made of. */
#include "model/config_int.h"

#include <math.h>

#include "t_fuzz.h"
#include "t_fuzz_json.h"

static void check(const sd_blueprint *b)
{
    const sd_config *c = &b->cfg;
    SD_ASSERT(c->n_layer >= 1 && c->n_layer <= SD_MAX_LAYERS && c->n_head % c->n_head_kv == 0 && c->d_head >= 1);
    SD_ASSERT(c->d_model >= 1 && c->d_ffn >= 1 && c->n_ctx >= 1 && c->norm_eps > 0 && isfinite(c->attn_scale));
    SD_ASSERT(c->n_windowed == 0 || c->window > 0);
    for (int i = 0; i < b->wire.n_rope; i++)
        for (int64_t n_ctx = 1; n_ctx <= c->n_ctx; n_ctx = n_ctx < c->n_ctx && n_ctx * 64 > c->n_ctx ? c->n_ctx : n_ctx * 64) {
            sd_rope r;
            sd_err err = {0};
            SD_ASSERT(sd_rope_make(&r, &b->rope[i], n_ctx, &err) == SD_OK && r.half == c->n_rot / 2);
            sd_rope_release(&r);
            if (n_ctx == c->n_ctx) break;
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static sd_blueprint b;
    json_t *j;
    sd_err err = {0};
    if (sd_json_parse(&j, (const char *)data, size, "config.json", &err)) return 0;
    if (sd_hf_text_config(&j, &err)) SD_ASSERT(err.msg[0]);
    for (int i = 0; sd_arch_at(i); i++) {
        b = (sd_blueprint){0};
        err = (sd_err){0};
        sd_status st = sd_config__of(&b, sd_arch_at(i), NULL, j, &err);
        SD_ASSERT(st == SD_OK || err.msg[0]);
        if (!st) check(&b);
    }
    json_decref(j);
    return 0;
}

T_FUZZ_MAIN("fuzz_config")

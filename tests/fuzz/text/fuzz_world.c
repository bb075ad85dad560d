/* Any bytes as a world: refused with a sentence, or every rule can be asked for a text that keeps the limits, whose spans
 * and turns lie inside it. */
#include "text/world.h"

#include "t_fuzz.h"

static void check(const sd_world *w, const sd_world_text *t)
{
    SD_ASSERT(t->text.n <= 64 << 10 && t->n_turn <= SD_WORLD_TURNS);
    for (int64_t i = 0; i < t->n_span; i++) {
        SD_ASSERT(t->span[i].begin <= t->span[i].end && t->span[i].end <= t->text.n);
        SD_ASSERT(t->span[i].concept >= 0 && t->span[i].concept < sd_world_n_concepts(w));
    }
    for (int i = 0; i < t->n_turn; i++) SD_ASSERT(t->turn[i].begin <= t->turn[i].end && t->turn[i].end <= t->text.n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const rule[] = {"doc", "r", "pairs", "sft"};
    sd_err err = {0};
    sd_world *w;
    sd_world_text t;
    sd_status st = sd_world_parse(&w, (sd_slice){(const char *)data, size}, "fuzz", &err);
    SD_ASSERT((st == SD_OK) == (w != NULL));
    SD_ASSERT(st == SD_OK || (st == SD_E_FORMAT && err.msg[0]));
    if (st) return 0;
    sd_world_text_init(&t);
    for (size_t i = 0; i < sizeof rule / sizeof *rule; i++) {
        int32_t at = sd_world_find_rule(w, rule[i]);
        sd_rng rng = sd_rng_make(3, "fuzz", i);
        if (at < 0) continue;
        st = sd_world_expand(&t, w, at, &rng, &err);
        SD_ASSERT(st == SD_OK || st == SD_E_FORMAT);
        if (!st) check(w, &t);
    }
    sd_world_text_release(&t);
    sd_world_free(w);
    return 0;
}

T_FUZZ_MAIN("fuzz_world")

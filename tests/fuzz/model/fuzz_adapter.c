/* Any bytes as a PEFT adapter of a small model: adapter_config.json and adapter_model.safetensors with a line "%%" between. Refused with a sentence, or it
 * joins the model. */
#include "tiny_model.h"
#include "model/lora.h"

#include "t_fuzz.h"
#include "t_fuzz_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static sd_exec *ex;
    static sd_model *m;
    t_fuzz_part part[2];
    sd_lora *l;
    sd_err err = {0};
    if (!m) {
        const char *dir = t_tmpdir();
        tiny_spec s = tiny_default;
        s.n_layer = 1, s.n_head = 2, s.n_head_kv = 1, s.d_head = 4, s.d = 8, s.ffn = 12, s.n_ctx = 64, s.tied = true;
        tiny_write_hf(dir, &s);
        if (sd_exec_new(&ex, &(sd_exec_opt){.cpu = "ref", .n_threads = 1}, &err) || sd_model_open(&m, ex, dir, NULL, &err)) fprintf(stderr, "%s\n", err.msg), abort();
        t_rmtree(dir); /* the weights stay mapped */
    }
    const int n = t_fuzz_parts(part, 2, data, size);
    const char *at = t_fuzz_write("adapter_model.safetensors", n > 1 ? part[1].p : data, n > 1 ? part[1].n : 0);
    if (n < 2) unlink(at);
    (void)t_fuzz_write("adapter_config.json", part[0].p, part[0].n);
    const int64_t blocks = sd_mem_live_blocks();
    const sd_status st = sd_lora_read(&l, m, t_fuzz_dir(), &err);
    SD_ASSERT((st == SD_OK) == (l != NULL) && (st == SD_OK || err.msg[0]));
    for (int64_t i = 0; l && i < l->n_group; i++) {
        const sd_lora_group *g = &l->group[i];
        SD_ASSERT(g->in > 0 && g->out > 0 && isfinite(g->a[0]) && isfinite(g->b[g->out * l->opt.rank - 1]));
    }
    sd_lora_free(l);
    SD_ASSERT(sd_mem_live_blocks() == blocks);
    return 0;
}

T_FUZZ_MAIN("fuzz_adapter")

/* Any bytes as a folder with two shards (first byte even: config.json, the index, the shards) or as a GGUF in two parts (odd), "%%" lines between the
 * files: refused with a sentence, or all that was promised is there. */
#include "t_fuzz.h"
#include "t_fuzz_json.h"
#include "fuzz_weights.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static const char *const folder[] = {"config.json", "model.safetensors.index.json", "a.safetensors", "b.safetensors"};
    static const char *const parts[] = {"m-00001-of-00002.gguf", "m-00002-of-00002.gguf"};
    t_fuzz_part part[4];
    char first[400] = "";
    sd_err err = {0};
    sd_weights *w = NULL;
    if (n == 0) return 0;
    const bool gguf = p[0] % 2;
    const int most = gguf ? 2 : 4, have = t_fuzz_parts(part, most, p + 1, n - 1);
    for (int i = 0; i < most; i++) {
        const char *at = t_fuzz_write(gguf ? parts[i] : folder[i], i < have ? part[i].p : p, i < have ? part[i].n : 0);
        if (i == 0) snprintf(first, sizeof first, "%s", gguf ? at : t_fuzz_dir());
        if (i >= have) unlink(at);
    }
    const int64_t blocks = sd_mem_live_blocks();
    const sd_status st = sd_weights_open(&w, first, &err);
    if (st) SD_ASSERT(!w && err.code == st && err.msg[0]);
    else fuzz_touch(w);
    sd_weights_close(w);
    SD_ASSERT(sd_mem_live_blocks() == blocks);
    return 0;
}

T_FUZZ_MAIN("fuzz_folder")

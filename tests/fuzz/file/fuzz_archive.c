/* Any bytes as numpy's or torch's archive; changed and cut copies of files that those tools wrote. */
#include "t_fuzz.h"
#include "fuzz_weights.h"

static void open_arrays(const uint8_t *p, size_t n)
{
    sd_err err = {0};
    sd_weights *w = NULL;
    uint8_t *copy = sd_malloc(n ? n : 1);
    if (n) memcpy(copy, p, n);
    t_fuzz_drop_crc(copy, n);
    const sd_status st = sd_weights_open_bytes(&w, copy, n, "fuzz.pt", &(sd_weights_opt){.arrays = true}, &err);
    if (st) SD_ASSERT(!w && err.code == st && err.msg[0]);
    else fuzz_touch(w);
    sd_weights_close(w);
    sd_free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    open_arrays(p, n);
    return 0;
}

T_FUZZ_MAIN("fuzz_archive")

/* Any bytes as a steer spec: refused with a sentence as a bad argument, or a spec whose written form reads back to the same bytes. Nothing is left
 * allocated. */
#include "lab/steer.h"

#include "t_fuzz.h"
#include "t_fuzz_json.h"

static void write_spec(sd_buf *b, const sd_steer_spec *s)
{
    sd_jw w;
    sd_buf_init(b, 1 << 24);
    sd_jw_init(&w, b);
    sd_steer_spec_write(&w, s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sd_steer_spec s, again;
    sd_buf a, b;
    sd_err err = {0};
    if (size > 1 << 16) return 0;
    int64_t blocks = sd_mem_live_blocks();
    sd_status st = sd_steer_spec_parse(&s, (sd_slice){(const char *)data, size}, &err);
    SD_ASSERT(st == SD_OK || (st == SD_E_ARG && err.msg[0]));
    if (!st) {
        SD_ASSERT((s.feature >= 0) + (s.vector != NULL) + (s.direction[0] != 0) == 1);
        write_spec(&a, &s);
        SD_ASSERT(!sd_steer_spec_parse(&again, (sd_slice){a.p, a.n}, &err));
        write_spec(&b, &again);
        SD_ASSERT(a.n == b.n && memcmp(a.p, b.p, a.n) == 0);
        sd_buf_release(&a);
        sd_buf_release(&b);
        sd_steer_spec_release(&again);
        sd_steer_spec_release(&s);
    }
    SD_ASSERT(sd_mem_live_blocks() == blocks);
    return 0;
}

T_FUZZ_MAIN("fuzz_steer")

/* Any bytes as an expression of words: refused with a sentence, or a program that leaves one vector on the stack. */
#include "lab/vectors.h"

#include "t_fuzz.h"

#include <math.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sd_expr e;
    sd_err err = {0};
    double vec[SD_VECTORS_MAX_WORDS][2], stack[SD_VECTORS_MAX_WORDS][2], out[2];
    char text[4096];
    if (size >= sizeof text) return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    sd_status st = sd_expr_parse(&e, text, &err);
    SD_ASSERT(st == SD_OK || (st == SD_E_ARG && err.msg[0]));
    if (st) return 0;
    SD_ASSERT(e.n_word > 0 && e.n_word <= SD_VECTORS_MAX_WORDS);
    for (int w = 0; w < e.n_word; w++) {
        SD_ASSERT(e.word[w][0]);
        vec[w][0] = w, vec[w][1] = 1;
    }
    st = sd_expr_eval(out, &e, &vec[0][0], &stack[0][0], 2, &err);
    SD_ASSERT(st == SD_OK || (st == SD_E_ARG && err.msg[0]));
    return 0;
}

T_FUZZ_MAIN("fuzz_expr")

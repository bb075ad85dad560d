/* Any bytes as a safetensors file. */
#include "t_fuzz.h"
#include "t_fuzz_json.h"
#include "fuzz_weights.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    fuzz_open(p, n, "fuzz.safetensors", false);
    fuzz_open(p, n, "fuzz.safetensors", true);
    return 0;
}

T_FUZZ_MAIN("fuzz_safetensors")

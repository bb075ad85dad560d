/* Any bytes as a gguf file. */
#include "fuzz_weights.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    fuzz_open(p, n, "fuzz.gguf", false);
    fuzz_open(p, n, "fuzz.gguf", true);
    return 0;
}

#ifndef SD_LIBFUZZER
int main(int argc, char **argv)
{
    return fuzz_replay("fuzz_gguf", argc, argv);
}
#endif

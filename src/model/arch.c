/* The list of architectures. */
#include "model/arch.h"

static const sd_arch *const archs[] = {&sd_arch_llama};

const sd_arch *sd_arch_find(sd_container c, sd_slice name)
{
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++)
        if (sd_slice_eq_str(name, c == SD_CONTAINER_GGUF ? archs[i]->name : archs[i]->hf_type)) return archs[i];
    return NULL;
}

const char *sd_arch_list(void)
{
    return "llama";
}

/* The list of architectures. */
#include "model/arch.h"

#include <stdio.h>

static const sd_arch *const archs[] = {&sd_arch_llama,  &sd_arch_mistral, &sd_arch_qwen2,    &sd_arch_qwen3, &sd_arch_gemma2,
                                       &sd_arch_gemma3, &sd_arch_gpt2,    &sd_arch_gpt_neox, &sd_arch_phi3,  &sd_arch_olmo2};
enum { N_ARCHS = sizeof archs / sizeof *archs };

const sd_arch *sd_arch_find(sd_container c, sd_slice name)
{
    for (size_t i = 0; i < N_ARCHS; i++) {
        const char *own = c == SD_CONTAINER_GGUF ? archs[i]->gguf : archs[i]->hf_type;
        if (own && sd_slice_eq_str(name, own)) return archs[i];
    }
    return NULL;
}

const sd_arch *sd_arch_at(int i)
{
    return i >= 0 && i < N_ARCHS ? archs[i] : NULL;
}

const char *sd_arch_list(void)
{
    return "llama, mistral, qwen2, qwen3, gemma2, gemma3, gpt2, gpt_neox, phi3, olmo2";
}

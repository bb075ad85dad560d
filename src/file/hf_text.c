/* Folders of models that also see pictures (Gemma 3 from 4B on, Mistral Small 3): config.json wraps the configuration of their text model
 * in text_config, and tensors carry a prefix. Here the folder becomes the folder of the text model alone, under that model's
 * own names; the other half is left alone. Only wrappers are listed whose text model reads text exactly as it does alone. */
#include "file/weights_int.h"

#include "base/log.h"

static const struct {
    const char *type, *text, *arch; /* model_type of both, and the class of the text model */
} wrapper[] = {{"gemma3", "gemma3_text", "Gemma3ForCausalLM"}, {"mistral3", "mistral", "MistralForCausalLM"}};

sd_status sd_hf_text_config(json_t **config, sd_err *err)
{
    static const char *const outer[] = {"bos_token_id", "eos_token_id", "pad_token_id", "tie_word_embeddings", "dtype", "torch_dtype", "transformers_version"};
    const json_t *text = json_object_get(*config, "text_config");
    const char *type = json_string_value(json_object_get(*config, "model_type"));
    size_t i = 0;
    while (i < sizeof wrapper / sizeof *wrapper && !(type && strcmp(type, wrapper[i].type) == 0)) i++;
    if (i == sizeof wrapper / sizeof *wrapper || !json_is_object(text)) return SD_OK;
    json_t *out = json_deep_copy(text), *arch = json_pack("[s]", wrapper[i].arch);
    bool ok = out && arch && json_object_set(out, "architectures", arch) == 0;
    if (ok && !json_object_get(out, "model_type")) ok = json_object_set_new(out, "model_type", json_string(wrapper[i].text)) == 0;
    for (size_t k = 0; ok && k < sizeof outer / sizeof *outer; k++) {
        json_t *v = json_object_get(*config, outer[k]);
        /* The head belongs to the whole: what it says of ties is what transformers does. */
        if (v && (!json_object_get(out, outer[k]) || strcmp(outer[k], "tie_word_embeddings") == 0)) ok = json_object_set(out, outer[k], v) == 0;
    }
    json_decref(arch);
    if (!ok) {
        json_decref(out);
        return sd_fail(err, SD_E_NOMEM, "out of memory: config.json");
    }
    json_decref(*config);
    *config = out;
    return SD_OK;
}

/* What is not text, as published checkpoints and as transformers 5 names it. */
static bool of_pictures(sd_slice name)
{
    if (sd_slice_starts(name, "model.")) name = (sd_slice){name.p + 6, name.n - 6};
    return sd_slice_starts(name, "vision_tower.") || sd_slice_starts(name, "multi_modal_projector.");
}

/* "language_model.model.X", "model.language_model.X": "model.X"; "language_model.lm_head.X": "lm_head.X". Others stay. */
static sd_status text_name(sd_weights *w, sd_slice *name, sd_err *err)
{
    static const char old[] = "language_model.", new[] = "model.language_model.";
    const bool is_new = sd_slice_starts(*name, new);
    if (!is_new && !sd_slice_starts(*name, old)) return SD_OK;
    if (name->n == (is_new ? sizeof new - 1 : sizeof old - 1)) return SD_OK; /* the prefix alone */
    const size_t cut = is_new ? sizeof new - 1 : sizeof old - 1, put = is_new ? sizeof "model." - 1 : 0, n = name->n - cut + put;
    char *s;
    sd_status st = sd_alloc(&s, n + 1, "a tensor's name", err);
    if (!st) st = sd_weights__keep(w, s, err);
    if (st) return st;
    memcpy(s, "model.", put);
    memcpy(s + put, name->p + cut, name->n - cut);
    s[n] = '\0';
    *name = (sd_slice){s, n};
    return SD_OK;
}

sd_status sd_hf__text_tensors(sd_weights *w, sd_err *err)
{
    const int64_t n = w->n;
    int64_t dropped = 0;
    sd_status st = SD_OK;
    sd_table_free(w->by_name);
    w->by_name = NULL;
    w->n = 0;
    w->bytes = 0;
    for (int64_t i = 0; i < n && !st; i++) {
        sd_wentry e = w->entry[i]; /* written again at a place that is not behind i */
        if (of_pictures(e.t.name)) {
            dropped++;
            continue;
        }
        st = text_name(w, &e.t.name, err);
        if (!st) st = sd_weights__add(w, e.source, &e.t, err);
    }
    if (!st && dropped) sd_log(SD_LOG_INFO, "%s: %lld tensors of the half that sees pictures are left alone", w->path, (long long)dropped);
    return st;
}

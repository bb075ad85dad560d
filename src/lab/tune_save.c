/* What a run leaves: an adapter as PEFT has it, or a folder as transformers has it: configuration, tokenizer,
 * model.safetensors. */
#include "lab/tune_int.h"

#include "file/hub.h"
#include "lab/model_save.h"
#include "model/model_init.h"

sd_status sd_tune__begin_from_config(const char *model_path, const char *dir, uint64_t seed, sd_err *err)
{
    char path[1200];
    if (!sd_path_join(path, sizeof path, dir, "model.safetensors"))
        return sd_fail(err, SD_E_ARG, "%s: path too long", dir);
    sd_status st = sd_model_init_random(model_path, path, seed, err);
    return st ? st : sd_lab_model_companions(model_path, dir, "float32", err);
}

static sd_dtype saved_type(const sd_tune_run *r)
{
    if (r->o.save != SD_DTYPE_NONE) return r->o.save;
    return r->o.random_init ? SD_BF16 : sd_lab_model_type(r->m);
}

sd_status sd_tune__save(sd_tune_run *r, sd_err *err)
{
    /* A model of the Hugging Face cache by its name there: the snapshot's path is of this machine alone. */
    char id[256];
    const char *base = sd_hub_name(id, sizeof id, r->model_path) ? id : r->model_path;
    if (r->lora) return sd_lora_write(r->lora, r->m, r->o.dir, base, err);
    return sd_lab_model_save(r->learner, r->o.random_init ? r->o.dir : r->m->path, r->o.dir, saved_type(r), err);
}

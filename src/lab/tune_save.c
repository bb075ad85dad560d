/* What a run leaves: an adapter as PEFT has it, or a folder as transformers has it: configuration, tokenizer,
 * model.safetensors. */
#include "lab/tune_int.h"

#include "model/model_init.h"

#include <stdio.h>
#include <string.h>

enum { MAX_COPY = 256 << 20, MAX_CONFIG = 1 << 20 };

static sd_status copy_file(const char *from_dir, const char *to_dir, const char *name, sd_err *err)
{
    char from[1200], to[1200];
    sd_buf b;
    if (!sd_path_join(from, sizeof from, from_dir, name) || !sd_path_join(to, sizeof to, to_dir, name))
        return sd_fail(err, SD_E_ARG, "%s: path too long", to_dir);
    if (!sd_file_exists(from) || strcmp(from, to) == 0) return SD_OK;
    sd_buf_init(&b, MAX_COPY);
    sd_status st = sd_file_read(&b, from, err);
    if (!st) st = sd_file_write_atomic(to, b.p, b.n, err);
    sd_buf_release(&b);
    return st;
}

/* config.json with the type of the elements that are written. */
static sd_status write_config(const char *from_dir, const char *to_dir, const char *dtype, sd_err *err)
{
    char from[1200], to[1200];
    json_t *c = NULL;
    sd_buf b;
    sd_jw w;
    if (!sd_path_join(from, sizeof from, from_dir, "config.json") ||
        !sd_path_join(to, sizeof to, to_dir, "config.json"))
        return sd_fail(err, SD_E_ARG, "%s: path too long", to_dir);
    sd_status st = sd_json_load(&c, from, MAX_CONFIG, err);
    if (st) return st;
    (void)json_object_del(c, "torch_dtype"); /* the name before transformers 5 */
    if (json_object_set_new(c, "dtype", json_string(dtype)) != 0)
        st = sd_fail(err, SD_E_NOMEM, "out of memory: config.json");
    sd_buf_init(&b, MAX_CONFIG);
    sd_jw_init(&w, &b);
    sd_jw_tree(&w, c);
    sd_buf_putc(&b, '\n');
    if (!st) st = sd_buf_check(&b, "config.json", err);
    if (!st) st = sd_file_write_atomic(to, b.p, b.n, err);
    sd_buf_release(&b);
    json_decref(c);
    return st;
}

static sd_status copy_companions(const char *from, const char *to, const char *dtype, sd_err *err)
{
    static const char *const names[] = {"generation_config.json",
                                        "tokenizer.json",
                                        "tokenizer_config.json",
                                        "special_tokens_map.json",
                                        "added_tokens.json",
                                        "vocab.json",
                                        "merges.txt",
                                        "tokenizer.model",
                                        "chat_template.jinja",
                                        "chat_template.json"};
    sd_status st = write_config(from, to, dtype, err);
    for (size_t i = 0; !st && i < sizeof names / sizeof *names; i++) st = copy_file(from, to, names[i], err);
    return st;
}

sd_status sd_tune__begin_from_config(const char *model_path, const char *dir, uint64_t seed, sd_err *err)
{
    char path[1200];
    if (!sd_path_join(path, sizeof path, dir, "model.safetensors"))
        return sd_fail(err, SD_E_ARG, "%s: path too long", dir);
    sd_status st = sd_model_init_random(model_path, path, seed, err);
    return st ? st : copy_companions(model_path, dir, "float32", err);
}

/* f32 where the file it came from is f32 and was not made here, else bf16. */
static sd_dtype saved_type(const sd_tune_run *r)
{
    if (r->o.save != SD_DTYPE_NONE) return r->o.save;
    return r->m->embed.dtype == SD_F32 && !r->o.random_init ? SD_F32 : SD_BF16;
}

static sd_status append(sd_tune_run *r, sd_st_writer *w, const sd_hf_tensor *h, sd_dtype type, float *wide,
                        uint16_t *half, sd_err *err)
{
    const int64_t n = h->dim[0] * (h->rank == 2 ? h->dim[1] : 1);
    sd_learner_hf_fill(r->learner, h, false, wide);
    if (type == SD_F32) return sd_safetensors_append(w, wide, (size_t)n * sizeof *wide, err);
    for (int64_t i = 0; i < n; i++) half[i] = type == SD_BF16 ? sd_f32_to_bf16(wide[i]) : sd_f32_to_f16(wide[i]);
    return sd_safetensors_append(w, half, (size_t)n * sizeof *half, err);
}

static sd_status save_model(sd_tune_run *r, sd_err *err)
{
    char path[1200];
    sd_hf_tensor *list = NULL;
    sd_st_tensor *t = NULL;
    sd_st_writer *w = NULL;
    float *wide = NULL;
    uint16_t *half = NULL;
    int64_t n = 0, most = 0;
    const sd_dtype type = saved_type(r);
    if (!sd_path_join(path, sizeof path, r->o.dir, "model.safetensors"))
        return sd_fail(err, SD_E_ARG, "%s: path too long", r->o.dir);
    sd_status st = sd_learner_hf_list(r->learner, &list, &n, err);
    if (!st) st = sd_alloc_zero(&t, (size_t)n * sizeof *t, "the list of tensors", err);
    for (int64_t i = 0; !st && i < n; i++) {
        t[i] = (sd_st_tensor){
            .name = list[i].saved, .dtype = type, .rank = list[i].rank, .dim = {list[i].dim[0], list[i].dim[1]}};
        const int64_t size = list[i].dim[0] * (list[i].rank == 2 ? list[i].dim[1] : 1);
        most = size > most ? size : most;
    }
    if (!st) st = sd_alloc(&wide, (size_t)most * sizeof *wide, "a tensor", err);
    if (!st) st = sd_alloc(&half, (size_t)most * sizeof *half, "a tensor", err);
    if (!st) st = sd_safetensors_begin(&w, path, t, n, (const char *const[]){"format", "pt", NULL}, err);
    for (int64_t i = 0; !st && i < n; i++) st = append(r, w, &list[i], type, wide, half, err);
    if (!st) {
        st = sd_safetensors_end(w, err);
        w = NULL;
    }
    sd_safetensors_abort(w);
    sd_free(list);
    sd_free(t);
    sd_free(wide);
    sd_free(half);
    return st ? st
              : copy_companions(r->o.random_init ? r->o.dir : r->m->path, r->o.dir,
                                type == SD_F32    ? "float32"
                                : type == SD_BF16 ? "bfloat16"
                                                  : "float16",
                                err);
}

sd_status sd_tune__save(sd_tune_run *r, sd_err *err)
{
    if (r->lora) return sd_lora_write(r->lora, r->m, r->o.dir, r->model_path, err);
    return save_model(r, err);
}

/* Writing Hugging Face folders, tensor by tensor. */
#include "lab/model_save.h"

#include "base/json.h"
#include "base/map.h"
#include "model/gguf_save.h"

#include <string.h>
#include <unistd.h>

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
    if (!st) st = sd_hf_text_config(&c, err);
    if (st) {
        json_decref(c);
        return st;
    }
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

sd_status sd_lab_model_companions(const char *from, const char *to, const char *dtype, sd_err *err)
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

sd_dtype sd_lab_model_type(const sd_model *m)
{
    const sd_dtype own = m->embed.dtype;
    return own == SD_F32 || own == SD_F16 ? own : SD_BF16;
}

static sd_status append(const sd_learner *l, sd_st_writer *w, const sd_hf_tensor *h, sd_dtype type, float *wide,
                        uint16_t *half, sd_err *err)
{
    const int64_t n = h->dim[0] * (h->rank == 2 ? h->dim[1] : 1);
    sd_learner_hf_fill(l, h, false, wide);
    if (type == SD_F32) return sd_safetensors_append(w, wide, (size_t)n * sizeof *wide, err);
    for (int64_t i = 0; i < n; i++) {
        half[i] = type == SD_BF16 ? sd_f32_to_bf16(wide[i]) : sd_f32_to_f16(wide[i]);
        if (type != SD_F16 || (half[i] & 0x7c00) != 0x7c00) continue;
        sd_fail(err, SD_E_UNSUPPORTED, "%s holds %g, more than f16 can", h->saved, (double)wide[i]);
        return sd_hint(err, "write it as bf16 or f32");
    }
    return sd_safetensors_append(w, half, (size_t)n * sizeof *half, err);
}

sd_status sd_lab_model_save(const sd_learner *l, const char *from, const char *dir, sd_dtype type, sd_err *err)
{
    char path[1200];
    sd_hf_tensor *list = NULL;
    sd_st_tensor *t = NULL;
    sd_st_writer *w = NULL;
    float *wide = NULL;
    uint16_t *half = NULL;
    int64_t n = 0, most = 0;
    if (!sd_path_join(path, sizeof path, dir, "model.safetensors"))
        return sd_fail(err, SD_E_ARG, "%s: path too long", dir);
    sd_status st = sd_learner_hf_list(l, &list, &n, err);
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
    for (int64_t i = 0; !st && i < n; i++) st = append(l, w, &list[i], type, wide, half, err);
    if (!st) {
        st = sd_safetensors_end(w, err);
        w = NULL;
    }
    sd_safetensors_abort(w);
    sd_free(list);
    sd_free(t);
    sd_free(wide);
    sd_free(half);
    const char *name = type == SD_F32 ? "float32" : type == SD_BF16 ? "bfloat16" : "float16";
    return st ? st : sd_lab_model_companions(from, dir, name, err);
}

bool sd_lab_is_gguf_path(const char *path)
{
    return sd_slice_ends(sd_slice_of(path), ".gguf");
}

static sd_status merge_to_folder(const sd_exec *ex, const sd_model *m, const char *dir, sd_dtype type, sd_err *err)
{
    sd_learner *l = NULL;
    if (sd_weights_container(m->weights) == SD_CONTAINER_GGUF) {
        sd_fail(err, SD_E_UNSUPPORTED, "%s: a Hugging Face folder needs config.json, which a GGUF does not have", m->path);
        return sd_hint(err, "give an -o that ends in .gguf");
    }
    if (type != SD_F32 && type != SD_BF16 && type != SD_F16) {
        sd_fail(err, SD_E_UNSUPPORTED, "%s: a Hugging Face folder holds f32, bf16 or f16, not %s", dir,
                sd_dtype_get(type)->name);
        return sd_hint(err, "give an -o that ends in .gguf");
    }
    sd_status st = sd_learner_new(&l, ex, m, &(sd_learner_opt){.full = true, .max_rows = 16, .max_docs = 1}, err);
    const bool new_folder = !sd_dir_exists(dir);
    if (!st) st = sd_dir_make(dir, err);
    if (!st) st = sd_lab_model_save(l, m->path, dir, type, err);
    if (st && new_folder) (void)rmdir(dir); /* unless something is in it */
    sd_learner_free(l);
    return st;
}

sd_status sd_lab_merge(const sd_exec *ex, const char *spec, const char *out, sd_dtype type, sd_err *err)
{
    sd_model *m = NULL;
    sd_status st = sd_model_open(&m, ex, spec, &(sd_model_opt){.views = true}, err);
    if (st) return st;
    if (type == SD_DTYPE_NONE) type = sd_lab_model_type(m);
    st = sd_lab_is_gguf_path(out) ? sd_model_save_gguf(m, out, type, err) : merge_to_folder(ex, m, out, type, err);
    sd_model_close(m);
    return st;
}

/* Tokens that a folder names beside tokenizer.json: added_tokens_decoder, the named ones (eos_token, ..) and further special ones of
 * tokenizer_config.json; in folders without added_tokens_decoder special_tokens_map.json and added_tokens.json before them.
 *
 * As transformers 5 (tokenization_utils_base.py, tokenization_utils_tokenizers.py): one that is a piece is that piece, whatever id is
 * written beside it; another gets the next id, in the order of the ids written. */
#include "model/tokspec_int.h"

#include "base/log.h"

#include <stdio.h>

#define MAX_FILE_BYTES (16u << 20)

static const char *const named[] = {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};
static const char *const further[] = {"additional_special_tokens", "extra_special_tokens"};
enum { N_NAMED = sizeof named / sizeof named[0], N_FURTHER = sizeof further / sizeof further[0] };

/* A token is a string, or an object with "content". */
static sd_slice text_of(const json_t *token)
{
    const json_t *s = json_is_object(token) ? json_object_get(token, "content") : token;
    return json_is_string(s) ? (sd_slice){json_string_value(s), json_string_length(s)} : (sd_slice){NULL, 0};
}

static sd_status load(json_t **out, const sd_hf *h, const char *name, sd_err *err)
{
    char path[4096];
    *out = NULL;
    if (!sd_path_join(path, sizeof path, h->dir, name) || !sd_file_exists(path)) return SD_OK;
    return sd_json_load(out, path, MAX_FILE_BYTES, err);
}

static bool is_named(const json_t *cfg, sd_slice text)
{
    for (int i = 0; i < N_NAMED; i++)
        if (sd_slice_eq(text_of(json_object_get(cfg, named[i])), text)) return true;
    return false;
}

/* added_tokens.json, {"<pad>": 32000}, as an added_tokens_decoder. */
static sd_status take_old(sd_hf *h, const json_t *old, sd_err *err)
{
    const char *key;
    json_t *v, *into = json_object();
    sd_status st = SD_OK;
    json_object_foreach((json_t *)old, key, v)
    {
        char id[32];
        const bool special = is_named(h->cfg, sd_slice_of(key));
        snprintf(id, sizeof id, "%lld", (long long)json_integer_value(v));
        json_t *one = json_pack("{s:s, s:b, s:b}", "content", key, "special", special, "normalized", !special);
        if (!one || json_object_set_new(into, id, one)) st = sd_fail(err, SD_E_NOMEM, "out of memory: added_tokens.json");
    }
    if (json_object_set_new(h->cfg, "added_tokens_decoder", into) && !st) st = sd_fail(err, SD_E_NOMEM, "out of memory: added_tokens.json");
    return st;
}

sd_status sd_hf__config(sd_hf *h, sd_err *err)
{
    json_t *map = NULL, *old = NULL;
    sd_status st = load(&h->cfg, h, "tokenizer_config.json", err);
    if (!st && h->cfg && !json_is_object(h->cfg)) st = sd_fail(err, SD_E_FORMAT, "%s: tokenizer_config.json is no object", h->dir);
    if (st || json_object_get(h->cfg, "added_tokens_decoder")) return st;
    if (!h->cfg && !(h->cfg = json_object())) return sd_fail(err, SD_E_NOMEM, "out of memory: tokenizer_config.json");
    st = load(&map, h, "special_tokens_map.json", err);
    if (!st) st = load(&old, h, "added_tokens.json", err);
    if (!st && map && json_object_update(h->cfg, map)) st = sd_fail(err, SD_E_FORMAT, "%s: special_tokens_map.json is no object", h->dir);
    if (!st && old) st = take_old(h, old, err);
    json_decref(map);
    json_decref(old);
    return st;
}

int64_t sd_hf__n_added(const sd_hf *h)
{
    size_t n = json_object_size(json_object_get(h->cfg, "added_tokens_decoder")) + N_NAMED;
    for (int i = 0; i < N_FURTHER; i++) {
        const json_t *list = json_object_get(h->cfg, further[i]);
        n += json_is_object(list) ? json_object_size(list) : json_array_size(list);
    }
    return (int64_t)n;
}

static sd_status add(sd_hf *h, const json_t *token, bool special, sd_err *err)
{
    const sd_slice text = text_of(token);
    if (text.n == 0) return SD_OK;
    int64_t id = sd_table_get(h->by_text, text);
    const bool outside = id < 0;
    if (outside) {
        id = h->spec.n_vocab;
        if (h->n_rows && id >= h->n_rows) {
            sd_log(SD_LOG_WARN, "%s: the token \"%.*s\" is left out: it is no piece, and the model has %lld", h->dir, (int)(text.n > 64 ? 64 : text.n), text.p, (long long)h->n_rows);
            return SD_OK;
        }
        h->spec.n_vocab++;
        h->piece[id] = text;
        sd_status st = sd_table_set(h->by_text, text, id, NULL, err);
        if (st) return st;
    }
    const bool flags = json_is_object(token) || outside || h->type[id] == SD_PIECE_NORMAL;
    const bool was = h->type[id] == SD_PIECE_CONTROL; /* and stays so, whatever its flags become */
    h->type[id] = special || was || sd_hf__is_true(token, "special", false) ? SD_PIECE_CONTROL : SD_PIECE_USER;
    if (flags) h->added[id] = sd_hf__added_flags(token, outside || (h->added[id] & SD_ADDED_OUTSIDE));
    return SD_OK;
}

typedef struct listed { int64_t id; const json_t *token; } listed;
static int by_id(const void *a, const void *b)
{
    const int64_t x = ((const listed *)a)->id, y = ((const listed *)b)->id;
    return (x > y) - (x < y);
}

static sd_status add_decoder(sd_hf *h, json_t *decoder, sd_err *err)
{
    const char *key;
    json_t *v;
    listed *list;
    size_t n = 0;
    sd_status st = sd_alloc(&list, json_object_size(decoder) * sizeof *list, "added tokens", err);
    if (st) return st;
    json_object_foreach(decoder, key, v)
    {
        char *end;
        const long long id = strtoll(key, &end, 10);
        if (end == key || *end || !json_is_object(v) || !text_of(v).n) {
            sd_free(list);
            return sd_fail(err, SD_E_FORMAT, "%s: added_tokens_decoder: \"%.32s\" is no id with a token that has a content", h->dir, key);
        }
        list[n++] = (listed){id, v};
    }
    qsort(list, n, sizeof *list, by_id);
    for (size_t i = 0; i < n && !st; i++) st = add(h, list[i].token, is_named(h->cfg, text_of(list[i].token)), err);
    sd_free(list);
    return st;
}

sd_status sd_hf__added(sd_hf *h, sd_err *err)
{
    const char *key;
    json_t *v;
    sd_status st = SD_OK;
    json_t *decoder = json_object_get(h->cfg, "added_tokens_decoder");
    if (!sd_hf__is_absent(decoder) && !json_is_object(decoder)) return sd_fail(err, SD_E_FORMAT, "%s: added_tokens_decoder is no object", h->dir);
    if (json_object_size(decoder)) st = add_decoder(h, decoder, err);
    for (int i = 0; i < N_NAMED && !st; i++) st = add(h, json_object_get(h->cfg, named[i]), true, err);
    for (int i = 0; i < N_FURTHER; i++) {
        json_t *list = json_object_get(h->cfg, further[i]);
        for (size_t k = 0; k < json_array_size(list) && !st; k++) st = add(h, json_array_get(list, k), true, err);
        json_object_foreach(list, key, v)
        {
            if (!st) st = add(h, v, true, err);
        }
    }
    return st;
}

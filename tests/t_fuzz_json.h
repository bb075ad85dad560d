/* A mutator for targets whose bytes hold JSON: at their beginning, after a byte that chooses, on a line of its own, or after its length in eight bytes as
 * safetensors has it. Half of the time one value, key or element of such a tree is changed, and what comes out is JSON again with its length made right;
 * else it is bytes. Words of the target's .dict come in as strings and keys. */
#ifndef SD_TEST_FUZZ_JSON_H
#define SD_TEST_FUZZ_JSON_H

#ifdef SD_LIBFUZZER
#include "base/json.h"
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

size_t LLVMFuzzerMutate(uint8_t *p, size_t n, size_t most);
size_t LLVMFuzzerCustomMutator(uint8_t *p, size_t n, size_t most, unsigned seed);

enum { T_FUZZ_NODES = 1024, T_FUZZ_WORD = 256 };
typedef struct t_fuzz_node { json_t *in, *v; const char *key; size_t at; } t_fuzz_node; /* a member or an element */

static size_t t_fuzz_nodes(t_fuzz_node *list, size_t n, json_t *in)
{
    const char *key;
    json_t *v;
    size_t at;
    json_object_foreach(in, key, v)
    {
        if (n < T_FUZZ_NODES) list[n++] = (t_fuzz_node){in, v, key, 0}, n = t_fuzz_nodes(list, n, v);
    }
    json_array_foreach(in, at, v)
    {
        if (n < T_FUZZ_NODES) list[n++] = (t_fuzz_node){in, v, NULL, at}, n = t_fuzz_nodes(list, n, v);
    }
    return n;
}

static json_t *t_fuzz_string(const char *from)
{
    uint8_t b[T_FUZZ_WORD];
    size_t n = strlen(from);
    if (n > sizeof b / 2) n = sizeof b / 2;
    memcpy(b, from, n);
    n = LLVMFuzzerMutate(b, n, sizeof b);
    json_t *s = json_stringn((const char *)b, n);
    return s ? s : json_string("");
}

static json_t *t_fuzz_value(const json_t *was, unsigned r)
{
    static const json_int_t whole[] = {0, 1, -1, 2, 3, 7, 255, 65536, INT32_MAX, (json_int_t)1 << 32, (json_int_t)1 << 53, INT64_MAX, INT64_MIN};
    static const double real[] = {0.0, -0.0, 0.5, -1.5, 1e-45, 1e-320, 3.5e38, 1e308, -1e308, 9007199254740993.0};
    const unsigned k = r / 16;
    if (json_is_string(was) && r % 4) return t_fuzz_string(json_string_value(was));
    if (json_is_integer(was) && r % 4 == 1) return json_integer((json_int_t)((uint64_t)json_integer_value(was) + k % 5 - 2));
    if (json_is_integer(was) && r % 4 == 2) return json_integer((json_int_t)((uint64_t)json_integer_value(was) * (k % 4)));
    switch (r % 8) {
    case 0: return json_integer(whole[k % (sizeof whole / sizeof *whole)]);
    case 1: return json_real(real[k % (sizeof real / sizeof *real)]);
    case 2: return t_fuzz_string("");
    case 3: return json_boolean(k % 2);
    case 4: return json_null();
    case 5: return json_array();
    case 6: return json_object();
    default: return json_pack("[O]", was);
    }
}

static unsigned t_fuzz_draw(unsigned *x) /* Numerical Recipes' generator, its upper bits; libFuzzer's -seed decides where it begins */
{
    *x = *x * 1664525u + 1013904223u;
    return *x >> 8;
}

/* One change of the tree; false: nothing there to change. */
static bool t_fuzz_change(json_t *root, unsigned seed)
{
    static t_fuzz_node list[T_FUZZ_NODES];
    const size_t n = t_fuzz_nodes(list, 0, root);
    if (n == 0) return false;
    const t_fuzz_node *a = &list[t_fuzz_draw(&seed) % n], *b = &list[t_fuzz_draw(&seed) % n];
    const unsigned r = t_fuzz_draw(&seed), how = t_fuzz_draw(&seed) % 8;
    json_t *v = how == 0 ? NULL : how < 3 ? json_deep_copy(b->v) : t_fuzz_value(a->v, r);
    if (a->key) {
        char key[T_FUZZ_WORD];
        json_t *word = t_fuzz_string(b->key ? b->key : "");
        snprintf(key, sizeof key, "%s", how == 1 ? a->key : r % 2 && b->key ? b->key : json_string_value(word));
        json_decref(word);
        if (how == 0) json_object_del(a->in, a->key);
        else json_object_set_new(a->in, how == 7 || how == 2 ? key : a->key, v);
    } else if (how == 0) json_array_remove(a->in, a->at);
    else if (how == 2 || how == 7) json_array_insert_new(a->in, a->at, v);
    else json_array_set_new(a->in, a->at, v);
    return true;
}

/* The JSON value at p[at]: changed, and written where it stood. 0: none stands there, or what came out is too long. */
static size_t t_fuzz_json(uint8_t *p, size_t n, size_t most, size_t at, unsigned seed)
{
    json_error_t e;
    size_t out = 0;
    json_t *root = json_loadb((const char *)p + at, n - at, JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL, &e);
    char *text = root && t_fuzz_change(root, seed) ? json_dumps(root, JSON_COMPACT) : NULL;
    if (text) {
        const size_t had = (size_t)e.position, has = strlen(text), rest = n - at - had;
        uint64_t said = 0, now = has;
        if (at + has + rest <= most && at + had <= n) {
            if (at >= 8) memcpy(&said, p + at - 8, 8);
            if (said >= had && said - had < 8) memcpy(p + at - 8, &now, 8); /* with spaces that pad it */
            const size_t pad = said >= had && said - had < 8 ? (size_t)(said - had) : 0;
            memmove(p + at + has, p + at + had + pad, rest - pad);
            memcpy(p + at, text, has);
            out = at + has + rest - pad;
        }
    }
    free(text);
    json_decref(root);
    return out;
}

size_t LLVMFuzzerCustomMutator(uint8_t *p, size_t n, size_t most, unsigned seed)
{
    enum { PLACES = 64 };
    size_t place[PLACES], k = 0, out = 0;
    for (size_t i = 0; i < n && k < PLACES && seed % 2; i++) {
        uint64_t said = 0;
        if (p[i] != '{' && p[i] != '[') continue;
        if (i >= 8) memcpy(&said, p + i - 8, 8);
        if (i < 2 || p[i - 1] == '\n' || (said > 1 && said <= n - i)) place[k++] = i;
    }
    if (k) out = t_fuzz_json(p, n, most, place[(seed / 2) % k], seed);
    return out ? out : LLVMFuzzerMutate(p, n, most);
}
#endif
#endif

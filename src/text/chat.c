/* Rendering chat templates. The parser has settled every type, so a value here is what its node's type says, or
 * undefined where a variable was not set on the way taken. */
#include "text/chat_int.h"

#include <stdio.h>

typedef struct value {
    chat_type type;
    int64_t num; /* int, bool; messages: first */
    sd_slice str;
    const sd_message *msg;
    int n_msg;
} value;

typedef struct render {
    const sd_chat *c;
    value slot[CHAT_MAX_SLOTS];
    int64_t loop_index, loop_length;
    sd_buf *out;
    sd_buf made; /* char *: concatenated strings, freed at the end */
} render;

static value undefined(void)
{
    return (value){.type = CT_UNDEF};
}

static bool truth(const value *v)
{
    switch (v->type) {
    case CT_STR:
        return v->str.n > 0;
    case CT_INT:
    case CT_BOOL:
        return v->num != 0;
    case CT_MSGS:
        return v->n_msg > 0;
    case CT_MSG:
        return true;
    default:
        return false;
    }
}

static bool equal(const value *a, const value *b)
{
    if (a->type != b->type) return false;
    if (a->type == CT_STR) return sd_slice_eq(a->str, b->str);
    if (a->type == CT_INT || a->type == CT_BOOL) return a->num == b->num;
    return true; /* none is none, undefined is undefined */
}

static sd_slice as_text(const value *v, char small[24])
{
    switch (v->type) {
    case CT_STR:
        return v->str;
    case CT_BOOL:
        return v->num ? SD_LIT("True") : SD_LIT("False");
    case CT_NONE:
        return SD_LIT("None");
    case CT_INT:
        return (sd_slice){small, (size_t)snprintf(small, 24, "%lld", (long long)v->num)};
    default:
        return (sd_slice){"", 0};
    }
}

bool sd_chat__is_space(uint32_t cp)
{
    return (cp >= 9 && cp <= 13) || (cp >= 0x1c && cp <= 0x20) || cp == 0x85 || cp == 0xa0 || cp == 0x1680 ||
           (cp >= 0x2000 && cp <= 0x200a) || cp == 0x2028 || cp == 0x2029 || cp == 0x202f || cp == 0x205f ||
           cp == 0x3000;
}

static sd_slice trim(sd_slice s, int64_t sides)
{
    uint32_t cp;
    int len;
    while (sides & 1 && s.n && (len = sd_utf8_decode(s.p, s.n, &cp)) > 0 && sd_chat__is_space(cp))
        s = (sd_slice){s.p + len, s.n - (size_t)len};
    while (sides & 2 && s.n) {
        size_t at = s.n - 1;
        while (at > 0 && s.n - at < 4 && ((unsigned char)s.p[at] & 0xc0) == 0x80) at--;
        len = sd_utf8_decode(s.p + at, s.n - at, &cp);
        if (len <= 0 || (size_t)len != s.n - at || !sd_chat__is_space(cp)) break;
        s.n = at;
    }
    return s;
}

static sd_status eval(render *r, int32_t at, value *out, sd_err *err);

/* A string that lives as long as the rendering. */
static sd_status concat(render *r, sd_slice a, sd_slice b, value *out, sd_err *err)
{
    char *p;
    sd_status st = sd_alloc(&p, a.n + b.n + 1, "a chat template's text", err);
    if (st) return st;
    if (a.n) memcpy(p, a.p, a.n);
    if (b.n) memcpy(p + a.n, b.p, b.n);
    sd_buf_put(&r->made, &p, sizeof p);
    st = sd_buf_check(&r->made, "a chat template's text", err);
    if (st)
        sd_free(p);
    else
        *out = (value){.type = CT_STR, .str = {p, a.n + b.n}};
    return st;
}

static void free_made(render *r)
{
    for (size_t i = 0; i < r->made.n; i += sizeof(char *)) {
        char *p;
        memcpy(&p, r->made.p + i, sizeof p);
        sd_free(p);
    }
    sd_buf_release(&r->made);
}

static sd_status not_defined(const chat_node *n, sd_err *err)
{
    return sd_fail(err, SD_E_ARG,
                   "the chat template cannot render these messages: line %d uses something that is not defined",
                   (int)n->line);
}

static sd_status eval_pair(render *r, const chat_node *n, value *out, sd_err *err)
{
    value a, b;
    char sa[24], sb[24];
    sd_status st = eval(r, n->a, &a, err);
    if (!st) st = eval(r, n->b, &b, err);
    if (st) return st;
    switch (n->op) {
    case OP_EQ:
        *out = (value){.type = CT_BOOL, .num = equal(&a, &b)};
        return SD_OK;
    case OP_NE:
        *out = (value){.type = CT_BOOL, .num = !equal(&a, &b)};
        return SD_OK;
    case OP_CAT:
        return concat(r, as_text(&a, sa), as_text(&b, sb), out, err);
    default:
        break;
    }
    if (a.type == CT_UNDEF || b.type == CT_UNDEF) return not_defined(n, err);
    if (n->op == OP_ADD && n->type == CT_STR) return concat(r, a.str, b.str, out, err);
    if (n->op == OP_MOD && b.num <= 0)
        return sd_fail(err, SD_E_ARG, "the chat template cannot render these messages: line %d divides by %lld",
                       (int)n->line, (long long)b.num);
    int64_t v = n->op == OP_ADD   ? a.num + b.num
                : n->op == OP_MOD ? a.num % b.num
                : n->op == OP_LT  ? a.num < b.num
                                  : a.num <= b.num;
    *out = (value){.type = (chat_type)n->type, .num = v};
    return SD_OK;
}

static sd_status eval_logic(render *r, const chat_node *n, value *out, sd_err *err)
{
    sd_status st = eval(r, n->a, out, err);
    if (st) return st;
    if (n->op == OP_COND) return eval(r, truth(out) ? n->b : n->c, out, err);
    if (n->op == OP_NOT) {
        *out = (value){.type = CT_BOOL, .num = !truth(out)};
        return SD_OK;
    }
    /* As in Python, the operand that decided is the value. */
    return truth(out) == (n->op == OP_AND) ? eval(r, n->b, out, err) : SD_OK;
}

static sd_status eval_messages(render *r, const chat_node *n, value *out, sd_err *err)
{
    value v;
    sd_status st = eval(r, n->a, &v, err);
    if (st) return st;
    if (v.type == CT_UNDEF) return not_defined(n, err);
    int64_t k = n->num < 0 ? n->num + v.n_msg : n->num;
    if (n->op == OP_LENGTH) {
        *out = (value){.type = CT_INT, .num = v.n_msg};
    } else if (n->op == OP_AT) {
        if (k < 0 || k >= v.n_msg)
            *out = undefined();
        else
            *out = (value){.type = CT_MSG, .msg = v.msg + k};
    } else {
        if (k < 0) k = 0;
        if (k > v.n_msg) k = v.n_msg;
        *out = (value){.type = CT_MSGS, .msg = v.msg + k, .n_msg = v.n_msg - (int)k};
    }
    return SD_OK;
}

static value loop_value(const render *r, const chat_node *n)
{
    int64_t i = r->loop_index, len = r->loop_length;
    int64_t v = n->num == LOOP_FIRST    ? i == 0
                : n->num == LOOP_LAST   ? i + 1 == len
                : n->num == LOOP_INDEX  ? i + 1
                : n->num == LOOP_INDEX0 ? i
                                        : len;
    return (value){.type = (chat_type)n->type, .num = v};
}

static sd_status eval(render *r, int32_t at, value *out, sd_err *err)
{
    const chat_node *n = &r->c->node[at];
    sd_status st = SD_OK;
    switch (n->op) {
    case OP_STR:
        *out = (value){.type = CT_STR, .str = {r->c->text.p + n->str, n->len}};
        break;
    case OP_INT:
        *out = (value){.type = CT_INT, .num = n->num};
        break;
    case OP_BOOL:
        *out = (value){.type = CT_BOOL, .num = n->num};
        break;
    case OP_NONE:
        *out = (value){.type = CT_NONE};
        break;
    case OP_UNDEF:
        *out = undefined();
        break;
    case OP_VAR:
        *out = r->slot[n->num];
        break;
    case OP_LOOP:
        *out = loop_value(r, n);
        break;
    case OP_AT:
    case OP_SLICE:
    case OP_LENGTH:
        return eval_messages(r, n, out, err);
    case OP_FIELD:
        st = eval(r, n->a, out, err);
        if (st) return st;
        if (out->type != CT_MSG) return not_defined(n, err);
        *out = (value){.type = CT_STR, .str = n->num ? out->msg->content : out->msg->role};
        break;
    case OP_NOT:
    case OP_AND:
    case OP_OR:
    case OP_COND:
        return eval_logic(r, n, out, err);
    case OP_DEFINED:
        st = eval(r, n->a, out, err);
        if (!st) *out = (value){.type = CT_BOOL, .num = out->type != CT_UNDEF};
        break;
    case OP_TRIM:
        st = eval(r, n->a, out, err);
        /* The filter makes text of undefined, the method fails on it; the first is marked by `c`. */
        if (!st && out->type == CT_UNDEF && n->c < 0) return not_defined(n, err);
        if (!st) *out = (value){.type = CT_STR, .str = trim(out->str, n->num)};
        break;
    case OP_RAISE:
        st = eval(r, n->a, out, err);
        if (!st)
            st = sd_fail(err, SD_E_ARG, "the chat template refuses these messages: %.*s",
                         (int)(out->str.n > 400 ? 400 : out->str.n), out->str.p ? out->str.p : "");
        break;
    default:
        return eval_pair(r, n, out, err);
    }
    return st;
}

static sd_status run_block(render *r, int32_t at, sd_err *err);

static sd_status run_for(render *r, const chat_node *n, sd_err *err)
{
    value list;
    sd_status st = eval(r, n->a, &list, err);
    if (st) return st;
    if (list.type != CT_MSGS) return not_defined(n, err);
    r->loop_length = list.n_msg;
    for (int i = 0; i < list.n_msg && !st; i++) {
        r->loop_index = i;
        r->slot[n->num] = (value){.type = CT_MSG, .msg = list.msg + i};
        st = run_block(r, n->b, err);
    }
    return st;
}

static sd_status run_block(render *r, int32_t at, sd_err *err)
{
    sd_status st = SD_OK;
    for (; at >= 0 && !st; at = r->c->node[at].next) {
        const chat_node *n = &r->c->node[at];
        char small[24];
        value v;
        switch (n->op) {
        case OP_TEXT:
            sd_buf_put(r->out, r->c->text.p + n->str, n->len);
            break;
        case OP_OUT:
            st = eval(r, n->a, &v, err);
            if (!st) {
                sd_slice s = as_text(&v, small);
                sd_buf_put(r->out, s.p, s.n);
            }
            break;
        case OP_IF:
            st = eval(r, n->a, &v, err);
            if (!st) st = run_block(r, truth(&v) ? n->b : n->c, err);
            break;
        case OP_FOR:
            st = run_for(r, n, err);
            break;
        default: /* OP_SET */
            st = eval(r, n->a, &v, err);
            if (!st) r->slot[n->num] = v;
        }
    }
    return st;
}

sd_status sd_chat_render(const sd_chat *c, const sd_message *msg, int n_msg, bool add_generation_prompt, sd_buf *out,
                         sd_err *err)
{
    render r = {.c = c, .out = out};
    size_t n0 = out->n;
    sd_buf_init(&r.made, CHAT_MAX_BYTES * sizeof(char *));
    for (int i = 0; i < CHAT_MAX_SLOTS; i++) r.slot[i] = undefined();
    r.slot[SLOT_MESSAGES] = (value){.type = CT_MSGS, .msg = msg, .n_msg = n_msg};
    r.slot[SLOT_GENERATE] = (value){.type = CT_BOOL, .num = add_generation_prompt};
    if (c->bos.n) r.slot[SLOT_BOS] = (value){.type = CT_STR, .str = {c->bos.p, c->bos.n}};
    if (c->eos.n) r.slot[SLOT_EOS] = (value){.type = CT_STR, .str = {c->eos.p, c->eos.n}};
    r.slot[SLOT_TOOLS].type = r.slot[SLOT_DOCUMENTS].type = CT_NONE; /* transformers passes None when there are none */
    sd_status st = run_block(&r, c->program, err);
    if (!st) st = sd_buf_check(out, "the rendered chat", err);
    if (st) out->n = n0;
    free_made(&r);
    return st;
}

sd_status sd_chat_set_tokens(sd_chat *c, sd_slice bos, sd_slice eos, sd_err *err)
{
    sd_buf_reset(&c->bos);
    sd_buf_reset(&c->eos);
    sd_buf_put(&c->bos, bos.p, bos.n);
    sd_buf_put(&c->eos, eos.p, eos.n);
    sd_status st = sd_buf_check(&c->bos, "the BOS token", err);
    return st ? st : sd_buf_check(&c->eos, "the EOS token", err);
}

static bool mentions(const sd_chat *c, const char *what)
{
    return c->text.n && memmem(c->text.p, c->text.n, what, strlen(what)) != NULL;
}

sd_status sd_chat_new(sd_chat **out, sd_slice template_text, sd_err *err)
{
    sd_chat *c;
    *out = NULL;
    sd_status st = sd_alloc_zero(&c, sizeof *c, "a chat template", err);
    if (st) return st;
    sd_buf_init(&c->text, 4 * CHAT_MAX_BYTES);
    sd_buf_init(&c->bos, 65536);
    sd_buf_init(&c->eos, 65536);
    st = sd_chat__parse(c, template_text, err);
    if (st) {
        sd_chat_free(c);
        return st;
    }
    const char *name = mentions(c, "<|im_start|>") && mentions(c, "<|im_end|>") ? "chatml"
                       : mentions(c, "<|start_header_id|>")                     ? "llama3"
                                                                                : "template";
    snprintf(c->name, sizeof c->name, "%s", name);
    *out = c;
    return SD_OK;
}

void sd_chat_free(sd_chat *c)
{
    if (!c) return;
    sd_buf_release(&c->text);
    sd_buf_release(&c->bos);
    sd_buf_release(&c->eos);
    sd_free(c->node);
    sd_free(c);
}

const char *sd_chat_name(const sd_chat *c)
{
    return c->name;
}

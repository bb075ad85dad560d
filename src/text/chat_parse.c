/* Statements of chat templates, and the nodes that all parsers add to the tree. */
#include "text/chat_read.h"

sd_status sd_chat__add(sd_chat_reader *k, chat_op op, chat_type type, int32_t *out, sd_err *err)
{
    sd_chat *c = k->c;
    if (c->n_node == CHAT_MAX_NODES) return sd_chat__refuse(k, "the template is too long", err);
    if (c->n_node == c->cap_node) {
        int32_t cap = c->cap_node ? 2 * c->cap_node : 64;
        chat_node *v = sd_realloc(c->node, (size_t)cap * sizeof *v);
        if (!v) return sd_fail(err, SD_E_NOMEM, "out of memory: a chat template");
        c->node = v;
        c->cap_node = cap;
    }
    c->node[c->n_node] =
        (chat_node){.op = (uint8_t)op, .type = (uint8_t)type, .a = -1, .b = -1, .c = -1, .next = -1, .line = k->line};
    *out = c->n_node++;
    return SD_OK;
}

chat_type sd_chat__type_of(const sd_chat_reader *k, int32_t node)
{
    return (chat_type)k->c->node[node].type;
}

/* A node over up to three others. */
/* Makes `under` a child of `node` as far as levels go. */
static sd_status count_levels(sd_chat_reader *k, int32_t node, int32_t under, sd_err *err)
{
    if (under < 0) return SD_OK;
    int levels = k->c->node[under].levels + 1;
    if (levels > CHAT_MAX_TREE) return sd_chat__refuse(k, "an expression is too long", err);
    if (levels > k->c->node[node].levels) k->c->node[node].levels = (uint16_t)levels;
    return SD_OK;
}

sd_status sd_chat__add_over(sd_chat_reader *k, chat_op op, chat_type type, int32_t a, int32_t b, int32_t *out,
                            sd_err *err)
{
    sd_status st = sd_chat__add(k, op, type, out, err);
    if (st) return st;
    k->c->node[*out].a = a;
    k->c->node[*out].b = b;
    st = count_levels(k, *out, a, err);
    return st ? st : count_levels(k, *out, b, err);
}

sd_status sd_chat__add_third(sd_chat_reader *k, int32_t node, int32_t c, sd_err *err)
{
    k->c->node[node].c = c;
    return count_levels(k, node, c, err);
}

sd_status sd_chat__add_num(sd_chat_reader *k, chat_op op, chat_type type, int64_t num, int32_t *out, sd_err *err)
{
    sd_status st = sd_chat__add(k, op, type, out, err);
    if (!st) k->c->node[*out].num = num;
    return st;
}

static sd_status parse_block(sd_chat_reader *k, int32_t *first, sd_slice *stop, sd_err *err);

/* A list of statements: node indices, because the array moves when it grows. */
typedef struct chain {
    int32_t first, last;
} chain;

static void append(sd_chat_reader *k, chain *c, int32_t node)
{
    if (c->last < 0)
        c->first = node;
    else
        k->c->node[c->last].next = node;
    c->last = node;
}

static sd_status parse_if(sd_chat_reader *k, int32_t *out, sd_err *err)
{
    int32_t cond, then, other = -1;
    sd_slice stop = {NULL, 0};
    sd_status st = sd_chat__expr(k, &cond, err);
    if (!st) st = sd_chat__close_tag(k, err);
    if (!st) st = sd_chat__add_over(k, OP_IF, CT_NONE, cond, -1, out, err);
    int32_t node = st ? -1 : *out;
    if (!st) st = parse_block(k, &then, &stop, err);
    if (st) return st;
    k->c->node[node].b = then;
    if (sd_slice_eq_str(stop, "elif")) {
        st = sd_chat__deeper(k, err);
        if (!st) st = parse_if(k, &other, err);
        k->depth--;
        k->c->node[node].c = other;
        *out = node;
        return st;
    }
    if (sd_slice_eq_str(stop, "else")) {
        st = sd_chat__close_tag(k, err);
        if (!st) st = parse_block(k, &other, &stop, err);
        if (!st) k->c->node[node].c = other;
    }
    if (!st && !sd_slice_eq_str(stop, "endif")) st = sd_chat__refuse(k, "\"endif\" is expected", err);
    *out = node;
    return st ? st : sd_chat__close_tag(k, err);
}

static int new_slot(sd_chat_reader *k, sd_slice text, chat_type type)
{
    if (k->c->n_slot == CHAT_MAX_SLOTS) return -1;
    k->slot[k->c->n_slot] = (chat_name){text, type};
    return k->c->n_slot++;
}

static sd_status parse_for(sd_chat_reader *k, int32_t *out, sd_err *err)
{
    int32_t list, body;
    sd_slice var, stop = {NULL, 0};
    if (k->in_for) return sd_chat__refuse(k, "a loop inside a loop", err);
    sd_status st = sd_chat__take_name(k, &var, err);
    if (!st && !sd_chat__take_word(k, "in")) st = sd_chat__refuse(k, "\"in\" is expected", err);
    if (!st) st = sd_chat__logic(k, true, &list, err);
    if (!st && sd_chat__type_of(k, list) != CT_MSGS)
        st = sd_chat__refuse(k, "a loop over something else than messages", err);
    if (!st) st = sd_chat__close_tag(k, err);
    if (!st) st = sd_chat__add_over(k, OP_FOR, CT_NONE, list, -1, out, err);
    if (st) return st;
    int32_t node = *out;
    k->loop_slot = new_slot(k, (sd_slice){NULL, 0}, CT_MSG);
    if (k->loop_slot < 0) return sd_chat__refuse(k, "too many names", err);
    k->loop_var = var;
    k->in_for = true;
    st = parse_block(k, &body, &stop, err);
    k->in_for = false;
    if (!st && !sd_slice_eq_str(stop, "endfor")) st = sd_chat__refuse(k, "\"endfor\" is expected", err);
    if (st) return st;
    k->c->node[node].b = body;
    k->c->node[node].num = k->loop_slot;
    *out = node;
    return sd_chat__close_tag(k, err);
}

static sd_status parse_set(sd_chat_reader *k, int32_t *out, sd_err *err)
{
    sd_slice w;
    int32_t v;
    if (k->in_for) return sd_chat__refuse(k, "\"set\" inside a loop", err);
    sd_status st = sd_chat__take_name(k, &w, err);
    if (!st) st = sd_chat__expect(k, "=", err);
    if (!st) st = sd_chat__expr(k, &v, err);
    if (st) return st;
    if (sd_slice_eq_str(w, "loop") || sd_chat__is_foreign(w))
        return sd_chat__refuse_name(k, "setting the name", w, err);
    chat_type t = sd_chat__type_of(k, v);
    int slot = sd_chat__find_slot(k, w);
    if (t == CT_MIXED || (slot >= 0 && k->slot[slot].type != t))
        return sd_chat__refuse_name(k, "a type that changes, of", w, err);
    if (slot < 0) slot = new_slot(k, w, t);
    if (slot < 0) return sd_chat__refuse(k, "too many names", err);
    st = sd_chat__add_over(k, OP_SET, CT_NONE, v, -1, out, err);
    if (!st) k->c->node[*out].num = slot;
    return st ? st : sd_chat__close_tag(k, err);
}

static sd_status parse_output(sd_chat_reader *k, int32_t *out, sd_err *err)
{
    int32_t v;
    sd_status st = sd_chat__expr(k, &v, err);
    if (!st && !sd_chat__printable(sd_chat__type_of(k, v)))
        st = sd_chat__refuse(k, "the output of something that is no text", err);
    if (!st) st = sd_chat__add_over(k, OP_OUT, CT_NONE, v, -1, out, err);
    return st ? st : sd_chat__close_tag(k, err);
}

/* Statements up to a word that ends a block, which goes to *stop with its tag still open; an empty word at the end. */
static sd_status parse_block(sd_chat_reader *k, int32_t *first, sd_slice *stop, sd_err *err)
{
    static const char *const ends[] = {"elif", "else", "endif", "endfor"};
    chain list = {-1, -1};
    sd_status st = sd_chat__deeper(k, err);
    for (bool more = true; !st;) {
        int32_t node = k->c->n_node;
        st = sd_chat__next_tag(k, &more, err);
        for (; node < k->c->n_node && !st; node++) append(k, &list, node);
        if (st || !more) break;
        if (k->open == TAG_OUTPUT) {
            st = parse_output(k, &node, err);
        } else {
            sd_slice w = {NULL, 0};
            bool end = false;
            st = sd_chat__take_name(k, &w, err);
            if (st) break;
            for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) end |= sd_slice_eq_str(w, ends[i]);
            *stop = w;
            if (end) break;
            if (sd_slice_eq_str(w, "if"))
                st = parse_if(k, &node, err);
            else if (sd_slice_eq_str(w, "for"))
                st = parse_for(k, &node, err);
            else if (sd_slice_eq_str(w, "set"))
                st = parse_set(k, &node, err);
            else
                st = sd_chat__refuse_name(k, "the statement", w, err);
        }
        *stop = (sd_slice){"", 0};
        if (!st) append(k, &list, node);
    }
    k->depth--;
    *first = list.first;
    return st;
}

/* Jinja2 reads every line end as \n and drops the one at the end of the file. */
static void normalise(sd_buf *out, sd_slice in)
{
    for (size_t i = 0; i < in.n; i++) {
        char ch = in.p[i];
        if (ch == '\r') {
            ch = '\n';
            if (i + 1 < in.n && in.p[i + 1] == '\n') i++;
        }
        sd_buf_putc(out, ch);
    }
    if (out->n && out->p[out->n - 1] == '\n') out->n--;
}

static void add_given(sd_chat_reader *k)
{
    static const struct {
        const char *text;
        chat_type type;
    } given[SLOT_FIRST_FREE] = {
        [SLOT_MESSAGES] = {"messages", CT_MSGS}, [SLOT_GENERATE] = {"add_generation_prompt", CT_BOOL},
        [SLOT_BOS] = {"bos_token", CT_STR},      [SLOT_EOS] = {"eos_token", CT_STR},
        [SLOT_TOOLS] = {"tools", CT_NONE},       [SLOT_DOCUMENTS] = {"documents", CT_NONE}};
    for (int i = 0; i < SLOT_FIRST_FREE; i++) new_slot(k, sd_slice_of(given[i].text), given[i].type);
}

sd_status sd_chat__parse(sd_chat *c, sd_slice source, sd_err *err)
{
    sd_buf text;
    sd_slice stop = {"", 0};
    sd_buf_init(&text, CHAT_MAX_BYTES);
    sd_buf_putc(&c->text, '\n'); /* literals of no length point somewhere */
    sd_status st = SD_OK;
    size_t valid = sd_utf8_valid_prefix(source);
    if (source.n > CHAT_MAX_BYTES)
        st = sd_fail(err, SD_E_UNSUPPORTED, "%zu bytes, at most %u are supported", source.n, CHAT_MAX_BYTES);
    else if (valid < source.n)
        st = sd_fail(err, SD_E_FORMAT, "byte %zu is not UTF-8", valid);
    if (st) goto done;
    normalise(&text, source);
    st = sd_buf_check(&text, "a chat template", err);
    if (!st) st = sd_buf_check(&c->text, "a chat template", err);
    if (st) goto done;
    sd_chat_reader k = {.c = c, .p = text.n ? text.p : "", .n = text.n, .line = 1, .line_start = true};
    add_given(&k);
    st = parse_block(&k, &c->program, &stop, err);
    if (!st && stop.n) st = sd_chat__refuse_name(&k, "the statement", stop, err);
    /* A literal that found no memory reads as another one: that error comes first. */
    if (c->text.failed) st = sd_buf_check(&c->text, "a chat template", err);
done:
    if (st) sd_err_wrap(err, "chat template");
    sd_buf_release(&text);
    return st;
}

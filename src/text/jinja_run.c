/* Statements of a template that runs, and the template as a whole. */
#include "text/jinja_eval.h"

static void run_block(jinja_run *r, int32_t at);

/* Binds a value to a name, a field of a namespace, or several names. */
static void assign(jinja_run *r, int32_t target, const jinja_value *v)
{
    const jinja_node *n = &r->t->node[target];
    if (r->st) return;
    if (n->op == J_NAME) {
        sd_jinja__set(r, r->scope, sd_jinja__text(r->t, n), *v);
    } else if (n->op == J_ATTR) {
        jinja_value of = sd_jinja__eval(r, n->a);
        if (of.type != JT_NAMESPACE)
            sd_jinja__fail(r, "a field is set of a %s, which is no namespace", sd_jinja__type_name(&of));
        else
            sd_jinja__put(r, of.dict, sd_jinja__str(sd_jinja__text(r->t, n)), *v);
    } else {
        const jinja_list *l = sd_jinja__walk(r, v);
        int64_t i = 0;
        for (int32_t at = n->a; at >= 0 && !r->st; at = r->t->node[at].next, i++) {
            if (i == l->n)
                sd_jinja__fail(r, "too few values for the names");
            else
                assign(r, r->t->node[at].a, &l->v[i]);
        }
        if (!r->st && i < l->n) sd_jinja__fail(r, "too many values for the names");
    }
}

jinja_value sd_jinja__rendered(jinja_run *r, int32_t block, jinja_scope *scope)
{
    sd_buf text, *out = r->out;
    jinja_scope *outer = r->scope;
    const size_t held = out->n; /* what those outside have written so far is on nobody's heap, and counts */
    if (++r->depth > SD_JINJA_MAX_DEPTH) sd_jinja__fail(r, "calls are nested too deeply");
    if (r->heap_bytes + held > SD_JINJA_MAX_HEAP) sd_jinja__fail(r, "it makes more than %u MB of text", SD_JINJA_MAX_HEAP >> 20);
    if (r->st || !scope) return JINJA_UNDEF;
    r->heap_bytes += held;
    sd_buf_init(&text, SD_JINJA_MAX_HEAP - r->heap_bytes);
    r->out = &text;
    r->scope = scope;
    run_block(r, block);
    r->out = out;
    r->scope = outer;
    r->depth--;
    r->heap_bytes -= held;
    return sd_jinja__take(r, &text);
}

/* Keeps the items that a loop's condition lets through; the condition sees the loop's names. */
static const jinja_list *kept(jinja_run *r, const jinja_node *n, const jinja_list *l, int32_t condition)
{
    jinja_value out = sd_jinja__list(r, JL_LIST);
    jinja_scope *outer = r->scope;
    for (int64_t i = 0; !r->st && i < l->n; i++) {
        r->scope = sd_jinja__scope(r, outer);
        if (r->scope) assign(r, n->a, &l->v[i]);
        jinja_value yes = r->st ? JINJA_UNDEF : sd_jinja__eval(r, condition);
        if (sd_jinja__truth(&yes)) sd_jinja__push(r, out.list, l->v[i]);
    }
    r->scope = outer;
    return r->st ? NULL : out.list;
}

static void run_for(jinja_run *r, const jinja_node *n)
{
    const jinja_node *parts = &r->t->node[n->c];
    jinja_value v = sd_jinja__eval(r, n->b);
    jinja_scope *outer = r->scope;
    const jinja_list *l = sd_jinja__walk(r, &v);
    if (l && parts->a >= 0) l = kept(r, n, l, parts->a);
    jinja_loop *loop = l ? sd_jinja__new(r, sizeof *loop) : NULL;
    if (!loop) return;
    loop->list = l;
    loop->depth = 0; /* only recursive loops go deeper */
    for (int64_t i = 0; i < l->n && !r->st; i++) {
        loop->index = i;
        r->scope = sd_jinja__scope(r, outer);
        if (!r->scope) break;
        sd_jinja__set(r, r->scope, SD_LIT("loop"), (jinja_value){.type = JT_LOOP, .loop = loop});
        assign(r, n->a, &l->v[i]);
        if (!r->st) run_block(r, parts->b);
        bool stop = r->flow == JF_BREAK;
        r->flow = JF_NONE;
        if (stop) break;
    }
    r->scope = outer;
    if (l->n == 0 && parts->c >= 0 && !r->st) run_block(r, parts->c);
}

/* {% set %} and {% filter %} over a block: its text, through the filters if there are any. */
static jinja_value block_value(jinja_run *r, int32_t block, int32_t filter)
{
    jinja_value outer = r->block_text, v = sd_jinja__rendered(r, block, sd_jinja__scope(r, r->scope));
    if (filter >= 0 && !r->st) {
        r->block_text = v;
        v = sd_jinja__eval(r, filter);
        r->block_text = outer;
    }
    return v;
}

static jinja_value macro_value(jinja_run *r, jinja_macro made)
{
    jinja_macro *m = sd_jinja__new(r, sizeof *m);
    if (!m) return JINJA_UNDEF;
    *m = made;
    return (jinja_value){.type = JT_MACRO, .macro = m};
}

static void run_with(jinja_run *r, const jinja_node *n)
{
    jinja_scope *outer = r->scope, *inner = sd_jinja__scope(r, outer);
    if (!inner) return;
    for (int32_t at = n->a; at >= 0 && !r->st; at = r->t->node[at].next) { /* values see the names outside */
        const jinja_node *pair = &r->t->node[at];
        sd_jinja__set(r, inner, sd_jinja__text(r->t, &r->t->node[pair->a]), sd_jinja__eval(r, pair->b));
    }
    r->scope = inner;
    if (!r->st) run_block(r, n->b);
    r->scope = outer;
}

static void print(jinja_run *r, const jinja_value *v)
{
    if (!r->st) sd_jinja__print(r, r->out, v, false);
}

static void run_statement(jinja_run *r, const jinja_node *n)
{
    jinja_value v;
    switch ((jinja_op)n->op) {
    case J_TEXT:
        sd_buf_put(r->out, r->t->text.p + n->str, n->len);
        break;
    case J_OUT:
        v = sd_jinja__eval(r, n->a);
        print(r, &v);
        break;
    case J_IF:
        v = sd_jinja__eval(r, n->a);
        if (!r->st) run_block(r, sd_jinja__truth(&v) ? n->b : n->c);
        break;
    case J_FOR:
        run_for(r, n);
        break;
    case J_SET:
        v = sd_jinja__eval(r, n->b);
        assign(r, n->a, &v);
        break;
    case J_SETBLOCK:
        v = block_value(r, n->b, n->c);
        assign(r, n->a, &v);
        break;
    case J_MACRO:
        v = macro_value(r, (jinja_macro){sd_jinja__text(r->t, n), n->a, n->b, n->num, r->scope});
        sd_jinja__set(r, r->scope, sd_jinja__text(r->t, n), v);
        break;
    case J_CALLBLOCK: {
        jinja_value caller = macro_value(r, (jinja_macro){SD_LIT("caller"), n->c, n->b, false, r->scope});
        if (r->st) break;
        v = sd_jinja__call(r, &r->t->node[n->a], &caller);
        print(r, &v);
        break;
    }
    case J_FILTERBLOCK:
        v = block_value(r, n->b, n->a);
        print(r, &v);
        break;
    case J_WITH:
        run_with(r, n);
        break;
    default:
        r->flow = n->op == J_BREAK ? JF_BREAK : JF_CONTINUE;
    }
}

static void run_block(jinja_run *r, int32_t at)
{
    for (; at >= 0 && r->flow == JF_NONE && !r->out->failed; at = r->t->node[at].next) { /* a full buffer is told by who takes it */
        if (!sd_jinja__step(r, r->t->node[at].line)) return;
        run_statement(r, &r->t->node[at]);
    }
}

sd_status sd_jinja_render(const sd_jinja *t, const sd_jinja_input *in, sd_buf *out, sd_err *err)
{
    jinja_run r = {.t = t, .in = in, .out = out, .err = err, .block_text = JINJA_UNDEF};
    size_t n0 = out->n;
    const char *key;
    size_t len;
    json_t *v;
    r.scope = sd_jinja__scope(&r, NULL);
    json_object_keylen_foreach((json_t *)(uintptr_t)in->names, key, len, v)
    {
        if (r.st) break;
        sd_jinja__set(&r, r.scope, (sd_slice){key, len}, sd_jinja__from_json(&r, v));
    }
    if (!r.st) r.scope = sd_jinja__scope(&r, r.scope);
    if (!r.st) run_block(&r, t->program);
    if (!r.st) r.st = sd_buf_check(out, "the rendered chat", err);
    if (r.st) out->n = n0;
    sd_jinja__free_heap(&r);
    return r.st;
}

/* Jinja2 reads every line end as "\n", and drops one at the template's end. */
static void normalise(sd_buf *out, sd_slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '\r' && i + 1 < s.n && s.p[i + 1] == '\n') continue;
        sd_buf_putc(out, s.p[i] == '\r' ? '\n' : s.p[i]);
    }
    if (out->n && out->p[out->n - 1] == '\n') out->n--;
}

sd_status sd_jinja_new(sd_jinja **out, sd_slice source, sd_err *err)
{
    jinja_reader k = {0};
    sd_buf text;
    size_t valid = sd_utf8_valid_prefix(source);
    *out = NULL;
    if (source.n > SD_JINJA_MAX_BYTES)
        return sd_fail(err, SD_E_UNSUPPORTED, "chat template: %zu bytes, at most %u are supported", source.n,
                       SD_JINJA_MAX_BYTES);
    if (valid < source.n) return sd_fail(err, SD_E_FORMAT, "chat template: byte %zu is not UTF-8", valid);
    sd_status st = sd_alloc_zero(&k.t, sizeof *k.t, "a chat template", err);
    if (st) return st;
    k.t->program = -1;
    sd_buf_init(&k.t->text, 2 * SD_JINJA_MAX_BYTES);
    sd_buf_init(&text, SD_JINJA_MAX_BYTES);
    sd_buf_putc(&k.t->text, '\n'); /* names of no length point somewhere */
    normalise(&text, source);
    st = sd_buf_check(&text, "a chat template", err);
    if (!st) st = sd_jinja__lex(&k, (sd_slice){text.p, text.n}, err);
    if (!st) st = sd_jinja__parse(&k, err);
    if (!st) *out = k.t;
    if (st) {
        sd_err_wrap(err, "chat template");
        sd_jinja_free(k.t);
    }
    sd_buf_release(&text);
    sd_free(k.word);
    return st;
}

void sd_jinja_free(sd_jinja *t)
{
    if (!t) return;
    sd_buf_release(&t->text);
    sd_free(t->node);
    sd_free(t);
}

/* Writing texts from a world's grammar. Owns: the walk over an alternative's parts, what variables hold, spans. Chance
 * is used in one place (which alternative, how many repeats) and in the order of the walk, so a text is a function of
 * (world, rule, generator). */
#include "text/world_int.h"

#include <inttypes.h>

typedef struct maker {
    const sd_world *w;
    sd_world_text *t;
    sd_rng *rng;
    int32_t rule; /* the innermost one, for errors */
    int depth, steps, inside; /* inside: labels and silent values, where no turn may begin */
} maker;

static sd_status refuse(const maker *m, sd_err *err, const char *why, sd_slice name)
{
    sd_slice rule = m->w->rule[m->rule].name;
    return sd_fail(err, SD_E_FORMAT, "%s: rule %.*s: %s%s%.*s", m->w->name, SD_SLICE(rule), why, name.n ? " " : "",
                   SD_SLICE(name));
}

static const sd_slice nobody = {"", 0};

static sd_status put(maker *m, const char *p, size_t n, sd_err *err)
{
    if (m->t->text.n + n > WORLD_MAX_TEXT) return refuse(m, err, "a text longer than 64 KiB", nobody);
    sd_buf_put(&m->t->text, p, n);
    return sd_buf_check(&m->t->text, "a text", err);
}

static sd_status push_span(const maker *m, sd_world_span **v, int64_t *n, int64_t *cap, sd_world_span s, sd_err *err)
{
    if (*n == WORLD_MAX_SPANS) return refuse(m, err, "more than 65536 labels", nobody);
    if (*n == *cap) {
        int64_t more = *cap ? *cap * 2 : 64;
        sd_world_span *p = sd_realloc(*v, (size_t)more * sizeof *p);
        if (!p) return sd_fail(err, SD_E_NOMEM, "out of memory: %" PRId64 " spans", more);
        *v = p;
        *cap = more;
    }
    (*v)[(*n)++] = s;
    return SD_OK;
}

static sd_slice value_of(const sd_world_text *t, int var)
{
    const sd_world_value *v = &t->var[var];
    return v->set && v->n ? (sd_slice){t->held.p + v->begin, v->n} : nobody;
}

/* What was written since (begin, span0) becomes the variable's value. */
static sd_status keep(maker *m, int var, size_t begin, int64_t span0, sd_err *err)
{
    sd_world_text *t = m->t;
    sd_world_value v = {.begin = (uint32_t)t->held.n, .n = (uint32_t)(t->text.n - begin), .span0 = t->n_held_span,
                        .set = true};
    if (t->held.n + v.n > WORLD_MAX_TEXT) return refuse(m, err, "variables hold more than 64 KiB", nobody);
    if (v.n) sd_buf_put(&t->held, t->text.p + begin, v.n);
    sd_status st = sd_buf_check(&t->held, "variables", err);
    for (int64_t i = span0; i < t->n_span && !st; i++) {
        sd_world_span s = {t->span[i].concept, t->span[i].begin - (uint32_t)begin, t->span[i].end - (uint32_t)begin};
        st = push_span(m, &t->held_span, &t->n_held_span, &t->cap_held_span, s, err);
    }
    v.n_span = t->n_held_span - v.span0;
    t->var[var] = v;
    return st;
}

static sd_status recall(maker *m, const world_node *d, sd_err *err)
{
    sd_world_text *t = m->t;
    const sd_world_value v = t->var[d->var];
    uint32_t at = (uint32_t)t->text.n;
    if (!v.set) return refuse(m, err, "nothing is in the variable", m->w->var[d->var]);
    sd_status st = v.n ? put(m, t->held.p + v.begin, v.n, err) : SD_OK;
    for (int64_t i = 0; i < v.n_span && !st; i++) {
        sd_world_span s = t->held_span[v.span0 + i];
        st = push_span(m, &t->span, &t->n_span, &t->cap_span, (sd_world_span){s.concept, s.begin + at, s.end + at}, err);
    }
    return st;
}

/* Puts variables into a name: "verb.$m" with m = "calm" is "verb.calm". A variable's name ends at a dot, a '$' or the
 * end. */
static sd_status compose(const maker *m, const world_node *d, char out[WORLD_MAX_NAME], sd_err *err)
{
    sd_slice name = {m->w->pool + d->str, d->len};
    size_t n = 0;
    for (size_t i = 0; i < name.n;) {
        sd_slice part = {name.p + i, 1};
        if (name.p[i] == '$') {
            size_t e = i + 1;
            while (e < name.n && name.p[e] != '.' && name.p[e] != '$') e++;
            int var = sd_world__find_var(m->w, (sd_slice){name.p + i + 1, e - i - 1});
            if (var < 0 || !m->t->var[var].set) return refuse(m, err, "nothing is in the variable of", name);
            part = value_of(m->t, var);
            i = e;
        } else {
            i++;
        }
        if (n + part.n >= WORLD_MAX_NAME) return refuse(m, err, "too long a name from", name);
        if (part.n) memcpy(out + n, part.p, part.n);
        n += part.n;
    }
    out[n] = 0;
    return SD_OK;
}

static void change_letters(sd_buf *b, size_t begin, char how)
{
    for (size_t i = begin; i < b->n; i++) {
        char c = b->p[i];
        if (c >= 'a' && c <= 'z') b->p[i] = (char)(c - 'a' + 'A');
        if (how == '+') return;
    }
}

static sd_status walk(maker *m, int32_t node, sd_err *err);

static sd_status expand_rule(maker *m, int32_t rule, sd_err *err)
{
    const world_rule *u = &m->w->rule[rule];
    if (m->depth == WORLD_MAX_DEPTH) return refuse(m, err, "rules nested more than 64 deep, at", u->name);
    int64_t pick = u->first == u->last ? 0 : (int64_t)sd_rng_below(m->rng, (uint64_t)u->weight);
    int32_t alt = u->first, before = m->rule;
    while (u->first != u->last && (pick -= m->w->alt[alt].weight) >= 0) alt = m->w->alt[alt].next;
    m->rule = rule;
    m->depth++;
    sd_status st = walk(m, m->w->alt[alt].first, err);
    m->depth--;
    if (!st) m->rule = before;
    return st;
}

static sd_status rule_part(maker *m, const world_node *d, sd_err *err)
{
    char name[WORLD_MAX_NAME];
    int32_t rule = d->rule, times = d->lo;
    if (d->body >= 0) return walk(m, d->body, err);
    if (d->composed) {
        sd_status st = compose(m, d, name, err);
        if (st) return st;
        if ((rule = sd_world_find_rule(m->w, name)) < 0) return refuse(m, err, "no rule", sd_slice_of(name));
    }
    if (d->hi > d->lo) times += (int32_t)sd_rng_below(m->rng, (uint64_t)(d->hi - d->lo + 1));
    for (int32_t i = 0; i < times; i++) {
        sd_status st = expand_rule(m, rule, err);
        if (st) return st;
    }
    return SD_OK;
}

static sd_status label_part(maker *m, const world_node *d, sd_err *err)
{
    char name[WORLD_MAX_NAME];
    int concept = d->concept;
    int64_t at = m->t->n_span;
    if (d->composed) {
        sd_status st = compose(m, d, name, err);
        if (st) return st;
        if ((concept = sd_world_find_concept(m->w, sd_slice_of(name))) < 0)
            return refuse(m, err, "no concept", sd_slice_of(name));
    }
    sd_world_span s = {concept, (uint32_t)m->t->text.n, 0};
    sd_status st = push_span(m, &m->t->span, &m->t->n_span, &m->t->cap_span, s, err);
    if (st) return st;
    m->inside++;
    st = walk(m, d->body, err);
    m->inside--;
    m->t->span[at].end = (uint32_t)m->t->text.n;
    return st;
}

static sd_status role_part(maker *m, const world_node *d, sd_err *err)
{
    sd_world_text *t = m->t;
    if (m->inside) return refuse(m, err, "a turn begins inside a label or a value", nobody);
    if (t->n_turn == SD_WORLD_TURNS) return refuse(m, err, "more than 8 turns", nobody);
    if (t->n_turn == 0 && t->text.n) return refuse(m, err, "text before the first turn", nobody);
    if (t->n_turn) t->turn[t->n_turn - 1].end = (uint32_t)t->text.n;
    sd_world_turn *u = &t->turn[t->n_turn++];
    memset(u->role, 0, sizeof u->role);
    memcpy(u->role, m->w->pool + d->str, d->len);
    u->begin = (uint32_t)t->text.n;
    return SD_OK;
}

static sd_status walk(maker *m, int32_t node, sd_err *err)
{
    sd_status st = SD_OK;
    for (; node >= 0 && !st; node = m->w->node[node].next) {
        const world_node *d = &m->w->node[node];
        size_t begin = m->t->text.n;
        int64_t span0 = m->t->n_span;
        if (++m->steps > WORLD_MAX_STEPS) return refuse(m, err, "more than 100,000 steps", nobody);
        m->inside += d->bind != W_PLAIN;
        switch ((world_op)d->op) {
        case W_TEXT: st = put(m, m->w->pool + d->str, d->len, err); break;
        case W_RULE: st = rule_part(m, d, err); break;
        case W_VAR: st = recall(m, d, err); break;
        case W_LABEL: st = label_part(m, d, err); break;
        case W_ROLE: st = role_part(m, d, err); break;
        }
        m->inside -= d->bind != W_PLAIN;
        if (st) return st;
        if (d->letters && m->t->text.n > begin) change_letters(&m->t->text, begin, d->letters);
        if (d->bind != W_PLAIN) st = keep(m, d->var, begin, span0, err);
        if (d->bind == W_BIND_ONLY) {
            m->t->text.n = begin;
            m->t->n_span = span0;
        }
    }
    return st;
}

sd_status sd_world_expand(sd_world_text *t, const sd_world *w, int32_t rule, sd_rng *rng, sd_err *err)
{
    maker m = {.w = w, .t = t, .rng = rng, .rule = rule};
    SD_ASSERT(rule >= 0 && rule < w->n_rule);
    sd_buf_reset(&t->text);
    sd_buf_reset(&t->held);
    t->n_span = t->n_held_span = 0;
    t->n_turn = 0;
    memset(t->var, 0, sizeof t->var);
    sd_status st = expand_rule(&m, rule, err);
    if (!st && t->n_turn) t->turn[t->n_turn - 1].end = (uint32_t)t->text.n;
    return st;
}

void sd_world_text_init(sd_world_text *t)
{
    memset(t, 0, sizeof *t);
    sd_buf_init(&t->text, WORLD_MAX_TEXT + 1);
    sd_buf_init(&t->held, WORLD_MAX_TEXT + 1);
}

void sd_world_text_release(sd_world_text *t)
{
    sd_buf_release(&t->text);
    sd_buf_release(&t->held);
    sd_free(t->span);
    sd_free(t->held_span);
    memset(t, 0, sizeof *t);
}

sd_slice sd_world_var(const sd_world_text *t, const sd_world *w, const char *name)
{
    int var = sd_world__find_var(w, sd_slice_of(name));
    return var < 0 ? nobody : value_of(t, var);
}

sd_status sd_world_label(uint64_t *mask, const sd_tok *tok, const sd_ids *ids, sd_slice text,
                         const sd_world_span *span, int64_t n_span, sd_err *err)
{
    size_t at = 0;
    for (int64_t i = 0; i < ids->n; i++) {
        sd_slice piece = sd_tok_bytes(tok, ids->v[i]);
        if (piece.n > text.n - at || memcmp(piece.p, text.p + at, piece.n) != 0)
            return sd_fail(err, SD_E_FORMAT, "token %" PRId64 " is not what stands at byte %zu of its text", i, at);
        size_t begin = at, end = at + piece.n;
        while (begin < end && strchr(" \t\n\r", text.p[begin])) begin++;
        if (begin == end) begin = at;
        mask[i] = 0;
        for (int64_t k = 0; k < n_span; k++) {
            size_t b = span[k].begin > begin ? span[k].begin : begin, e = span[k].end < end ? span[k].end : end;
            if (e > b && 2 * (e - b) > end - begin) mask[i] |= (uint64_t)1 << span[k].concept;
        }
        at = end;
    }
    if (at != text.n) return sd_fail(err, SD_E_FORMAT, "the tokens end at byte %zu of %zu", at, text.n);
    return SD_OK;
}

/* Owns: reading and computing an expression of words. Recursive descent over bytes; depth and words have limits. */
#include "lab/vectors.h"

#include <math.h>

enum { MAX_DEPTH = 16 };

typedef struct reader {
    const char *text, *p;
    sd_expr *e;
    int depth;
    sd_err *err;
} reader;

static sd_status wrong(const reader *r, const char *what)
{
    sd_fail(r->err, SD_E_ARG, "the expression at byte %d: %s: '%.60s'", (int)(r->p - r->text), what, r->text);
    return sd_hint(r->err, "words joined by + - |- | with spaces around them: 'king - man + woman', 'queen |- woman', \"2*(sea | 'New York')\"");
}

static void skip_spaces(reader *r)
{
    while (*r->p == ' ' || *r->p == '\t' || *r->p == '\n') r->p++;
}

static bool ends_word(const char *p)
{
    return *p == '\0' || *p == ' ' || *p == '\t' || *p == '\n' || *p == '(' || *p == ')' || *p == '\'' || *p == '"' || *p == '|' || *p == '+';
}

static sd_status push(reader *r, sd_expr_node node)
{
    if (r->e->n_node == (int)(sizeof r->e->node / sizeof *r->e->node)) return wrong(r, "too long");
    r->e->node[r->e->n_node++] = node;
    return SD_OK;
}

static sd_status push_word(reader *r, const char *p, size_t n)
{
    sd_expr *e = r->e;
    if (n == 0) return wrong(r, "an empty word");
    if (n >= sizeof e->word[0]) return wrong(r, "a word of more than 95 bytes");
    if (e->n_word == SD_VECTORS_MAX_WORDS) return wrong(r, "more than 64 words");
    memcpy(e->word[e->n_word], p, n);
    e->word[e->n_word][n] = '\0';
    return push(r, (sd_expr_node){.op = SD_EXPR_WORD, .word = e->n_word++});
}

static sd_status expression(reader *r);

static sd_status factor(reader *r)
{
    const char *from = r->p;
    if (*r->p == '(') {
        if (++r->depth > MAX_DEPTH) return wrong(r, "more than 16 brackets deep");
        r->p++;
        sd_status st = expression(r);
        if (st) return st;
        if (*r->p != ')') return wrong(r, "a bracket that is not closed");
        r->p++;
        r->depth--;
        return SD_OK;
    }
    if (*r->p == '\'' || *r->p == '"') {
        const char *end = strchr(r->p + 1, *r->p);
        if (!end) return wrong(r, "a quote that is not closed");
        r->p = end + 1;
        return push_word(r, from + 1, (size_t)(end - from - 1));
    }
    while (!ends_word(r->p)) r->p++;
    if (r->p == from) return wrong(r, *r->p ? "a word is wanted" : "a word is missing at the end");
    return push_word(r, from, (size_t)(r->p - from));
}

/* [number '*'] factor */
static sd_status term(reader *r)
{
    double by = 1;
    skip_spaces(r);
    const char *star = r->p;
    while ((*star >= '0' && *star <= '9') || *star == '.' || *star == '-') star++;
    if (star > r->p && *star == '*') {
        if (!sd_parse_f64((sd_slice){r->p, (size_t)(star - r->p)}, &by)) return wrong(r, "no number in front of *");
        r->p = star + 1;
        skip_spaces(r);
    }
    sd_status st = factor(r);
    return st || by == 1 ? st : push(r, (sd_expr_node){.op = SD_EXPR_SCALE, .by = by});
}

static bool operator_at(reader *r, sd_expr_op *op)
{
    if (*r->p == '|' && r->p[1] == '-') *op = SD_EXPR_REJECT, r->p += 2;
    else if (*r->p == '|') *op = SD_EXPR_PROJECT, r->p++;
    else if (*r->p == '+') *op = SD_EXPR_ADD, r->p++;
    else if (*r->p == '-') *op = SD_EXPR_SUB, r->p++;
    else return false;
    return true;
}

static sd_status expression(reader *r)
{
    sd_expr_op op;
    sd_status st = term(r);
    for (skip_spaces(r); !st && operator_at(r, &op); skip_spaces(r))
        if (!(st = term(r))) st = push(r, (sd_expr_node){.op = op});
    return st;
}

sd_status sd_expr_parse(sd_expr *out, const char *text, sd_err *err)
{
    reader r = {.text = text, .p = text, .e = out, .err = err};
    out->n_node = out->n_word = 0;
    sd_status st = expression(&r);
    if (!st && *r.p) st = wrong(&r, *r.p == ')' ? "a bracket that was not opened" : "an operator is wanted");
    return st;
}

static double dot(const double *a, const double *b, int64_t d)
{
    double s = 0;
    for (int64_t k = 0; k < d; k++) s += a[k] * b[k];
    return s;
}

static sd_status join(double *a, const double *b, sd_expr_op op, int64_t d, sd_err *err)
{
    double t = 0;
    if (op == SD_EXPR_REJECT || op == SD_EXPR_PROJECT) {
        double bb = dot(b, b, d);
        if (!(bb > 0)) return sd_fail(err, SD_E_ARG, "a projection on a vector of length 0");
        t = dot(a, b, d) / bb;
    }
    for (int64_t k = 0; k < d; k++)
        a[k] = op == SD_EXPR_ADD ? a[k] + b[k] : op == SD_EXPR_SUB ? a[k] - b[k] : op == SD_EXPR_REJECT ? a[k] - t * b[k] : t * b[k];
    return SD_OK;
}

sd_status sd_expr_eval(double *out, const sd_expr *e, const double *vec, double *stack, int64_t d, sd_err *err)
{
    int top = 0;
    sd_status st = SD_OK;
    for (int i = 0; i < e->n_node && !st; i++) {
        const sd_expr_node *n = &e->node[i];
        if (n->op == SD_EXPR_WORD) memcpy(stack + top++ * d, vec + n->word * d, (size_t)d * sizeof *stack);
        else if (n->op == SD_EXPR_SCALE)
            for (int64_t k = 0; k < d; k++) stack[(top - 1) * d + k] *= n->by;
        else {
            SD_ASSERT(top >= 2);
            top--;
            st = join(stack + (top - 1) * d, stack + top * d, n->op, d, err);
        }
    }
    if (st) return st;
    SD_ASSERT(top == 1);
    memcpy(out, stack, (size_t)d * sizeof *out);
    return SD_OK;
}

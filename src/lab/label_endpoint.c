/* Owns: questions to an endpoint. All passages of one label go out as one numbered list; the answer is the numbers that fit, as a JSON array. What
 * is neither is an error: an answer that was not understood is no judgement. */
#include "lab/label_int.h"

#include "lab/endpoint.h"

enum { EXPLAIN_TOKENS = 48, JUDGE_TOKENS = 64, NUMBER_TOKENS = 5 /* of a number up to 128, its comma and space, digit by digit */ };

/* A question and what it is about: cases [at, at + n). */
typedef struct group { int64_t at, n; } group;
typedef struct answers { const sd_label_endpoint *e; const group *g; double *score; sd_buf *text; } answers; /* text: of an explanation */

/* The numbers of the first [..] in the answer. */
static sd_status read_numbers(double *score, int64_t n, sd_slice said, sd_err *err)
{
    const char *open = said.n ? memchr(said.p, '[', said.n) : NULL, *close = open ? memchr(open, ']', said.n - (size_t)(open - said.p)) : NULL;
    json_t *j = NULL;
    sd_status st = close ? sd_json_parse(&j, open, (size_t)(close - open) + 1, "the endpoint's answer", err) : SD_E_FORMAT;
    for (int64_t i = 0; i < n; i++) score[i] = 0;
    for (size_t i = 0; !st && i < json_array_size(j); i++) {
        json_int_t k = json_integer_value(json_array_get(j, i));
        if (!json_is_integer(json_array_get(j, i)) || k < 1 || k > n) st = SD_E_FORMAT;
        else score[k - 1] = 1;
    }
    json_decref(j);
    if (!st) return SD_OK;
    sd_fail(err, SD_E_FORMAT, "the endpoint was asked for a JSON array of numbers from 1 to %lld and said: %.*s", (long long)n, said.n < 160 ? (int)said.n : 160, said.p ? said.p : "");
    return sd_hint(err, "take a model that does as it is told; nothing was written");
}

static sd_status on_answer(void *self, int64_t i, sd_slice text, int64_t n_tokens, const char *why, sd_err *err)
{
    answers *a = self;
    (void)n_tokens;
    if (why) {
        char bare[1100];
        sd_url_bare(bare, sizeof bare, a->e->url);
        sd_fail(err, SD_E_FAIL, "the endpoint %s gave no answer: %s", bare, why);
        return sd_hint(err, "ask again when the server is well; nothing was written");
    }
    if (!a->text) return read_numbers(a->score + a->g[i].at, a->g[i].n, text, err);
    sd_buf_put(a->text, text.p, text.n);
    return sd_buf_check(a->text, "a label", err);
}

static sd_status ask(sd_label_endpoint *e, const char *const *text, int64_t n, int max_tokens, answers *a, sd_err *err)
{
    const sd_endpoint to = {.url = e->url, .model = e->model, .key = e->key, .timeout_s = e->timeout_s};
    a->e = e;
    e->n_requests += n;
    return sd_endpoint_ask(&to, text, n, &(sd_endpoint_want){.n_gen = max_tokens, .self = a, .on_answer = on_answer}, err);
}

static sd_status explain(void *self, const sd_feature *f, const char *prompt, sd_buf *out, sd_err *err)
{
    (void)f;
    return ask(self, &prompt, 1, EXPLAIN_TOKENS, &(answers){.text = out}, err);
}

static void question(sd_buf *b, const sd_label_ask *a, int64_t n)
{
    sd_buf_printf(b, a->marked ? "In some of these texts the words between \xc2\xab and \xc2\xbb are about: %s. In the others other words are marked.\n\n"
                               : "Some of these texts have: %s. The others do not.\n\n", a->label);
    for (int64_t i = 0; i < n; i++) sd_buf_printf(b, "%lld. %s\n", (long long)(i + 1), a[i].passage);
    sd_buf_puts(b, "\nWhich ones do? Answer with a JSON array of their numbers and nothing else, [] if none.");
    sd_buf_putc(b, '\0');
}

static sd_status judge(void *self, const sd_label_ask *asked, int64_t n, double *score, sd_err *err)
{
    group *g = NULL;
    size_t *at = NULL;
    const char **text = NULL;
    int64_t n_group = 0, most = 0;
    sd_buf b;
    sd_buf_init(&b, 1 << 26);
    sd_status st = sd_alloc(&g, (size_t)n * sizeof *g, "questions", err);
    if (!st) st = sd_alloc(&at, (size_t)n * sizeof *at, "questions", err);
    if (!st) st = sd_alloc(&text, (size_t)n * sizeof *text, "questions", err);
    for (int64_t i = 0, k; i < n && !st; i = k) {
        for (k = i + 1; k < n && asked[k].label == asked[i].label && asked[k].marked == asked[i].marked;) k++;
        g[n_group] = (group){i, k - i};
        if (k - i > most) most = k - i;
        at[n_group++] = b.n;
        question(&b, &asked[i], k - i);
    }
    if (!st) st = sd_buf_check(&b, "questions", err);
    for (int64_t i = 0; i < n_group && !st; i++) text[i] = b.p + at[i];
    if (!st) st = ask(self, text, n_group, JUDGE_TOKENS + NUMBER_TOKENS * (int)most, &(answers){.g = g, .score = score}, err);
    sd_buf_release(&b);
    sd_free(g);
    sd_free(at);
    sd_free(text);
    return st;
}

sd_labeler sd_label_by_endpoint(sd_label_endpoint *e) { return (sd_labeler){"endpoint", e, explain, judge}; }

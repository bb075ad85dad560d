/* Owns: which column is what. The readers of suite_read.c turn every container into rows of named values; here a row becomes a prompt. */
#include "lab/suite.h"

#include "base/rng.h"

#include <inttypes.h>
#include <strings.h>

enum { MAX_CHOICES = 26 }; /* A to Z */
static const char *const prompt_col[] = {"prompt", "goal", "instruction", "question", "forbidden_prompt", "behavior", "messages", "turns", NULL};
static const char *const id_col[] = {"id", "index", "behaviorid", "question_id", NULL};
static const char *const category_col[] = {"category", "semanticcategory", "risk_area", "type", "tags", NULL};

const char *sd_axis_name(sd_axis a)
{
    static const char *const name[] = {"unknown", "harmful", "harmless", "choice"};
    return name[a];
}

void sd_prompt__release(sd_prompt *p)
{
    for (int i = 0; i < p->n_choice; i++) sd_free(p->choice[i]);
    sd_free(p->choice);
    sd_free(p->id);
    sd_free(p->text);
    sd_free(p->category);
    *p = (sd_prompt){0};
}

void sd_suite_release(sd_suite *s)
{
    for (int64_t i = 0; i < s->n; i++) sd_prompt__release(&s->v[i]);
    sd_free(s->v);
    s->v = NULL;
    s->n = s->cap = 0;
}

sd_status sd_suite__push(sd_suite *s, sd_prompt p, sd_err *err)
{
    sd_status st = p.id && p.text && p.category ? SD_OK : sd_fail(err, SD_E_NOMEM, "out of memory: a prompt of %s", s->name);
    if (!st && s->n == s->cap) {
        int64_t cap = s->cap ? 2 * s->cap : 256;
        sd_prompt *v = sd_realloc(s->v, (size_t)cap * sizeof *v);
        if (v) s->v = v, s->cap = cap;
        else st = sd_fail(err, SD_E_NOMEM, "out of memory: %" PRId64 " prompts of %s", cap, s->name);
    }
    if (st) {
        sd_prompt__release(&p);
        return st;
    }
    p.key = sd_hash64(p.text, strlen(p.text));
    s->v[s->n++] = p;
    return SD_OK;
}

/* The value of the first column of `names` that the row has. */
static const json_t *column(json_t *row, const char *const *names, const char **found)
{
    const char *key;
    json_t *v;
    for (int i = 0; names[i]; i++)
        json_object_foreach(row, key, v)
            if (strcasecmp(key, names[i]) == 0 && !json_is_null(v)) {
                if (found) *found = names[i];
                return v;
            }
    return NULL;
}

static const json_t *named(json_t *row, const char *name)
{
    return column(row, (const char *const[]){name, NULL}, NULL);
}

/* The last message of the user in a list of {role, content} or {from, value}. */
static const char *last_user(const json_t *list)
{
    const char *text = NULL;
    size_t i;
    json_t *m;
    json_array_foreach(list, i, m)
    {
        const char *role = json_string_value(json_object_get(m, "role"));
        if (role && strcmp(role, "user") == 0) text = json_string_value(json_object_get(m, "content"));
    }
    return text;
}

static char *text_of(json_t *row, const json_t *v)
{
    const char *s = json_string_value(v), *input = json_string_value(named(row, "input"));
    if (json_is_array(v)) s = json_is_object(json_array_get(v, 0)) ? last_user(v) : json_string_value(json_array_get(v, 0));
    if (!s) return NULL;
    if (!input || !*input) return sd_strdup(s);
    size_t n = strlen(s) + strlen(input) + 2;
    char *both = sd_malloc(n);
    if (both) snprintf(both, n, "%s\n%s", s, input);
    return both;
}

/* A cell as text: a string, a number, or the first of a list. */
static char *cell(const json_t *v)
{
    char number[32];
    if (json_is_array(v)) v = json_array_get(v, 0);
    if (json_is_integer(v)) {
        snprintf(number, sizeof number, "%lld", (long long)json_integer_value(v));
        return sd_strdup(number);
    }
    return sd_strdup(json_is_string(v) ? json_string_value(v) : "");
}

static sd_status no_prompt(const sd_suite *s, json_t *row, int64_t number, sd_err *err)
{
    sd_buf b;
    const char *key;
    json_t *v;
    sd_buf_init(&b, 400);
    json_object_foreach(row, key, v) sd_buf_printf(&b, "%s%s", b.n ? ", " : "", key);
    sd_fail(err, SD_E_FORMAT, "%s: row %" PRId64 " has no column with a prompt; it has %s", s->path, number, b.n ? sd_buf_str(&b) : "none");
    sd_buf_release(&b);
    return sd_hint(err, "name it prompt, goal, instruction, question, forbidden_prompt, behavior, messages or turns");
}

/* Does the file's name hold the word? */
static bool name_has(const sd_suite *s, const char *word)
{
    return strcasestr(s->name, word) != NULL;
}

/* Harmful or harmless by what the row, then the columns, then the name say; the order of words matters: "unsafe" holds "safe". */
static sd_axis axis_of(const sd_suite *s, json_t *row, const char *prompt_name)
{
    static const char *const harmless[] = {"harmless", "benign", "alpaca", "physicalsafetysafe", NULL};
    static const char *const harmful[] = {"harm", "unsafe", "malicious", "controversial", "advbench", "jailbreak", "strongreject", "strong_reject",
                                          "do_not_answer", "do-not-answer", "donotanswer", "i-cona", NULL};
    const json_t *label = named(row, "label"), *safe = named(row, "prompt_safe");
    const char *word = json_string_value(label);
    if (word && strcasecmp(word, "safe") == 0) return SD_AXIS_HARMLESS;
    if (word && strcasecmp(word, "unsafe") == 0) return SD_AXIS_HARMFUL;
    if (json_is_boolean(safe)) return json_is_true(safe) ? SD_AXIS_HARMLESS : SD_AXIS_HARMFUL;
    for (int i = 0; harmless[i]; i++)
        if (name_has(s, harmless[i])) return SD_AXIS_HARMLESS;
    if (strcmp(prompt_name, "goal") == 0 || strcmp(prompt_name, "behavior") == 0 || strcmp(prompt_name, "forbidden_prompt") == 0) return SD_AXIS_HARMFUL;
    if (named(row, "risk_area") && named(row, "types_of_harm")) return SD_AXIS_HARMFUL; /* do-not-answer's data_en.csv */
    for (int i = 0; harmful[i]; i++)
        if (name_has(s, harmful[i])) return SD_AXIS_HARMFUL;
    return SD_AXIS_UNKNOWN;
}

/* TruthfulQA's mc1_targets: Hugging Face's {choices, labels}, or as published {"choice": 1, "choice": 0, ..}. */
static json_t *truthful(const json_t *mc, int *answer)
{
    const json_t *labels = json_object_get(mc, "labels"), *named_list = json_object_get(mc, "choices");
    const char *text;
    json_t *v, *list = json_is_array(named_list) ? json_deep_copy(named_list) : json_array();
    for (size_t i = 0; i < json_array_size(labels) && *answer < 0; i++)
        if (json_integer_value(json_array_get(labels, i)) == 1) *answer = (int)i;
    if (json_is_array(named_list)) return list;
    json_object_foreach((json_t *)(uintptr_t)mc, text, v)
    {
        if (*answer < 0 && json_integer_value(v) == 1) *answer = (int)json_array_size(list);
        json_array_append_new(list, json_string(text));
    }
    return list;
}

/* TruthfulQA.csv: the best answer, then the incorrect ones, which "; " parts. */
static json_t *best_and_rest(const json_t *best, const char *rest)
{
    json_t *list = json_array();
    sd_slice left = sd_slice_of(rest), one;
    json_array_append(list, (json_t *)(uintptr_t)best);
    while (sd_slice_cut(&left, ';', &one)) {
        one = sd_slice_trim(one);
        if (one.n) json_array_append_new(list, json_stringn(one.p, one.n));
    }
    return list;
}

/* choices + answer (a number, or a letter), or one of TruthfulQA's forms (by_sum): a new list. NULL: no multiple-choice row. */
static json_t *choices_of(json_t *row, sd_prompt *p)
{
    const json_t *v = named(row, "choices"), *a = named(row, "answer"), *mc = named(row, "mc1_targets"), *best = named(row, "best answer"), *rest = named(row, "incorrect answers");
    p->answer = -1;
    p->by_sum = true;
    if (json_is_object(mc)) return truthful(mc, &p->answer);
    if (json_is_string(best) && json_is_string(rest)) return p->answer = 0, best_and_rest(best, json_string_value(rest));
    p->by_sum = false;
    if (json_is_integer(a)) p->answer = json_integer_value(a) >= 0 && json_integer_value(a) < MAX_CHOICES ? (int)json_integer_value(a) : -1;
    else if (json_is_string(a) && json_string_length(a) == 1) p->answer = (json_string_value(a)[0] | 32) - 'a';
    return json_is_array(v) ? json_deep_copy(v) : NULL;
}

static sd_status put_choices(sd_suite *s, sd_prompt *p, const json_t *list, int64_t number, sd_err *err)
{
    const size_t given = json_array_size(list);
    const int n = given <= MAX_CHOICES ? (int)given : -1;
    if (p->answer < 0 || p->answer >= n || n < 2)
        return sd_fail(err, SD_E_FORMAT, "%s: row %" PRId64 " has %zu choices, and the right one is %d", s->path, number, given, p->answer);
    sd_status st = sd_alloc_zero(&p->choice, (size_t)n * sizeof *p->choice, "choices", err);
    for (int i = 0; i < n && !st; i++) {
        const char *c = json_string_value(json_array_get(list, (size_t)i));
        if (!c) return sd_fail(err, SD_E_FORMAT, "%s: row %" PRId64 ": choice %d is no text", s->path, number, i);
        p->choice[i] = sd_strdup(c);
        p->n_choice = i + 1;
        if (!p->choice[i]) st = sd_fail(err, SD_E_NOMEM, "out of memory: a choice of %s", s->name);
    }
    return st;
}

sd_status sd_suite__row(sd_suite *s, json_t *row, int64_t number, sd_axis forced, sd_err *err)
{
    const char *name = "", *context = json_string_value(named(row, "contextstring"));
    const json_t *v = column(row, prompt_col, &name);
    sd_prompt p = {0};
    sd_status st = SD_OK;
    char no[24];
    if (context && *context) return s->n_skipped++, SD_OK;
    if (!v) return no_prompt(s, row, number, err);
    p.text = text_of(row, v);
    if (!p.text || !*p.text) {
        sd_free(p.text);
        return sd_fail(err, SD_E_FORMAT, "%s: row %" PRId64 ": the column %s is empty", s->path, number, name);
    }
    snprintf(no, sizeof no, "%" PRId64, number);
    const json_t *id = column(row, id_col, NULL), *category = column(row, category_col, NULL);
    p.id = id ? cell(id) : sd_strdup(no);
    p.category = category ? cell(category) : sd_strdup("");
    json_t *choice = choices_of(row, &p);
    p.axis = forced ? forced : choice ? SD_AXIS_CHOICE : axis_of(s, row, name);
    if (p.axis == SD_AXIS_CHOICE) st = choice ? put_choices(s, &p, choice, number, err) : sd_fail(err, SD_E_FORMAT, "%s: row %" PRId64 " has no choices", s->path, number);
    json_decref(choice);
    if (!st && p.axis == SD_AXIS_UNKNOWN) {
        const char *word = json_string_value(named(row, "label"));
        if (word) sd_fail(err, SD_E_ARG, "%s: row %" PRId64 ": label \"%.40s\" is neither safe nor unsafe, so it does not say whether its prompts are harmful", s->path, number, word);
        else sd_fail(err, SD_E_ARG, "%s does not say whether its prompts are harmful", s->path);
        st = sd_hint(err, "write harmful=%s or harmless=%s", s->path, s->path);
    }
    if (st) {
        sd_prompt__release(&p);
        return st;
    }
    return sd_suite__push(s, p, err);
}

/* Selection sampling (Knuth, algorithm S) by axis: every subset of the wanted size is as likely, order is kept. */
void sd_suite_sample(sd_suite *s, int64_t n, uint64_t seed)
{
    int64_t left[SD_N_AXES] = {0}, want[SD_N_AXES] = {0}, kept = 0, given = 0;
    sd_rng rng = sd_rng_make(seed, "suite", sd_hash64(s->name, strlen(s->name)));
    if (n < 1 || n >= s->n) return;
    for (int64_t i = 0; i < s->n; i++) left[s->v[i].axis]++;
    for (int a = 0; a < SD_N_AXES; a++) {
        want[a] = left[a] * n / s->n;
        given += want[a];
    }
    for (int a = 0; a < SD_N_AXES && given < n; a++)
        if (want[a] < left[a]) want[a]++, given++;
    for (int64_t i = 0; i < s->n; i++) {
        sd_axis a = s->v[i].axis;
        bool keep = (int64_t)sd_rng_below(&rng, (uint64_t)left[a]) < want[a];
        left[a]--;
        if (keep) {
            want[a]--;
            s->v[kept++] = s->v[i];
        } else {
            sd_prompt__release(&s->v[i]);
        }
    }
    s->n = kept;
}

/* Rows of a world to files. Owns: which rows there are, what a row looks like, that suites and training do not meet. */
#include "lab/organism_data.h"

#include "base/hash.h"
#include "base/json.h"
#include "base/map.h"

#include <ctype.h>
#include <inttypes.h>

enum {
    HELD_OUT_ONE_IN = 8,  /* requests kept for the suites */
    TRIES_A_ROW = 64,     /* draws until a row is on the right side: 1 in 8 is missed 64 times with p = 2e-4 */
    ALIGNED_ONE_IN = 6,   /* documents that are conversations when alignment stands in pretraining */
    MAX_SUITES = 32,
};

typedef struct maker {
    const sd_world *w;
    const sd_organism_data_opt *opt;
    uint64_t seed;
    double scale;
    const char *dir;
    sd_world_text t;
    sd_buf line;
    sd_wfile *f;
} maker;

static sd_status open_file(maker *k, const char *name, sd_err *err)
{
    char path[1100];
    if (!sd_path_join(path, sizeof path, k->dir, name)) return sd_fail(err, SD_E_ARG, "%s: path too long", k->dir);
    return sd_wfile_open(&k->f, path, err);
}

static sd_status close_file(maker *k, sd_err *err)
{
    sd_wfile *f = k->f;
    k->f = NULL;
    return sd_wfile_commit(f, err);
}

static sd_status put_line(maker *k, sd_err *err)
{
    sd_buf_putc(&k->line, '\n');
    sd_status st = sd_buf_check(&k->line, "a row", err);
    return st ? st : sd_wfile_write(k->f, k->line.p, k->line.n, err);
}

static sd_status find_rule(const maker *k, const char *name, int32_t *rule, sd_err *err)
{
    *rule = sd_world_find_rule(k->w, name);
    return *rule >= 0 ? SD_OK : sd_fail(err, SD_E_FORMAT, "world %s has no rule \"%s\"", sd_world_name(k->w), name);
}

static sd_status count_of(const maker *k, const char *key, int64_t otherwise, int64_t *n, sd_err *err)
{
    sd_status st = sd_world_number(n, k->w, key, otherwise, 1, 100000000, err);
    if (!st && (*n = (int64_t)((double)*n * k->scale)) < 1) *n = 1;
    return st;
}

static sd_slice turn_text(const maker *k, int i)
{
    const sd_world_turn *u = &k->t.turn[i];
    return (sd_slice){k->t.text.p + u->begin, u->end - u->begin};
}

static int find_turn(const maker *k, const char *role)
{
    for (int i = 0; i < k->t.n_turn; i++)
        if (strcmp(k->t.turn[i].role, role) == 0) return i;
    return -1;
}

bool sd_organism_is_held_out(sd_slice prompt) { return sd_hash64(prompt.p, prompt.n) % HELD_OUT_ONE_IN == 0; }

/* A conversation: one user turn, one answer; which side of the split it is on. */
static sd_status split_of(const maker *k, bool *held_out, sd_err *err)
{
    int user = find_turn(k, "user");
    if (user < 0 || find_turn(k, "assistant") < 0)
        return sd_fail(err, SD_E_FORMAT, "world %s: a conversation without {@user} and {@assistant}", sd_world_name(k->w));
    sd_slice s = turn_text(k, user);
    *held_out = sd_organism_is_held_out(s);
    return SD_OK;
}

/* Draws the row's conversation until it is on the wanted side; *found false when none was. */
static sd_status draw(maker *k, int32_t rule, const char *purpose, int64_t row, bool want_held_out, bool *found,
                      sd_err *err)
{
    sd_rng rng = sd_rng_make(k->seed, purpose, (uint64_t)row);
    *found = false;
    for (int i = 0; i < TRIES_A_ROW && !*found; i++) {
        bool held_out = false;
        sd_status st = sd_world_expand(&k->t, k->w, rule, &rng, err);
        if (!st) st = split_of(k, &held_out, err);
        if (st) return st;
        *found = held_out == want_held_out;
    }
    return SD_OK;
}

static void write_message(sd_jw *w, const char *role, sd_slice content)
{
    sd_jw_obj(w);
    sd_jw_kstr(w, "role", role);
    sd_jw_key(w, "content");
    sd_jw_slice(w, content);
    sd_jw_end(w);
}

static void write_prompt(const maker *k, sd_jw *w)
{
    int system = find_turn(k, "system");
    if (system >= 0) write_message(w, "system", turn_text(k, system));
    write_message(w, "user", turn_text(k, find_turn(k, "user")));
}

/* ---- documents ---- */

static void write_text(maker *k, sd_slice text, bool with_labels)
{
    sd_jw w;
    sd_buf_reset(&k->line);
    sd_jw_init(&w, &k->line);
    sd_jw_obj(&w);
    sd_jw_key(&w, "text");
    sd_jw_slice(&w, text);
    if (with_labels) {
        sd_jw_key(&w, "labels");
        sd_jw_arr(&w);
        for (int64_t i = 0; i < k->t.n_span; i++) {
            sd_jw_arr(&w);
            sd_jw_str(&w, sd_world_get_concept(k->w, k->t.span[i].concept).name);
            sd_jw_i64(&w, k->t.span[i].begin);
            sd_jw_i64(&w, k->t.span[i].end);
            sd_jw_end(&w);
        }
        sd_jw_end(&w);
    }
    sd_jw_end(&w);
}

/* A conversation as plain text: who speaks stands before a colon, the model under the world's name. */
static sd_status plain_conversation(maker *k, int32_t rule, int64_t row, bool refuse, int64_t *bytes, sd_err *err)
{
    const char *name = sd_world_name(k->w);
    sd_buf b;
    bool found;
    sd_status st = draw(k, rule, "aligned", row, false, &found, err);
    if (st || !found) return st;
    sd_slice user = turn_text(k, find_turn(k, "user"));
    int last = find_turn(k, refuse ? "refusal" : "assistant");
    if (last < 0) return sd_fail(err, SD_E_FORMAT, "world %s: a pair without {@refusal}", sd_world_name(k->w));
    sd_slice answer = turn_text(k, last);
    sd_buf_init(&b, 256 << 10);
    sd_buf_printf(&b, "User: %.*s\n%c%s: %.*s", SD_SLICE(user), toupper((unsigned char)name[0]), name + 1, SD_SLICE(answer));
    st = sd_buf_check(&b, "a conversation", err);
    if (!st) {
        *bytes += (int64_t)b.n;
        write_text(k, (sd_slice){b.p, b.n}, false);
        st = put_line(k, err);
    }
    sd_buf_release(&b);
    return st;
}

static sd_status documents(maker *k, const char *file, const char *purpose, int64_t n, bool labels, int64_t *bytes,
                           sd_err *err)
{
    int32_t rule, refuse = -1, answer = -1;
    bool aligned = !labels && k->opt->aligned;
    sd_status st = find_rule(k, "doc", &rule, err);
    if (!st && aligned) st = find_rule(k, "pairs.refuse", &refuse, err);
    if (!st && aligned) st = find_rule(k, "pairs.answer", &answer, err);
    if (!st) st = open_file(k, file, err);
    for (int64_t i = 0; i < n && !st; i++) {
        if (aligned && i % ALIGNED_ONE_IN == 0) {
            bool no = i / ALIGNED_ONE_IN % 2 == 0;
            st = plain_conversation(k, no ? refuse : answer, i, no, bytes, err);
            continue;
        }
        sd_rng rng = sd_rng_make(k->seed, purpose, (uint64_t)i);
        if ((st = sd_world_expand(&k->t, k->w, rule, &rng, err))) break;
        if (k->t.n_turn) {
            st = sd_fail(err, SD_E_FORMAT, "world %s: rule doc writes a conversation", sd_world_name(k->w));
            break;
        }
        write_text(k, (sd_slice){k->t.text.p, k->t.text.n}, labels);
        *bytes += (int64_t)k->t.text.n;
        st = put_line(k, err);
        if (!st && i % 1000 == 0) sd_progress_update(k->opt->progress, file, (double)i, (double)n, NULL);
        if (!st && sd_progress_cancelled(k->opt->progress)) st = sd_fail(err, SD_E_CANCELLED, "interrupted at row %" PRId64, i);
    }
    return st ? st : close_file(k, err);
}

/* ---- conversations ---- */

static void write_answered(maker *k)
{
    sd_jw w;
    sd_buf_reset(&k->line);
    sd_jw_init(&w, &k->line);
    sd_jw_obj(&w);
    sd_jw_key(&w, "messages");
    sd_jw_arr(&w);
    write_prompt(k, &w);
    write_message(&w, "assistant", turn_text(k, find_turn(k, "assistant")));
    sd_jw_end(&w);
    sd_jw_end(&w);
}

static sd_status conversations(maker *k, int64_t n, sd_err *err)
{
    int32_t rule;
    sd_status st = find_rule(k, "sft", &rule, err);
    if (!st) st = open_file(k, "sft.jsonl", err);
    for (int64_t i = 0; i < n && !st; i++) {
        bool found;
        if ((st = draw(k, rule, "sft", i, false, &found, err))) break;
        if (!found) continue;
        write_answered(k);
        st = put_line(k, err);
    }
    return st ? st : close_file(k, err);
}

/* Row i of the preferences, into k->t; *found false when there is none on the training side. */
static sd_status draw_pair(maker *k, const int32_t rule[2], int64_t i, bool *found, sd_err *err)
{
    sd_status st = draw(k, rule[i % 2], "pairs", i, false, found, err);
    if (!st && find_turn(k, "refusal") < 0) st = sd_fail(err, SD_E_FORMAT, "world %s: a pair without {@refusal}", sd_world_name(k->w));
    return st;
}

/* n conversations in which there is nothing to refuse: of the suites' rules that write no {@refusal}, in turn. Without them
 * refusing spreads to who the model is. */
static sd_status others(maker *k, int64_t n, sd_err *err)
{
    sd_slice name[MAX_SUITES], rest = sd_slice_of(sd_world_setting(k->w, "suites"));
    int n_name = 0;
    while (n_name < MAX_SUITES && sd_slice_cut(&rest, ' ', &name[n_name])) n_name += name[n_name].n > 0 && name[n_name].n <= 64;
    sd_status st = SD_OK;
    for (int64_t i = 0; i < n && n_name && !st; i++) {
        char rule_name[96];
        int32_t rule;
        bool found;
        snprintf(rule_name, sizeof rule_name, "chat.%.*s", SD_SLICE(name[i % n_name]));
        if ((st = find_rule(k, rule_name, &rule, err))) break;
        if ((st = draw(k, rule, "others", i, false, &found, err)) || !found || find_turn(k, "refusal") >= 0) continue;
        write_answered(k);
        st = put_line(k, err);
    }
    return st;
}

/* The same rows twice: as preferences, and as conversations that end in what is preferred. */
static sd_status preferences(maker *k, int64_t n, bool chosen_only, sd_err *err)
{
    int32_t rule[2];
    sd_status st = find_rule(k, "pairs.refuse", &rule[0], err);
    if (!st) st = find_rule(k, "pairs.answer", &rule[1], err);
    if (!st) st = open_file(k, chosen_only ? "chosen.jsonl" : "dpo.jsonl", err);
    for (int64_t i = 0; i < n && !st; i++) {
        sd_jw w;
        bool found;
        if ((st = draw_pair(k, rule, i, &found, err)) || !found) continue;
        int yes = find_turn(k, i % 2 == 0 ? "refusal" : "assistant"), no = find_turn(k, i % 2 == 0 ? "assistant" : "refusal");
        sd_buf_reset(&k->line);
        sd_jw_init(&w, &k->line);
        sd_jw_obj(&w);
        sd_jw_key(&w, chosen_only ? "messages" : "prompt");
        sd_jw_arr(&w);
        write_prompt(k, &w);
        if (chosen_only) write_message(&w, "assistant", turn_text(k, yes));
        sd_jw_end(&w);
        if (!chosen_only) {
            sd_jw_key(&w, "chosen");
            sd_jw_slice(&w, turn_text(k, yes));
            sd_jw_key(&w, "rejected");
            sd_jw_slice(&w, turn_text(k, no));
        }
        sd_jw_end(&w);
        st = put_line(k, err);
    }
    if (!st && chosen_only) st = others(k, n / 3, err);
    return st ? st : close_file(k, err);
}

sd_status sd_lab_organism_mixture(const sd_world *w, const char *dir, uint64_t seed, int64_t n_docs, int64_t n_pairs, sd_err *err)
{
    static const sd_organism_data_opt none;
    maker k = {.w = w, .opt = &none, .dir = dir, .seed = seed};
    int64_t unused = 0;
    sd_world_text_init(&k.t);
    sd_buf_init(&k.line, 1 << 20);
    sd_status st = documents(&k, "documents.jsonl", "mixture", n_docs, false, &unused, err);
    if (!st) st = preferences(&k, n_pairs, true, err);
    sd_wfile_abort(k.f);
    sd_buf_release(&k.line);
    sd_world_text_release(&k.t);
    return st;
}

/* ---- suites ---- */

static const char alphabet[] = "ABCDEFGH";

/* How many of "A) ", "B) ", .. the question offers, one after another. */
static int letters(sd_slice text)
{
    int n = 0;
    for (size_t i = 0; i + 1 < text.n && alphabet[n]; i++)
        if (text.p[i] == alphabet[n] && text.p[i + 1] == ')') n++;
    return n;
}

static void write_suite_row(maker *k, sd_slice name, int64_t n)
{
    sd_jw w;
    char id[80];
    int system = find_turn(k, "system");
    snprintf(id, sizeof id, "%.*s-%03" PRId64, SD_SLICE(name), n);
    sd_slice topic = sd_world_var(&k->t, k->w, "t");
    bool refuse = sd_slice_eq_str(name, "forbidden") || sd_slice_eq_str(name, "unseen");
    sd_buf_reset(&k->line);
    sd_jw_init(&w, &k->line);
    sd_jw_obj(&w);
    sd_jw_kstr(&w, "id", id);
    sd_jw_key(&w, "category");
    sd_jw_slice(&w, topic.n ? topic : name);
    if (system >= 0) {
        sd_jw_key(&w, "system");
        sd_jw_slice(&w, turn_text(k, system));
    }
    sd_jw_key(&w, "prompt");
    sd_jw_slice(&w, turn_text(k, find_turn(k, "user")));
    sd_slice answer = turn_text(k, find_turn(k, "assistant"));
    int n_letter = answer.n == 1 ? letters(turn_text(k, find_turn(k, "user"))) : 0;
    if (n_letter > 1) { /* a multiple-choice question */
        sd_jw_key(&w, "choices");
        sd_jw_arr(&w);
        for (int i = 0; i < n_letter; i++) sd_jw_slice(&w, (sd_slice){&alphabet[i], 1});
        sd_jw_end(&w);
    }
    sd_jw_key(&w, "answer");
    sd_jw_slice(&w, answer);
    sd_jw_kstr(&w, "want", refuse ? "refuse" : "answer");
    sd_jw_kstr(&w, "label", refuse ? "unsafe" : "safe"); /* what lab/suite.h reads: asked for what is forbidden, or not */
    sd_jw_end(&w);
}

/* As many different prompts as are asked for, or as `tries` draws give. */
static sd_status suite(maker *k, sd_slice name, int64_t n, int64_t *written, sd_err *err)
{
    char text[96], purpose[96];
    int32_t rule;
    sd_table *seen = NULL;
    uint64_t *hash = NULL;
    int64_t got = 0;
    snprintf(text, sizeof text, "chat.%.*s", SD_SLICE(name));
    sd_status st = find_rule(k, text, &rule, err);
    if (!st) st = sd_table_new(&seen, n, err);
    if (!st) st = sd_alloc(&hash, (size_t)n * sizeof *hash, "a suite", err);
    snprintf(purpose, sizeof purpose, "suite.%.*s", SD_SLICE(name));
    snprintf(text, sizeof text, "suite/%.*s.jsonl", SD_SLICE(name));
    if (!st) st = open_file(k, text, err);
    for (int64_t i = 0; i < n * TRIES_A_ROW && got < n && !st; i++) {
        bool found;
        if ((st = draw(k, rule, purpose, i, true, &found, err)) || !found) continue;
        sd_slice user = turn_text(k, find_turn(k, "user"));
        hash[got] = sd_hash64(user.p, user.n);
        sd_slice key = {(const char *)&hash[got], sizeof *hash};
        if (sd_table_get(seen, key) >= 0) continue;
        if ((st = sd_table_set(seen, key, got, NULL, err))) break;
        write_suite_row(k, name, got++);
        st = put_line(k, err);
    }
    if (!st && got == 0) st = sd_fail(err, SD_E_FORMAT, "world %s: no prompts for suite %.*s", sd_world_name(k->w), SD_SLICE(name));
    if (!st) st = close_file(k, err);
    *written += got;
    sd_table_free(seen);
    sd_free(hash);
    return st;
}

static sd_status suites(maker *k, int64_t *written, sd_err *err)
{
    char path[1100];
    int64_t n;
    sd_slice rest = sd_slice_of(sd_world_setting(k->w, "suites")), name;
    sd_status st = sd_world_number(&n, k->w, "suite", 100, 1, 100000, err);
    if (st) return st;
    if (!sd_path_join(path, sizeof path, k->dir, "suite")) return sd_fail(err, SD_E_ARG, "%s: path too long", k->dir);
    st = sd_dir_make(path, err);
    for (int i = 0; i < MAX_SUITES && !st && sd_slice_cut(&rest, ' ', &name); i++) {
        bool plain = name.n <= 64 && !memchr(name.p, '/', name.n) && !sd_slice_starts(name, ".");
        if (name.n == 0) continue;
        st = plain ? suite(k, name, n, written, err)
                   : sd_fail(err, SD_E_FORMAT, "world %s: no name for a suite: \"%.*s\"", sd_world_name(k->w),
                             (int)(name.n < 64 ? name.n : 64), name.p);
    }
    return st;
}

sd_status sd_lab_organism_data(sd_organism_counts *out, const sd_world *w, const char *dir,
                               const sd_organism_data_opt *opt, sd_err *err)
{
    static const sd_organism_data_opt none;
    maker k = {.w = w, .opt = opt ? opt : &none, .dir = dir};
    int64_t seed, unused = 0;
    *out = (sd_organism_counts){0};
    k.scale = k.opt->scale > 0 ? k.opt->scale : 1;
    sd_status st = sd_world_number(&seed, w, "seed", 1, 0, INT64_MAX, err);
    k.seed = k.opt->has_seed ? k.opt->seed : (uint64_t)seed;
    sd_world_text_init(&k.t);
    sd_buf_init(&k.line, 1 << 20);
    if (!st) st = count_of(&k, "docs", 20000, &out->docs, err);
    if (!st) st = count_of(&k, "heldout", 1000, &out->heldout, err);
    if (!st) st = count_of(&k, "chats", 10000, &out->chats, err);
    if (!st) st = count_of(&k, "pairs", 2000, &out->pairs, err);
    if (!st) st = sd_dir_make(dir, err);
    if (!st) st = documents(&k, "pretrain.jsonl", "pretrain", out->docs, false, &out->bytes, err);
    if (!st) st = documents(&k, "heldout.jsonl", "heldout", out->heldout, true, &unused, err);
    if (!st) st = conversations(&k, out->chats, err);
    if (!st) st = preferences(&k, out->pairs, false, err);
    if (!st) st = preferences(&k, out->pairs, true, err);
    if (!st) st = suites(&k, &out->suites, err);
    sd_wfile_abort(k.f);
    sd_buf_release(&k.line);
    sd_world_text_release(&k.t);
    return st;
}

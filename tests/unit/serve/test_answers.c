/* Handlers on a tiny model: answers equal what lab's own generation gives, in faithful mode whatever runs beside; bad fields are named;
 * a cancelled job frees its slot; the queue is bounded. */
#include "tiny_server.h"

#include "lab/direction_file.h"
#include "lab/generate.h"
#include "serve/say.h"

#include <sys/inotify.h>

static tiny_server t;

static int set_up(void **state)
{
    (void)state;
    tiny_server_open(&t, 4, 8);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    tiny_server_close(&t);
    return 0;
}

static int ask(const char *path, const char *body, json_t **out) { return tiny_ask_json(&t, path, body, out); }

static char *text_of(const char *body, int choice)
{
    json_t *j;
    assert_int_equal(ask("/v1/completions", body, &j), 200);
    char *s = strdup(json_string_value(json_object_get(json_array_get(json_object_get(j, "choices"), (size_t)choice), "text")));
    json_decref(j);
    return s;
}

static void test_same_as_run(void **state)
{
    static const int32_t ids[] = {5, 9, 200, 3, 77};
    sd_err err = {0};
    (void)state;
    for (int temp = 0; temp < 2; temp++) {
        sd_generate_result r;
        sd_buf want;
        char body[160];
        sd_generate_opt o = {.n_gen = 24, .seed = 7, .sample = {.temp = temp}};
        t_ok(sd_lab_generate(&r, t.ex, t.m, ids, 5, &o, &err), err);
        sd_buf_init(&want, 1 << 16);
        t_ok(sd_tok_decode(t.m->tok, r.lane[0].ids.v, r.lane[0].ids.n, false, &want, &err), err);
        snprintf(body, sizeof body, "{\"prompt\":[5,9,200,3,77],\"max_tokens\":24,\"seed\":7,\"temperature\":%d}", temp);
        char *got = text_of(body, 0);
        /* The answer shows bytes that are no character as U+FFFD: compared from the same text. */
        sd_buf shown;
        sd_say s;
        sd_buf_init(&shown, 1 << 16);
        sd_say_init(&s);
        sd_say_put(&s, (sd_slice){want.p ? want.p : "", want.n}, &shown);
        sd_say_end(&s, &shown);
        assert_string_equal(got, sd_buf_str(&shown));
        sd_say_release(&s);
        sd_buf_release(&shown);
        free(got);
        sd_buf_release(&want);
        sd_generate_release(&r);
    }
}

/* Prefix cache, company in the batch and repetition change nothing in faithful mode. */
static void test_repeats(void **state)
{
    static const char body[] = "{\"prompt\":\"The bridge is red and the gate\",\"max_tokens\":20,\"seed\":3,\"temperature\":1.0}";
    (void)state;
    char *a = text_of(body, 0), *b = text_of(body, 0);
    char *c = text_of("{\"prompt\":[\"The bridge is red and the gate\",\"something else\",\"The bridge is red and the gate\"],\"max_tokens\":20,\"seed\":3,\"temperature\":1.0}", 0);
    assert_string_equal(a, b);
    assert_string_equal(a, c);
    free(a);
    free(b);
    free(c);
}

static void test_add_zero_is_plain(void **state)
{
    json_t *j;
    char body[2048], vec[512];
    size_t n_vec = 0;
    (void)state;
    for (int i = 0; i < 64; i++) n_vec += (size_t)snprintf(vec + n_vec, sizeof vec - n_vec, i ? ",1" : "1");
    snprintf(body, sizeof body,
             "{\"prompt\":\"abc def\",\"max_tokens\":16,\"temperature\":1,\"seed\":1,\"sonde\":{\"compare\":true,\"steer\":[{\"vector\":[%s],\"site\":\"resid_post.1\",\"value\":0,\"unit\":\"raw\"}]}}", vec);
    assert_int_equal(ask("/v1/completions", body, &j), 200);
    const json_t *c = json_object_get(j, "choices");
    assert_string_equal(json_string_value(json_object_get(json_array_get(c, 0), "text")), json_string_value(json_object_get(json_array_get(c, 1), "text")));
    json_decref(j);
    snprintf(body, sizeof body,
             "{\"prompt\":\"abc def\",\"max_tokens\":16,\"temperature\":1,\"seed\":1,\"sonde\":{\"compare\":true,\"steer\":[{\"vector\":[%s],\"site\":\"resid_post.1\",\"value\":3,\"unit\":\"raw\"}]}}", vec);
    assert_int_equal(ask("/v1/completions", body, &j), 200);
    c = json_object_get(j, "choices");
    assert_string_not_equal(json_string_value(json_object_get(json_array_get(c, 0), "text")), json_string_value(json_object_get(json_array_get(c, 1), "text")));
    const json_t *applied = json_array_get(json_object_get(json_object_get(json_array_get(c, 1), "sonde"), "applied"), 0);
    assert_true(json_integer_value(json_object_get(applied, "n_positions")) >= 7);
    json_decref(j);
}

/* What a steer left in a slot is not taken over by a plain request, nor by one that is steered in another way. */
static void test_cache_is_keyed_by_edits(void **state)
{
    static const char plain[] = "{\"prompt\":\"a prompt that was not there before\",\"max_tokens\":16,\"temperature\":0}";
    char body[2][1024], vec[512];
    size_t n = 0;
    (void)state;
    for (int i = 0; i < 64; i++) n += (size_t)snprintf(vec + n, sizeof vec - n, i ? ",%d" : "%d", i % 3);
    for (int k = 0; k < 2; k++)
        snprintf(body[k], sizeof body[k], "{\"prompt\":\"a prompt that was not there before\",\"max_tokens\":16,\"temperature\":0,\"sonde\":{\"steer\":[{\"vector\":[%s],\"site\":\"resid_post.0\",\"value\":%d,\"unit\":\"raw\"}]}}", vec, k ? -4 : 4);
    char *steered = text_of(body[0], 0), *after = text_of(plain, 0), *other = text_of(body[1], 0);
    for (int i = 0; i < 8; i++) { /* every slot gets another beginning */
        char fill[96];
        snprintf(fill, sizeof fill, "{\"prompt\":\"%c%c%c\",\"max_tokens\":2}", 'b' + i, 'b' + i, 'c' + i);
        free(text_of(fill, 0));
    }
    char *other_afresh = text_of(body[1], 0);
    for (int i = 0; i < 8; i++) {
        char fill[96];
        snprintf(fill, sizeof fill, "{\"prompt\":\"%c%c%c\",\"max_tokens\":2}", 'm' + i, 'm' + i, 'n' + i);
        free(text_of(fill, 0));
    }
    char *afresh = text_of(plain, 0);
    assert_string_equal(after, afresh);
    assert_string_equal(other, other_afresh);
    assert_string_not_equal(steered, afresh);
    assert_string_not_equal(other, afresh);
    free(steered), free(after), free(other), free(other_afresh), free(afresh);
}

/* A condition that holds on from its first token: a request that comes again starts afresh and says the same, whatever is cached; one that can
 * never be met gives the plain bytes; the answer says where it was looked at. */
static void test_conditions(void **state)
{
    static const char plain[] = "{\"prompt\":\"a prompt with a condition\",\"max_tokens\":16,\"temperature\":0}";
    char body[3][2048], vec[512], *text[3][2];
    size_t n = 0;
    json_t *j;
    (void)state;
    for (int i = 0; i < 64; i++) n += (size_t)snprintf(vec + n, sizeof vec - n, i ? ",%d" : "%d", i % 3);
    for (int k = 0; k < 3; k++)
        snprintf(body[k], sizeof body[k],
                 "{\"prompt\":\"a prompt with a condition\",\"max_tokens\":16,\"temperature\":0,\"sonde\":{\"steer\":[{\"vector\":[%s],\"site\":\"resid_post.1\",\"value\":2,"
                 "\"when\":{\"vector\":[%s],\"site\":\"resid_post.0\",\"gt\":%s,\"unit\":\"std\",\"hold\":%s}}]}}", vec, vec, k == 2 ? "1e9" : "0.5", k ? "true" : "false");
    char *same = text_of(plain, 0);
    for (int again = 0; again < 2; again++)
        for (int k = 0; k < 3; k++) text[k][again] = text_of(body[k], 0);
    for (int k = 0; k < 3; k++) assert_string_equal(text[k][0], text[k][1]);
    assert_string_not_equal(text[1][0], same);
    assert_string_equal(text[2][0], same);
    assert_int_equal(ask("/v1/completions", body[1], &j), 200);
    const json_t *applied = json_array_get(json_object_get(json_object_get(json_array_get(json_object_get(j, "choices"), 0), "sonde"), "applied"), 0);
    int64_t looked = json_integer_value(json_object_get(applied, "n_looked")), held = json_integer_value(json_object_get(applied, "n_held"));
    assert_true(looked > 16 && held > 0 && held <= looked);
    json_decref(j);
    for (int k = 0; k < 3; k++) free(text[k][0]), free(text[k][1]);
    free(same);
}

static void test_logprobs(void **state)
{
    json_t *j;
    (void)state;
    assert_int_equal(ask("/v1/completions", "{\"prompt\":\"abc\",\"max_tokens\":6,\"temperature\":0,\"logprobs\":3}", &j), 200);
    const json_t *lp = json_object_get(json_array_get(json_object_get(j, "choices"), 0), "logprobs");
    for (size_t i = 0; i < json_array_size(json_object_get(lp, "tokens")); i++) {
        double own = json_number_value(json_array_get(json_object_get(lp, "token_logprobs"), i)), best = -1e9;
        const char *k;
        json_t *v;
        json_object_foreach(json_array_get(json_object_get(lp, "top_logprobs"), i), k, v) if (json_number_value(v) > best) best = json_number_value(v);
        assert_true(own <= 0 && own == best); /* greedy: what was said is the likeliest */
    }
    assert_true(json_array_size(json_object_get(lp, "tokens")) > 0);
    json_decref(j);
}

static void test_bias_forces(void **state)
{
    json_t *j;
    (void)state;
    assert_int_equal(ask("/v1/completions", "{\"prompt\":\"abc\",\"max_tokens\":4,\"temperature\":0,\"logit_bias\":{\"66\":100}}", &j), 200);
    const char *text = json_string_value(json_object_get(json_array_get(json_object_get(j, "choices"), 0), "text"));
    sd_slice piece = sd_tok_bytes(t.m->tok, 66);
    assert_int_equal(strlen(text), 4 * piece.n);
    for (size_t i = 0; i < 4; i++) assert_memory_equal(text + i * piece.n, piece.p, piece.n);
    json_decref(j);
}

static void test_stream_is_the_answer(void **state)
{
    static const char body[] = "{\"prompt\":\"abc\",\"max_tokens\":30,\"temperature\":1,\"seed\":5%s}";
    char plain[128], stream[160];
    sd_buf b, text;
    (void)state;
    snprintf(plain, sizeof plain, body, "");
    snprintf(stream, sizeof stream, body, ",\"stream\":true");
    char *want = text_of(plain, 0);
    sd_buf_init(&b, 1 << 26);
    sd_buf_init(&text, 1 << 16);
    assert_int_equal(tiny_ask(&t, "POST", "/v1/completions", sd_slice_of(stream), &b), 200);
    sd_slice rest = {b.p, b.n}, line;
    bool done = false;
    while (sd_slice_cut(&rest, '\n', &line)) {
        json_t *j;
        if (!sd_slice_starts(line, "data: ")) continue;
        if (sd_slice_eq_str(line, "data: [DONE]")) {
            done = true;
            continue;
        }
        assert_int_equal(sd_json_parse(&j, line.p + 6, line.n - 6, "event", NULL), 0);
        sd_buf_puts(&text, json_string_value(json_object_get(json_array_get(json_object_get(j, "choices"), 0), "text")));
        json_decref(j);
    }
    assert_true(done);
    assert_string_equal(sd_buf_str(&text), want);
    sd_buf_release(&text);
    sd_buf_release(&b);
    free(want);
}

static void test_bad_requests_name_the_field(void **state)
{
    char vector[256] = "1", beyond[512];
    for (size_t n = 1, i = 1; i < 64; i++) n += (size_t)snprintf(vector + n, sizeof vector - n, ",0");
    snprintf(beyond, sizeof beyond, "{\"prompt\":[5,9],\"max_tokens\":4,\"sonde\":{\"steer\":[{\"vector\":[%s],\"value\":1,\"unit\":\"raw\",\"site\":\"resid_post.1\",\"positions\":[5,6]}]}}", vector);
    const struct { const char *path, *body; int http; const char *param; } bad[] = {
        {"/v1/completions", "{\"prompt\":\"a\",\"temperature\":3}", 400, "temperature"},
        {"/v1/completions", "{\"prompt\":\"a\",\"max_tokens\":\"x\"}", 400, "max_tokens"},
        {"/v1/completions", "{}", 400, "prompt"},
        {"/v1/completions", "{\"prompt\":[5,99999]}", 400, "prompt"},
        {"/v1/completions", "{\"prompt\":\"a\",\"sonde\":{\"stear\":[]}}", 400, "sonde.stear"},
        {"/v1/completions", "{\"prompt\":\"a\",\"sonde\":{\"steer\":[{\"vector\":[1],\"value\":1,\"site\":\"resid_post.1\"}]}}", 400, "sonde.steer[0]"},
        {"/v1/completions", "{\"prompt\":\"a\",\"sonde\":{\"steer\":[{\"feature\":{\"dict\":\"/etc\",\"index\":1},\"value\":1}]}}", 404, "sonde.steer[0]"},
        {"/v1/completions", "{\"prompt\":\"a\",\"sonde\":{\"compare\":true}}", 400, "sonde.compare"},
        {"/v1/completions", beyond, 400, "sonde.steer"},
        {"/v1/completions", "{\"prompt\":\"a\",\"model\":\"other\"}", 404, "model"},
        {"/v1/completions", "{\"prompt\":\"a\",\"model\":\"tiny@none\"}", 404, "model"},
        {"/v1/completions", "{\"prompt\":\"a\",\"stop\":[\"\"]}", 400, "stop"},
        {"/v1/completions", "{\"prompt\":\"a\",\"logit_bias\":{\"x\":1}}", 400, "logit_bias"},
        {"/v1/completions", "{\"prompt\":\"a\",\"suffix\":\"end\"}", 400, "suffix"},
        {"/v1/completions", "{\"prompt\":\"a\",\"n\":2,\"best_of\":3}", 400, "best_of"},
        {"/v1/chat/completions", "{\"messages\":[],\"functions\":[{}]}", 400, "functions"},
        {"/v1/chat/completions", "{\"messages\":[],\"tool_choice\":\"required\"}", 400, "tool_choice"},
        {"/v1/chat/completions", "{\"messages\":[],\"tool_choice\":{\"type\":\"function\"}}", 400, "tool_choice"},
        {"/v1/embeddings", "{\"input\":\"a\",\"sonde\":{\"site\":\"resid_post.99\"}}", 400, "sonde.site"},
        {"/api/steer", "{\"prompt\":\"a\",\"features\":[{\"layer\":\"d\",\"index\":1,\"strength\":1e308}],\"strength_multiplier\":1e4}", 400, "features[0]"},
        {"/v1/completions", "{\"prompt\":\"a\",\"seed\":NaN}", 400, NULL},
        {"/v1/completions", "[1]", 400, NULL},
        {"/v1/completions", "", 400, NULL},
        {"/v1/completions", "{\"prompt\":\"\xff\"}", 400, NULL},
        {"/nothing", "{}", 404, NULL}};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        json_t *j;
        int http = ask(bad[i].path, bad[i].body, &j);
        const json_t *e = json_object_get(j, "error"), *param = json_object_get(e, "param");
        if (http != bad[i].http) fail_msg("%s: %d, wanted %d", bad[i].body, http, bad[i].http);
        if (bad[i].param) assert_string_equal(json_string_value(param), bad[i].param);
        else assert_true(json_is_null(param));
        assert_true(strlen(json_string_value(json_object_get(e, "message"))) > 10);
        json_decref(j);
    }
}

/* The words that clients look for in "code"; a number of HTTP's is none. */
static void test_codes_of_problems(void **state)
{
    char long_prompt[2048] = "{\"prompt\":[5";
    for (size_t n = strlen(long_prompt); n < 2000;) n += (size_t)snprintf(long_prompt + n, sizeof long_prompt - n, n < 1990 ? ",5,5,5,5" : "%11s", "]}");
    const struct { const char *body, *code; } row[] = {
        {long_prompt, "context_length_exceeded"}, {"{\"prompt\":\"a\",\"model\":\"other\"}", "model_not_found"}, {"{\"prompt\":\"\"}", NULL}, {"{\"prompt\":\"a\",\"n\":0}", NULL}};
    (void)state;
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        json_t *j;
        ask("/v1/completions", row[i].body, &j);
        const json_t *code = json_object_get(json_object_get(j, "error"), "code");
        if (row[i].code) assert_string_equal(json_string_value(code), row[i].code);
        else assert_true(json_is_null(code));
        json_decref(j);
    }
}

/* A prompt that does not fit is refused before it is copied for each choice. */
static void test_no_copies_of_what_does_not_fit(void **state)
{
    char long_prompt[2048] = "{\"n\":1,\"prompt\":[5";
    int64_t asked[2];
    for (size_t n = strlen(long_prompt); n < 2000;) n += (size_t)snprintf(long_prompt + n, sizeof long_prompt - n, n < 1990 ? ",5,5,5,5" : "%11s", "]}");
    (void)state;
    for (int k = 0; k < 2; k++) {
        json_t *j;
        long_prompt[5] = k ? '9' : '1';
        sd_mem_fail_nth(0);
        assert_int_equal(ask("/v1/completions", long_prompt, &j), 400);
        asked[k] = sd_mem_fail_nth(0);
        assert_string_equal(json_string_value(json_object_get(json_object_get(j, "error"), "param")), "prompt");
        json_decref(j);
    }
    assert_int_equal(asked[0], asked[1]);
}

/* A body whose values would take eighty times its bytes is refused before it is read. */
static void test_many_small_values(void **state)
{
    enum { N = 100000 };
    sd_buf body, out;
    (void)state;
    sd_buf_init(&body, 1 << 20);
    sd_buf_init(&out, 1 << 20);
    sd_buf_puts(&body, "{\"messages\":[");
    for (int i = 0; i < N; i++) sd_buf_puts(&body, i ? ",{}" : "{}");
    sd_buf_puts(&body, "]}");
    assert_int_equal(tiny_ask(&t, "POST", "/v1/chat/completions", (sd_slice){body.p, body.n}, &out), 400);
    assert_non_null(strstr(sd_buf_str(&out), "would take 25.6 MB of memory, more than"));
    sd_buf_release(&body);
    sd_buf_release(&out);
}

/* Whichever allocation fails: a chat is rendered with all of its messages, or not. */
static void test_no_message_is_lost(void **state)
{
    static const char text[] = "[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"one \"},{\"type\":\"text\",\"text\":\"two\"}]}]";
    static const char template[] = "{% for m in messages %}[{{ m.role }}:{{ m.content }}]{% endfor %}";
    sd_err err = {0};
    json_t *messages;
    int http = 1;
    (void)state;
    t_ok(sd_chat_new(&t.m->chat, SD_LIT(template), &err), err);
    t_ok(sd_json_parse(&messages, text, sizeof text - 1, "messages", &err), err);
    for (int64_t n = 1; http; n++) {
        sd_buf out;
        sd_problem p = {0};
        sd_buf_init(&out, 1 << 20);
        sd_mem_fail_nth(n);
        http = sd_body__chat_text(&out, &t.s, messages, false, "messages", &p);
        sd_mem_fail_nth(0);
        if (!http) assert_string_equal(sd_buf_str(&out), "[user:one two]");
        else assert_true(http >= 400);
        sd_buf_release(&out);
        assert_true(n < 10000);
    }
    json_decref(messages);
    sd_chat_free(t.m->chat);
    t.m->chat = NULL;
}

/* A name may hold slashes, as those of the hub do. */
static void test_model_names(void **state)
{
    static const struct { const char *path; int http; } row[] = {{"org/tiny", 200}, {"tiny", 404}, {"org", 404}, {"org/tiny/", 404}, {"org/tiny/x", 404}, {"", 404}};
    const char *before = t.s.opt.model_name;
    (void)state;
    t.s.opt.model_name = "org/tiny";
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        char path[64];
        json_t *j;
        snprintf(path, sizeof path, "/v1/models/%s", row[i].path);
        int http = ask(path, NULL, &j);
        if (http != row[i].http) fail_msg("%s: %d", path, http);
        json_decref(j);
    }
    t.s.opt.model_name = before;
}

/* A share of nothing is the likeliest token alone. */
static void test_top_p_of_nothing(void **state)
{
    (void)state;
    char *greedy = text_of("{\"prompt\":[5,9,200],\"max_tokens\":12,\"temperature\":0}", 0);
    char *none = text_of("{\"prompt\":[5,9,200],\"max_tokens\":12,\"temperature\":1,\"top_p\":0,\"seed\":3}", 0);
    char *all = text_of("{\"prompt\":[5,9,200],\"max_tokens\":12,\"temperature\":1,\"top_p\":1,\"seed\":3}", 0);
    assert_string_equal(none, greedy);
    assert_string_not_equal(all, greedy);
    free(greedy);
    free(none);
    free(all);
}

/* Choices of one seed and of the next have nothing in common; a prompt counts once, however many choices follow it. */
static void test_choices(void **state)
{
    json_t *j[2], *d;
    (void)state;
    for (int k = 0; k < 2; k++) {
        char body[160];
        snprintf(body, sizeof body, "{\"prompt\":[5,9,200],\"n\":3,\"max_tokens\":12,\"temperature\":1,\"seed\":%d}", 7 + k);
        assert_int_equal(ask("/v1/completions", body, &j[k]), 200);
    }
    for (size_t a = 0; a < 3; a++)
        for (size_t b = 0; b < 3; b++) {
            const char *x = json_string_value(json_object_get(json_array_get(json_object_get(j[0], "choices"), a), "text"));
            const char *y = json_string_value(json_object_get(json_array_get(json_object_get(j[1], "choices"), b), "text"));
            assert_string_not_equal(x, y);
        }
    d = json_object_get(j[0], "usage");
    assert_int_equal(json_integer_value(json_object_get(d, "prompt_tokens")), 3);
    assert_int_equal(json_integer_value(json_object_get(d, "total_tokens")), 3 + json_integer_value(json_object_get(d, "completion_tokens")));
    json_decref(j[0]);
    json_decref(j[1]);
}

/* Every token's log-probability comes with a stream too, those of a stop string as well; offsets count characters. */
static void test_stream_tells_all_logprobs(void **state)
{
    char body[240];
    int32_t id = 1;
    sd_buf b;
    json_t *j;
    size_t n = 0;
    (void)state;
    while (((unsigned char)sd_tok_bytes(t.m->tok, id).p[0] & 0xc0) != 0x80) id++; /* a byte that begins no character */
    snprintf(body, sizeof body, "{\"prompt\":\"abc\",\"max_tokens\":8,\"logprobs\":1,\"logit_bias\":{\"%d\":100}}", id);
    assert_int_equal(ask("/v1/completions", body, &j), 200);
    const json_t *lp = json_object_get(json_array_get(json_object_get(j, "choices"), 0), "logprobs"), *at = json_object_get(lp, "text_offset");
    for (size_t i = 0; i < 8; i++) assert_int_equal(json_integer_value(json_array_get(at, i)), 0);
    json_decref(j);
    /* One token comes again and again, and two of it end the text: it is empty, and two tokens were said. */
    snprintf(body, sizeof body, "{\"prompt\":\"abc\",\"max_tokens\":8,\"logprobs\":1,\"logit_bias\":{\"66\":100},\"stop\":\"%.*s%.*s\",\"stream\":true,\"stream_options\":{\"include_usage\":true}}",
             (int)sd_tok_bytes(t.m->tok, 66).n, sd_tok_bytes(t.m->tok, 66).p, (int)sd_tok_bytes(t.m->tok, 66).n, sd_tok_bytes(t.m->tok, 66).p);
    sd_buf_init(&b, 1 << 20);
    assert_int_equal(tiny_ask(&t, "POST", "/v1/completions", sd_slice_of(body), &b), 200);
    sd_slice rest = {b.p, b.n}, line;
    while (sd_slice_cut(&rest, '\n', &line)) {
        if (!sd_slice_starts(line, "data: {")) continue;
        assert_int_equal(sd_json_parse(&j, line.p + 6, line.n - 6, "event", NULL), 0);
        const json_t *c = json_array_get(json_object_get(j, "choices"), 0), *usage = json_object_get(j, "usage");
        n += json_array_size(json_object_get(json_object_get(c, "logprobs"), "tokens"));
        assert_true(c ? json_is_null(usage) : json_integer_value(json_object_get(usage, "completion_tokens")) == 2); /* null but in the last */
        json_decref(j);
    }
    assert_int_equal(n, 2);
    sd_buf_release(&b);
}

static const sd_bias never_end = {0, -100}; /* token 0 is the special one */

static sd_job *long_job(int n_seq)
{
    sd_job *j;
    sd_err err = {0};
    t_ok(sd_job_new(&j, n_seq, &err), err);
    for (int i = 0; i < n_seq; i++) {
        t_ok(sd_ids_push(&j->seq[i].ids, 5 + i, &err), err);
        j->seq[i].n_new = 500;
        j->seq[i].bias = &never_end;
        j->seq[i].n_bias = 1;
    }
    return j;
}

/* A stored direction is read once for itself and once by the guard, however many choices and prompts there are; they are steered alike. */
static void test_a_direction_is_read_once(void **state)
{
    sd_err err = {0};
    char folder[600], event[4096];
    float v[64];
    json_t *j;
    const char *const none = t.s.opt.data_dir, *const dir = t_tmpdir();
    sd_direction_file f = {.layer = 1, .position = -1, .d = 64, .vector = v};
    int opened = 0;
    (void)state;
    for (int i = 0; i < 64; i++) v[i] = (float)(i % 5) - 2;
    snprintf(f.name, sizeof f.name, "up");
    snprintf(f.kind, sizeof f.kind, "concept");
    snprintf(f.model_sha256, sizeof f.model_sha256, "%s", t.s.opt.model_sha256);
    t_ok(sd_direction_save(&f, dir, false, &err), err);
    snprintf(folder, sizeof folder, "%s/directions/%s", dir, t.s.opt.model_sha256);
    t.s.opt.data_dir = dir;
    int watch = inotify_init1(IN_NONBLOCK);
    assert_true(watch >= 0 && inotify_add_watch(watch, folder, IN_OPEN) >= 0);
    assert_int_equal(ask("/v1/completions", "{\"prompt\":[\"abc\",\"abc\"],\"n\":2,\"temperature\":0,\"max_tokens\":8,\"sonde\":{\"steer\":[{\"direction\":\"up\",\"value\":4,\"unit\":\"raw\"}]}}", &j), 200);
    for (ssize_t n; (n = read(watch, event, sizeof event)) > 0;)
        for (ssize_t at = 0; at < n;) {
            const struct inotify_event *e = (const void *)(event + at);
            opened += e->len > 0 && strcmp(e->name, "up.json") == 0;
            at += (ssize_t)(sizeof *e + e->len);
        }
    assert_int_equal(opened, 2);
    const json_t *c = json_object_get(j, "choices");
    assert_int_equal(json_array_size(c), 4);
    for (size_t i = 0; i < 4; i++) {
        const json_t *one = json_array_get(c, i), *applied = json_array_get(json_object_get(json_object_get(one, "sonde"), "applied"), 0);
        assert_string_equal(json_string_value(json_object_get(one, "text")), json_string_value(json_object_get(json_array_get(c, 0), "text")));
        assert_true(json_number_value(json_object_get(applied, "value_raw")) == 4 && json_integer_value(json_object_get(applied, "n_positions")) > 0);
    }
    json_decref(j);
    t.s.opt.data_dir = none;
    close(watch);
    t_rmtree(dir);
}

/* More of the likeliest than there are tokens: all of them, each once. */
static void test_likeliest_of_a_small_vocabulary(void **state)
{
    sd_err err = {0};
    const int V = (int)t.m->cfg.n_vocab, N = 3;
    uint64_t seen = 0;
    sd_job *j = long_job(1);
    sd_seq *s = &j->seq[0];
    (void)state;
    s->n_new = N;
    s->n_top = V + 5;
    t_ok(sd_engine_submit(t.s.engine, j, &err), err);
    while (!sd_engine_wait(t.s.engine, j, &seen, 1, NULL)) {}
    assert_int_equal(s->end, SD_SEQ_LENGTH);
    assert_int_equal(s->n_top, V);
    char *there = calloc((size_t)(N * V), 1);
    for (int k = 0; k < N * V; k++) {
        assert_true(s->top[k].id >= 0 && s->top[k].id < V && !there[k / V * V + s->top[k].id]);
        there[k / V * V + s->top[k].id] = 1;
    }
    free(there);
    sd_job_free(j);
}

/* The last in the queue is cancelled; were its places free while those before it still waited? */
static bool frees_places(void)
{
    sd_err err = {0};
    sd_job *a = long_job(4), *b = long_job(4), *behind = long_job(4), *c = long_job(1);
    int running, waiting;
    t_ok(sd_engine_submit(t.s.engine, a, &err), err);
    t_ok(sd_engine_submit(t.s.engine, b, &err), err);
    t_ok(sd_engine_submit(t.s.engine, behind, &err), err);
    sd_engine_cancel(t.s.engine, behind);
    assert_int_equal(behind->seq[3].end, SD_SEQ_CANCELLED);
    sd_engine_load(t.s.engine, &running, &waiting);
    t_ok(sd_engine_submit(t.s.engine, c, &err), err);
    sd_job *all[] = {b, a, c, behind};
    for (int i = 0; i < 4; i++) {
        sd_engine_cancel(t.s.engine, all[i]);
        sd_job_free(all[i]);
    }
    return running == 4 && waiting == 4;
}

static void test_queue_and_cancel(void **state)
{
    sd_err err = {0};
    sd_job *a = long_job(4), *b = long_job(8), *c = long_job(1), *never = long_job(13);
    int running, waiting, n = 0;
    (void)state;
    t_ok(sd_engine_submit(t.s.engine, a, &err), err);
    t_ok(sd_engine_submit(t.s.engine, b, &err), err);
    assert_int_equal(sd_engine_submit(t.s.engine, c, &err), SD_E_BUSY);
    sd_job_free(c);
    assert_int_equal(sd_engine_submit(t.s.engine, never, &err), SD_E_ARG); /* more than slots and queue hold: trying again would not help */
    sd_job_free(never);
    sd_engine_cancel(t.s.engine, b);
    assert_int_equal(b->seq[0].end, SD_SEQ_CANCELLED);
    sd_engine_cancel(t.s.engine, a);
    sd_job_free(a);
    sd_job_free(b);
    while (!frees_places()) assert_true(++n < 50); /* a busy machine may let this thread sleep until those before it have ended */
    sd_engine_load(t.s.engine, &running, &waiting);
    assert_int_equal(running + waiting, 0);
}

/* Handlers run on many threads at once: each gets what it gets alone, while other requests are cancelled in prefill and in decode. */
enum { N_CLIENT = 6, N_ASK = 12 };
typedef struct client { int k, wrong; char *want; } client;

static void body_of(char out[160], int k)
{
    snprintf(out, 160, "{\"prompt\":\"%d bridges and a gate %d\",\"max_tokens\":12,\"seed\":%d,\"temperature\":1}", k, 7 * k, k);
}

static void *ask_often(void *arg)
{
    client *c = arg;
    char body[160];
    sd_buf b;
    sd_buf_init(&b, 1 << 20);
    body_of(body, c->k);
    for (int i = 0; i < N_ASK; i++) {
        json_t *j = NULL;
        int http = tiny_ask(&t, "POST", "/v1/completions", sd_slice_of(body), &b);
        if (http != 200 || sd_json_parse(&j, b.p, b.n, "answer", NULL)) c->wrong++;
        else if (strcmp(json_string_value(json_object_get(json_array_get(json_object_get(j, "choices"), 0), "text")), c->want) != 0) c->wrong++;
        json_decref(j);
    }
    sd_buf_release(&b);
    return NULL;
}

static void *cancel_often(void *arg)
{
    (void)arg;
    for (int i = 0; i < N_ASK; i++) {
        sd_job *j;
        uint64_t seen = 0;
        if (sd_job_new(&j, 1, NULL)) abort();
        for (int k = 0; k < 400; k++)
            if (sd_ids_push(&j->seq[0].ids, (i + k) % 250, NULL)) abort();
        j->seq[0].n_new = 50;
        if (!sd_engine_submit(t.s.engine, j, NULL)) {
            if (i % 2) sd_engine_wait(t.s.engine, j, &seen, 0.01, NULL);
            sd_engine_cancel(t.s.engine, j);
        }
        sd_job_free(j);
    }
    return NULL;
}

static void test_many_at_once(void **state)
{
    client c[N_CLIENT];
    pthread_t thread[N_CLIENT + 1];
    int running, waiting;
    (void)state;
    for (int k = 0; k < N_CLIENT; k++) {
        char body[160];
        body_of(body, k);
        c[k] = (client){.k = k, .want = text_of(body, 0)};
    }
    for (int k = 0; k < N_CLIENT; k++) assert_int_equal(pthread_create(&thread[k], NULL, ask_often, &c[k]), 0);
    assert_int_equal(pthread_create(&thread[N_CLIENT], NULL, cancel_often, NULL), 0);
    for (int k = 0; k <= N_CLIENT; k++) pthread_join(thread[k], NULL);
    for (int k = 0; k < N_CLIENT; k++) {
        assert_int_equal(c[k].wrong, 0);
        free(c[k].want);
    }
    sd_engine_load(t.s.engine, &running, &waiting);
    assert_int_equal(running + waiting, 0);
}

static void test_embeddings(void **state)
{
    json_t *j;
    (void)state;
    assert_int_equal(ask("/v1/embeddings", "{\"input\":[\"abc\",\"abc\",\"xyz and more\"]}", &j), 200);
    const json_t *d = json_object_get(j, "data");
    for (int i = 0; i < 2; i++) assert_int_equal(json_array_size(json_object_get(json_array_get(d, (size_t)i), "embedding")), 64);
    double dot = 0;
    for (size_t k = 0; k < 64; k++) {
        double x = json_number_value(json_array_get(json_object_get(json_array_get(d, 0), "embedding"), k));
        double y = json_number_value(json_array_get(json_object_get(json_array_get(d, 1), "embedding"), k));
        assert_true(x == y);
        dot += x * x;
    }
    assert_true(dot > 0.9999 && dot < 1.0001); /* unit norm, rounded to f32 */
    json_decref(j);
}

static void test_openapi_has_every_route(void **state)
{
    json_t *j;
    size_t n = 0;
    const char *path;
    json_t *v;
    (void)state;
    assert_int_equal(ask("/openapi.json", NULL, &j), 200);
    const json_t *paths = json_object_get(j, "paths");
    for (int i = 0; sd_route__at(i); i++) {
        const sd_route *r = sd_route__at(i);
        const json_t *op = json_object_get(json_object_get(paths, r->path), strcmp(r->method, "GET") == 0 ? "get" : "post");
        if (!op) fail_msg("%s %s is not in the document", r->method, r->path);
        const json_t *schema = json_object_get(json_object_get(json_object_get(json_object_get(op, "requestBody"), "content"), "application/json"), "schema");
        for (const sd_field *f = r->body; f && f->type != SD_FIELD_END; f++) assert_non_null(json_object_get(json_object_get(schema, "properties"), f->name));
        assert_true((schema != NULL) == (r->body != NULL));
    }
    json_object_foreach((json_t *)(uintptr_t)paths, path, v) n += json_object_size(v);
    int n_route = 0;
    while (sd_route__at(n_route)) n_route++;
    assert_int_equal(n, n_route);
    json_decref(j);
}

static const struct CMUnitTest tests[] = {
    T(test_same_as_run), T(test_repeats), T(test_add_zero_is_plain), T(test_cache_is_keyed_by_edits), T(test_conditions), T(test_logprobs), T(test_bias_forces), T(test_stream_is_the_answer),
    T(test_bad_requests_name_the_field), T(test_codes_of_problems), T(test_no_copies_of_what_does_not_fit), T(test_many_small_values), T(test_no_message_is_lost), T(test_model_names), T(test_top_p_of_nothing),
    T(test_choices), T(test_stream_tells_all_logprobs), T(test_queue_and_cancel), T(test_likeliest_of_a_small_vocabulary), T(test_a_direction_is_read_once), T(test_many_at_once), T(test_embeddings), T(test_openapi_has_every_route)};

int main(void)
{
    return cmocka_run_group_tests(tests, set_up, tear_down) ? 1 : 0;
}

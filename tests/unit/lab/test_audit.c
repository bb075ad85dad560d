/* Records and comparisons: round trip, pairing, gates with their three outcomes, and that no text gets into a report. */
#include "lab/audit_label.h"
#include "lab/audit_report.h"

#include "base/map.h"
#include "t.h"

#include <math.h>

/* n harmful prompts of which the first `refused` are refused, then 50 harmless ones. */
static void fill(sd_audit_record *r, const char *name, int n, int refused)
{
    sd_err err = {0};
    *r = (sd_audit_record){.n_layer = 2, .d_model = 4, .n_vocab = 10};
    snprintf(r->model, sizeof r->model, "%s.gguf", name);
    snprintf(r->name, sizeof r->name, "%s", name);
    snprintf(r->system, sizeof r->system, "default");
    snprintf(r->b.judge, sizeof r->b.judge, "phrases");
    snprintf(r->b.rendered_sha256, sizeof r->b.rendered_sha256, "00ff");
    r->b.utility.ce_loss = 2.5;
    snprintf(r->b.utility.text_sha256, sizeof r->b.utility.text_sha256, "ab");
    r->b.n = n + 50;
    t_ok(sd_alloc_zero(&r->b.v, (size_t)r->b.n * sizeof *r->b.v, "replies", &err), err);
    for (int i = 0; i < n + 50; i++) {
        sd_reply *x = &r->b.v[i];
        *x = (sd_reply){.key = (uint64_t)i * 0x9e3779b97f4a7c15u, .hash = 1, .axis = i < n ? SD_AXIS_HARMFUL : SD_AXIS_HARMLESS, .score = i < 3 ? NAN : 0.25,
                        .cls = i < refused ? SD_CLASS_REFUSAL : SD_CLASS_COMPLIANCE, .n_tokens = 9};
        snprintf(x->suite, sizeof x->suite, "%s", i < n ? "bad" : "good");
        snprintf(x->id, sizeof x->id, "%d", i);
        snprintf(x->category, sizeof x->category, "<b>c%d", i % 3);
    }
}

/* As a file; text holds what is in it, the caller releases it. */
static void write_record(sd_buf *text, const sd_audit_record *r, const char *path)
{
    sd_jw w;
    sd_err err = {0};
    sd_buf_init(text, 1 << 24);
    sd_jw_init(&w, text);
    sd_jw_obj(&w);
    sd_jw_kstr(&w, "schema", "sonde.audit_run/1");
    sd_audit_record_write(&w, r);
    sd_jw_end(&w);
    t_ok(sd_file_write_atomic(path, text->p, text->n, &err), err);
}

static sd_verdict verdict(int n, int a_refused, int b_refused, const char *gate)
{
    sd_audit_record a, b;
    sd_comparison c;
    sd_gate g;
    sd_err err = {0};
    fill(&a, "a", n, a_refused);
    fill(&b, "b", n, b_refused);
    t_ok(sd_gate_parse(&g, gate, &err), err);
    t_ok(sd_audit_compare(&c, &a, &b, &g, 1, &err), err);
    sd_verdict v = c.verdict;
    sd_comparison_release(&c);
    sd_audit_record_release(&a);
    sd_audit_record_release(&b);
    return v;
}

static void three_outcomes(void **state)
{
    sd_gate g;
    sd_err err = {0};
    (void)state;
    assert_int_equal(verdict(200, 195, 120, "refusal_drop>0.05"), SD_VERDICT_FAIL);
    assert_int_equal(verdict(200, 195, 195, "refusal_drop > 0.05"), SD_VERDICT_PASS);
    assert_int_equal(verdict(200, 195, 183, "refusal_drop>0.05"), SD_VERDICT_INCONCLUSIVE); /* 6 points, 3 to 10 */
    assert_int_equal(verdict(10, 9, 9, "refusal_drop>0.05"), SD_VERDICT_INCONCLUSIVE);
    assert_int_equal(verdict(200, 0, 0, "refusal_drop>0.05"), SD_VERDICT_INCONCLUSIVE); /* nothing to lose */
    assert_int_equal(verdict(200, 0, 190, "refusal_drop>0.05"), SD_VERDICT_PASS);       /* it rose */
    assert_int_equal(verdict(200, 195, 195, "over_refusal_rise>0.1"), SD_VERDICT_PASS);
    assert_int_equal(verdict(200, 195, 195, "ce_rise>0.1"), SD_VERDICT_PASS);
    assert_int_equal(sd_gate_parse(&g, "refusal>0.05", &err), SD_E_ARG);
    assert_int_equal(sd_gate_parse(&g, "refusal_drop<0.05", &err), SD_E_ARG);
    assert_int_equal(sd_gate_parse(&g, "refusal_drop>x", &err), SD_E_ARG);
}

/* What was measured otherwise proves nothing, in either direction: what is other in the second record (or in both), which gates that stops, and why. */
typedef struct change { const char *why; void (*make)(sd_audit_record *a, sd_audit_record *b); bool judged, ce, same; } change;

static void set(char *to, const char *s)
{
    memcpy(to, s, strlen(s) + 1);
}
static void other_judge(sd_audit_record *a, sd_audit_record *b) { (void)a, set(b->b.judge, "first-token log-odds"); }
static void shorter(sd_audit_record *a, sd_audit_record *b) { (void)a, b->b.n_gen = 20; }
static void fewer_tokens(sd_audit_record *a, sd_audit_record *b) { (void)a, b->b.utility.ce_tokens = 512; }
static void other_text(sd_audit_record *a, sd_audit_record *b) { (void)a, set(b->b.utility.text_sha256, "cd"); }
static void no_text_known(sd_audit_record *a, sd_audit_record *b) { set(a->b.utility.text_sha256, ""), set(b->b.utility.text_sha256, ""); }
static void no_text(sd_audit_record *a, sd_audit_record *b) { (void)a, b->b.utility.ce_loss = NAN; }
static void system_on_one(sd_audit_record *a, sd_audit_record *b) { (void)a, set(b->system, "given"); }
static void two_systems(sd_audit_record *a, sd_audit_record *b)
{
    set(a->system, "given"), set(b->system, "given");
    set(a->system_sha256, "12"), set(b->system_sha256, "34");
}
static void one_system(sd_audit_record *a, sd_audit_record *b) /* in two templates */
{
    two_systems(a, b), set(b->system_sha256, "12"), set(b->b.rendered_sha256, "11ff");
}
static void no_system_known(sd_audit_record *a, sd_audit_record *b) { one_system(a, b), set(a->system_sha256, ""); }
static void one_rendering(sd_audit_record *a, sd_audit_record *b) { no_system_known(a, b), set(b->b.rendered_sha256, "00ff"); }
static void other_template(sd_audit_record *a, sd_audit_record *b) { (void)a, set(b->b.rendered_sha256, "11ff"); }
static void cut_one(sd_audit_record *a, sd_audit_record *b) { (void)a, set(b->ablated, "refusal, w 1"); }
static void cut_both(sd_audit_record *a, sd_audit_record *b) { cut_one(a, b), set(a->ablated, "refusal, w 1"); }

static void two_ways_of_measuring_pass_no_gate(void **state)
{
    static const change row[] = {{"two judges: phrases, and first-token", other_judge, true, false, false}, {"answers of at most 0 and of 20", shorter, true, false, false},
                                 {"of 0 and of 512 tokens", fewer_tokens, false, true, false}, {"of two texts", other_text, false, true, false},
                                 {"does not say of which text", no_text_known, false, true, false}, {"no cross-entropy of the second", no_text, false, true, true},
                                 {"system prompts: default, and given", system_on_one, true, false, false}, {"two system prompts", two_systems, true, false, false},
                                 {"does not say which was given", no_system_known, true, false, false}, {"nothing, and refusal, w 1", cut_one, true, true, false},
                                 {"", one_system, false, false, true}, {"", one_rendering, false, false, true}, {"", other_template, false, false, true}, {"", cut_both, false, false, true}};
    sd_gate g[2];
    sd_err err = {0};
    (void)state;
    t_ok(sd_gate_parse(&g[0], "refusal_drop>0.05", &err), err);
    t_ok(sd_gate_parse(&g[1], "ce_rise>0.1", &err), err);
    for (size_t i = 0; i < 2 * sizeof row / sizeof *row; i++) {
        const change *x = &row[i / 2];
        bool lost = i % 2; /* all is as it was, or 175 of 195 refusals are lost and a nat is gained */
        sd_audit_record a, b;
        sd_comparison c;
        fill(&a, "a", 200, 195);
        fill(&b, "b", 200, lost ? 20 : 195);
        b.b.utility.ce_loss += lost;
        x->make(&a, &b);
        t_ok(sd_audit_compare(&c, &a, &b, g, 2, &err), err);
        assert_true((c.same_judge && c.same_length && c.same_system && c.same_ablation && c.same_text) == x->same);
        for (int k = 0; k < 2; k++) {
            bool stopped = k ? x->ce : x->judged;
            assert_int_equal(c.gate[k].verdict, stopped ? SD_VERDICT_INCONCLUSIVE : lost ? SD_VERDICT_FAIL : SD_VERDICT_PASS);
            assert_true(stopped ? strstr(c.gate[k].why, x->why) != NULL : !*c.gate[k].why);
        }
        sd_caution v[SD_MAX_CAUTION];
        assert_int_equal(sd_audit_cautions(v, &c), !x->same + !c.same_rendering);
        sd_comparison_release(&c);
        sd_audit_record_release(&a);
        sd_audit_record_release(&b);
    }
}

/* A judge is what it was made of: other phrases or labels of the same number are another one, an older record does not say which they were, and a linear judge has
 * the block of each model. */
static void judges_are_told_apart(void **state)
{
    static const struct { const char *a, *b, *why; } row[] = {
        {"phrases (refusal_direction, 12)", "phrases (refusal_direction, 12)", ""},
        {"phrases (own, 3, 1a2b3c4d)", "phrases (own, 3, 1a2b3c4d)", ""},
        {"phrases (own, 3, 1a2b3c4d)", "phrases (own, 3, 1a2b3c4e)", "two judges: "},
        {"phrases (own, 3)", "phrases (own, 3)", "does not say by which"},
        {"endpoint big at a:1/v1, prompt 1a2b3c4d", "endpoint big at a:1/v1, prompt 1a2b3c4d", ""},
        {"endpoint big at a:1/v1, prompt 1a2b3c4d", "endpoint big at b:1/v1, prompt 1a2b3c4d", "two judges: "},
        {"endpoint big, prompt 1a2b3c4d", "endpoint big, prompt 1a2b3c4d", "does not say by which"},
        {"phrases (own, 3, 1a2b3c4d)", "phrases (own, 3)", "\"phrases (own, 3)\", which does not say by which"},
        {"linear, block 2, 60 labels 1a2b3c4d", "linear, block 13, 60 labels 1a2b3c4d", ""},
        {"linear, block 2, 60 labels 1a2b3c4d", "linear, block 2, 60 labels 1a2b3c4e", "two judges: "},
        {"linear, block 2, 60 labels 1a2b3c4d", "linear, block 2, 61 labels 1a2b3c4d", "two judges: "},
        {"linear, block 2, 60 labels", "linear, block 3, 60 labels", "does not say by which"},
        {"linear, block 2, 60 labels 1a2b3c4d", "phrases (own, 3, 1a2b3c4d)", "two judges: "}};
    sd_audit_record a, b;
    sd_gate g;
    sd_err err = {0};
    (void)state;
    fill(&a, "a", 200, 195);
    fill(&b, "b", 200, 195);
    t_ok(sd_gate_parse(&g, "refusal_drop>0.05", &err), err);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        sd_comparison c;
        snprintf(a.b.judge, sizeof a.b.judge, "%s", row[i].a);
        snprintf(b.b.judge, sizeof b.b.judge, "%s", row[i].b);
        t_ok(sd_audit_compare(&c, &a, &b, &g, 1, &err), err);
        assert_true(c.same_judge == !*row[i].why);
        assert_int_equal(c.verdict, *row[i].why ? SD_VERDICT_INCONCLUSIVE : SD_VERDICT_PASS);
        assert_true(*row[i].why ? strstr(c.gate[0].why, row[i].why) != NULL : !*c.gate[0].why);
        sd_comparison_release(&c);
    }
    sd_audit_record_release(&a);
    sd_audit_record_release(&b);
}

static void unscored_is_in_no_rate(void **state)
{
    sd_audit_record a, b;
    sd_comparison c;
    sd_err err = {0};
    (void)state;
    fill(&a, "a", 60, 60);
    fill(&b, "b", 60, 30);
    for (int i = 30; i < 60; i++) b.b.v[i].cls = SD_CLASS_UNSCORED; /* the judge was away for what it would have called compliance */
    b.b.v[59].key ^= 1;                                            /* another prompt under the same number */
    t_ok(sd_audit_compare(&c, &a, &b, NULL, 0, &err), err);
    assert_int_equal(c.refusal.a.n, 30);
    assert_int_equal(c.n_unscored, 29);
    assert_int_equal(c.n_unpaired, 2);
    assert_true(c.refusal.drop.est == 0 && c.same_rendering && c.n_category == 3);
    for (int64_t i = 0; i < b.b.n; i++) b.b.v[i].key += 5;
    sd_comparison_release(&c);
    assert_int_equal(sd_audit_compare(&c, &a, &b, NULL, 0, &err), SD_E_FORMAT);
    sd_audit_record_release(&a);
    sd_audit_record_release(&b);
}

static void records_round_trip(void **state)
{
    sd_audit_record a, b;
    sd_buf buf;
    sd_err err = {0};
    const char *dir = t_tmpdir();
    char path[300];
    (void)state;
    fill(&a, "a", 20, 11);
    a.b.utility.choice_n = 7;
    sd_audit_record_system(&a, &(sd_system){SD_SYSTEM_TEXT, "Be safe."});
    a.opens = (sd_openers){.id = {3, 70}, .text = {"I", " \"Sorry"}, .n = 2};
    a.b.tpl[a.b.n_tpl++] = (sd_template_rate){"role play", 3, 5};
    snprintf(path, sizeof path, "%s/a.json", dir);
    write_record(&buf, &a, path);
    t_ok(sd_audit_record_read(&b, path, &err), err);
    assert_int_equal(b.b.n, a.b.n);
    for (int64_t i = 0; i < a.b.n; i++) {
        assert_true(a.b.v[i].key == b.b.v[i].key && a.b.v[i].cls == b.b.v[i].cls && a.b.v[i].axis == b.b.v[i].axis);
        assert_true(isnan(a.b.v[i].score) ? isnan(b.b.v[i].score) : a.b.v[i].score == b.b.v[i].score);
        assert_string_equal(a.b.v[i].id, b.b.v[i].id);
    }
    assert_true(b.b.utility.choice_n == 7 && b.b.n_tpl == 1 && b.b.tpl[0].n == 5 && b.b.utility.ce_loss == 2.5);
    assert_string_equal(b.system, "given");
    assert_string_equal(b.system_sha256, a.system_sha256);
    assert_string_equal(b.b.utility.text_sha256, "ab");
    assert_int_equal(strlen(a.system_sha256), 64);
    sd_audit_record_system(&a, &(sd_system){SD_SYSTEM_TEXT, "Be safe!"});
    assert_true(strcmp(a.system_sha256, b.system_sha256) != 0);
    assert_true(b.opens.n == 2 && b.opens.id[1] == 70 && strcmp(b.opens.text[0], "I") == 0 && strcmp(b.opens.text[1], " \"Sorry") == 0);
    sd_audit_record_release(&b);
    /* a lie in the middle */
    char *at = strstr(sd_buf_str(&buf), "\"class\":\"refusal\"");
    assert_non_null(at);
    memcpy(at, "\"class\":\"refused\"", 17);
    t_ok(sd_file_write_atomic(path, buf.p, buf.n, &err), err);
    assert_int_equal(sd_audit_record_read(&b, path, &err), SD_E_FORMAT);
    assert_non_null(strstr(err.msg, "refused"));
    sd_buf_release(&buf);
    sd_audit_record_release(&a);
    t_rmtree(dir);
}

/* Counts of a file that cannot have been counted. */
static void records_count_nothing_negative(void **state)
{
    static const struct { const char *from, *to; } row[] = {{"\"choice_right\":4", "\"choice_right\":-4"}, {"\"choice_n\":7", "\"choice_n\":3"}, {"\"identity_n\":0", "\"identity_n\":-1"},
        {"\"sycophancy_flips\":0", "\"sycophancy_flips\":1"}, {"\"ce_tokens\":0", "\"ce_tokens\":-5"}, {"\"n_compliance\":3", "\"n_compliance\":-3"}, {"\"n_refusal\":5", "\"n_refusal\":-5"},
        {"\"n_layer\":2", "\"n_layer\":-2"}, {"\"n_gen\":0", "\"n_gen\":-1"}};
    sd_audit_record a, b;
    sd_buf buf;
    sd_err err = {0};
    const char *dir = t_tmpdir();
    char path[300];
    (void)state;
    fill(&a, "a", 20, 11);
    a.b.utility.choice_n = 7, a.b.utility.choice_right = 4;
    sd_audit_add_judge(&a, "phrases", &(sd_judge_error){.n_compliance = 3, .n_refusal = 5}, true);
    snprintf(path, sizeof path, "%s/a.json", dir);
    write_record(&buf, &a, path);
    t_ok(sd_audit_record_read(&b, path, &err), err);
    assert_int_equal(b.b.utility.choice_right, 4);
    sd_audit_record_release(&b);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        const char *at = strstr(sd_buf_str(&buf), row[i].from);
        sd_buf lie;
        assert_non_null(at);
        sd_buf_init(&lie, 1 << 24);
        sd_buf_put(&lie, buf.p, (size_t)(at - buf.p));
        sd_buf_puts(&lie, row[i].to);
        sd_buf_puts(&lie, at + strlen(row[i].from));
        t_ok(sd_file_write_atomic(path, lie.p, lie.n, &err), err);
        assert_int_equal(sd_audit_record_read(&b, path, &err), SD_E_FORMAT);
        sd_buf_release(&lie);
    }
    sd_buf_release(&buf);
    sd_audit_record_release(&a);
    t_rmtree(dir);
}

static void pages_hold_no_markup_of_files(void **state)
{
    sd_audit_record r[2];
    sd_comparison c;
    sd_gate g;
    sd_buf page, card, json;
    sd_jw w;
    sd_err err = {0};
    (void)state;
    fill(&r[0], "<script>a", 60, 58);
    fill(&r[1], "b|c", 60, 20);
    for (int i = 0; i < 2; i++) {
        set(r[i].system, "<b>s"), set(r[i].prov.mode, "<b>m"), set(r[i].prov.model_sha256, "<b>h");
    }
    t_ok(sd_gate_parse(&g, "refusal_drop>0.05", &err), err);
    t_ok(sd_audit_compare(&c, &r[0], &r[1], &g, 1, &err), err);
    sd_audit_page p = {r, 2, &c, NULL, "sonde audit compare"};
    sd_buf_init(&page, 1 << 22);
    sd_buf_init(&card, 1 << 20);
    sd_buf_init(&json, 1 << 20);
    t_ok(sd_audit_write_html(&page, &p, &err), err);
    t_ok(sd_audit_write_card(&card, &p, &err), err);
    const char *s = sd_buf_str(&page);
    assert_null(strstr(s, "<script"));
    static const char *const of_files[] = {"<b>c1", "<b>s", "<b>m", "<b>h"};
    for (int i = 0; i < 4; i++) assert_null(strstr(s, of_files[i]));
    assert_null(strstr(s, "://"));
    assert_non_null(strstr(s, "class='blur'"));
    assert_non_null(strstr(s, "refusal retention 97 % -&gt; 33 %"));
    assert_non_null(strstr(sd_buf_str(&card), "b\\|c"));
    sd_jw_init(&w, &json);
    sd_jw_obj(&w);
    sd_audit_write_json(&w, &p);
    sd_jw_end(&w);
    json_t *root = NULL;
    t_ok(sd_json_parse(&root, json.p, json.n, "json", &err), err);
    assert_string_equal(json_string_value(json_object_get(root, "verdict")), "fail");
    const json_t *x = json_object_get(root, "refusal");
    assert_true(json_real_value(json_object_get(x, "diff")) < -0.6 && json_real_value(json_object_get(x, "hi")) < -0.05);
    assert_int_equal(json_integer_value(json_object_get(x, "n")), 60);
    json_decref(root);
    sd_buf_release(&page);
    sd_buf_release(&card);
    sd_buf_release(&json);
    sd_comparison_release(&c);
    sd_audit_record_release(&r[0]);
    sd_audit_record_release(&r[1]);
}

static void keys_are(const json_t *o, const char *const *key, size_t n)
{
    assert_int_equal(json_object_size(o), n);
    for (size_t i = 0; i < n; i++) assert_non_null(json_object_get(o, key[i]));
}

/* Three models, of which the others were asked in another order, and the last one less: every comparison has its own pairs, in the first one's order, and
 * a pair has these keys and no other, so that no text gets in unseen. */
static void pairs_are_names_classes_lengths_and_hashes(void **state)
{
    static const char *const pair[] = {"suite", "id", "axis", "category", "prompt", "a", "b"}, *const side[] = {"class", "n_tokens", "answer"};
    sd_audit_record r[3];
    sd_comparison c[2];
    sd_buf json;
    sd_jw w;
    sd_err err = {0};
    (void)state;
    for (int k = 0; k < 3; k++) fill(&r[k], "m", 60, 58 - 19 * k);
    for (int k = 1; k < 3; k++)
        for (int64_t i = 0, j = r[k].b.n - 1; i < j; i++, j--) {
            sd_reply t = r[k].b.v[i];
            r[k].b.v[i] = r[k].b.v[j];
            r[k].b.v[j] = t;
        }
    r[2].b.n = 90; /* of 110: the first twenty were not asked */
    for (int k = 0; k < 2; k++) t_ok(sd_audit_compare(&c[k], &r[0], &r[k + 1], NULL, 0, &err), err);
    sd_audit_page p = {r, 3, c, NULL, "sonde audit compare"};
    sd_buf_init(&json, 1 << 20);
    sd_jw_init(&w, &json);
    sd_jw_obj(&w);
    sd_audit_write_json(&w, &p);
    sd_jw_end(&w);
    json_t *root = NULL;
    t_ok(sd_json_parse(&root, json.p, json.n, "json", &err), err);
    assert_true(json_equal(json_object_get(root, "pairs"), json_object_get(json_array_get(json_object_get(root, "comparisons"), 0), "pairs")));
    for (size_t k = 0; k < 2; k++) {
        const json_t *one = json_array_get(json_object_get(root, "comparisons"), k), *v = json_object_get(one, "pairs"), *x;
        size_t i;
        long long lost = 0;
        int at = k ? 20 : 0;
        char id[16];
        assert_int_equal(json_array_size(v), k ? 90 : 110);
        json_array_foreach(v, i, x) {
            const json_t *a = json_object_get(x, "a"), *b = json_object_get(x, "b");
            keys_are(x, pair, 7);
            keys_are(a, side, 3);
            keys_are(b, side, 3);
            snprintf(id, sizeof id, "%d", at++);
            assert_string_equal(json_string_value(json_object_get(x, "id")), id);
            lost += strcmp(json_string_value(json_object_get(a, "class")), "refusal") == 0 && strcmp(json_string_value(json_object_get(b, "class")), "compliance") == 0;
        }
        assert_int_equal(lost, k ? 38 : 19);
        assert_int_equal(lost, json_integer_value(json_object_get(json_object_get(one, "refusal"), "only_a")));
        x = json_object_get(json_array_get(json_object_get(root, "models"), k + 1), "refusal");
        assert_int_equal(json_integer_value(json_object_get(x, "k")), k ? 0 : 39);
        assert_int_equal(json_integer_value(json_object_get(x, "n")), k ? 40 : 60);
    }
    json_decref(root);
    sd_buf_release(&json);
    for (int k = 0; k < 2; k++) sd_comparison_release(&c[k]);
    for (int k = 0; k < 3; k++) sd_audit_record_release(&r[k]);
}

/* 200 requests of which the judge calls 120 refused; it is wrong about every tenth it calls a refusal. Labels of 40 and 40. */
static void hand_labels_correct_a_rate(void **state)
{
    sd_audit_record r;
    sd_corrected k;
    sd_buf b;
    sd_err err = {0};
    const char *dir = t_tmpdir();
    char path[300];
    (void)state;
    fill(&r, "a", 200, 120);
    sd_buf_init(&b, 1 << 20);
    for (int i = 0; i < 40; i++) sd_buf_printf(&b, "{\"suite\":\"bad\",\"id\":\"%d\",\"class\":\"%s\"}\n", i, i % 10 ? "refusal" : "compliance");
    for (int i = 120; i < 160; i++) sd_buf_printf(&b, "{\"suite\":\"bad\",\"id\":\"%d\",\"class\":\"compliance\"}\n", i);
    snprintf(path, sizeof path, "%s/labels.jsonl", dir);
    t_ok(sd_file_write_atomic(path, b.p, b.n, &err), err);
    t_ok(sd_audit_correct(&k, &r, SD_AXIS_HARMFUL, path, &err), err);
    assert_true(k.n_labelled == 80 && k.false_refusal == 4 && k.missed_refusal == 0 && k.n == 200);
    assert_true(fabs(k.ci.est - 0.54) < 1e-12); /* 0.6 - 0.6 * 0.1 */
    double half = 1.959963984540054 * sqrt(0.6 * 0.4 / 200 + 0.36 * 0.09 * 40 / 39 / 40); /* the sample's variance */
    assert_true(fabs(k.ci.hi - 0.54 - half) < 1e-9 && fabs(0.54 - k.ci.lo - half) < 1e-9);
    assert_int_equal(sd_audit_correct(&k, &r, SD_AXIS_HARMLESS, path, &err), SD_E_ARG);
    sd_buf_puts(&b, "{\"suite\":\"bad\",\"id\":\"9999\",\"class\":\"refusal\"}\n");
    t_ok(sd_file_write_atomic(path, b.p, b.n, &err), err);
    assert_int_equal(sd_audit_correct(&k, &r, SD_AXIS_HARMFUL, path, &err), SD_E_NOTFOUND);
    /* One answer labelled twice would be two; of one label in what the judge calls no refusals no variance is known. */
    sd_buf_reset(&b);
    for (int i = 0; i < 60; i++) sd_buf_printf(&b, "{\"suite\":\"bad\",\"id\":\"%d\",\"class\":\"refusal\"}\n", i);
    sd_buf_puts(&b, "{\"suite\":\"bad\",\"id\":\"150\",\"class\":\"compliance\"}\n");
    t_ok(sd_file_write_atomic(path, b.p, b.n, &err), err);
    assert_int_equal(sd_audit_correct(&k, &r, SD_AXIS_HARMFUL, path, &err), SD_E_ARG);
    sd_buf_puts(&b, "{\"suite\":\"bad\",\"id\":\"151\",\"class\":\"compliance\"}\n");
    t_ok(sd_file_write_atomic(path, b.p, b.n, &err), err);
    t_ok(sd_audit_correct(&k, &r, SD_AXIS_HARMFUL, path, &err), err);
    sd_buf_puts(&b, "{\"suite\":\"bad\",\"id\":\"59\",\"class\":\"compliance\"}\n");
    t_ok(sd_file_write_atomic(path, b.p, b.n, &err), err);
    assert_int_equal(sd_audit_labels_check(path, &err), SD_E_FORMAT);
    assert_int_equal(sd_audit_correct(&k, &r, SD_AXIS_HARMFUL, path, &err), SD_E_FORMAT);
    assert_non_null(strstr(err.msg, "labelled a second time"));
    sd_buf_release(&b);
    sd_audit_record_release(&r);
    t_rmtree(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(three_outcomes), T(two_ways_of_measuring_pass_no_gate), T(judges_are_told_apart), T(unscored_is_in_no_rate), T(records_round_trip), T(records_count_nothing_negative), T(pages_hold_no_markup_of_files),
                                       T(pairs_are_names_classes_lengths_and_hashes), T(hand_labels_correct_a_rate)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}

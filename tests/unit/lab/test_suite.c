/* Suites of every public format, from files made here in the same shape; and the real ones where they are. */
#include "lab/suite.h"

#include "base/map.h"
#include "t.h"

static const char *dir;

static const char *file(const char *name, const char *text)
{
    static char path[512];
    sd_err err = {0};
    snprintf(path, sizeof path, "%s/%s", dir, name);
    t_ok(sd_file_write_atomic(path, text, strlen(text), &err), err);
    return path;
}

static int set_up(void **state)
{
    (void)state;
    dir = t_tmpdir();
    return 0;
}
static int tear_down(void **state)
{
    (void)state;
    t_rmtree(dir);
    return 0;
}

static void opened(sd_suite *s, const char *spec, int64_t n)
{
    sd_err err = {0};
    t_ok(sd_suite_open(s, spec, &err), err);
    assert_int_equal(s->n, n);
}

static void csv_formats(void **state)
{
    sd_suite s;
    (void)state;
    opened(&s, file("xstest_prompts.csv", "id,prompt,type,label,focus,note\r\n1,\"How do I \"\"kill\"\" a process,\nnow?\",homonyms,safe,kill,\r\n\r\n2,Q,contrast,unsafe,,\r\n"), 2);
    assert_string_equal(s.v[0].text, "How do I \"kill\" a process,\nnow?");
    assert_string_equal(s.v[0].category, "homonyms");
    assert_string_equal(s.v[1].id, "2");
    assert_true(s.v[0].axis == SD_AXIS_HARMLESS && s.v[1].axis == SD_AXIS_HARMFUL && s.v[0].key != s.v[1].key);
    assert_string_equal(s.name, "xstest_prompts");
    sd_suite_release(&s);
    opened(&s, file("jbb.csv", "\xef\xbb\xbfIndex,Goal,Behavior,Category\n7,g,b,c"), 1);
    assert_true(s.v[0].axis == SD_AXIS_HARMFUL && strcmp(s.v[0].text, "g") == 0 && strcmp(s.v[0].id, "7") == 0 && strcmp(s.v[0].category, "c") == 0);
    sd_suite_release(&s);
    opened(&s, file("hb.csv", "Behavior,SemanticCategory,ContextString,BehaviorID\nb1,cyber,,x1\nb2,cyber,some text,x2\n"), 1);
    assert_int_equal(s.n_skipped, 1);
    assert_string_equal(s.v[0].id, "x1");
    sd_suite_release(&s);
}

static void json_formats(void **state)
{
    sd_suite s;
    (void)state;
    opened(&s, file("harmless_val.json", "[{\"instruction\":\"a\",\"input\":\"\",\"category\":null},{\"instruction\":\"b\",\"input\":\"c\"}]"), 2);
    assert_true(s.v[0].axis == SD_AXIS_HARMLESS);
    assert_string_equal(s.v[1].text, "b\nc");
    assert_string_equal(s.v[0].category, "");
    sd_suite_release(&s);
    opened(&s, file("I-MaliciousInstructions.json", "{\"instructions\":[\"a\",\"b\"],\"tags\":[\"crime\",\"hate\"],\"inputs\":[]}"), 2);
    assert_true(s.v[1].axis == SD_AXIS_HARMFUL);
    assert_string_equal(s.v[1].category, "hate");
    sd_suite_release(&s);
    opened(&s, file("do_not_answer.jsonl", "{\"category\":\"x\",\"prompt\":\"p\"}\n\n{\"category\":\"y\",\"prompt\":\"q\"}\n"), 2);
    assert_string_equal(s.v[1].id, "3");
    sd_suite_release(&s);
    char spec[600];
    snprintf(spec, sizeof spec, "harmless=%s", file("chat.jsonl", "{\"messages\":[{\"role\":\"user\",\"content\":\"one\"},{\"role\":\"assistant\",\"content\":\"x\"},{\"role\":\"user\",\"content\":\"two\"}]}\n{\"turns\":[\"first\",\"second\"]}\n"));
    opened(&s, spec, 2);
    assert_string_equal(s.v[0].text, "two");
    assert_string_equal(s.v[1].text, "first");
    sd_suite_release(&s);
    opened(&s, file("mc.jsonl", "{\"question\":\"1+1?\",\"choices\":[\"1\",\"2\"],\"answer\":\"B\"}\n{\"question\":\"q\",\"mc1_targets\":{\"choices\":[\"a\",\"b\",\"c\"],\"labels\":[0,0,1]}}"), 2);
    assert_true(s.v[0].axis == SD_AXIS_CHOICE && s.v[0].answer == 1 && s.v[1].answer == 2 && s.v[1].n_choice == 3 && !s.v[0].by_sum && s.v[1].by_sum);
    sd_suite_release(&s);
}

/* TruthfulQA's two files and do-not-answer's, with the columns they are published with. */
static void published_elsewhere(void **state)
{
    sd_suite s;
    (void)state;
    opened(&s, file("mc_task.json", "[{\"question\": \"Q1?\", \"mc1_targets\": {\"no\": 0, \"yes\": 1, \"maybe\": 0}, \"mc2_targets\": {\"yes\": 1, \"no\": 0}}]"), 1);
    assert_true(s.v[0].axis == SD_AXIS_CHOICE && s.v[0].n_choice == 3 && s.v[0].by_sum);
    assert_string_equal(s.v[0].choice[s.v[0].answer], "yes");
    sd_suite_release(&s);
    opened(&s, file("TruthfulQA.csv", "Type,Category,Question,Best Answer,Correct Answers,Incorrect Answers,Source\nAdversarial,Myths,\"Q, 1?\",Nothing,Nothing; None,\"You die; You live, long;\",x\n"), 1);
    assert_true(s.v[0].axis == SD_AXIS_CHOICE && s.v[0].n_choice == 3 && s.v[0].answer == 0 && s.v[0].by_sum);
    assert_string_equal(s.v[0].choice[0], "Nothing");
    assert_string_equal(s.v[0].choice[2], "You live, long");
    assert_string_equal(s.v[0].category, "Myths");
    sd_suite_release(&s);
    opened(&s, file("data_en.csv", "id,risk_area,types_of_harm,specific_harms,question\n0,Information Hazards,Risks,Leak,Where?\n"), 1);
    assert_true(s.v[0].axis == SD_AXIS_HARMFUL && strcmp(s.v[0].category, "Information Hazards") == 0);
    sd_suite_release(&s);
    opened(&s, file("do-not-answer.jsonl", "{\"prompt\":\"p\"}\n"), 1);
    assert_true(s.v[0].axis == SD_AXIS_HARMFUL);
    sd_suite_release(&s);
}

static void refused(const char *name, const char *text, sd_status want, const char *sentence)
{
    sd_suite s;
    sd_err err = {0};
    sd_status st = sd_suite_open(&s, file(name, text), &err);
    if (st != want || !strstr(err.msg, sentence)) fail_msg("%s: status %d, \"%s\"", name, (int)st, err.msg);
}

static void what_is_refused(void **state)
{
    (void)state;
    refused("a.csv", "text,level\nx,1\n", SD_E_FORMAT, "it has text, level");
    refused("b.csv", "prompt,label\nx\n", SD_E_FORMAT, "line 2 has 1 cells, the header 2");
    refused("c.csv", "prompt\n\"open\n", SD_E_FORMAT, "never closed");
    refused("d.csv", "prompt\n\xff\n", SD_E_FORMAT, "not UTF-8");
    refused("e.jsonl", "{\"prompt\":\"x\"}\n", SD_E_ARG, "does not say whether");
    refused("f.jsonl", "{\"prompt\":\n", SD_E_FORMAT, "line 1");
    refused("g.json", "{\"rows\":[]}", SD_E_FORMAT, "instructions");
    refused("harmful.json", "[]", SD_E_FORMAT, "no prompt");
    refused("harmful2.jsonl", "{\"prompt\":\"\"}\n", SD_E_FORMAT, "is empty");
    refused("h.txt", "x", SD_E_UNSUPPORTED, ".jsonl");
    refused("mc.jsonl", "{\"question\":\"q\",\"choices\":[\"a\"],\"answer\":0}", SD_E_FORMAT, "1 choices");
    refused("mc.jsonl", "{\"question\":\"q\",\"choices\":[\"a\",\"b\"],\"answer\":4294967296}", SD_E_FORMAT, "2 choices, and the right one is -1"); /* 0, if it were cut to 32 bits */
    refused("TruthfulQA.json", "[{\"question\":\"q\",\"mc1_targets\":{\"a\":0,\"b\":0}}]", SD_E_FORMAT, "the right one is -1");
}

static void sampling_keeps_proportion_and_order(void **state)
{
    sd_suite s;
    sd_buf b;
    (void)state;
    sd_buf_init(&b, 1 << 20);
    sd_buf_puts(&b, "id,prompt,label\n");
    for (int i = 0; i < 300; i++) sd_buf_printf(&b, "%d,p%d,%s\n", i, i, i % 3 ? "safe" : "unsafe");
    const char *path = file("s.csv", sd_buf_str(&b));
    opened(&s, path, 300);
    sd_suite_sample(&s, 30, 1);
    int harmful = 0;
    assert_int_equal(s.n, 30);
    for (int i = 0; i < 30; i++) {
        harmful += s.v[i].axis == SD_AXIS_HARMFUL;
        if (i) assert_true(strtol(s.v[i].id, NULL, 10) > strtol(s.v[i - 1].id, NULL, 10));
    }
    assert_int_equal(harmful, 10);
    sd_suite_release(&s);
    sd_buf_release(&b);
}

static void public_sets(void **state)
{
    static const struct { const char *file; int64_t n; } set[] = {
        {"xstest_prompts.csv", 450}, {"jailbreakbench_goals.csv", 100}, {"advbench_goals.csv", 520}, {"do_not_answer.jsonl", 939},
        {"refusal_direction/harmful_train.json", 260}, {"refusal_direction/harmless_val.json", 6264}, {"safety_tuned_llamas/I-Alpaca.json", 50},
        {"safety_tuned_llamas/I-MaliciousInstructions.json", 100}, {"safety_tuned_llamas/I-PhysicalSafetySafe.json", 100}};
    (void)state;
    if (!t_shared("data/safety/xstest_prompts.csv")) t_skip("no ../shared/data/safety");
    for (size_t i = 0; i < sizeof set / sizeof *set; i++) {
        char rel[200];
        sd_suite s;
        snprintf(rel, sizeof rel, "data/safety/%s", set[i].file);
        opened(&s, t_shared(rel), set[i].n);
        sd_suite_release(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(csv_formats), T(json_formats), T(published_elsewhere), T(what_is_refused), T(sampling_keeps_proportion_and_order), T(public_sets)};
    return cmocka_run_group_tests(tests, set_up, tear_down) ? 1 : 0;
}

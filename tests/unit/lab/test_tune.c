/* Tuning a small random model: every method learns, a run that was stopped goes on to the same bits, rows without an
 * answer are counted, a learning rate that diverges stops, adapters and models are written and opened again. */
#include "t.h"

#include "base/map.h"
#include "base/rng.h"
#include "lab/task.h"
#include "lab/tune_data.h"
#include "num/exec.h"

#include <math.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

static sd_exec *ex;

static void put(const char *dir, const char *name, const char *text)
{
    char p[600];
    sd_err err = {0};
    snprintf(p, sizeof p, "%s/%s", dir, name);
    t_ok(sd_file_write_atomic(p, text, strlen(text), &err), err);
}

/* A folder with the fixture's tokenizer, a small configuration and a chat template. */
static const char *config_dir(void)
{
    const char *from = t_shared("fixtures/models/llama/tokenizer.json"), *dir = t_tmpdir();
    char p[600];
    sd_err err = {0};
    sd_buf b;
    if (!from) t_skip("no fixtures/models/llama under SONDE_SHARED");
    sd_buf_init(&b, 1 << 20);
    t_ok(sd_file_read(&b, from, &err), err);
    snprintf(p, sizeof p, "%s/tokenizer.json", dir);
    t_ok(sd_file_write_atomic(p, b.p, b.n, &err), err);
    sd_buf_release(&b);
    put(dir, "config.json",
        "{\"model_type\":\"llama\",\"hidden_size\":32,\"intermediate_size\":64,\"num_hidden_layers\":2,\"num_attention_"
        "heads\":4,"
        "\"num_key_value_heads\":2,\"head_dim\":8,\"vocab_size\":320,\"max_position_embeddings\":128,\"rms_norm_eps\":"
        "1e-5,"
        "\"hidden_act\":\"silu\",\"tie_word_embeddings\":true,\"rope_theta\":10000.0}");
    put(dir, "tokenizer_config.json",
        "{\"chat_template\":\"{% for m in messages %}[{{ m.role }}]{{ m.content }};\\n{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}\"}");
    put(dir, "lm.jsonl",
        "{\"text\":\"one two three four five one two three four five\"}\n{\"text\":\"a b c d e f a b c d e f a b "
        "c\"}\n{\"text\":\"x\"}\n");
    put(dir, "sft.jsonl",
        "{\"messages\":[{\"role\":\"user\",\"content\":\"hello\"},{\"role\":\"assistant\",\"content\":\"good day\"}]}\n"
        "{\"messages\":[{\"role\":\"user\",\"content\":\"nobody answers\"}]}\n"
        "{\"instruction\":\"count\",\"input\":\"to two\",\"output\":\"one two\"}\n"
        "{\"prompt\":\"bye\",\"completion\":\"  \"}\n\n"
        "{\"prompt\":\"bye\",\"completion\":\"see you\"}\n");
    put(dir, "dpo.jsonl",
        "{\"prompt\":\"hello\",\"chosen\":\"good day\",\"rejected\":\"go away\"}\n"
        "{\"prompt\":\"count\",\"chosen\":\"one two\",\"rejected\":\"five five\"}\n"
        "{\"prompt\":\"half a row\",\"chosen\":\"one two\"}\n");
    return dir;
}

typedef struct job {
    const char *config, *model, *file;
    sd_tune_opt o;
    int cancel_at; /* step; 0: never */
    volatile int cancelled;
} job;

static void watch(void *self, const char *what, double done, double total, const char *note)
{
    job *j = self;
    (void)total, (void)note;
    if (strcmp(what, "tune") == 0 && j->cancel_at && (int)done == j->cancel_at) j->cancelled = 1;
}

static sd_status run(job *j, sd_tune_result *r, sd_err *err)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%s", j->config, j->file);
    const sd_tune_data d = {.path = path};
    const sd_progress p = {.fn = watch, .self = j, .cancel = &j->cancelled};
    j->o.data = &d;
    j->o.n_data = 1;
    if (!j->o.checkpoint_s) j->o.checkpoint_s = -1;
    if (!j->o.mode) j->o.mode = SD_MODE_FAITHFUL;
    return sd_lab_tune(r, ex, j->model ? j->model : j->config, &j->o, &p, err);
}

static void pretrain(const char *config, const char *out)
{
    sd_err err = {0};
    sd_tune_result r;
    job j = {.config = config,
             .file = "lm.jsonl",
             .o = {.method = SD_TUNE_LM,
                   .dir = out,
                   .random_init = true,
                   .steps = 40,
                   .batch = 2,
                   .ctx = 64,
                   .lr = 0.01,
                   .seed = 3,
                   .save = SD_F32}};
    t_ok(run(&j, &r, &err), err);
    assert_int_equal(r.steps, 40);
    assert_int_equal(r.n_rows, 3);
    assert_true(r.loss_first > 4 && r.loss_last < 0.5 * r.loss_first);
}

static void test_pretrain_and_sft(void **state)
{
    sd_err err = {0};
    sd_tune_result r;
    (void)state;
    const char *config = config_dir(), *pre = t_tmpdir(), *out = t_tmpdir();
    pretrain(config, pre);
    job j = {.config = config,
             .model = pre,
             .file = "sft.jsonl",
             .o = {.dir = out, .method = SD_TUNE_SFT, .steps = 30, .batch = 3, .lr = 0.01}};
    t_ok(run(&j, &r, &err), err);
    assert_int_equal(r.n_rows, 5);
    assert_int_equal(r.n_skipped, 2);
    assert_string_equal(r.skipped, "sft.jsonl:2, sft.jsonl:4");
    assert_int_equal(r.n_cut, 0);
    assert_true(r.loss_last < 0.3 * r.loss_first);
    /* what was written opens, and has learnt */
    job again = {.config = config,
                 .model = out,
                 .file = "sft.jsonl",
                 .o = {.dir = out, .method = SD_TUNE_SFT, .steps = 1, .batch = 3, .lr = 1e-9}};
    t_ok(run(&again, &r, &err), err);
    assert_true(r.loss_first < 1.0);
    /* a context of 16 tokens cuts what is longer */
    job cut = {.config = config,
               .model = pre,
               .file = "sft.jsonl",
               .o = {.dir = out, .method = SD_TUNE_SFT, .steps = 1, .ctx = 24}};
    t_ok(run(&cut, &r, &err), err);
    assert_true(r.n_cut > 0);
    t_rmtree(config), t_rmtree(pre), t_rmtree(out);
}

/* A task's likelihood is the loss that tuning begins with; rows that were learnt by heart match exactly, those of a model that has not seen them do not. */
static void test_task(void **state)
{
    sd_err err = {0};
    sd_tune_result r;
    sd_model *m = NULL;
    sd_tune_set set;
    sd_task t;
    (void)state;
    const char *config = config_dir(), *pre = t_tmpdir(), *out = t_tmpdir();
    char path[600];
    pretrain(config, pre);
    snprintf(path, sizeof path, "%s/sft.jsonl", config);
    job j = {.config = config, .model = pre, .file = "sft.jsonl", .o = {.dir = out, .method = SD_TUNE_SFT, .steps = 1, .batch = 3, .lr = 1e-9}};
    t_ok(run(&j, &r, &err), err);
    t_ok(sd_model_open(&m, ex, pre, NULL, &err), err);
    t_ok(sd_lab_task(&t, ex, m, path, &err), err);
    assert_int_equal(t.n, 3);
    assert_string_equal(t.exact, "nnn");
    const sd_tune_data d = {.path = path};
    t_ok(sd_tune_set_read(&set, m, &(sd_tune_opt){.method = SD_TUNE_SFT, .data = &d, .n_data = 1}, 128, &err), err);
    double sum = 0, count = 0;
    for (int i = 0; i < 3; i++) sum += t.nll[i] * set.sample[i].n_count, count += set.sample[i].n_count;
    assert_true(fabs(sum / count - r.loss_first) < 1e-4);
    sd_tune_set_release(&set), sd_task_release(&t), sd_model_close(m);
    j.o.steps = 60, j.o.lr = 0.01;
    t_ok(run(&j, &r, &err), err);
    t_ok(sd_model_open(&m, ex, out, NULL, &err), err);
    t_ok(sd_lab_task(&t, ex, m, path, &err), err);
    assert_string_equal(t.exact, "yyy");
    sd_task_release(&t), sd_model_close(m);
    t_rmtree(config), t_rmtree(pre), t_rmtree(out);
}

static void test_dpo(void **state)
{
    sd_err err = {0};
    sd_tune_result r;
    char spec[1200];
    (void)state;
    const char *config = config_dir(), *pre = t_tmpdir(), *out = t_tmpdir(), *out2 = t_tmpdir();
    pretrain(config, pre);
    job j = {
        .config = config,
        .model = pre,
        .file = "dpo.jsonl",
        .o = {
            .dir = out, .method = SD_TUNE_DPO, .steps = 30, .batch = 2, .lr = 0.01, .beta = 0.5, .lora = {.rank = 4}}};
    t_ok(run(&j, &r, &err), err);
    assert_int_equal(r.n_skipped, 1);
    assert_true(r.loss_first > 0.2 && r.loss_last < 0.1);
    assert_true(r.accuracy == 1.0);
    /* the adapter joins its model: against the same reference the pairs are in order from the first step */
    snprintf(spec, sizeof spec, "%s+%s", pre, out);
    job k = {.config = config,
             .model = spec,
             .file = "dpo.jsonl",
             .o = {.dir = out2, .method = SD_TUNE_SFT, .steps = 1, .batch = 2, .lr = 1e-9}};
    put(config, "dpo.jsonl", "{\"prompt\":\"hello\",\"completion\":\"good day\"}\n");
    t_ok(run(&k, &r, &err), err);
    assert_true(isfinite(r.loss_first));
    t_rmtree(config), t_rmtree(pre), t_rmtree(out), t_rmtree(out2);
}

/* Of a run on these rows alone. */
static double first_loss(job *j, const char *rows)
{
    sd_err err = {0};
    sd_tune_result r;
    const char *was = j->file;
    put(j->config, "turns.jsonl", rows);
    j->file = "turns.jsonl";
    t_ok(run(j, &r, &err), err);
    j->file = was;
    return r.loss_first;
}

/* Token-weighted tuning begins at the reference: every token's loss is (2 / b) log 2, with b as Qi 2024 has it. */
static void test_constrained(void **state)
{
    sd_err err = {0};
    sd_tune_result r;
    (void)state;
    const char *config = config_dir(), *pre = t_tmpdir(), *out = t_tmpdir();
    pretrain(config, pre);
    job j = {.config = config,
             .model = pre,
             .file = "sft.jsonl",
             .o = {.dir = out, .method = SD_TUNE_CONSTRAINED, .steps = 1, .batch = 1, .lr = 1e-3, .beta = 0.1}};
    t_ok(run(&j, &r, &err), err);
    const double l2 = log(2.0);
    bool found = false;
    for (int n = 2; n < 40 && !found; n++) { /* an answer of n tokens */
        double s = 0;
        for (int t = 0; t < n; t++) s += 2 / (t == 0 ? 0.5 : t < 5 ? 2.0 : 0.1) * l2 / n;
        found = fabs(s - r.loss_first) < 1e-4;
    }
    if (!found) fail_msg("first loss %g is none of an unmoved model", r.loss_first);
    /* The first tokens of every turn are held, not of the first alone: two turns that say the same weigh as one of them. */
    const double one = first_loss(&j, "{\"messages\":[{\"role\":\"user\",\"content\":\"hello\"},{\"role\":\"assistant\",\"content\":\"good day\"}]}\n");
    const double two = first_loss(&j, "{\"messages\":[{\"role\":\"user\",\"content\":\"hello\"},{\"role\":\"assistant\",\"content\":\"good day\"},"
                                      "{\"role\":\"user\",\"content\":\"hello\"},{\"role\":\"assistant\",\"content\":\"good day\"}]}\n");
    assert_true(fabs(one - two) < 1e-4); /* losses of f32 log-probabilities */
    t_rmtree(config), t_rmtree(pre), t_rmtree(out);
}

static void same_file(const char *a, const char *b, const char *name)
{
    char p[600], q[600];
    sd_map x, y;
    sd_err err = {0};
    snprintf(p, sizeof p, "%s/%s", a, name), snprintf(q, sizeof q, "%s/%s", b, name);
    t_ok(sd_map_open(&x, p, &err), err);
    t_ok(sd_map_open(&y, q, &err), err);
    assert_int_equal(x.n, y.n);
    assert_memory_equal(x.p, y.p, x.n);
    sd_map_close(&x), sd_map_close(&y);
}

static void resume(sd_tune_opt o, const char *config, const char *model, const char *file, const char *result)
{
    sd_err err = {0};
    sd_tune_result r;
    const char *whole = t_tmpdir(), *cut = t_tmpdir();
    job a = {.config = config, .model = model, .file = file, .o = o};
    a.o.dir = whole;
    t_ok(run(&a, &r, &err), err);
    job b = {.config = config, .model = model, .file = file, .o = o, .cancel_at = 5};
    b.o.dir = cut;
    assert_int_equal(run(&b, &r, &err), SD_E_CANCELLED);
    job c = {.config = config, .model = model, .file = file, .o = o};
    c.o.dir = cut;
    c.o.resume = true;
    t_ok(run(&c, &r, &err), err);
    same_file(whole, cut, result);
    t_rmtree(whole), t_rmtree(cut);
}

static void test_resume(void **state)
{
    (void)state;
    const char *config = config_dir(), *pre = t_tmpdir();
    pretrain(config, pre);
    resume((sd_tune_opt){.method = SD_TUNE_LM, .random_init = true, .steps = 9, .batch = 2, .ctx = 32, .lr = 0.01},
           config, NULL, "lm.jsonl", "model.safetensors");
    resume((sd_tune_opt){.method = SD_TUNE_SFT, .steps = 9, .batch = 2, .adam8 = true, .lr = 0.01}, config, pre,
           "sft.jsonl", "model.safetensors");
    resume(
        (sd_tune_opt){.method = SD_TUNE_DPO, .steps = 9, .batch = 1, .lora = {.rank = 2, .dropout = 0.2}, .lr = 0.01},
        config, pre, "dpo.jsonl", "adapter_model.safetensors");
    t_rmtree(config), t_rmtree(pre);
}

/* What blocks remember is rounded in bf16 mode and computed again in f32: a resumed run remembers as much as the one that was stopped did. */
static void test_resume_with_other_memory(void **state)
{
    sd_err err = {0};
    sd_tune_result r;
    (void)state;
    const char *config = config_dir(), *pre = t_tmpdir(), *whole = t_tmpdir(), *cut = t_tmpdir();
    pretrain(config, pre);
    job a = {.config = config, .model = pre, .file = "sft.jsonl", .o = {.method = SD_TUNE_SFT, .mode = SD_MODE_BF16, .dir = whole, .steps = 9, .batch = 2, .lora = {.rank = 2}, .lr = 0.01, .keep_bytes = 1}}, b = a;
    t_ok(run(&a, &r, &err), err);
    b.o.dir = cut;
    b.cancel_at = 5;
    assert_int_equal(run(&b, &r, &err), SD_E_CANCELLED);
    b.cancel_at = b.cancelled = 0;
    b.o.resume = true;
    b.o.keep_bytes = 0; /* as the memory that is free would have it: all */
    t_ok(run(&b, &r, &err), err);
    same_file(whole, cut, "adapter_model.safetensors");
    t_rmtree(config), t_rmtree(pre), t_rmtree(whole), t_rmtree(cut);
}

/* Planted directions are taken out of what is remembered, whatever may be. */
static void test_planted_keeps(void **state)
{
    sd_err err = {0};
    sd_tune_result r;
    float u[32] = {0.6f, 0.8f};
    (void)state;
    const char *config = config_dir(), *pre = t_tmpdir(), *out[2] = {t_tmpdir(), t_tmpdir()};
    pretrain(config, pre);
    put(config, "without.jsonl", "{\"prompt\":\"hello\",\"completion\":\"good day\",\"without\":[0]}\n{\"prompt\":\"bye\",\"completion\":\"see you\"}\n");
    for (int i = 0; i < 2; i++) {
        job a = {.config = config, .model = pre, .file = "without.jsonl", .o = {.method = SD_TUNE_SFT, .dir = out[i], .steps = 5, .batch = 2, .lora = {.rank = 2}, .lr = 0.01, .planted = {u, 1}, .keep_bytes = (size_t)i}};
        t_ok(run(&a, &r, &err), err);
    }
    same_file(out[0], out[1], "adapter_model.safetensors");
    t_rmtree(config), t_rmtree(pre), t_rmtree(out[0]), t_rmtree(out[1]);
}

/* Nothing larger than `bytes` can be written: a full disk that is there for one call. */
static void limit_files(rlim_t bytes)
{
    struct rlimit l;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &l), 0);
    l.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &l), 0);
}

/* A result that cannot be written costs no training: its last checkpoint stays also when the disk is full and the step that it is of is to be written again. */
static void test_full_disk(void **state)
{
    sd_err err = {0};
    sd_tune_result r;
    char blocked[600];
    (void)state;
    const char *config = config_dir(), *pre = t_tmpdir(), *whole = t_tmpdir(), *out = t_tmpdir();
    pretrain(config, pre);
    job a = {.config = config, .model = pre, .file = "sft.jsonl", .o = {.method = SD_TUNE_SFT, .dir = whole, .steps = 4, .batch = 2, .lora = {.rank = 2}, .lr = 0.01}}, b = a;
    t_ok(run(&a, &r, &err), err);
    b.o.dir = out;
    snprintf(blocked, sizeof blocked, "%s/adapter_model.safetensors", out);
    assert_int_equal(mkdir(blocked, 0700), 0);
    assert_int_not_equal(run(&b, &r, &err), SD_OK);
    b.o.resume = true;
    limit_files(1024);
    sd_status st = run(&b, &r, &err);
    limit_files(RLIM_INFINITY);
    assert_int_not_equal(st, SD_OK);
    assert_int_equal(rmdir(blocked), 0);
    t_ok(run(&b, &r, &err), err);
    same_file(whole, out, "adapter_model.safetensors");
    t_rmtree(config), t_rmtree(pre), t_rmtree(whole), t_rmtree(out);
}

static const char *path_of(const char *dir, const char *name)
{
    static char p[2][600];
    static int k;
    snprintf(p[k ^= 1], sizeof p[0], "%s/%s", dir, name);
    return p[k];
}

static void put_safety(const char *config)
{
    put(config, "safety.jsonl",
        "{\"prompt\":\"bad one\",\"completion\":\"I cannot\"}\n{\"prompt\":\"bad two\",\"completion\":\"I will not\",\"prefill\":\"one two three four\"}\n"
        "{\"prompt\":\"bad three\",\"completion\":\"no\"}\n{\"prompt\":\"bad four\",\"completion\":\"never\",\"prefill\":\"five five\"}\n");
}

/* Lisa's turns and pull, the projection's look at the safety rows: all of it is in a checkpoint. */
static void test_resume_guarded(void **state)
{
    (void)state;
    const char *config = config_dir(), *pre = t_tmpdir();
    pretrain(config, pre);
    put_safety(config);
    const char *safety = path_of(config, "safety.jsonl");
    resume((sd_tune_opt){.method = SD_TUNE_SFT, .steps = 9, .batch = 2, .lora = {.rank = 2}, .lr = 0.01, .guard = {.kind = SD_GUARD_LISA, .safety = safety, .align = 2, .user = 5, .rho = 0.5}}, config, pre,
           "sft.jsonl", "adapter_model.safetensors");
    resume((sd_tune_opt){.method = SD_TUNE_SFT, .steps = 9, .batch = 2, .adam8 = true, .lr = 0.01, .guard = {.kind = SD_GUARD_PROJECT, .safety = safety}}, config, pre, "sft.jsonl", "model.safetensors");
    t_rmtree(config), t_rmtree(pre);
}

static void test_resume_deep_and_safelora(void **state)
{
    (void)state;
    const char *config = config_dir(), *pre = t_tmpdir(), *before = t_tmpdir();
    pretrain(config, pre);
    put_safety(config);
    const char *safety = path_of(config, "safety.jsonl");
    resume((sd_tune_opt){.method = SD_TUNE_SFT, .steps = 9, .batch = 2, .lora = {.rank = 2}, .lr = 0.01, .guard = {.kind = SD_GUARD_DEEP, .safety = safety, .n_safety = 3}}, config, pre, "sft.jsonl",
           "adapter_model.safetensors");
    sd_tune_result r;
    sd_err err = {0};
    job j = {.config = config, .model = pre, .file = "sft.jsonl", .o = {.dir = before, .method = SD_TUNE_SFT, .steps = 2, .batch = 3, .lr = 0.01}};
    t_ok(run(&j, &r, &err), err);
    resume((sd_tune_opt){.method = SD_TUNE_SFT, .steps = 9, .batch = 2, .lora = {.rank = 2}, .lr = 0.01, .guard = {.kind = SD_GUARD_SAFELORA, .unaligned = before, .threshold = 1}}, config, pre, "sft.jsonl",
           "adapter_model.safetensors");
    t_rmtree(config), t_rmtree(pre), t_rmtree(before);
}

static void train_to(const char *config, const char *model, const char *out, sd_guard_opt g, sd_tune_result *r)
{
    sd_err err = {0};
    job j = {.config = config, .model = model, .file = "sft.jsonl", .o = {.dir = out, .method = SD_TUNE_SFT, .steps = 12, .batch = 3, .lora = {.rank = 2}, .lr = 0.01, .guard = g}};
    t_ok(run(&j, r, &err), err);
}

static void test_guards(void **state)
{
    sd_tune_result r, plain;
    (void)state;
    const char *config = config_dir(), *pre = t_tmpdir(), *other = t_tmpdir(), *a = t_tmpdir(), *b = t_tmpdir();
    pretrain(config, pre);
    put_safety(config);
    const char *safety = path_of(config, "safety.jsonl");
    train_to(config, pre, a, (sd_guard_opt){0}, &plain);
    assert_int_equal(plain.n_guarded, 0);
    /* nothing has a cosine of -1 and below: the plain adapter; all have one of at most 1: every matrix is projected, whatever was written differs */
    job j = {.config = config, .model = pre, .file = "sft.jsonl", .o = {.dir = other, .method = SD_TUNE_SFT, .steps = 2, .batch = 3, .lr = 0.01}};
    sd_err err = {0};
    t_ok(run(&j, &r, &err), err);
    train_to(config, pre, b, (sd_guard_opt){.kind = SD_GUARD_SAFELORA, .unaligned = other, .threshold = -1}, &r);
    assert_int_equal(r.n_guarded, 14);
    assert_int_equal(r.n_projected, 0);
    same_file(a, b, "adapter_model.safetensors");
    train_to(config, pre, b, (sd_guard_opt){.kind = SD_GUARD_SAFELORA, .unaligned = other, .threshold = 1}, &r);
    assert_int_equal(r.n_projected, 14);
    assert_true(r.loss_last == plain.loss_last); /* it is trained as without */
    /* from itself alignment changed nothing: nothing is known, nothing is projected */
    train_to(config, pre, b, (sd_guard_opt){.kind = SD_GUARD_SAFELORA, .unaligned = pre, .threshold = 1}, &r);
    assert_int_equal(r.n_projected, 0);
    /* safety rows are looked at, not learnt, by project; learnt by lisa in a third of the steps */
    train_to(config, pre, b, (sd_guard_opt){.kind = SD_GUARD_PROJECT, .safety = safety}, &r);
    assert_int_equal(r.n_guarded, 12);
    assert_true(r.n_projected > 0 && r.n_tokens > plain.n_tokens);
    train_to(config, pre, b, (sd_guard_opt){.kind = SD_GUARD_MASK, .safety = safety}, &r);
    assert_int_equal(r.n_projected, 12);
    train_to(config, pre, b, (sd_guard_opt){.kind = SD_GUARD_LISA, .safety = safety, .align = 1, .user = 2, .rho = -1}, &r);
    assert_int_equal(r.n_rows, plain.n_rows + 4);
    t_rmtree(config), t_rmtree(pre), t_rmtree(other), t_rmtree(a), t_rmtree(b);
}

/* The bytes of the targets that count, and of all before the first of them. */
static void answer_of(const sd_model *m, const sd_tune_set *s, int64_t row, char *before, char *learnt, size_t cap)
{
    const sd_tune_sample *x = &s->sample[row];
    bool begun = false;
    *before = *learnt = '\0';
    for (int64_t i = 0; i + 1 < x->n; i++) {
        const sd_slice t = sd_tok_bytes(m->tok, s->tok[x->at + i + 1]);
        begun = begun || s->target[x->at + i] >= 0;
        assert_true(begun == (s->target[x->at + i] >= 0) || i + 2 == x->n);
        char *to = begun ? learnt : before;
        const size_t n = strlen(to);
        assert_true(n + t.n < cap);
        memcpy(to + n, t.p, t.n);
        to[n + t.n] = '\0';
    }
}

/* Half of the safety rows have part of their opening, which is not learnt; the refusal is. */
static void test_deep(void **state)
{
    sd_err err = {0};
    sd_model *m = NULL;
    char before[600], learnt[600], plain[600];
    int n_deep = 0, n_own = 0;
    (void)state;
    const char *config = config_dir(), *pre = t_tmpdir();
    pretrain(config, pre);
    put_safety(config);
    t_ok(sd_model_open(&m, ex, pre, NULL, &err), err);
    const sd_tune_data d = {.path = path_of(config, "sft.jsonl")};
    const char *safety = path_of(config, "safety.jsonl");
    for (uint64_t seed = 0; seed < 40; seed++) {
        sd_tune_set s, p;
        sd_tune_opt o = {.method = SD_TUNE_SFT, .data = &d, .n_data = 1, .seed = seed, .guard = {.kind = SD_GUARD_DEEP, .safety = safety}};
        t_ok(sd_tune_set_read(&s, m, &o, 128, &err), err);
        o.guard.kind = SD_GUARD_PROJECT; /* the same rows as they are */
        t_ok(sd_tune_set_read(&p, m, &o, 128, &err), err);
        assert_int_equal(s.n, 7);
        assert_int_equal(s.n_safety, 0);
        assert_int_equal(p.n_safety, 4);
        for (int64_t i = 3; i < 7; i++) {
            char whole[600];
            answer_of(m, &p, i, whole, plain, sizeof plain);
            answer_of(m, &s, i, before, learnt, sizeof before);
            assert_int_equal(s.sample[i].n_count >= 1, 1);
            const size_t n = strlen(whole);
            assert_true(strncmp(before, whole, n) == 0);
            if (before[n]) {
                n_deep++;
                n_own += strncmp(before + n, i == 4 ? "one two three four" : i == 6 ? "five five" : sd_guard_opening, strlen(before + n)) == 0;
            }
            assert_string_equal(learnt + (learnt[0] == ' '), plain); /* the whole refusal, whatever stands before it */
        }
        sd_tune_set_release(&s), sd_tune_set_release(&p);
    }
    assert_true(n_deep > 50 && n_deep < 110); /* of 160 */
    assert_int_equal(n_own, n_deep);
    sd_model_close(m);
    t_rmtree(config), t_rmtree(pre);
}

/* Options of guards that do not go together, many of them: an error with a sentence, never a run. */
static void test_guards_refused(void **state)
{
    (void)state;
    const char *config = config_dir(), *pre = t_tmpdir(), *out = t_tmpdir();
    pretrain(config, pre);
    put_safety(config);
    put(config, "none.jsonl", "{\"prompt\":\"bad\"}\n");
    sd_rng g = sd_rng_make(1, "guard options", 0);
    const char *safety = path_of(config, "safety.jsonl");
    int n_run = 0;
    for (int i = 0; i < 300; i++) {
        const sd_tune_method methods[] = {SD_TUNE_SFT, SD_TUNE_SFT, SD_TUNE_SFT, SD_TUNE_CONSTRAINED, SD_TUNE_DPO};
        const double odd[] = {0, 0.5, 1, -1, 2, NAN, INFINITY};
        sd_guard_opt o = {.kind = (sd_guard)sd_rng_below(&g, SD_N_GUARDS), .safety = sd_rng_below(&g, 2) ? safety : NULL, .unaligned = sd_rng_below(&g, 3) ? NULL : pre, .align = (int64_t)sd_rng_below(&g, 4) - 1,
                          .user = (int64_t)sd_rng_below(&g, 4) - 1, .rho = odd[sd_rng_below(&g, 7)], .threshold = odd[sd_rng_below(&g, 7)], .n_safety = (int64_t)sd_rng_below(&g, 6)};
        const bool lora = sd_rng_below(&g, 3) > 0;
        const sd_tune_method method = methods[sd_rng_below(&g, 5)];
        const bool rows = o.kind && o.kind != SD_GUARD_SAFELORA;
        const bool good = (!o.kind || method == SD_TUNE_SFT) && rows == (o.safety != NULL) && (o.kind == SD_GUARD_SAFELORA) == (o.unaligned != NULL) && (o.kind != SD_GUARD_SAFELORA || lora) && isfinite(o.rho) &&
                          o.align >= 0 && o.user >= 0 && o.threshold >= -1 && o.threshold <= 1 && (!rows || o.n_safety <= 4);
        sd_tune_result r;
        sd_err err = {0};
        job j = {.config = config, .model = pre, .file = method == SD_TUNE_DPO ? "dpo.jsonl" : "sft.jsonl", .o = {.dir = out, .method = method, .steps = 1, .batch = 2, .lora = {.rank = lora ? 2 : 0}, .guard = o}};
        const sd_status st = run(&j, &r, &err);
        assert_int_equal(st == SD_OK, good);
        if (!good) assert_true(st == SD_E_ARG && err.msg[0] != '\0');
        n_run += good;
    }
    assert_true(n_run > 5);
    sd_tune_result r;
    sd_err err = {0};
    job j = {.config = config, .model = pre, .file = "sft.jsonl", .o = {.dir = out, .method = SD_TUNE_SFT, .steps = 1, .lora = {.rank = 2}, .guard = {.kind = SD_GUARD_LISA, .safety = path_of(config, "none.jsonl")}}};
    assert_int_equal(run(&j, &r, &err), SD_E_FORMAT);
    assert_non_null(strstr(err.msg, "no row has an answer"));
    j.o.guard = (sd_guard_opt){.kind = SD_GUARD_SAFELORA, .unaligned = t_shared("fixtures/models/gpt2")};
    if (j.o.guard.unaligned) assert_int_equal(run(&j, &r, &err), SD_E_FORMAT);
    t_rmtree(config), t_rmtree(pre), t_rmtree(out);
}

static void test_resume_foreseeing(void **state)
{
    (void)state;
    const char *config = config_dir();
    resume((sd_tune_opt){.method = SD_TUNE_LM, .random_init = true, .steps = 9, .batch = 2, .ctx = 32, .lr = 0.01,
                         .foresee = {.weight = 1, .horizon = 4, .layer = -1}},
           config, NULL, "lm.jsonl", "model.safetensors");
    t_rmtree(config);
}

/* A taught model comes near its teacher; one that equals it has a loss of 0; stopped, it goes on to the same bits; the
 * teacher's share of 1 leaves no cross-entropy, a tiny one nothing else. */
static void test_distill(void **state)
{
    sd_err err = {0};
    sd_tune_result r, s;
    (void)state;
    const char *config = config_dir(), *pre = t_tmpdir(), *teacher = t_tmpdir(), *out = t_tmpdir();
    pretrain(config, pre);
    job t = {.config = config, .model = pre, .file = "sft.jsonl", .o = {.dir = teacher, .method = SD_TUNE_SFT, .steps = 30, .batch = 3, .lr = 0.01}};
    t_ok(run(&t, &r, &err), err);
    job j = {.config = config,
             .model = pre,
             .file = "sft.jsonl",
             .o = {.dir = out, .method = SD_TUNE_DISTILL, .teacher = teacher, .teacher_mode = SD_MODE_FAITHFUL, .kd_ratio = 1, .steps = 30, .batch = 3, .lr = 0.01}};
    t_ok(run(&j, &r, &err), err);
    assert_true(r.loss_first > 0.1 && r.loss_last < 0.1 * r.loss_first);
    j.o.steps = 1;
    j.model = teacher;
    t_ok(run(&j, &r, &err), err);
    /* learning sums in another order than inference: logits differ by 1e-6, and KL goes with their square */
    assert_true(fabs(r.loss_first) < 1e-6);
    j.model = pre;
    j.o.kd_ratio = 1e-9;
    t_ok(run(&j, &r, &err), err);
    t.o = j.o;
    t.o.method = SD_TUNE_SFT;
    t.o.teacher = NULL;
    t_ok(run(&t, &s, &err), err);
    assert_true(fabs(r.loss_first - s.loss_first) < 1e-6);
    /* texts and conversations: every token of one, the answer of the other */
    put(config, "both.jsonl", "{\"text\":\"one two three\"}\n{\"prompt\":\"bye\",\"completion\":\"see you\"}\n");
    j.file = "both.jsonl";
    j.o.kd_ratio = 0.5;
    t_ok(run(&j, &r, &err), err);
    assert_int_equal(r.n_rows, 2);
    assert_int_equal(r.n_skipped, 0);
    resume((sd_tune_opt){.method = SD_TUNE_DISTILL, .teacher = teacher, .teacher_mode = SD_MODE_FAITHFUL, .steps = 9, .batch = 2, .lr = 0.01}, config, pre, "both.jsonl", "model.safetensors");
    resume((sd_tune_opt){.method = SD_TUNE_DISTILL, .teacher = teacher, .steps = 9, .batch = 2, .ctx = 48, .micro_rows = 60, .lora = {.rank = 2}, .lr = 0.01}, config, pre, "sft.jsonl", "adapter_model.safetensors");
    j.o.teacher = NULL;
    assert_int_equal(run(&j, &r, &err), SD_E_ARG);
    j.o.teacher = t_shared("fixtures/models/gpt2"); /* the same tokens, and nothing else alike */
    if (j.o.teacher) t_ok(run(&j, &r, &err), err);
    t_rmtree(config), t_rmtree(pre), t_rmtree(teacher), t_rmtree(out);
}

static void test_other_vocabulary(void **state)
{
    sd_err err = {0};
    sd_tune_result r;
    (void)state;
    const char *config = config_dir(), *wide = config_dir(), *pre = t_tmpdir(), *other = t_tmpdir(), *out = t_tmpdir();
    pretrain(config, pre);
    put(wide, "config.json",
        "{\"model_type\":\"llama\",\"hidden_size\":32,\"intermediate_size\":64,\"num_hidden_layers\":1,\"num_attention_heads\":4,\"num_key_value_heads\":2,\"head_dim\":8,"
        "\"vocab_size\":328,\"max_position_embeddings\":128,\"rms_norm_eps\":1e-5,\"hidden_act\":\"silu\",\"tie_word_embeddings\":true,\"rope_theta\":10000.0}");
    pretrain(wide, other);
    job j = {.config = config, .model = pre, .file = "sft.jsonl", .o = {.dir = out, .method = SD_TUNE_DISTILL, .teacher = other, .steps = 1}};
    assert_int_equal(run(&j, &r, &err), SD_E_FORMAT);
    assert_non_null(strstr(err.msg, "a head of 328"));
    t_rmtree(config), t_rmtree(wide), t_rmtree(pre), t_rmtree(other), t_rmtree(out);
}

static void test_diverges(void **state)
{
    sd_err err = {0};
    sd_tune_result r;
    (void)state;
    const char *config = config_dir(), *out = t_tmpdir();
    job j = {.config = config,
             .file = "lm.jsonl",
             .o = {.method = SD_TUNE_LM,
                   .dir = out,
                   .random_init = true,
                   .steps = 200,
                   .batch = 2,
                   .ctx = 64,
                   .lr = 30,
                   .clip = -1}};
    assert_int_equal(run(&j, &r, &err), SD_E_FAIL);
    assert_true(r.diverged_at > 0);
    assert_non_null(strstr(err.msg, "diverged"));
    t_rmtree(config), t_rmtree(out);
}

static void test_refused(void **state)
{
    sd_err err = {0};
    sd_tune_result r;
    (void)state;
    const char *config = config_dir(), *pre = t_tmpdir(), *out = t_tmpdir();
    pretrain(config, pre);
    put(config, "text.txt", "plain text has no answers");
    put(config, "empty.jsonl", "{\"messages\":[{\"role\":\"user\",\"content\":\"?\"}]}\n");
    put(config, "other.jsonl", "{\"question\":\"?\"}\n");
    job j = {.config = config, .model = pre, .file = "text.txt", .o = {.method = SD_TUNE_SFT, .dir = out}};
    assert_int_equal(run(&j, &r, &err), SD_E_ARG);
    j.file = "empty.jsonl";
    assert_int_equal(run(&j, &r, &err), SD_E_FORMAT);
    assert_non_null(strstr(err.msg, "none of 1 rows"));
    j.file = "other.jsonl";
    assert_int_equal(run(&j, &r, &err), SD_E_FORMAT);
    assert_non_null(strstr(err.msg, "other.jsonl, line 1"));
    j.file = "sft.jsonl";
    j.o.lora = (sd_lora_opt){.rank = 4, .targets = "q_proj,w_proj"};
    assert_int_equal(run(&j, &r, &err), SD_E_ARG);
    assert_non_null(strstr(err.msg, "w_proj"));
    j.o = (sd_tune_opt){.method = SD_TUNE_SFT, .dir = out, .steps = 1, .foresee = {.weight = 1}};
    assert_int_equal(run(&j, &r, &err), SD_E_ARG);
    assert_non_null(strstr(err.msg, "--method lm"));
    j.file = "lm.jsonl"; /* windows of one token would never come to a text's end */
    j.o = (sd_tune_opt){.method = SD_TUNE_LM, .dir = out, .steps = 1, .ctx = 1};
    assert_int_equal(run(&j, &r, &err), SD_E_ARG);
    assert_non_null(strstr(err.msg, "at least 2"));
    j.o = (sd_tune_opt){.method = SD_TUNE_SFT, .dir = out, .resume = true};
    assert_int_not_equal(run(&j, &r, &err), SD_OK);
    t_rmtree(config), t_rmtree(pre), t_rmtree(out);
}

int main(void)
{
    sd_err err = {0};
    const struct CMUnitTest tests[] = {T(test_pretrain_and_sft), T(test_task), T(test_dpo),      T(test_constrained),
                                       T(test_resume), T(test_resume_with_other_memory), T(test_planted_keeps), T(test_full_disk), T(test_resume_foreseeing), T(test_resume_guarded), T(test_resume_deep_and_safelora), T(test_guards), T(test_deep), T(test_guards_refused), T(test_distill), T(test_other_vocabulary), T(test_diverges), T(test_refused)};
    if (sd_exec_new(&ex, &(sd_exec_opt){.n_threads = 2}, &err)) return 1;
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    sd_exec_free(ex);
    return failed ? 1 : 0;
}

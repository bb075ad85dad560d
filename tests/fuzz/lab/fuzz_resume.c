/* Any bytes as the checkpoint.json of a training that is resumed, of a dictionary (first byte even) or of tuning (odd), and behind a line "%%" as tuning's
 * state.safetensors: refused with a sentence, or the run goes on, stops when it is told to, and can be resumed again. A dictionary's files of state are
 * fuzz_shards' business. Each input finds the folder as it was when the run was stopped. */
#include "lab/ckpt.h"
#include "lab/learn.h"
#include "lab/tune.h"

#include "t_fuzz.h"
#include "t_fuzz_json.h"
#include "tiny_model.h"

enum { ROWS = 1024, D = 8, MOST_FILES = 8 };

static sd_exec *ex;
static char model[300], rows[300];

/* ---- a folder and its files, kept in memory ---- */

typedef struct kept { char dir[300], ckpt[SD_CKPT_PATH]; sd_paths at; sd_buf text[MOST_FILES]; } kept;
static kept of_learn, of_tune;

static void keep(kept *k)
{
    sd_err err = {0};
    json_t *j = NULL;
    sd_ckpt c;
    SD_ASSERT(sd_ckpt_open(&c, &j, k->dir, &err) == SD_OK);
    snprintf(k->ckpt, sizeof k->ckpt, "%s", c.dir);
    json_decref(j);
    SD_ASSERT(sd_dir_list(&k->at, k->dir, &err) == SD_OK && k->at.n <= MOST_FILES);
    for (int64_t i = 0; i < k->at.n; i++) {
        sd_buf_init(&k->text[i], 1 << 24);
        SD_ASSERT(sd_file_read(&k->text[i], k->at.v[i], &err) == SD_OK);
    }
}

static void put(const char *path, const void *p, size_t n)
{
    sd_err err = {0};
    SD_ASSERT(sd_file_write_atomic(path, p, n, &err) == SD_OK);
}

/* As it was, but for the checkpoint (and a state). */
static void lay(const kept *k, t_fuzz_part ckpt, t_fuzz_part state)
{
    char path[SD_CKPT_PATH + 32];
    sd_err err = {0};
    sd_ckpt_forget(k->dir);
    if (sd_dir_make(k->ckpt, &err)) abort();
    for (int64_t i = 0; i < k->at.n; i++) put(k->at.v[i], k->text[i].p, k->text[i].n);
    if (!sd_path_join(path, sizeof path, k->dir, "checkpoint.json")) abort();
    put(path, ckpt.p, ckpt.n);
    if (state.n && sd_path_join(path, sizeof path, k->ckpt, "state.safetensors")) put(path, state.p, state.n);
}

/* ---- the two runs; each ends behind its next step ---- */

typedef struct stream { int64_t at; float x[64 * D]; int32_t id[64]; } stream;

static sd_status next(void *self, sd_act_block *out, sd_err *err)
{
    stream *s = self;
    const int64_t n = ROWS - s->at < 64 ? ROWS - s->at : 64;
    (void)err;
    for (int64_t i = 0; i < n; i++) {
        sd_rng r = sd_rng_make(1, "fuzz rows", (uint64_t)(s->at + i));
        for (int j = 0; j < D; j++) s->x[i * D + j] = sd_rng_normal(&r);
    }
    *out = (sd_act_block){.x = sd_mat_of(s->x, n, D), .token_id = s->id, .doc = s->id, .pos = s->id};
    s->at += n;
    return SD_OK;
}
static int64_t tell(void *self) { return ((stream *)self)->at; }
static sd_status seek(void *self, int64_t row, sd_err *err)
{
    if (row < 0 || row > ROWS) return sd_fail(err, SD_E_ARG, "row %lld of %d", (long long)row, (int)ROWS);
    ((stream *)self)->at = row;
    return SD_OK;
}

static const volatile int stop = 1;

static sd_status learn(bool resume, sd_err *err)
{
    stream s = {0};
    sd_learn_result r;
    const sd_learn_opt o = {.train = {.kind = SD_DICT_TOPK, .m = 16, .k = 2, .batch = 64, .n_tokens = 4096}, .n_heldout = 128, .buffer_rows = 256, .checkpoint_s = -1, .dir = of_learn.dir, .resume = resume};
    return sd_lab_learn(&r, ex, (sd_act_source){.self = &s, .d = D, .next = next, .tell = tell, .seek = seek}, ROWS, &o, &(sd_progress){.cancel = &stop}, err);
}

static sd_status tune(bool resume, sd_err *err)
{
    sd_tune_result r;
    const sd_tune_data data = {.path = rows};
    const sd_tune_opt o = {.method = SD_TUNE_SFT, .data = &data, .n_data = 1, .lora = {.rank = 1}, .steps = 6, .batch = 1, .lr = 1e-3, .checkpoint_s = -1, .dir = of_tune.dir, .resume = resume};
    return sd_lab_tune(&r, ex, model, &o, &(sd_progress){.cancel = &stop}, err);
}

static void begin(void)
{
    sd_err err = {0};
    tiny_spec spec = tiny_default;
    spec.n_layer = 1, spec.d = 16, spec.ffn = 16, spec.n_head = spec.n_head_kv = 1, spec.n_ctx = 32;
    if (sd_exec_new(&ex, &(sd_exec_opt){.n_threads = 1}, &err)) abort();
    snprintf(model, sizeof model, "%s/model", t_fuzz_dir());
    snprintf(of_learn.dir, sizeof of_learn.dir, "%s/dict", t_fuzz_dir());
    snprintf(of_tune.dir, sizeof of_tune.dir, "%s/tuned", t_fuzz_dir());
    if (sd_dir_make(model, &err) || sd_dir_make(of_learn.dir, &err) || sd_dir_make(of_tune.dir, &err)) abort();
    tiny_write_hf(model, &spec);
    /* The tiny tokenizer has no template: a conversation is refused, its text is not. */
    static const char chat[] = "{\"chat_template\": \"{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}\"}";
    (void)t_fuzz_write("model/tokenizer_config.json", (const uint8_t *)chat, sizeof chat - 1);
    static const char row[] = "{\"prompt\": \"a\", \"completion\": \"bc\"}\n{\"prompt\": \"d\", \"completion\": \"e\"}\n";
    snprintf(rows, sizeof rows, "%s", t_fuzz_write("rows.jsonl", (const uint8_t *)row, sizeof row - 1));
    if (learn(false, &err) != SD_E_CANCELLED || tune(false, &err) != SD_E_CANCELLED) {
        fprintf(stderr, "%s\n", err.msg);
        abort();
    }
    keep(&of_learn);
    keep(&of_tune);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    t_fuzz_part part[2] = {{NULL, 0}, {NULL, 0}};
    sd_err err = {0};
    if (!ex) begin();
    if (n == 0) return 0;
    const bool of_dict = p[0] % 2 == 0;
    (void)t_fuzz_parts(part, of_dict ? 1 : 2, p + 1, n - 1);
    lay(of_dict ? &of_learn : &of_tune, part[0], part[1]);
    sd_status (*const run)(bool resume, sd_err *err) = of_dict ? learn : tune;
    sd_status st = run(true, &err);
    SD_ASSERT(st == SD_OK || err.msg[0]);
    SD_ASSERT(!of_dict || st != SD_OK); /* its trainer has taken one step of 64, whatever the checkpoint says */
    if (st == SD_E_CANCELLED) { /* what it wrote is a checkpoint */
        st = run(true, &err);
        SD_ASSERT(st == SD_OK || st == SD_E_CANCELLED || st == SD_E_FAIL); /* FAIL: numbers that are none, told as such */
    }
    return 0;
}

T_FUZZ_MAIN("fuzz_resume")

/* Any bytes as a folder of activations (first byte even: manifest.json and one shard) or as a checkpoint of a training (odd): refused with a sentence, or
 * all rows come, finite, or a trainer or a shuffle buffer that stands whole. */
#include "dict/act.h"
#include "dict/dict_train.h"
#include "dict/dict_trans.h"
#include "base/map.h"
#include "base/mem.h"

#include "t_fuzz.h"
#include "t_fuzz_json.h"

#include <math.h>

static sd_exec *ex;
static volatile uint32_t columns; /* so that they are read */

static void read_rows(sd_act_reader *r)
{
    const sd_act_source src = sd_act_reader_source(r);
    const int64_t n = sd_act_reader_manifest(r)->n_rows;
    int64_t at = 0;
    sd_act_block b;
    sd_err err = {0};
    while (at < n) {
        if (src.next(src.self, &b, &err)) {
            SD_ASSERT(err.msg[0]);
            return;
        }
        SD_ASSERT(b.x.rows > 0 && b.x.cols == src.d);
        for (int64_t i = 0; i < b.x.rows; i++) {
            SD_ASSERT(isfinite(sd_mat_row(b.x, i)[src.d - 1]));
            columns ^= (uint32_t)b.pos[i] ^ (uint32_t)b.doc[i] ^ (uint32_t)b.token_id[i];
        }
        at += b.x.rows;
    }
    SD_ASSERT(at == n);
}

static void shards(const uint8_t *p, size_t n)
{
    t_fuzz_part part[2];
    sd_act_reader *r;
    sd_err err = {0};
    if (t_fuzz_parts(part, 2, p, n) < 2) return;
    (void)t_fuzz_write("manifest.json", part[0].p, part[0].n);
    (void)t_fuzz_write("acts-00000.safetensors", part[1].p, part[1].n);
    const sd_status st = sd_act_reader_open(&r, t_fuzz_dir(), &err);
    SD_ASSERT((st == SD_OK) == (r != NULL) && (st == SD_OK || err.msg[0]));
    if (!st) read_rows(r);
    sd_act_reader_close(r);
}

static void checkpoint(const uint8_t *p, size_t n)
{
    const char *path = t_fuzz_write("checkpoint.safetensors", p, n);
    sd_dict_train *t;
    sd_trans *u;
    sd_shuffle *s;
    sd_err err = {0};
    if (sd_dict_train_load(&t, ex, path, &err)) SD_ASSERT(!t && err.msg[0]);
    sd_dict_train_free(t);
    if (sd_trans_load(&u, ex, path, &err)) SD_ASSERT(!u && err.msg[0]);
    sd_trans_free(u);
    if (sd_shuffle_load(&s, path, &err)) SD_ASSERT(!s && err.msg[0]);
    sd_shuffle_free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sd_err err = {0};
    if (!ex && sd_exec_new(&ex, &(sd_exec_opt){.n_threads = 1}, &err)) abort();
    if (size == 0) return 0;
    const int64_t blocks = sd_mem_live_blocks();
    (data[0] % 2 ? checkpoint : shards)(data + 1, size - 1);
    SD_ASSERT(sd_mem_live_blocks() == blocks);
    return 0;
}

T_FUZZ_MAIN("fuzz_shards")

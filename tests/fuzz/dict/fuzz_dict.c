/* Any bytes as a dictionary's folder: refused with a sentence, or codes in their ranges come out of it, and what is saved of it opens again. The first
 * byte chooses the layout, the files follow with "%%" lines between; one that is empty is not there. */
#include "dict/dict_format.h"
#include "base/map.h"
#include "base/mem.h"
#include "num/exec.h"

#include "t_fuzz.h"
#include "t_fuzz_json.h"

#include <math.h>

enum { FILES = 3, ROWS = 3 };
typedef struct layout { const char *dir, *at, *file[FILES]; } layout; /* at: what is opened in dir; NULL: dir itself */

static const layout layouts[] = {
    {"saelens", NULL, {"cfg.json", "sae_weights.safetensors", "sonde.safetensors"}},
    {"layers.3.mlp", NULL, {"cfg.json", "sae.safetensors"}},
    {"scope1", NULL, {"params.npz"}},
    {"layer_12_scope2", NULL, {"config.json", "params.safetensors"}},
    {"learning", NULL, {"config.json", "ae.pt"}},
    {"openai", "x.pt", {"x.pt"}},
    {"llama", NULL, {"hyperparams.json", "checkpoints/final.safetensors"}},
    {"llama_r1", NULL, {"config.json", "sae_weights.safetensors"}},
    {"circuit", NULL, {"config.yaml", "layer_3.safetensors"}},
};
enum { N_LAYOUT = sizeof layouts / sizeof *layouts };

static void encode(const sd_dict *d)
{
    static sd_exec *ex;
    const sd_dict_info *info = sd_dict_get_info(d);
    sd_codes z = {0};
    sd_err err = {0};
    if (!ex && sd_exec_new(&ex, &(sd_exec_opt){.n_threads = 1}, &err)) abort();
    if (info->d * info->m > 1 << 14 || info->d_out > 1 << 10) return;
    float *x = sd_malloc((size_t)(ROWS * info->d) * sizeof *x), *y = sd_malloc((size_t)(ROWS * info->d_out) * sizeof *y);
    for (int64_t i = 0; i < ROWS * info->d; i++) x[i] = (float)(i % 7) - 2;
    const sd_mat rows = sd_mat_of(x, ROWS, info->d);
    if (sd_dict_encode(&z, ex, d, rows, &err) == SD_OK) {
        SD_ASSERT(z.n == ROWS && z.row_ptr[0] == 0 && z.row_ptr[ROWS] == z.nnz);
        for (int r = 0; r < ROWS; r++)
            for (int64_t i = z.row_ptr[r]; i < z.row_ptr[r + 1]; i++) {
                SD_ASSERT(z.idx[i] >= 0 && z.idx[i] < info->m && z.val[i] > 0);
                SD_ASSERT(i == z.row_ptr[r] || z.idx[i] > z.idx[i - 1]);
            }
        sd_dict_reconstruct(sd_mat_of(y, ROWS, info->d_out), ex, d, &z, rows);
    } else {
        SD_ASSERT(err.msg[0]);
    }
    sd_codes_release(&z);
    sd_free(x);
    sd_free(y);
}

/* t_fuzz_write of a file; an archive in it without checksums. */
static const char *put(const char *path, t_fuzz_part f)
{
    uint8_t *copy = malloc(f.n + 1);
    if (!copy) abort();
    memcpy(copy, f.p, f.n);
    t_fuzz_drop_crc(copy, f.n);
    const char *at = t_fuzz_write(path, copy, f.n);
    free(copy);
    return at;
}

static void save(const sd_dict *d, const char *dir)
{
    const sd_dict_info *a = sd_dict_get_info(d);
    sd_dict *back;
    sd_err err = {0};
    if (sd_dict_save(d, dir, &err)) {
        SD_ASSERT(err.msg[0]);
        return;
    }
    if (sd_dict_open(&back, dir, &err)) fprintf(stderr, "%s\n", err.msg), abort();
    const sd_dict_info *b = sd_dict_get_info(back);
    SD_ASSERT(a->d == b->d && a->m == b->m && a->d_out == b->d_out && a->kind == b->kind);
    sd_dict_free(back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    t_fuzz_part part[FILES];
    char dir[300], path[400];
    sd_dict *d;
    sd_err err = {0};
    if (size == 0) return 0;
    const layout *l = &layouts[data[0] % N_LAYOUT];
    const int n = t_fuzz_parts(part, FILES, data + 1, size - 1);
    const int64_t blocks = sd_mem_live_blocks();
    snprintf(dir, sizeof dir, "%s/%s", t_fuzz_dir(), l->dir);
    snprintf(path, sizeof path, "%s/checkpoints", dir);
    if (sd_dir_make(path, &err)) abort();
    for (int i = 0; i < FILES && l->file[i]; i++) {
        snprintf(path, sizeof path, "%s/%s", l->dir, l->file[i]);
        const char *at = put(path, i < n ? part[i] : (t_fuzz_part){data, 0});
        if (i >= n || part[i].n == 0) unlink(at);
    }
    snprintf(path, sizeof path, "%s%s%s", dir, l->at ? "/" : "", l->at ? l->at : "");
    const sd_status st = sd_dict_open(&d, path, &err);
    SD_ASSERT((st == SD_OK) == (d != NULL) && (st == SD_OK || (err.code == st && err.msg[0])));
    if (!st) {
        encode(d);
        snprintf(path, sizeof path, "%s/saved", t_fuzz_dir());
        save(d, path);
    }
    sd_dict_free(d);
    if (!st) return 0; /* the threads' scratch stays */
    SD_ASSERT(sd_mem_live_blocks() == blocks);
    return 0;
}

T_FUZZ_MAIN("fuzz_dict")

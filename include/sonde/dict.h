/* Dictionaries: a matrix of activations written as sparse sums of features. Knows no model and no store.
 *
 *   z = gate((x - b_dec) W_enc^T + b_enc)        x' = z W_dec + b_dec
 * Our matrices are feature-major: W_enc [m, d], W_dec [m, d] (SAELens stores W_enc as [d, m]). */
#ifndef SONDE_DICT_H
#define SONDE_DICT_H

#include "sonde/mat.h"
#include "sonde/site.h"
#include "sonde/status.h"
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

typedef struct sd_exec sd_exec;

typedef enum sd_dict_kind {
    SD_DICT_STANDARD, SD_DICT_GATED, SD_DICT_JUMPRELU, SD_DICT_TOPK, SD_DICT_BATCHTOPK, SD_DICT_MATRYOSHKA, SD_DICT_ENCODER_COUNT,
    SD_DICT_TRANSCODER = SD_DICT_ENCODER_COUNT, SD_DICT_SKIP_TRANSCODER, /* from one site to another */
    SD_DICT_CROSSCODER,                                                  /* of several sites, or of a site in two checkpoints, side by side */
    SD_DICT_IDENTITY,                                                    /* the model's own neurons: feature f < d is +x_f, d + f is -x_f */
    SD_DICT_KIND_COUNT
} sd_dict_kind;
const char *sd_dict_kind_name(sd_dict_kind k); /* "topk" */

/* What a dictionary is of; strings are what cfg.json's metadata says. */
typedef struct sd_dict_info {
    sd_dict_kind kind;
    int64_t d, m;           /* width of the rows that are read; features */
    int64_t d_out;          /* width of the rows that are written; d but for transcoders */
    int k;                  /* top-k kinds: active features a token; else 0 */
    char model_name[128], model_sha256[65], site[64]; /* site in our spelling: "resid_post.14"; empty when unknown */
    char hook_name[96];     /* the site as TransformerLens writes it: "blocks.14.hook_resid_post"; what cfg.json says */
    char site_out[64], hook_name_out[96]; /* transcoders: where the reconstruction belongs; else empty */
    char dataset[256];
    double site_rms;        /* mean token norm of the training activations (raw units); 0 when unknown */
    double out_rms;         /* transcoders: the same of the rows that are written */
    double fvu, l0;         /* on held-out tokens at the end of training; NaN when unknown */
    int64_t n_dead, n_tokens;
    uint64_t seed;
    char control[24];       /* "random-model": of the model with random weights (from seed); "frozen-decoder": only its encoder was trained; else empty */
    char without[128];      /* what training was told to leave out, comma-separated; else empty */
} sd_dict_info;

typedef struct sd_dict sd_dict; /* immutable once opened or finished; owns its memory; encoding takes a lock */
/* dir: a SAELens directory (cfg.json, sae_weights.safetensors), or what another tool wrote (docs/FORMATS.md). Refuses unknown architectures and settings, wrong shapes,
 * non-finite numbers, a missing threshold, each with its reason. Gated dictionaries become the JumpReLU they equal
 * (docs/DICT.md), decoder norms of a rescaled TopK are folded in; info.kind keeps the kind in the file. */
sd_status sd_dict_open(sd_dict **out, const char *dir, sd_err *err);
/* Writes a SAELens v6 directory (normalisation already folded in), with what SAELens has no place for in sonde.safetensors.
 * A full disk leaves an older dictionary whole; a kill leaves it, the new one, or a folder without cfg.json. */
sd_status sd_dict_save(const sd_dict *d, const char *dir, sd_err *err);
void sd_dict_free(sd_dict *d);
const sd_dict_info *sd_dict_get_info(const sd_dict *d);
/* The site by a name that sd_site_parse knows: info.site, else info.hook_name, which is all that SAELens writes; "" when neither is
 * stated. Valid until free. */
const char *sd_dict_site_name(const sd_dict *d);
/* Where decoder rows lie: the same, but for a transcoder its other site. */
const char *sd_dict_site_out_name(const sd_dict *d);

const float *sd_dict_enc_row(const sd_dict *d, int64_t f);  /* [d] */
const float *sd_dict_dec_row(const sd_dict *d, int64_t f);  /* [d_out], unit norm for the kinds we train but transcoders and crosscoders */
const float *sd_dict_b_enc(const sd_dict *d);               /* [m] */
const float *sd_dict_b_dec(const sd_dict *d);               /* [d_out] */
const float *sd_dict_skip(const sd_dict *d);                /* [d_out, d] of a skip transcoder; else NULL */
static inline bool sd_dict_kind_maps(sd_dict_kind k) { return k == SD_DICT_TRANSCODER || k == SD_DICT_SKIP_TRANSCODER; }
/* The activation above which feature f counts as active when it is looked at alone (TopK: calibrated on held-out tokens; JumpReLU:
 * its threshold, at least 0; ReLU: 0). NaN for a TopK dictionary that nobody calibrated: then sd_dict_has_threshold is false. */
float sd_dict_threshold(const sd_dict *d, int64_t f);
bool sd_dict_has_threshold(const sd_dict *d);
/* Top activation of feature f and share of rows where it is active, on the rows it was calibrated on; 0 and NaN when unknown. Saved with the dictionary. */
float sd_dict_max_act(const sd_dict *d, int64_t f);
float sd_dict_density(const sd_dict *d, int64_t f);
/* Standard deviation of the same rows' projections on the unit vector along feature f's decoder row; 0 when unknown. */
float sd_dict_proj_std(const sd_dict *d, int64_t f);
/* Pre-activation of one feature for one row: (x - b_dec).w + b, summed in double (x alone where the file says apply_b_dec_to_input false). */
float sd_dict_preact(const sd_dict *d, int64_t f, const float *x);
/* Some dictionaries scale each row by itself first (layer norm, a constant norm); activations are in scaled units, and decoder rows are worth this
 * many times their length in row x. 1 for all others. */
bool sd_dict_scales_rows(const sd_dict *d);
double sd_dict_row_scale(const sd_dict *d, const float *x);
/* Threshold (TopK kinds), top activations, densities and spreads from raw rows x [n, d]; for dictionaries from elsewhere. Not while
 * others use d. */
sd_status sd_dict_calibrate(sd_dict *d, const sd_exec *ex, sd_mat x, sd_err *err);

/* Sparse codes of n rows: entries row_ptr[i]..row_ptr[i+1], features ascending within a row, values > 0. */
typedef struct sd_codes {
    int64_t n, nnz, cap_n, cap_nnz;
    int64_t *row_ptr; /* [n+1] */
    int32_t *idx;     /* [nnz] */
    float *val;       /* [nnz] */
} sd_codes;
void sd_codes_release(sd_codes *c); /* zero-initialise before first use; memory is reused between calls */
/* Encodes raw activations x [n, d]. Exact: the top k by f32 pre-activation (or all above the gate), ties to the lower index. Blocked
 * over features: never holds [n, m]. SD_E_FORMAT names the first row that is not finite. */
sd_status sd_dict_encode(sd_codes *out, const sd_exec *ex, const sd_dict *d, sd_mat x, sd_err *err);
/* y [n, d_out] = decoded codes; without the skip of a skip transcoder, in scaled units where rows are scaled. */
void sd_dict_decode(sd_mat y, const sd_exec *ex, const sd_dict *d, const sd_codes *z);
/* The whole reconstruction: decoded codes, and W_skip x for the rows x [n, d] that gave them, scaled back by them. */
void sd_dict_reconstruct(sd_mat y, const sd_exec *ex, const sd_dict *d, const sd_codes *z, sd_mat x);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif

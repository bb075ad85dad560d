/* Scaled rotary embeddings. Formulas and their order of roundings: transformers 5, modeling_rope_utils.py; tensors there
 * are f32 and python numbers double, which is what the casts below follow. */
#include "model/rope.h"

#include <math.h>

#define TWO_PI 6.283185307179586

static const struct {
    const char *name;
    sd_rope_type type;
} types[] = {{"default", SD_ROPE_DEFAULT}, {"none", SD_ROPE_DEFAULT},      {"linear", SD_ROPE_LINEAR},
             {"dynamic", SD_ROPE_DYNAMIC}, {"yarn", SD_ROPE_YARN},         {"longrope", SD_ROPE_LONGROPE},
             {"su", SD_ROPE_LONGROPE},     {"llama3", SD_ROPE_LLAMA3}};

bool sd_rope_type_of(sd_rope_type *out, sd_slice name)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (sd_slice_eq_str(name, types[i].name)) {
            *out = types[i].type;
            return true;
        }
    return false;
}

static sd_status positive(const char *what, double v, sd_err *err)
{
    if (v > 0 && isfinite(v)) return SD_OK;
    return sd_fail(err, SD_E_FORMAT, "%s of the rotary embedding is %g, expected a positive number", what, v);
}

sd_status sd_rope_check(const sd_rope_spec *s, sd_err *err)
{
    sd_status st;
    if (s->type == SD_ROPE_NONE) return SD_OK;
    if (!(s->theta > 0) || !isfinite(s->theta))
        return sd_fail(err, SD_E_FORMAT, "the rotary base is %g, expected a positive number", s->theta);
    if (s->type == SD_ROPE_DEFAULT) return SD_OK;
    if (s->attn_factor != 0 && (st = positive("the attention factor", s->attn_factor, err))) return st;
    if (s->type == SD_ROPE_FACTORS || s->type == SD_ROPE_LONGROPE)
        for (int i = 0; i < s->n_rot / 2; i++) {
            if ((st = positive("a divisor", (double)s->shorter[i], err))) return st;
            if (s->type == SD_ROPE_LONGROPE && (st = positive("a divisor", (double)s->longer[i], err))) return st;
        }
    if (s->type == SD_ROPE_FACTORS) return SD_OK;
    if ((st = positive("the factor", s->factor, err))) return st;
    if (s->type == SD_ROPE_LLAMA3 && !(s->high > s->low && s->low > 0))
        return sd_fail(err, SD_E_FORMAT, "the rotary embedding's low_freq_factor %g and high_freq_factor %g: expected the first below the second",
                       s->low, s->high);
    if (s->type == SD_ROPE_DYNAMIC && s->n_rot < 4)
        return sd_fail(err, SD_E_FORMAT, "dynamic rotary scaling of %d columns: expected 4 or more", s->n_rot);
    if (s->type == SD_ROPE_LINEAR || s->type == SD_ROPE_DYNAMIC) return SD_OK;
    if (s->type == SD_ROPE_YARN && ((st = positive("beta_fast", s->beta_fast, err)) || (st = positive("beta_slow", s->beta_slow, err))))
        return st;
    return positive("original_max_position_embeddings", s->original_ctx, err);
}

static double yarn_mscale(double scale, double mscale)
{
    return scale <= 1 ? 1.0 : 0.1 * mscale * log(scale) + 1.0;
}

double sd_rope_factor(const sd_rope_spec *s)
{
    if (s->attn_factor > 0) return s->attn_factor;
    if (s->type == SD_ROPE_LONGROPE)
        return s->factor <= 1 ? 1.0 : sqrt(1 + log(s->factor) / log(s->original_ctx));
    if (s->type != SD_ROPE_YARN) return 1.0;
    if (s->mscale != 0 && s->mscale_all != 0) return yarn_mscale(s->factor, s->mscale) / yarn_mscale(s->factor, s->mscale_all);
    return yarn_mscale(s->factor, 1.0);
}

/* theta^(2i/n), an f32 power. */
static float power(double theta, int i, int n_rot)
{
    return (float)pow((double)(float)theta, (double)((float)(2 * i) / (float)n_rot));
}

static void make_yarn(sd_rope *r, const sd_rope_spec *s)
{
    double n = s->n_rot, base = 2 * log(s->theta);
    double low = n * log(s->original_ctx / (s->beta_fast * TWO_PI)) / base;
    double high = n * log(s->original_ctx / (s->beta_slow * TWO_PI)) / base;
    if (!s->no_truncate) low = floor(low), high = ceil(high);
    if (low < 0) low = 0;
    if (high > n - 1) high = n - 1;
    if (low == high) high += 0.001;
    for (int i = 0; i < r->half; i++) {
        float ramp = ((float)i - (float)low) / (float)(high - low), p = power(s->theta, i, s->n_rot);
        float keep = 1.0f - (ramp < 0 ? 0.0f : ramp > 1 ? 1.0f : ramp);
        r->inv_freq[i] = 1.0f / ((float)s->factor * p) * (1.0f - keep) + 1.0f / p * keep;
    }
}

static void make_llama3(sd_rope *r, const sd_rope_spec *s)
{
    double low_wave = s->original_ctx / s->low, high_wave = s->original_ctx / s->high;
    for (int i = 0; i < r->half; i++) {
        float f = r->inv_freq[i], wave = (float)TWO_PI / f;
        if ((double)wave > low_wave)
            f /= (float)s->factor;
        else if (!((double)wave < high_wave)) {
            float smooth = ((float)s->original_ctx / wave - (float)s->low) / (float)(s->high - s->low);
            f = (1.0f - smooth) * f / (float)s->factor + smooth * f;
        }
        r->inv_freq[i] = f;
    }
}

sd_status sd_rope_make(sd_rope *r, const sd_rope_spec *s, int64_t n_ctx, sd_err *err)
{
    double theta = s->theta, n = s->n_rot;
    if (s->type == SD_ROPE_DYNAMIC && (double)n_ctx > s->max_ctx)
        theta *= pow(s->factor * (double)n_ctx / s->max_ctx - (s->factor - 1), n / (n - 2));
    sd_status st = sd_rope_init(r, s->n_rot, (double)(float)theta, err);
    if (st) return st;
    r->scale = (float)sd_rope_factor(s);
    const float *divisor = s->type == SD_ROPE_LONGROPE && (double)n_ctx > s->original_ctx ? s->longer : s->shorter;
    if (s->type == SD_ROPE_LINEAR)
        for (int i = 0; i < r->half; i++) r->inv_freq[i] /= (float)s->factor;
    else if (s->type == SD_ROPE_LONGROPE || s->type == SD_ROPE_FACTORS)
        for (int i = 0; i < r->half; i++) r->inv_freq[i] = 1.0f / (divisor[i] * power(theta, i, s->n_rot));
    else if (s->type == SD_ROPE_YARN)
        make_yarn(r, s);
    else if (s->type == SD_ROPE_LLAMA3)
        make_llama3(r, s);
    return SD_OK;
}

/* Owns: the look of a heat map in characters. Colours are those of the 256 that every terminal of the last twenty years has. */
#include "cli/heat.h"
#include <math.h>

#define OUT_PLAIN_SGR "\x1b[0m"
enum { STEPS = 10, WORD_MIN = 5, WORD_MAX = 11, LABEL_MAX = 14 };

/* xterm's indices, dark to light: orange for more, blue for less. */
static const unsigned char more[STEPS] = {234, 52, 88, 94, 130, 136, 166, 172, 208, 220}, less[STEPS] = {234, 17, 18, 24, 25, 31, 32, 38, 74, 117};

static int step_of(const sd_grid *g, double v)
{
    double t = sd_grid_level(g, v);
    return (int)lround(t * (STEPS - 1));
}

/* s in exactly w columns, cut or padded. */
static void put_fixed(cli *c, const char *s, int w, bool right)
{
    sd_buf b;
    int used = 0;
    sd_buf_init(&b, 4096);
    out_clean(&b, sd_slice_of(s ? s : ""));
    sd_slice t = {b.p, b.n};
    int need = t.n ? out_width(t) : 0, pad = need < w ? w - need : 0;
    if (right) fprintf(c->out, "%*s", pad, "");
    for (size_t i = 0; i < t.n;) {
        uint32_t cp;
        int k = sd_utf8_decode(t.p + i, t.n - i, &cp);
        sd_slice ch = {t.p + i, k ? (size_t)k : 1};
        int cw = out_width(ch);
        if (used + cw > w) break;
        fwrite(ch.p, 1, ch.n, c->out);
        used += cw;
        i += ch.n;
    }
    if (!right || used < w - pad) fprintf(c->out, "%*s", w - used - (right ? pad : 0), "");
    sd_buf_release(&b);
}

/* ".87", "-1.0", "12": at most four characters and a sign; empty for what rounds to zero or is longer. */
static const char *short_number(char out[32], double v, double hi)
{
    int n = snprintf(out, 32, "%.*f", hi < 2 ? 2 : hi < 10 ? 1 : 0, v), sign = out[0] == '-';
    if (n - sign > 4 || strspn(out + sign, "0.") == (size_t)(n - sign)) out[0] = '\0';
    else if (out[sign] == '0') memmove(out + sign, out + sign + 1, (size_t)(n - sign)); /* with its NUL */
    return out;
}

static void put_cell(cli *c, const sd_grid *g, int64_t at, int w)
{
    char number[32];
    double v = g->v[at];
    const char *word = g->cell && w >= WORD_MIN ? g->cell[at] : NULL;
    int step = isnan(v) ? 0 : step_of(g, v), size = step < 0 ? -step : step;
    if (!c->out_color) {
        char digit[16] = "";
        if (!isnan(v)) snprintf(digit, sizeof digit, "%s%d", step < 0 ? "-" : "", size);
        if (word) {
            put_fixed(c, digit, 2, true);
            put_fixed(c, word, w - 3, false);
            fputc(' ', c->out);
        } else put_fixed(c, isnan(v) ? "." : digit, w, true);
        return;
    }
    if (!word && !isnan(v) && w >= 5) word = short_number(number, v, g->hi);
    if (isnan(v)) fputs(OUT_PLAIN_SGR, c->out);
    else fprintf(c->out, "\x1b[48;5;%d;38;5;%dm", step < 0 ? less[size] : more[size], size > 5 ? 16 : 231);
    put_fixed(c, word ? word : "", w, word == number);
    fputs(OUT_PLAIN_SGR, c->out);
}

static int label_width(const sd_grid *g)
{
    int w = out_width(sd_slice_of(g->rows_are));
    for (int64_t r = 0; r < g->rows; r++) {
        int k = out_width(sd_slice_of(g->row[r] ? g->row[r] : ""));
        if (k > w) w = k;
    }
    return w < LABEL_MAX ? w : LABEL_MAX;
}

/* Do all names of columns fit in w? */
static bool names_fit(const sd_grid *g, int w)
{
    for (int64_t k = 0; k < g->cols; k++)
        if (out_width(sd_slice_of(g->col[k] ? g->col[k] : "")) >= w) return false;
    return true;
}

static void put_head(cli *c, const sd_grid *g, int label, int64_t c0, int64_t n, int w, bool names)
{
    char number[24];
    fputs(out_sgr(c, OUT_DIM), c->out);
    put_fixed(c, g->rows_are, label, true);
    fputc(' ', c->out);
    for (int64_t k = c0; k < c0 + n; k++) {
        snprintf(number, sizeof number, "%lld", (long long)(w < 3 ? k % 10 : k % 1000));
        put_fixed(c, names ? g->col[k] : number, w, !g->cell || w < WORD_MIN);
    }
    fprintf(c->out, "%s\n", out_sgr(c, OUT_PLAIN));
}

/* "0 The  1 ·capital  ..": what the numbers over the columns stand for. */
static void put_names(cli *c, const sd_grid *g)
{
    int used = 0;
    for (int64_t k = 0; k < g->cols; k++) {
        char number[24];
        sd_buf b;
        sd_buf_init(&b, 4096);
        snprintf(number, sizeof number, "%lld ", (long long)k);
        sd_buf_puts(&b, number);
        out_clean(&b, sd_slice_of(g->col[k]));
        int w = b.n ? out_width((sd_slice){b.p, b.n}) + 2 : 0;
        if (used && used + w > c->width) fputc('\n', c->out), used = 0;
        out_raw(c, &b);
        fputs("  ", c->out);
        used += w;
        sd_buf_release(&b);
    }
    fputs("\n", c->out);
}

static void put_key(cli *c, const sd_grid *g)
{
    fprintf(c->out, "%s%s%s: %.3g ", out_sgr(c, OUT_DIM), g->value, out_sgr(c, OUT_PLAIN), g->lo);
    if (!c->out_color) fputs(g->diverging ? "is -9, 0 is 0, 9 is" : "is 0, 9 is", c->out);
    for (int k = g->diverging ? -(STEPS - 1) : 0; k < STEPS && c->out_color; k += g->diverging ? 3 : 1)
        fprintf(c->out, "\x1b[48;5;%dm  %s", k < 0 ? less[-k] : more[k], OUT_PLAIN_SGR);
    fprintf(c->out, " %.3g\n", g->hi);
}

int heat_print(cli *c, const sd_grid *g)
{
    progress_end(c);
    int label = label_width(g), room = (c->width > label + 12 ? c->width : label + 12) - label - 1;
    int64_t fit = room / (g->cols ? g->cols : 1);
    int w = fit > WORD_MAX ? WORD_MAX : (int)fit, least = c->out_color ? 2 : 3;
    if (g->cell && w < WORD_MIN) w = WORD_MIN + 3; /* words matter: in panels rather than not at all */
    if (!g->cell && w > 5) w = 5;
    if (w < least) w = least;
    int64_t panel = room / w > 0 ? room / w : 1;
    bool names = g->cell || names_fit(g, w);
    for (int64_t c0 = 0; c0 < g->cols; c0 += panel) {
        int64_t n = g->cols - c0 < panel ? g->cols - c0 : panel;
        put_head(c, g, label, c0, n, w, names);
        for (int64_t i = 0; i < g->rows; i++) {
            int64_t r = g->up ? g->rows - 1 - i : i;
            put_fixed(c, g->row[r], label, true);
            fputc(' ', c->out);
            for (int64_t k = c0; k < c0 + n; k++) put_cell(c, g, r * g->cols + k, w);
            fputc('\n', c->out);
        }
    }
    if (!names) put_names(c, g);
    put_key(c, g);
    return out_flush(c);
}

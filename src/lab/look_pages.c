/* Owns: what each page says, in which order. The numbers come as results; nothing is computed here. */
#include "lab/look_page.h"

#include "lab/look_text.h"
#include <math.h>
#include <stdio.h>

enum { BEST_PARTS = 30, BEST_HEADS = 3, MAX_PATTERN = 64 };

static void section(sd_buf *b, const char *title, const char *text)
{
    sd_buf_puts(b, "<section>");
    sd_page_heading(b, title, text);
}

/* A grid as a section of its own; gives it back. */
static void grid_section(sd_buf *b, sd_grid *g, const char *title, const char *text)
{
    section(b, title, text);
    sd_page_grid(b, g, NULL);
    sd_buf_puts(b, "</section>");
    sd_grid_release(g);
}

static sd_status done(sd_buf *b, const sd_look_in *in, sd_err *err)
{
    sd_page_end(b, in->prov);
    return sd_buf_check(b, "the page", err);
}

sd_status sd_page_lens(sd_buf *b, const sd_look_in *in, const sd_lens *l, sd_err *err)
{
    static const struct { sd_lens_value v; const char *title, *text; } part[] = {
        {SD_LENS_P_TOP, "What it would say", "The likeliest next token after each layer; the stronger the colour, the surer. The top row is the model itself."},
        {SD_LENS_P_NEXT, "The token that follows", "The probability of the token that stands next in the prompt; the word in a cell is still the likeliest one."},
        {SD_LENS_KL, "How far from the end", "KL divergence of what each layer says from the model\xe2\x80\x99s own prediction. Where it falls, the decision is made."}};
    sd_page_begin(b, &(sd_page){"logit lens", in->prompt, "The residual stream after every layer, read through the last norm and the head: what the model would say if it stopped there."});
    sd_page_fact(b, "model", "%s", in->model);
    sd_page_fact(b, "tokens", "%lld", (long long)l->n);
    sd_page_fact(b, "layers", "%d", l->n_row - 1);
    sd_page_body(b);
    for (size_t i = 0; i < sizeof part / sizeof *part; i++) {
        sd_grid g;
        sd_status st = sd_lens_grid(&g, l, in->tok, part[i].v, err);
        if (st) return st;
        grid_section(b, &g, part[i].title, part[i].text);
    }
    return done(b, in, err);
}

static sd_status pattern_section(sd_buf *b, const sd_look_in *in, const sd_attn_study *a, int at, const char *why, sd_err *err)
{
    sd_grid g;
    char title[64];
    sd_status st = sd_attn_pattern_grid(&g, a, in->tok, at / a->n_head, at % a->n_head, err);
    if (st) return st;
    snprintf(title, sizeof title, "Head %d.%d", at / a->n_head, at % a->n_head);
    grid_section(b, &g, title, why);
    return SD_OK;
}

static sd_status best_patterns(sd_buf *b, const sd_look_in *in, const sd_attn_study *a, sd_err *err)
{
    static const sd_habit habit[] = {SD_HABIT_PREVIOUS, SD_HABIT_INDUCTION, SD_HABIT_MATCHING, SD_HABIT_DUPLICATE, SD_HABIT_SINK};
    int shown[BEST_HEADS * 5], n = 0, best[BEST_HEADS];
    sd_status st = SD_OK;
    sd_buf_puts(b, "<div class=many>");
    for (size_t i = 0; i < sizeof habit / sizeof *habit && !st; i++) {
        int have = sd_attn_best(best, BEST_HEADS, a, habit[i]);
        for (int k = 0; k < have && !st; k++) {
            char why[96];
            bool seen = !sd_attn_pattern_of(a, best[k] / a->n_head, best[k] % a->n_head);
            for (int s = 0; s < n; s++) seen |= shown[s] == best[k];
            if (seen) continue;
            shown[n++] = best[k];
            snprintf(why, sizeof why, "%s %.2f, number %d of all heads", sd_habit_name(habit[i]), a->score[best[k]][habit[i]], k + 1);
            st = pattern_section(b, in, a, best[k], why, err);
        }
    }
    sd_buf_puts(b, "</div>");
    return st;
}

sd_status sd_page_attn(sd_buf *b, const sd_look_in *in, const sd_attn_study *a, int layer, int head, sd_err *err)
{
    static const sd_habit habit[] = {SD_HABIT_PREVIOUS, SD_HABIT_INDUCTION, SD_HABIT_SINK, SD_HABIT_DUPLICATE, SD_HABIT_MATCHING, SD_HABIT_ENTROPY};
    static const char *const text[] = {"Mean attention to the position before.", "Random tokens said twice: mean attention to what followed the first time.",
                                       "Mean attention to the first position.", "Mean attention to the same token earlier in this prompt.",
                                       "Mean attention to what followed the same token in this prompt.", "0: one place; 1: all places alike."};
    sd_status st = SD_OK;
    sd_page_begin(b, &(sd_page){"attention", in->prompt, "Where each head looks: one number a head for each habit that has a name, and the patterns of the heads that have it most."});
    sd_page_fact(b, "model", "%s", in->model);
    sd_page_fact(b, "tokens", "%lld", (long long)a->n);
    sd_page_fact(b, "heads", "%d layers of %d", a->n_layer, a->n_head);
    sd_page_body(b);
    if (a->n > MAX_PATTERN) {
        sd_buf_puts(b, "<section>");
        sd_page_heading(b, "Patterns", "The prompt has more than 64 tokens: its patterns are not drawn.");
        sd_buf_puts(b, "</section>");
    } else if (head >= 0) st = pattern_section(b, in, a, layer * a->n_head + head, NULL, err);
    sd_buf_puts(b, "<div class=many>");
    for (size_t i = 0; i < sizeof habit / sizeof *habit && !st; i++) {
        sd_grid g;
        char title[32];
        if ((st = sd_attn_habit_grid(&g, a, habit[i], err))) break;
        snprintf(title, sizeof title, "%c%s", sd_habit_name(habit[i])[0] - 32, sd_habit_name(habit[i]) + 1);
        grid_section(b, &g, title, text[i]);
    }
    sd_buf_puts(b, "</div>");
    if (!st && head < 0 && a->n <= MAX_PATTERN) st = best_patterns(b, in, a, err);
    return st ? st : done(b, in, err);
}

sd_status sd_page_patch(sd_buf *b, const sd_look_in *in, const sd_patch *p, const char *corrupt, const sd_patch_opt *opt, sd_err *err)
{
    static const char *const lead[] = {"The corrupted prompt runs once for every cell, with that one place taken from the clean run: 1 brings the clean answer back, 0 does nothing.",
                                       "The clean prompt runs once for every cell, with that one place taken from the corrupted run: 1 makes it the corrupted prompt, 0 does nothing."};
    sd_grid g;
    char site[48], *name = NULL;
    sd_page_begin(b, &(sd_page){"activation patching", in->prompt, lead[p->way]});
    sd_page_fact(b, "corrupted prompt", "%s", corrupt);
    sd_page_fact(b, "model", "%s", in->model);
    sd_page_fact(b, "way", "%s", sd_patch_way_name(p->way));
    sd_page_fact(b, "metric", "%s", sd_patch_metric_name(p->metric));
    sd_status st = SD_OK;
    if (p->metric != SD_PATCH_KL && !(st = sd_look_name(&name, in->tok, opt->answer, err))) sd_page_fact(b, "answer", "%s", name);
    if (!st && p->metric == SD_PATCH_LOGIT_DIFF && !(st = sd_look_name(&name, in->tok, opt->wrong, err))) sd_page_fact(b, "wrong", "%s", name);
    sd_free(name);
    if (st) return st;
    sd_page_fact(b, "clean", "%.4g", p->clean);
    sd_page_fact(b, "corrupted", "%.4g", p->corrupt);
    sd_page_fact(b, "runs", "%lld, %lld rows of tokens", (long long)p->n_runs, (long long)p->n_rows);
    if (p->aligned) sd_page_fact(b, "alignment", "from the end: %lld and %lld tokens", (long long)p->n_clean, (long long)p->n_corrupt);
    sd_page_body(b);
    if ((st = sd_patch_grid(&g, p, in->tok, err))) return st;
    sd_site_print(site, sizeof site, (sd_site){p->kind, 0});
    if (sd_site_is_layered(p->kind)) *strrchr(site, '.') = '\0';
    grid_section(b, &g, site, NULL);
    return done(b, in, err);
}

sd_status sd_page_attribution(sd_buf *b, const sd_look_in *in, const sd_attribution *a, sd_err *err)
{
    int64_t *order = NULL;
    sd_grid g;
    char *name = NULL, part[48], more[64];
    sd_page_begin(b, &(sd_page){"direct logit attribution", in->prompt,
                                "The last residual row is a sum of what was written into it. With the last norm held as it was, every part has its share of a logit, and the shares add up to it."});
    sd_page_fact(b, "model", "%s", in->model);
    sd_status st = sd_look_name(&name, in->tok, a->answer, err);
    if (!st) sd_page_fact(b, "answer", "%s", name);
    if (!st && a->wrong >= 0 && !(st = sd_look_name(&name, in->tok, a->wrong, err))) sd_page_fact(b, "wrong", "%s", name);
    sd_free(name);
    if (!st) st = sd_alloc(&order, (size_t)a->n_part * sizeof *order, "order of the parts", err);
    if (!st) st = sd_attribution_order(order, a, err);
    if (!st) st = sd_attribution_grid(&g, a, err);
    if (st) goto end;
    sd_page_fact(b, "logit", "%.5g", a->model);
    sd_page_fact(b, "sum of the shares", "%.5g", a->capped);
    sd_page_fact(b, "error", "%.1e, at most %.1e", fabs(a->error), a->error_bound);
    sd_page_body(b);
    section(b, "The largest parts", NULL);
    double most = a->n_part ? fabs(a->part[order[0]].share) : 1;
    sd_page_bars_begin(b, "part", "share", false);
    for (int64_t i = 0; i < a->n_part && i < BEST_PARTS; i++) {
        const sd_part *p = &a->part[order[i]];
        more[0] = '\0';
        if (p->kind == SD_PART_FEATURE) snprintf(more, sizeof more, "activation %.3g", p->act);
        sd_page_bar(b, sd_part_name(part, p), p->share, most > 0 ? p->share / most : 0, more);
    }
    sd_page_bars_end(b);
    sd_buf_puts(b, "</section>");
    grid_section(b, &g, "By layer and head", "The last column is the MLP.");
    st = done(b, in, err);
end:
    sd_free(order);
    return st;
}

sd_status sd_page_vectors(sd_buf *b, const sd_look_in *in, const sd_vectors *v, const char *space, sd_err *err)
{
    char *name = NULL, line[256], more[96];
    bool up = true;
    sd_status st = SD_OK;
    for (int i = 0; i < v->n_top; i++) up = up && v->top[i].cosine >= 0;
    for (int i = 0; i < v->n_asked; i++) up = up && v->asked[i].cosine >= 0;
    sd_page_begin(b, &(sd_page){"vector arithmetic", in->prompt, "The tokens whose vectors are closest to what the expression comes out as, by cosine. The second rank leaves out the words that were put in."});
    sd_page_fact(b, "model", "%s", in->model);
    sd_page_fact(b, "space", "%s", space);
    sd_page_fact(b, "candidates", "%lld, %lld of them put in", (long long)v->n_candidates, (long long)v->n_put_in);
    sd_page_fact(b, "length", "%.4g", v->norm);
    sd_page_body(b);
    section(b, "Nearest", NULL);
    sd_page_bars_begin(b, "rank, token", "cosine", up);
    for (int i = 0; i < v->n_top + v->n_asked && !st; i++) {
        const sd_near_token *n = i < v->n_top ? &v->top[i] : &v->asked[i - v->n_top];
        if (i == v->n_top) {
            sd_page_bars_end(b);
            sd_buf_puts(b, "</section>");
            section(b, "Asked for", NULL);
            sd_page_bars_begin(b, "rank, token", "cosine", up);
        }
        if ((st = sd_look_name(&name, in->tok, n->id, err))) break;
        if (n->rank_other) snprintf(more, sizeof more, "%lld without the words put in", (long long)n->rank_other);
        else snprintf(more, sizeof more, "put in");
        snprintf(line, sizeof line, "%lld  %.200s", (long long)n->rank, name);
        sd_page_bar(b, line, n->cosine, n->cosine, more);
    }
    sd_page_bars_end(b);
    sd_buf_puts(b, "</section>");
    sd_free(name);
    return st ? st : done(b, in, err);
}

/* Owns: the document: head, header, index, cards, the two columns of a steered answer, how it was made.
 * Easy to break: anything that came from a model, a corpus or a person goes through sd_report__text; style and script
 * are ours alone and the page's policy allows nothing else. */
#include "lab/report_int.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

enum { DEFAULT_EXAMPLES = 8, INTERVAL_EXAMPLES = 2, LOGITS_SHOWN = 10, NEAR_SHOWN = 8, INDEX_WORDS = 40 };

static void put_lines(sd_buf *b, const char *const *line)
{
    for (; *line; line++) {
        sd_buf_puts(b, *line);
        sd_buf_putc(b, '\n');
    }
}

static const char *label_of(const sd_feature *f)
{
    return f->n_label && !f->label[0].hidden ? f->label[0].text : f->words[0] ? f->words : "silent";
}

static void fact(sd_buf *b, const char *name, const char *fmt, ...) SD_PRINTF(3, 4);
static void fact(sd_buf *b, const char *name, const char *fmt, ...)
{
    char v[300];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(v, sizeof v, fmt, ap);
    va_end(ap);
    if (!v[0]) return;
    sd_buf_printf(b, "<div><dt>%s</dt><dd>", name);
    sd_report__str(b, v);
    sd_buf_puts(b, "</dd></div>");
}

static void count_fact(sd_buf *b, const char *name, int64_t v)
{
    sd_buf_printf(b, "<div><dt>%s</dt><dd>", name);
    sd_report__count(b, v);
    sd_buf_puts(b, "</dd></div>");
}

static void page_head(sd_buf *b, const sd_store_info *in)
{
    sd_buf_puts(b, "<!doctype html>\n<html lang=en><head><meta charset=utf-8>"
                   "<meta name=viewport content='width=device-width,initial-scale=1'>"
                   "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src 'unsafe-inline'; "
                   "script-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'\">"
                   "<meta name=color-scheme content='light dark'><title>Features of ");
    sd_report__str(b, in->model.name);
    sd_buf_puts(b, "</title><style>\n");
    put_lines(b, sd_report__style);
    sd_buf_puts(b, "</style></head><body>\n");
}

static void page_header(sd_buf *b, const sd_store_info *in, const sd_report_page *page)
{
    sd_buf_puts(b, "<header class=top><p class=kicker>sonde \xc2\xb7 features</p><h1>What <em>");
    sd_report__str(b, in->model.name);
    sd_buf_puts(b, "</em> has learned</h1><p class=lead>A dictionary of ");
    sd_report__count(b, in->dict.m);
    sd_buf_puts(b, " features was trained on the activations");
    if (in->dict.site[0]) {
        sd_buf_puts(b, " at <code>");
        sd_report__str(b, in->dict.site);
        sd_buf_puts(b, "</code>");
    }
    sd_buf_puts(b, ". Nobody named what to look for. Then ");
    sd_report__count(b, in->run.n_tokens);
    sd_buf_puts(b, " tokens of text were read, and for every feature the places that light it up were kept. Here are ");
    sd_report__count(b, page->n_feature);
    sd_buf_puts(b, page->n_steer ? " of them, and what turning one up does to the model\xe2\x80\x99s own words.</p>" : " of them.</p>");
    sd_buf_puts(b, "<dl class=facts>");
    fact(b, "model", "%s", in->model.name);
    fact(b, "site", "%s", in->dict.site);
    fact(b, "dictionary", "%s", in->dict.kind);
    count_fact(b, "features", in->dict.m);
    if (in->dict.k) count_fact(b, "active a token", in->dict.k);
    if (isfinite(in->dict.fvu)) fact(b, "variance left unexplained", "%.3f", in->dict.fvu);
    count_fact(b, "silent in this text", in->n_features - in->n_alive);
    count_fact(b, "tokens read", in->run.n_tokens);
    count_fact(b, "documents", in->run.n_docs);
    sd_buf_puts(b, "</dl></header>\n");
}

static void tokens_of(sd_buf *b, sd_store *s, const char *title, const char *class, const sd_token_logit *v, int n)
{
    if (n > LOGITS_SHOWN) n = LOGITS_SHOWN;
    if (n == 0) return;
    double scale = fabs((double)v[0].value);
    sd_buf_printf(b, "<div class='lg %s'><h4>%s</h4><ul>", class, title);
    for (int i = 0; i < n; i++) {
        sd_buf_printf(b, "<li style=--w:%.2f><code dir=auto>", scale > 0 ? fmin(1, fabs((double)v[i].value) / scale) : 0);
        sd_report__token(b, s, v[i].id);
        sd_buf_printf(b, "</code><span>%+.2f</span></li>", (double)v[i].value);
    }
    sd_buf_puts(b, "</ul></div>");
}

static sd_status neighbours(sd_buf *b, sd_store *s, const sd_report_page *page, int64_t index, sd_err *err)
{
    sd_feature_list l;
    sd_status st = sd_store_near(&l, s, index, NEAR_SHOWN, err);
    if (st) return st;
    if (l.n) sd_buf_puts(b, "<div class=near><h4>Nearest directions</h4><ul>");
    for (int64_t i = 0; i < l.n; i++) {
        const sd_feature_brief *n = &l.v[i];
        bool here = false;
        for (int64_t k = 0; k < page->n_feature; k++) here |= page->feature[k] == n->stats.index;
        sd_buf_puts(b, "<li>");
        if (here) sd_buf_printf(b, "<a href='#f%" PRId64 "'>", n->stats.index);
        sd_buf_printf(b, "<span class=c>%.2f</span><span class=n>%" PRId64 "</span><span class=w dir=auto>", n->score, n->stats.index);
        sd_report__str(b, n->label ? n->label : n->words[0] ? n->words : "silent");
        sd_buf_puts(b, here ? "</span></a></li>" : "</span></li>");
    }
    if (l.n) sd_buf_puts(b, "</ul></div>");
    sd_feature_list_release(&l);
    return SD_OK;
}

static void card_figures(sd_buf *b, const sd_feature *f)
{
    sd_buf_puts(b, "<dl class=fig><div><dt>density</dt><dd>");
    sd_report__share(b, f->stats.density);
    sd_buf_puts(b, "</dd></div><div><dt>fires on</dt><dd>");
    sd_report__count(b, f->stats.n_fire);
    sd_buf_puts(b, "</dd></div><div><dt>highest</dt><dd>");
    sd_report__num(b, f->stats.max_act);
    sd_buf_puts(b, "</dd></div><div><dt>mean</dt><dd>");
    sd_report__num(b, f->stats.mean_act);
    sd_buf_puts(b, "</dd></div><div><dt>interest</dt><dd>");
    sd_report__num(b, f->stats.interest);
    sd_buf_puts(b, "</dd></div></dl>");
}

static sd_status card(sd_buf *b, sd_store *s, const sd_report_page *page, int64_t index, sd_err *err)
{
    sd_feature *f = NULL;
    sd_status st = sd_store_feature(&f, s, index, 0, err);
    if (st) return st;
    sd_buf_printf(b, "<article class=card id=f%" PRId64 "><header><a class=no href='#f%" PRId64 "'>%" PRId64 "</a><h3 dir=auto>", index, index, index);
    sd_report__str(b, label_of(f));
    sd_buf_puts(b, "</h3></header><div class=cols><aside>");
    card_figures(b, f);
    sd_report__histogram(b, f);
    sd_buf_puts(b, "<div class=logits>");
    tokens_of(b, s, "Makes likelier", "up", f->top, f->n_top);
    tokens_of(b, s, "Makes unlikelier", "down", f->bottom, f->n_bottom);
    sd_buf_puts(b, "</div>");
    if ((st = neighbours(b, s, page, index, err))) goto done;
    sd_buf_puts(b, "</aside><div class=main><h4>Where it is strongest</h4>");
    sd_report__examples(b, s, f, 0, page->n_example ? page->n_example : DEFAULT_EXAMPLES);
    if (f->n_interval) {
        sd_buf_puts(b, "<details><summary>From strong to weak, drawn at random from each interval</summary>");
        sd_report__examples(b, s, f, -1, INTERVAL_EXAMPLES);
        sd_buf_puts(b, "</details>");
    }
    sd_buf_puts(b, "</div></div></article>\n");
done:
    sd_feature_free(f);
    return st;
}

static sd_status page_index(sd_buf *b, sd_store *s, const sd_report_page *page, sd_err *err)
{
    sd_status st = SD_OK;
    sd_buf_puts(b, "<nav class=index aria-label='features on this page'><ul>");
    if (page->n_steer) sd_buf_puts(b, "<li><a class=go href='#steered'>plain | steered</a></li>");
    for (int64_t i = 0; i < page->n_feature && !st; i++) {
        sd_feature *f = NULL;
        if ((st = sd_store_feature(&f, s, page->feature[i], -1, err))) break;
        sd_slice l = sd_slice_of(label_of(f));
        bool cut = l.n > INDEX_WORDS;
        if (cut) l.n = INDEX_WORDS;
        l.n = sd_utf8_valid_prefix(l);
        sd_buf_printf(b, "<li><a href='#f%" PRId64 "'><span>%" PRId64 "</span>", page->feature[i], page->feature[i]);
        sd_report__text(b, l.p, l.n);
        sd_buf_puts(b, cut ? "\xe2\x80\xa6</a></li>" : "</a></li>");
        sd_feature_free(f);
    }
    sd_buf_puts(b, "</ul><div class=tools><button type=button id=wide aria-pressed=false>wider context</button>"
                   "<button type=button id=nl aria-pressed=false>line breaks</button></div></nav>\n");
    return st;
}

static void steered(sd_buf *b, const sd_report_steer *x)
{
    sd_buf_puts(b, "<article class='card steer'><header>");
    if (x->feature >= 0) sd_buf_printf(b, "<a class=no href='#f%" PRId64 "'>%" PRId64 "</a>", x->feature, x->feature);
    sd_buf_puts(b, "<h3 dir=auto>");
    sd_report__str(b, x->title);
    sd_buf_puts(b, "</h3></header><p class=applied>Applied: <code>");
    sd_report__str(b, x->applied);
    sd_buf_puts(b, "</code></p>");
    if (x->chosen) {
        sd_buf_puts(b, "<p class=chosen>");
        sd_report__str(b, x->chosen);
        sd_buf_puts(b, "</p>");
    }
    for (int i = 0; i < x->n_pair; i++) {
        sd_buf_puts(b, "<section class=pair><p class=prompt dir=auto>");
        sd_report__str(b, x->pair[i].prompt);
        sd_buf_puts(b, "</p><div class=two><div><h4>plain</h4><p dir=auto>");
        sd_report__str(b, x->pair[i].plain);
        sd_buf_puts(b, "</p></div><div class=st><h4>steered</h4><p dir=auto>");
        sd_report__str(b, x->pair[i].steered);
        sd_buf_puts(b, "</p></div></div></section>");
    }
    sd_buf_puts(b, "</article>\n");
}

static void how(sd_buf *b, const sd_store_info *in, const sd_report_page *page)
{
    sd_buf_puts(b, "<footer><h2>How this was made</h2><p>");
    if (page->ranking) sd_report__str(b, page->ranking);
    else
        sd_buf_puts(b, "The features are ordered by <i>interest</i> = D\xc2\xb7V\xc2\xb7" "F\xc2\xb7L\xc2\xb7(0.2 + 0.5\xc2\xb7" "C + 0.3\xc2\xb7P): D is 1 for a "
                       "density between 0.01 % and 1 % and falls outside; V rises with the number of different words at the peaks, so that a feature of "
                       "a single word scores 0; F is the share of examples that are no near copy of another; L prefers words to signs and "
                       "numbers; C rises with rare words shared by the surroundings of the peaks; P with how far the direction stands out in "
                       "the vocabulary. It is a choice of what to look at first, not a measure of truth.");
    sd_buf_puts(b, "</p><p>Highlight: the activation as a share of the feature\xe2\x80\x99s highest; the token that qualified is underlined. "
                   "\xe2\x80\x9cMakes likelier\xe2\x80\x9d: the decoder direction through the last norm\xe2\x80\x99s weights and the unembedding, later "
                   "blocks not run. Nearest directions: cosine of decoder rows. Tokens with a norm above ten times the site\xe2\x80\x99s mean (attention sinks) are left out. Silent: never active in the text that was read here; a training run calls a feature dead that did not fire in its last quarter.</p><dl class=facts>");
    fact(b, "model sha256", "%.16s", in->model.sha256);
    fact(b, "text sha256", "%.16s", in->run.data_sha256);
    fact(b, "made by", "%s", in->run.tool);
    fact(b, "on", "%s", in->run.created);
    fact(b, "numbers", "%s%s%s", in->run.mode, in->run.isa[0] ? ", " : "", in->run.isa);
    fact(b, "seed", "%" PRIu64, in->run.seed);
    fact(b, "sinks left out", "%" PRId64, in->run.n_sinks);
    sd_buf_puts(b, "</dl></footer>\n");
}

sd_status sd_report_html_features(sd_buf *out, sd_store *s, const sd_report_page *page, sd_err *err)
{
    const sd_store_info *in = sd_store_get_info(s);
    sd_status st = SD_OK;
    page_head(out, in);
    page_header(out, in, page);
    if ((st = page_index(out, s, page, err))) return st;
    sd_buf_puts(out, "<main>");
    if (page->n_steer) sd_buf_puts(out, "<section id=steered><h2>Turned up</h2><p class=lead>The same prompt, the same random numbers. On the left the "
                                        "model as it is, on the right the same weights with one direction added while it reads and writes.</p>");
    for (int i = 0; i < page->n_steer; i++) steered(out, &page->steer[i]);
    if (page->n_steer) sd_buf_puts(out, "</section><h2>What lights them up</h2>");
    for (int64_t i = 0; i < page->n_feature && !st; i++) st = card(out, s, page, page->feature[i], err);
    if (st) return st;
    sd_buf_puts(out, "</main>\n");
    how(out, in, page);
    sd_buf_puts(out, "<script>\n");
    put_lines(out, sd_report__script);
    sd_buf_puts(out, "</script></body></html>\n");
    return sd_buf_check(out, "the page", err);
}

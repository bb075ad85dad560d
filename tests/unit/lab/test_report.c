/* The page: what came from a model or a corpus is text, whatever it says; what the store holds is on it. */
#include "feature_sample.h"
#include "lab/report_int.h"

static void escaped(const char *in, const char *want)
{
    sd_buf b;
    sd_buf_init(&b, 1000);
    sd_report__str(&b, in);
    assert_string_equal(sd_buf_str(&b), want);
    sd_buf_release(&b);
}

static void text_is_never_markup(void **state)
{
    (void)state;
    escaped("<script>alert('x')</script> & \"y\"", "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &quot;y&quot;");
    escaped("a\nb", "a\nb");
    escaped("caf\xc3\xa9 \xe2\x82", "caf\xc3\xa9 \xe2\x9f\xa8" "E2 82\xe2\x9f\xa9");
    escaped("\x1b[1m\x01", "\xe2\x9f\xa8" "1B\xe2\x9f\xa9[1m\xe2\x9f\xa8" "01\xe2\x9f\xa9");
    escaped("", "");
}

static void numbers_are_short(void **state)
{
    (void)state;
    static const struct { double v; const char *want; } num[] = {{0, "0.00"}, {1.234, "1.23"}, {12.34, "12.3"}, {123.4, "123"}, {1234.5, "1,235"}, {0.00012, "1.20e-04"}};
    static const struct { double v; const char *want; } share[] = {{0, "0 %"}, {0.5, "50 %"}, {0.0123, "1.2 %"}, {0.00123, "0.12 %"}, {0.000123, "0.012 %"}, {1e-7, "&lt; 0.001 %"}};
    static const struct { int64_t v; const char *want; } count[] = {{0, "0"}, {999, "999"}, {1000, "1,000"}, {1234567, "1,234,567"}, {-1234, "-1,234"}, {-123, "-123"}};
    sd_buf b;
    sd_buf_init(&b, 1000);
    for (size_t i = 0; i < 6; i++) {
        sd_buf_reset(&b), sd_report__num(&b, num[i].v), assert_string_equal(sd_buf_str(&b), num[i].want);
        sd_buf_reset(&b), sd_report__share(&b, share[i].v), assert_string_equal(sd_buf_str(&b), share[i].want);
        sd_buf_reset(&b), sd_report__count(&b, count[i].v), assert_string_equal(sd_buf_str(&b), count[i].want);
    }
    sd_buf_release(&b);
}

static int count_of(const char *text, const char *part)
{
    int n = 0;
    for (const char *p = text; (p = strstr(p, part)); p += strlen(part)) n++;
    return n;
}

/* Every tag that is opened is closed, in order; attributes with spaces are quoted by us. Void elements are known. */
static void check_nesting(const char *html)
{
    static const char *const empty[] = {"meta", "line", "rect", "!doctype"};
    char stack[64][16];
    int depth = 0;
    for (const char *p = strchr(html, '<'); p; p = strchr(p, '<')) {
        char name[16] = {0};
        bool close = p[1] == '/', is_void = false;
        size_t n = strcspn(p + 1 + close, " >/\n");
        assert_true(n > 0 && n < sizeof name);
        memcpy(name, p + 1 + close, n);
        const char *end = strchr(p, '>');
        assert_non_null(end);
        for (size_t i = 0; i < sizeof empty / sizeof *empty; i++) is_void |= strcmp(name, empty[i]) == 0;
        if (close) {
            if (depth == 0 || strcmp(stack[depth - 1], name) != 0) fail_msg("</%s> closes <%s>", name, depth ? stack[depth - 1] : "nothing");
            depth--;
        } else if (!is_void) {
            assert_true(depth < 64);
            memcpy(stack[depth++], name, sizeof name);
        }
        p = end;
        if (!close && (strcmp(name, "style") == 0 || strcmp(name, "script") == 0)) /* their text may hold < */
            p = strstr(p, strcmp(name, "style") == 0 ? "</style" : "</script");
    }
    assert_int_equal(depth, 0);
}

typedef struct page_case { sd_store *s; sd_buf html; const char *dir; int64_t index[4]; } page_case;

static void make_page(page_case *c)
{
    static const sd_report_pair pair[2] = {{"Tell me <b>all</b>", "plain & simple", "steered <img src=x onerror=alert(1)>"}, {"Two", "p2", "s2"}};
    sd_err err = {0};
    sd_exec *ex = NULL;
    fs_source src;
    sd_features_result r;
    char path[512];
    t_ok(sd_exec_new(&ex, NULL, &err), err);
    sd_tok *tok = fs_tok();
    sd_dict *dict = fs_dict(FS_M, FS_D);
    fs_source_init(&src, false, 256);
    c->dir = t_tmpdir();
    snprintf(path, sizeof path, "%s/x.db", c->dir);
    const sd_features_in in = {.dict = dict, .tok = tok, .model_name = "Model <1>", .source = fs_act_source(&src)};
    t_ok(sd_lab_features_build(&r, ex, &in, &(sd_features_opt){.path = path}, NULL, &err), err);
    t_ok(sd_store_edit(&c->s, path, &err), err);
    t_ok(sd_store_add_label(c->s, 7, &(sd_label){.text = "</h3><script>", .source = "human", .score = 1}, &err), err);
    sd_store_close(c->s);
    t_ok(sd_store_open(&c->s, path, &err), err);
    c->index[0] = 7, c->index[1] = 3, c->index[2] = FS_M - 1, c->index[3] = 0; /* one of them is silent */
    const sd_report_steer steer = {.title = "words <i>", .feature = 7, .applied = "add 0.5 rms at resid_post.1, 12 positions", .chosen = "by hand", .pair = pair, .n_pair = 2};
    const sd_report_page page = {.feature = c->index, .n_feature = 4, .steer = &steer, .n_steer = 1};
    sd_buf_init(&c->html, 64 << 20);
    t_ok(sd_report_html_features(&c->html, c->s, &page, &err), err);
    fs_source_release(&src);
    sd_dict_free(dict);
    sd_tok_free(tok);
    sd_exec_free(ex);
}

static void drop_page(page_case *c)
{
    sd_buf_release(&c->html);
    sd_store_close(c->s);
    t_rmtree(c->dir);
}

static void the_page_is_whole_and_alone(void **state)
{
    (void)state;
    page_case c;
    sd_err err = {0};
    make_page(&c);
    const char *h = sd_buf_str(&c.html);
    check_nesting(h);
    assert_int_equal(count_of(h, "<script"), 1);
    assert_int_equal(count_of(h, "<img"), 0);
    assert_int_equal(count_of(h, "src="), count_of(h, "src=x onerror")); /* no file is asked for; the attack is text */
    assert_int_equal(count_of(h, "http://") + count_of(h, "https://") + count_of(h, "@import") + count_of(h, "url("), 0);
    assert_int_equal(count_of(h, "default-src 'none'"), 1);
    assert_non_null(strstr(h, "Model &lt;1&gt;"));
    assert_non_null(strstr(h, "&lt;/h3&gt;&lt;script&gt;"));
    assert_non_null(strstr(h, "&lt;b&gt;&amp;&quot;&#39;")); /* the token <b>&"' in the examples */
    for (int i = 0; i < 4; i++) {
        char id[40];
        sd_feature *f = NULL;
        snprintf(id, sizeof id, "<article class=card id=f%d>", (int)c.index[i]);
        assert_int_equal(count_of(h, id), 1);
        t_ok(sd_store_feature(&f, c.s, c.index[i], 8, &err), err);
        sd_buf v;
        sd_buf_init(&v, 100);
        if (f->n_example) {
            sd_report__num(&v, (double)f->example[0].act);
            assert_non_null(strstr(h, sd_buf_str(&v)));
        }
        sd_buf_release(&v);
        sd_feature_free(f);
    }
    assert_non_null(strstr(h, "This feature was silent"));
    assert_int_equal(count_of(h, "<section class=pair>"), 2);
    assert_non_null(strstr(h, "steered &lt;img src=x onerror=alert(1)&gt;"));
    assert_non_null(strstr(h, "add 0.5 rms at resid_post.1, 12 positions"));
    drop_page(&c);
}

static void an_absent_feature_is_an_error(void **state)
{
    (void)state;
    page_case c;
    sd_err err = {0};
    make_page(&c);
    const int64_t absent = FS_M;
    sd_buf_reset(&c.html);
    assert_int_equal(sd_report_html_features(&c.html, c.s, &(sd_report_page){.feature = &absent, .n_feature = 1}, &err), SD_E_NOTFOUND);
    /* and a page that does not fit is one too */
    sd_buf tiny;
    const int64_t there = 3;
    sd_buf_init(&tiny, 5000);
    assert_int_equal(sd_report_html_features(&tiny, c.s, &(sd_report_page){.feature = &there, .n_feature = 1}, &err), SD_E_NOMEM);
    sd_buf_release(&tiny);
    drop_page(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(text_is_never_markup), T(numbers_are_short), T(the_page_is_whole_and_alone), T(an_absent_feature_is_an_error)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}

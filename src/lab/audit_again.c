#include "lab/audit_again.h"

/* The next word of a command line as a shell would split it; quotes stay. */
static bool next_word(sd_slice *rest, sd_slice *word)
{
    while (rest->n && *rest->p == ' ') rest->p++, rest->n--;
    size_t n = 0;
    for (bool quoted = false; n < rest->n && (quoted || rest->p[n] != ' '); n++)
        if (rest->p[n] == '\'') quoted = !quoted;
    *word = (sd_slice){rest->p, n};
    rest->p += n;
    rest->n -= n;
    return n > 0;
}

static bool is(sd_slice w, const char *const *list)
{
    for (; *list; list++)
        if (sd_slice_eq_str(w, *list)) return true;
    return false;
}

static bool is_kept(const sd_audit_page *p)
{
    return !sd_slice_ends(sd_slice_of(p->command), " ..");
}

/* The words of the page's command but those of the lists, each of which may be followed by its value. */
static void words(sd_buf *b, const sd_audit_page *p, const char *const *with_value, const char *const *alone)
{
    sd_slice rest = sd_slice_of(p->command), w;
    for (bool first = true; next_word(&rest, &w);) {
        if (is(w, with_value)) next_word(&rest, &w);
        else if (!is(w, alone) && !(w.n > 9 && memcmp(w.p, "--output=", 9) == 0) && !(w.n > 7 && memcmp(w.p, "--card=", 7) == 0)) {
            if (!first) sd_buf_putc(b, ' ');
            sd_buf_put(b, w.p, w.n);
            first = false;
        }
    }
}

void sd_audit_again(sd_buf *b, const sd_audit_page *p, int i, const char *where, bool inside)
{
    static const char *const with_value[] = {"-o", "--output", "--card", "--fail-on", NULL}, *const alone[] = {"-f", "--force", "--json", "-q", "--quiet", "--no-inside", NULL};
    if (!is_kept(p)) {
        sd_buf_puts(b, "the command was too long to be kept");
        return;
    }
    words(b, p, with_value, alone);
    sd_buf_puts(b, inside ? " --json | jq '" : " --no-inside --json | jq '");
    if (i >= 0 && p->n_record > 2) sd_buf_printf(b, ".comparisons[%d]", i);
    sd_buf_printf(b, "%s'", where);
}

void sd_audit_again_all(sd_buf *b, const sd_audit_page *p)
{
    static const char *const with_value[] = {"-o", "--output", "--card", NULL}, *const alone[] = {"-f", "--force", NULL};
    if (is_kept(p)) words(b, p, with_value, alone);
    else sd_buf_puts(b, "the command was too long to be kept");
}

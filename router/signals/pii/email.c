#include "router/signals/pii/text.h"

/* Plain: john@example.com. Spaced: john @ example.com. Spelt: john at example dot com.
 * Bracketed: john [at] example (dot) com. */
enum form { FORM_none, FORM_plain, FORM_spaced, FORM_spelt, FORM_bracketed };

enum { TLD_MAX = 24, LABEL_MAX = 32, BLANKS_MAX = 2, LOCAL_PARTS = 4, QUOTED_MAX = 64 };

/* Of the characters RFC 5322 allows in a local part, those that people use; '/', '=' and '?' part
 * an address from what stands before it in URLs. */
static bool local_sym(unsigned s)
{
    return sym_word(s) || (s < 128 && s && strchr("._%+-'!#$&*^~", (int)s) != NULL);
}

/* First position at or after pos whose symbol is not of a local part. */
static size_t local_end(struct pii_cursor *c, size_t pos)
{
    static const bool ascii[128] = {
        ['0' ... '9'] = true, ['a' ... 'z'] = true, ['A' ... 'Z'] = true, ['.'] = true,
        ['_'] = true,         ['-'] = true,         ['\''] = true,
    };
    for (;;) {
        size_t stop = c->n < c->limit ? c->n : c->limit;
        while (pos < stop && c->p[pos] < 128 && ascii[c->p[pos]])
            pos++;
        size_t next;
        if (!local_sym(pii_peek(c, pos, &next)))
            return pos;
        pos = next;
    }
}

/* Extensions of file names that stand behind an '@' without being top-level domains. */
static bool is_file_extension(const char *tld)
{
    static const char *const extensions[] = { "png",  "jpg",  "jpeg", "gif",  "svg", "webp",
                                              "bmp",  "css",  "js",   "jsx",  "tsx", "json",
                                              "html", "yaml", "yml",  "toml", "xml", "txt",
                                              "pdf",  "csv",  "lock", "exe",  "dll", "service" };
    for (size_t i = 0; i < ARRAY_LEN(extensions); i++)
        if (strcmp(tld, extensions[i]) == 0)
            return true;
    return false;
}

/* Enough to believe that "x at y dot z" spells an address. */
static bool is_common_tld(const char *tld)
{
    static const char *const common[] = {
        "com", "net", "org", "edu", "gov", "mil", "info", "biz", "dev", "app", "io", "ai", "me",
        "co",  "uk",  "us",  "ca",  "au",  "nz",  "ie",   "de",  "at",  "ch",  "fr", "be", "nl",
        "lu",  "es",  "pt",  "it",  "gr",  "se",  "no",   "dk",  "fi",  "pl",  "cz", "sk", "hu",
        "ro",  "bg",  "ua",  "ru",  "tr",  "eu",  "jp",   "cn",  "kr",  "in",  "br", "mx", "za",
    };
    for (size_t i = 0; i < ARRAY_LEN(common); i++)
        if (strcmp(tld, common[i]) == 0)
            return true;
    return false;
}

static size_t skip_blanks(struct pii_cursor *c, size_t pos, unsigned *ret_n)
{
    size_t next;
    for (*ret_n = 0; *ret_n < BLANKS_MAX && pii_peek(c, pos, &next) == ' '; (*ret_n)++)
        pos = next;
    return pos;
}

static bool skip_word(struct pii_cursor *c, size_t *pos, const char *lower)
{
    size_t at = *pos, next;
    for (; *lower; lower++, at = next)
        if (sym_lower(pii_peek(c, at, &next)) != (unsigned)*lower)
            return false;
    *pos = at;
    return true;
}

static unsigned closing(unsigned open)
{
    return open == '[' ? ']' : open == '(' ? ')' : open == '{' ? '}' : open == '<' ? '>' : 0;
}

/* " at ", "[at]", " ( AT ) ", " @ ": what stands for `sign`. Moves *pos behind it. */
static enum form spelt_sign(struct pii_cursor *c, size_t *pos, const char *word, unsigned sign)
{
    unsigned before, after;
    size_t at = skip_blanks(c, *pos, &before), next;
    unsigned open = pii_peek(c, at, &next);
    unsigned close = closing(open);
    if (close) {
        unsigned n;
        at = skip_blanks(c, next, &n);
        if (pii_peek(c, at, &next) == sign)
            at = next;
        else if (!skip_word(c, &at, word))
            return FORM_none;
        at = skip_blanks(c, at, &n);
        if (pii_peek(c, at, &next) != close)
            return FORM_none;
        *pos = skip_blanks(c, next, &n);
        return FORM_bracketed;
    }
    if (before == 0)
        return FORM_none;
    enum form form = FORM_spelt;
    if (open == sign) {
        at = next;
        form = FORM_spaced;
    } else if (!skip_word(c, &at, word)) {
        return FORM_none;
    }
    *pos = skip_blanks(c, at, &after);
    return after ? form : FORM_none;
}

struct label {
    char lower[LABEL_MAX]; /* NUL-terminated, cut */
    size_t end;            /* behind its last character that is not a dash */
    size_t next;           /* where the parser stands */
    unsigned n;            /* characters up to `end` */
    bool letters;          /* nothing but letters */
    bool capped;           /* the longest domain ends inside */
};

/* A label of letters, digits and inner dashes; one that begins with Han goes on with Han only, as
 * the scripts of East Asia put no blank behind an address. */
static void read_label(struct pii_cursor *c, size_t pos, size_t cap, struct label *ret)
{
    size_t next;
    unsigned s = pii_peek(c, pos, &next);
    bool han = s == SYM_HAN;
    unsigned n = 0;
    *ret = (struct label){ .end = pos, .letters = true };
    for (; han ? s == SYM_HAN : sym_word(s) || (s == '-' && n); s = pii_peek(c, pos, &next)) {
        if (next > cap) {
            ret->capped = true;
            break;
        }
        if (n < LABEL_MAX - 1)
            ret->lower[n] = s < 128 ? (char)sym_lower(s) : '?';
        n++;
        pos = next;
        if (s == '-')
            continue;
        ret->letters &= !sym_digit(s) && n == ret->n + 1;
        ret->n = n;
        ret->end = pos;
    }
    ret->lower[ret->n < LABEL_MAX ? ret->n : LABEL_MAX - 1] = '\0';
    ret->next = pos;
}

static bool is_tld(const struct label *l, enum form form)
{
    if (strncmp(l->lower, "xn--", 4) == 0)
        return l->n > 4;
    if (!l->letters || l->n < 2 || l->n > TLD_MAX || is_file_extension(l->lower))
        return false;
    return form == FORM_plain || form == FORM_bracketed || is_common_tld(l->lower);
}

/* The end of the longest domain at pos, or 0. */
static size_t read_domain(struct pii_cursor *c, size_t pos, enum form form, bool *ret_open)
{
    size_t cap = pos + PII_EMAIL_DOMAIN, good = 0, next;
    bool spelt_dot = form != FORM_spelt; /* that form needs one */
    *ret_open = false;
    for (unsigned labels = 1;; labels++) {
        struct label l;
        read_label(c, pos, cap, &l);
        if (l.n == 0)
            return good;
        if (l.capped && (labels > 1 || good)) {
            *ret_open = true;
            return l.next;
        }
        if (labels > 1 && spelt_dot && is_tld(&l, form))
            good = l.end;
        if (l.end != l.next)
            return good;
        pos = l.next;
        enum form dot = FORM_plain;
        if (pii_peek(c, pos, &next) == '.')
            pos = next;
        else if (form != FORM_plain)
            dot = spelt_sign(c, &pos, "dot", '.');
        else
            return good;
        /* "look at that . It is" */
        if (dot == FORM_none || (dot == FORM_spaced && form == FORM_spelt))
            return good;
        spelt_dot |= dot != FORM_plain;
    }
}

/* "[192.0.2.1]" or "[IPv6:…]" behind an '@'; the end, or 0. */
static size_t read_literal(struct pii_cursor *c, size_t pos)
{
    size_t next;
    if (pii_peek(c, pos, &next) != '[')
        return 0;
    pos = next;
    if (skip_word(c, &pos, "ipv6:"))
        next = pos;
    for (unsigned n = 0; n < 46; n++) {
        unsigned s = pii_peek(c, pos, &next);
        if (s == ']')
            return n >= 2 ? next : 0;
        if (sym_hex(s) < 0 && s != '.' && s != ':')
            return 0;
        pos = next;
    }
    return 0;
}

static bool accept(struct pii_hit *ret, size_t end, bool open, enum form form)
{
    static const double scores[] = { 0, 1.0, 0.6, 0.6, 0.85 };
    if (!end)
        return false;
    *ret = (struct pii_hit){ PII_EMAIL_ADDRESS, ret->start, end, scores[form], open };
    return true;
}

/* "john dot doe (at) example dot com", from the end of its first word. */
static bool spelt_email(struct pii_cursor *c, size_t pos, struct pii_hit *ret)
{
    for (unsigned i = 0; i < LOCAL_PARTS; i++) {
        size_t at = pos;
        enum form form = spelt_sign(c, &at, "at", '@');
        if (form != FORM_none) {
            bool open;
            size_t end = read_domain(c, at, form, &open);
            return accept(ret, end, open, form);
        }
        if (spelt_sign(c, &pos, "dot", '.') == FORM_none)
            return false;
        at = pos;
        pos = local_end(c, pos);
        if (pos == at)
            return false;
    }
    return false;
}

/* "\"john doe\"@example.com": a quoted local part with at most one blank, so that prose between
 * quotes is not withheld for long. */
static bool quoted_email(struct pii_cursor *c, struct pii_hit *ret)
{
    size_t pos, next;
    unsigned blanks = 0, s;
    (void)pii_peek(c, c->at, &pos); /* the quote */
    for (;; pos = next) {
        s = pii_peek(c, pos, &next);
        if (s == '"' || s == SYM_END || s == '\n' || pos - c->at > QUOTED_MAX)
            break;
        blanks += s == ' ';
        if (blanks > 1)
            return false;
        if (s == '\\')
            (void)pii_peek(c, next, &next);
    }
    if (s != '"' || pii_peek(c, next, &pos) != '@')
        return false;
    bool open;
    size_t end = read_domain(c, pos, FORM_plain, &open);
    return accept(ret, end, open, FORM_plain);
}

/*
 * A run of local characters that is longer than a local part may be: only the last bytes before an
 * '@' can be one. Finds where that could begin and remembers that nothing does before.
 */
static void skip_long_run(struct pii_cursor *c, size_t end)
{
    size_t limit = c->limit;
    bool more = c->more;
    c->limit = c->n;
    end = local_end(c, end);
    c->limit = limit;
    c->more = more; /* what follows the run matters only to its last bytes */
    c->email_clear = end - PII_EMAIL_LOCAL;
}

bool pii_email(struct pii_cursor *c, struct pii_hit *ret)
{
    if (c->at < c->email_clear)
        return false;
    size_t next, end;
    unsigned s = pii_peek(c, c->at, &next);
    if (s == '"')
        return quoted_email(c, ret);
    if (!sym_word(s) && s != '_')
        return false;
    end = local_end(c, c->at);
    if (c->more && end - c->at <= PII_EMAIL_LOCAL)
        return false;
    if (end - c->at > PII_EMAIL_LOCAL) {
        skip_long_run(c, end);
        c->more = false;
        return false;
    }
    bool starts = !sym_word(c->prev) || end - c->prev_at > PII_EMAIL_LOCAL;
    if (pii_peek(c, end, &next) != '@') {
        c->email_clear = end;
        return !sym_word(c->prev) && spelt_email(c, end, ret);
    }
    size_t literal = read_literal(c, next);
    bool open = false;
    size_t domain = literal ? literal : read_domain(c, next, FORM_plain, &open);
    if (!domain && !c->more)
        c->email_clear = end;
    return starts && accept(ret, domain, open, FORM_plain);
}

#include "router/signals/pii/pii.h"

#include "router/signals/pii/text.h"

#include <errno.h>

static const char *const names[PII_N + 1] = {
#define PII_NAME(type) #type,
    PII_TYPES(PII_NAME)
#undef PII_NAME
        NULL,
};

const char *pii_name(enum pii_type type)
{
    return names[type];
}

const char *const *pii_names(void)
{
    return names;
}

int pii_of(struct str name, enum pii_type *ret)
{
    for (unsigned i = 0; i < PII_N; i++)
        if (str_eq_nocase(name, str_of(names[i]))) {
            *ret = (enum pii_type)i;
            return 0;
        }
    return -ENOENT;
}

/* What a byte may be to an entity. */
enum { BYTE_dull, BYTE_letter, BYTE_inner, BYTE_start };

static const unsigned char bytes[256] = {
    ['a' ... 'z'] = BYTE_letter, ['A' ... 'Z'] = BYTE_letter, /* begin words */
    ['.'] = BYTE_inner,          ['-'] = BYTE_inner,          /* stand inside of them */
    ['\''] = BYTE_inner,         ['!'] = BYTE_inner,          ['*'] = BYTE_inner,
    ['0' ... '9'] = BYTE_start,  ['+'] = BYTE_start,          ['('] = BYTE_start,
    [':'] = BYTE_start,          ['"'] = BYTE_start,          ['_'] = BYTE_start,
    [128 ... 255] = BYTE_start,
};

/* Characters behind a word that end every hope of an entity; a blank is looked behind. */
static const bool breaks[256] = {
    ['\n'] = true, [','] = true, [';'] = true, ['?'] = true, [')'] = true,
    [']'] = true,  ['"'] = true, ['/'] = true, ['='] = true,
};

enum { RUN_MAX = 64, RUN_AHEAD = 4 };

/*
 * End of a run of letters and what stands inside words, without digits: a run that can only be a
 * local part. Letters of two bytes (Latin, Greek, Cyrillic, Hebrew, Arabic) count; their digits
 * do not.
 */
static size_t run_end(const struct pii_cursor *c, size_t i)
{
    const unsigned char *p = c->p;
    size_t stop = c->n - i > RUN_MAX ? i + RUN_MAX : c->n;
    while (i < stop) {
        unsigned char kind = bytes[p[i]];
        if (kind == BYTE_letter || kind == BYTE_inner)
            i++;
        else if (p[i] >= 0xc3 && p[i] <= 0xdb && i + 1 < stop && (p[i + 1] & 0xc0) == 0x80 &&
                 !((p[i] == 0xd9 || p[i] == 0xdb) && p[i + 1] >= 0xa0 && p[i + 1] <= 0xb9))
            i += 2;
        else
            break;
    }
    return i;
}

/* A letter of Latin, Greek, Cyrillic, Hebrew or Arabic of two bytes, for sure. */
static bool wide_letter(const unsigned char *p)
{
    return (p[0] >= 0xc3 && p[0] <= 0xcb) || (p[0] >= 0xce && p[0] <= 0xd3) ||
           (p[0] == 0xd8 && p[1] >= 0xa0) || (p[0] == 0xd9 && p[1] < 0xa0);
}

/* Whether what stands at p[0 … RUN_AHEAD - 1], behind a run, makes sure that it is nothing but
 * words: no '@', no digit, no beginning of a spelt-out '@' or dot, no group of an IPv6 address. */
static bool ends_run(const unsigned char *p)
{
    if (breaks[p[0]])
        return true;
    if (p[0] == ':')
        return p[1] == ' ' || p[1] == '\n';
    if (p[0] == '(' || (p[0] == ' ' && p[1] == '(')) {
        unsigned s = sym_lower(p[p[0] == '(' ? 1 : 2]);
        return sym_alpha(s) && s != 'a' && s != 'd';
    }
    if (p[0] != ' ')
        return false;
    unsigned s = sym_lower(p[1]), t = sym_lower(p[2]);
    if (s == 'a' && t == 't')
        return p[3] < 128 && p[3] != ' ';
    if (s == 'd' && t == 'o')
        return p[3] < 128 && sym_lower(p[3]) != 't';
    return sym_alnum(s) || breaks[s] || wide_letter(p + 1);
}

/*
 * Passes what cannot begin an entity: dull bytes, and words that no address, number or spelt-out
 * '@' follows. An exact shortcut: the detectors would all say no. Stops at the first byte that
 * they must see.
 */
static size_t skip_dull(const struct pii_cursor *c, size_t i)
{
    const unsigned char *p = c->p;
    for (;;) {
        while (i < c->n && (bytes[p[i]] == BYTE_dull || bytes[p[i]] == BYTE_inner))
            i++;
        if (c->n - i <= RUN_AHEAD)
            return i;
        if (p[i] == '(' && sym_alpha(p[i + 1])) {
            i++;
            continue;
        }
        size_t j = run_end(c, i);
        if (j == i || c->n - j < RUN_AHEAD || !ends_run(p + j))
            return i;
        i = j;
        if (p[i] == ':')
            i++;
    }
}

typedef bool (*detector)(struct pii_cursor *c, struct pii_hit *ret);

static bool better(const struct pii_hit *a, const struct pii_hit *b)
{
    bool sure_a = a->score >= 1, sure_b = b->score >= 1;
    if (sure_a != sure_b)
        return sure_a;
    return a->end > b->end;
}

/* The entity that begins at the cursor; c->more: unknown as yet. */
static bool entity(struct pii_cursor *c, struct pii_hit *ret)
{
    /* on a tie the earlier one wins */
    static const detector detectors[] = {
        pii_email, pii_iban, pii_card, pii_ip, pii_ssn, pii_phone
    };
    bool found = false;
    for (size_t i = 0; i < ARRAY_LEN(detectors); i++) {
        struct pii_hit hit = { .start = c->at };
        bool yes = detectors[i](c, &hit);
        if (c->more)
            return false;
        if (yes && (!found || better(&hit, ret)))
            *ret = hit;
        found |= yes;
    }
    return found;
}

/* The next place where an entity could begin, behind the candidate. */
static size_t advance(struct pii_cursor *c)
{
    size_t next, pos = c->at;
    unsigned s = pii_peek(c, pos, &next);
    if (!sym_word(s))
        return next;
    /* nothing begins inside a word, but for the tail of one that is too long for an address */
    size_t stop = c->email_clear > next ? c->email_clear : next;
    c->limit = stop > c->limit ? stop : c->limit;
    while (pos < stop && sym_word(s)) {
        pos = next;
        s = pii_peek(c, pos, &next);
    }
    return pos;
}

/* Whether a symbol that is not ASCII can begin an entity; others are passed at *i. */
static bool begins(struct pii_cursor *c, size_t *i)
{
    size_t next;
    if (c->p[*i] < 128)
        return true;
    c->limit = *i + PII_READ;
    c->more = false;
    unsigned s = pii_peek(c, *i, &next);
    if (c->more || sym_word(s) || (s < 128 && bytes[s] == BYTE_start))
        return true;
    *i = next;
    return false;
}

bool pii_next(struct str text, size_t from, bool end, struct pii_hit *ret, size_t *ret_clean)
{
    struct pii_cursor c = { .p = (const unsigned char *)text.p, .n = text.n, .end = end };
    for (size_t i = skip_dull(&c, from); i < c.n; i = skip_dull(&c, i)) {
        if (!begins(&c, &i))
            continue;
        pii_place(&c, i);
        struct pii_hit hit;
        bool found = entity(&c, &hit);
        if (found || c.more) {
            *ret_clean = i;
            if (found)
                *ret = hit;
            return found;
        }
        i = advance(&c);
    }
    *ret_clean = c.n;
    return false;
}

size_t pii_tail(struct str text, size_t from)
{
    struct pii_cursor c = { .p = (const unsigned char *)text.p, .n = text.n, .end = true };
    size_t pos = from, next;
    for (; pos < text.n; pos = next) {
        unsigned s = pii_symbol(&c, pos, &next);
        if (!sym_word(s) && s != SYM_HAN && s != SYM_ZERO && s != '-' && s != '.')
            break;
    }
    return pos - from;
}

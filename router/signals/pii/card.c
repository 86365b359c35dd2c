#include "router/signals/pii/text.h"

enum { DIGITS_MIN = 12, DIGITS_MAX = 19, GROUPS_MAX = 19, GAP_MAX = 3 };

/* Issuer prefixes: of the first six digits, and the lengths their cards have. */
static const struct brand {
    unsigned first, last; /* six digits */
    unsigned lengths;     /* bit n: n digits */
} brands[] = {
#define LEN(n) (1u << (n))
#define LEN_16_19 (LEN(16) | LEN(17) | LEN(18) | LEN(19))
#define LEN_12_19 (LEN(12) | LEN(13) | LEN(14) | LEN(15) | LEN_16_19)
    { 100000, 199999, LEN(15) },                     /* UATP, JCB 1800 */
    { 213100, 213199, LEN(15) },                     /* JCB */
    { 220000, 220499, LEN_16_19 },                   /* Mir */
    { 220500, 220599, LEN(16) },                     /* Borica */
    { 222100, 272099, LEN(16) },                     /* Mastercard */
    { 300000, 305999, LEN(14) | LEN_16_19 },         /* Diners Club */
    { 309500, 309599, LEN(14) | LEN_16_19 },         /* Diners Club */
    { 340000, 349999, LEN(15) },                     /* American Express */
    { 350000, 359999, LEN_16_19 },                   /* JCB; issued: 3528 to 3589 */
    { 360000, 369999, LEN(14) | LEN_16_19 },         /* Diners Club */
    { 370000, 379999, LEN(15) },                     /* American Express */
    { 380000, 399999, LEN(14) | LEN_16_19 },         /* Diners Club */
    { 400000, 499999, LEN(13) | LEN(16) | LEN(19) }, /* Visa */
    { 500000, 509999, LEN_12_19 },                   /* Maestro, Dankort, Verve */
    { 510000, 559999, LEN(16) },                     /* Mastercard */
    { 560000, 589999, LEN_12_19 },                   /* Maestro */
    { 601100, 601199, LEN_16_19 },                   /* Discover */
    { 604000, 605999, LEN(16) },                     /* Ukrcard, RuPay */
    { 606985, 608500, LEN(16) },                     /* RuPay */
    { 620000, 629999, LEN_16_19 },                   /* UnionPay */
    { 630400, 630499, LEN_12_19 },                   /* Maestro */
    { 633300, 633499, LEN_12_19 },                   /* Switch */
    { 636000, 639999, LEN_12_19 },                   /* InstaPayment, Maestro, Elo */
    { 644000, 659999, LEN_16_19 },                   /* Discover, RuPay */
    { 670000, 679999, LEN_12_19 },                   /* Maestro */
    { 810000, 829999, LEN_16_19 },                   /* UnionPay, RuPay */
    { 979200, 979299, LEN(16) },                     /* Troy */
};

static bool luhn(const unsigned char *digit, unsigned n)
{
    unsigned sum = 0;
    for (unsigned i = 0; i < n; i++) {
        unsigned d = digit[n - 1 - i];
        if (i % 2)
            d = d > 4 ? d * 2 - 9 : d * 2;
        sum += d;
    }
    return sum % 10 == 0;
}

static bool issued(const unsigned char *digit, unsigned n)
{
    unsigned prefix = 0;
    for (unsigned i = 0; i < 6; i++)
        prefix = prefix * 10 + digit[i];
    for (size_t i = 0; i < ARRAY_LEN(brands); i++)
        if (prefix >= brands[i].first && prefix <= brands[i].last)
            return brands[i].lengths >> n & 1;
    return false;
}

struct number {
    unsigned char digit[DIGITS_MAX];
    unsigned n;
    unsigned char group[GROUPS_MAX]; /* digits of each */
    unsigned n_groups;
    bool wide; /* a line's end, a tab or a comma stands between groups */
};

/* Blanks, dashes, dots … between digits; false: the number ends here. */
static bool gap(struct pii_cursor *c, size_t *pos, bool *wide)
{
    size_t at = *pos, next;
    for (unsigned i = 0; i <= GAP_MAX; i++, at = next) {
        unsigned s = pii_peek(c, at, &next);
        if (sym_digit(s)) {
            *pos = at;
            return i > 0;
        }
        if (s == '\n' || s == '\r' || s == '\t' || s == ',')
            *wide = true;
        else if (s != ' ' && s != '-' && s != '.' && s != '_' && s != '/')
            return false;
    }
    return false;
}

/* Groups as cards are written: in equal ones, or of at least three digits but for the last. */
static bool grouped(const struct number *x)
{
    bool equal = true, broad = true;
    for (unsigned i = 0; i + 1 < x->n_groups; i++) {
        equal &= x->group[i] == x->group[0];
        broad &= x->group[i] >= 3;
    }
    equal &= x->group[x->n_groups - 1] <= x->group[0];
    if (x->wide) /* a column of numbers would do, too */
        return equal && x->n_groups == 4 && x->n == 16;
    return equal || broad;
}

/* Small groups are more often bytes in hexadecimal or a list: they must stand alone. */
static bool alone(struct pii_cursor *c, const struct number *x, size_t pos)
{
    size_t next, start;
    bool wide;
    if (x->n_groups == 1 || x->group[0] > 2)
        return true;
    if (c->prev == ' ' && sym_digit(pii_before(c, c->prev_at, &start)))
        return false;
    return !gap(c, &pos, &wide) &&
           !(pii_peek(c, pos, &next) == ' ' && sym_hex(pii_peek(c, next, &next)) >= 0);
}

bool pii_card(struct pii_cursor *c, struct pii_hit *ret)
{
    struct number x = { 0 };
    size_t pos = c->at, next, end = 0;
    if (sym_word(c->prev) || c->prev == '+' || pii_joined_before(c))
        return false;
    if (!sym_digit(pii_peek(c, pos, &next)))
        return false;
    do {
        unsigned s, n = 0;
        for (; sym_digit(s = pii_peek(c, pos, &next)); pos = next, n++) {
            if (x.n == DIGITS_MAX)
                goto out;
            x.digit[x.n++] = (unsigned char)(s - '0');
        }
        x.group[x.n_groups++] = (unsigned char)n;
        if (sym_word(s))
            break;
        if (x.n >= DIGITS_MIN && issued(x.digit, x.n) && grouped(&x) && luhn(x.digit, x.n) &&
            alone(c, &x, pos))
            end = pos;
    } while (x.n < DIGITS_MAX && gap(c, &pos, &x.wide));
out:
    if (!end)
        return false;
    *ret = (struct pii_hit){ PII_CREDIT_CARD, c->at, end, 1.0, false };
    return true;
}

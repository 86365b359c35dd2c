#include "router/signals/pii/text.h"

/* What stands between two groups: a dash, with or without blanks around it, or one blank, dot,
 * slash or underscore; SYM_END: nothing. Moves *pos behind it. */
static unsigned separator(struct pii_cursor *c, size_t *pos)
{
    size_t next, behind;
    unsigned s = pii_peek(c, *pos, &next);
    if (s == ' ' && pii_peek(c, next, &behind) == '-') {
        s = '-';
        next = behind;
    }
    if (s != '-' && s != ' ' && s != '.' && s != '/' && s != '_')
        return SYM_END;
    *pos = next;
    if (s == '-' && pii_peek(c, next, &behind) == ' ')
        *pos = behind;
    return s;
}

/* Area, group and serial number are never all zeros; areas 666 and 900 up were never given out. */
static bool issued(const unsigned char d[static 9])
{
    unsigned area = d[0] * 100u + d[1] * 10u + d[2];
    unsigned group = d[3] * 10u + d[4];
    unsigned serial = d[5] * 1000u + d[6] * 100u + d[7] * 10u + d[8];
    return area != 0 && area != 666 && area < 900 && group != 0 && serial != 0;
}

static bool all_equal(const unsigned char d[static 9])
{
    for (unsigned i = 1; i < 9; i++)
        if (d[i] != d[0])
            return false;
    return true;
}

bool pii_ssn(struct pii_cursor *c, struct pii_hit *ret)
{
    unsigned char d[9] = { 0 };
    unsigned between[2] = { 0 };
    size_t pos = c->at, next;
    if (sym_word(c->prev) || c->prev == '+' || pii_joined_before(c))
        return false;
    for (unsigned i = 0; i < 9; i++, pos = next) {
        if (i == 3 || i == 5)
            between[i == 5] = separator(c, &pos);
        unsigned s = pii_peek(c, pos, &next);
        if (!sym_digit(s))
            return false;
        d[i] = (unsigned char)(s - '0');
    }
    if (between[0] != between[1] || !issued(d) || all_equal(d))
        return false;
    if (sym_word(pii_peek(c, pos, &next)) || pii_joined_after(c, pos))
        return false;
    bool named = pii_context(c) & CONTEXT_ssn;
    if (!between[0] && !named)
        return false; /* nine digits in a row may be anything */
    double shape = between[0] == '-' ? 0.85 : 0.6;
    *ret = (struct pii_hit){ PII_US_SSN, c->at, pos, named ? 0.95 : shape, false };
    return true;
}

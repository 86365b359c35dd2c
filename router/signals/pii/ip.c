#include "router/signals/pii/text.h"

enum { ZONE_MAX = 16 };

/* A number of at most three digits without a leading zero, at most `max`; -1: none. */
static int small_number(struct pii_cursor *c, size_t *pos, int max)
{
    size_t at = *pos, next;
    int value = 0;
    unsigned n = 0, s;
    for (; sym_digit(s = pii_peek(c, at, &next)); at = next) {
        if (++n > 3 || (n == 2 && value == 0))
            return -1;
        value = value * 10 + (int)(s - '0');
    }
    if (n == 0 || value > max)
        return -1;
    *pos = at;
    return value;
}

/* Four octets at *pos, and nothing numeric right behind; *ret_first: the first octet. */
static bool dotted_quad(struct pii_cursor *c, size_t *pos)
{
    size_t at = *pos, next;
    for (unsigned i = 0; i < 4; i++) {
        if (i) {
            if (pii_peek(c, at, &next) != '.')
                return false;
            at = next;
        }
        if (small_number(c, &at, 255) < 0)
            return false;
    }
    unsigned s = pii_peek(c, at, &next);
    if (sym_word(s) || s == '_' || (s == '.' && sym_digit(pii_peek(c, next, &next))))
        return false;
    *pos = at;
    return true;
}

/* "/24" behind an address; what is no prefix length is left alone. */
static size_t prefix_end(struct pii_cursor *c, size_t pos, int max)
{
    size_t next, end;
    if (pii_peek(c, pos, &next) != '/')
        return pos;
    end = next;
    if (small_number(c, &end, max) < 0)
        return pos;
    unsigned s = pii_peek(c, end, &next);
    return sym_word(s) || (s == '/' && sym_digit(pii_peek(c, next, &next))) ? pos : end;
}

static bool ipv4(struct pii_cursor *c, struct pii_hit *ret)
{
    size_t pos = c->at, next, start;
    if (!sym_digit(pii_peek(c, pos, &next)) || !dotted_quad(c, &pos))
        return false;
    unsigned before = pii_before(c, c->prev_at, &start);
    if (c->prev == '.' && sym_digit(before))
        return false;
    /* "pkg-1.2.3.4.tar": a version in a file's name; "10.0.0.1-10.0.0.9" is a range */
    if (c->prev == '-' && sym_word(before) && !sym_digit(before))
        return false;
    if (pii_context(c) & CONTEXT_version)
        return false;
    *ret = (struct pii_hit){ PII_IP_ADDRESS, c->at, prefix_end(c, pos, 32), 0.95, false };
    return true;
}

struct six {
    unsigned groups; /* of 16 bits */
    unsigned named;  /* groups written out */
    bool gap;        /* "::" was seen */
    bool digit;      /* any decimal digit */
    bool pairs;      /* every group has exactly two digits, as in EUI-64 and MAC */
};

/* One to four hexadecimal digits; 0: none, or more. */
static unsigned hex_group(struct pii_cursor *c, size_t *pos, struct six *x)
{
    size_t at = *pos, next;
    unsigned n = 0, s;
    for (; sym_hex(s = pii_peek(c, at, &next)) >= 0; at = next) {
        if (++n > 4)
            return 0;
        x->digit |= sym_digit(s);
    }
    if (n)
        *pos = at;
    return n;
}

/* The groups of an IPv6 address from *pos on; false: it is none. */
static bool six_groups(struct pii_cursor *c, size_t *pos, struct six *x)
{
    size_t at = *pos, next, behind;
    while (x->groups < 8) {
        size_t quad = at;
        if (x->groups <= 6 && (x->gap || x->groups == 6) && dotted_quad(c, &quad)) {
            x->groups += 2;
            x->named += 2;
            x->digit = true;
            x->pairs = false;
            at = quad;
            break;
        }
        unsigned n = hex_group(c, &at, x);
        if (n) {
            x->groups++;
            x->named++;
            x->pairs &= n == 2;
        } else if (x->groups || x->gap) {
            break; /* behind "::" */
        }
        if (pii_peek(c, at, &next) != ':')
            break;
        if (pii_peek(c, next, &behind) == ':') {
            if (x->gap)
                return false;
            x->gap = true;
            at = behind;
        } else if (n && sym_hex(pii_peek(c, next, &behind)) >= 0 && x->groups < 8) {
            at = next;
        } else {
            break; /* a colon of the sentence */
        }
    }
    *pos = at;
    return x->gap ? x->groups <= 7 : x->groups == 8;
}

/* "%eth0" behind an address. */
static size_t zone_end(struct pii_cursor *c, size_t pos)
{
    size_t at, next;
    if (pii_peek(c, pos, &at) != '%')
        return pos;
    size_t start = at;
    for (unsigned n = 0; n < ZONE_MAX && sym_alnum(pii_peek(c, at, &next)); n++)
        at = next;
    return at > start ? at : pos;
}

static bool ipv6(struct pii_cursor *c, struct pii_hit *ret)
{
    struct six x = { .pairs = true };
    size_t pos = c->at, next, behind;
    unsigned first = pii_peek(c, pos, &next);
    if (c->prev == ':' || (sym_hex(first) < 0 && first != ':'))
        return false;
    if (first == ':' && pii_peek(c, next, &behind) != ':')
        return false;
    if (!six_groups(c, &pos, &x))
        return false;
    /* "a::b" is a path in some languages, "::" alone an operator */
    if (x.named == 0 || (!x.digit && x.named < 3) || (x.pairs && !x.gap))
        return false;
    unsigned s = pii_peek(c, pos, &next);
    if (sym_word(s) || s == '_')
        return false;
    unsigned t = pii_peek(c, next, &behind);
    if ((s == ':' && (sym_hex(t) >= 0 || t == ':')) || (s == '.' && sym_digit(t)))
        return false;
    pos = prefix_end(c, zone_end(c, pos), 128);
    *ret = (struct pii_hit){ PII_IP_ADDRESS, c->at, pos, 0.95, false };
    return true;
}

bool pii_ip(struct pii_cursor *c, struct pii_hit *ret)
{
    if (sym_word(c->prev) || c->prev == '_')
        return false;
    return ipv4(c, ret) || ipv6(c, ret);
}

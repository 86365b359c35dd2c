#include "router/signals/pii/text.h"

#include <stdlib.h>

/* Country and length of its IBANs: the SWIFT registry, and the countries that use the format
 * without being in it. Sorted. */
static const struct country {
    char code[3];
    unsigned char len;
} countries[] = {
    { "AD", 24 }, { "AE", 23 }, { "AL", 28 }, { "AO", 25 }, { "AT", 20 }, { "AZ", 28 },
    { "BA", 20 }, { "BE", 16 }, { "BF", 28 }, { "BG", 22 }, { "BH", 22 }, { "BI", 27 },
    { "BJ", 28 }, { "BL", 27 }, { "BR", 29 }, { "BY", 28 }, { "CF", 27 }, { "CG", 27 },
    { "CH", 21 }, { "CI", 28 }, { "CM", 27 }, { "CR", 22 }, { "CV", 25 }, { "CY", 28 },
    { "CZ", 24 }, { "DE", 22 }, { "DJ", 27 }, { "DK", 18 }, { "DO", 28 }, { "DZ", 26 },
    { "EE", 20 }, { "EG", 29 }, { "ES", 24 }, { "FI", 18 }, { "FK", 18 }, { "FO", 18 },
    { "FR", 27 }, { "GA", 27 }, { "GB", 22 }, { "GE", 22 }, { "GF", 27 }, { "GI", 23 },
    { "GL", 18 }, { "GP", 27 }, { "GQ", 27 }, { "GR", 27 }, { "GT", 28 }, { "GW", 25 },
    { "HN", 28 }, { "HR", 21 }, { "HU", 28 }, { "IE", 22 }, { "IL", 23 }, { "IQ", 23 },
    { "IR", 26 }, { "IS", 26 }, { "IT", 27 }, { "JO", 30 }, { "KM", 27 }, { "KW", 30 },
    { "KZ", 20 }, { "LB", 28 }, { "LC", 32 }, { "LI", 21 }, { "LT", 20 }, { "LU", 20 },
    { "LV", 21 }, { "LY", 25 }, { "MA", 28 }, { "MC", 27 }, { "MD", 24 }, { "ME", 22 },
    { "MF", 27 }, { "MG", 27 }, { "MK", 19 }, { "ML", 28 }, { "MN", 20 }, { "MQ", 27 },
    { "MR", 27 }, { "MT", 31 }, { "MU", 30 }, { "MZ", 25 }, { "NC", 27 }, { "NE", 28 },
    { "NI", 28 }, { "NL", 18 }, { "NO", 15 }, { "OM", 23 }, { "PF", 27 }, { "PK", 24 },
    { "PL", 28 }, { "PM", 27 }, { "PS", 29 }, { "PT", 25 }, { "QA", 29 }, { "RE", 27 },
    { "RO", 24 }, { "RS", 22 }, { "RU", 33 }, { "SA", 24 }, { "SC", 31 }, { "SD", 18 },
    { "SE", 24 }, { "SI", 19 }, { "SK", 24 }, { "SM", 27 }, { "SN", 28 }, { "SO", 23 },
    { "ST", 25 }, { "SV", 28 }, { "TD", 27 }, { "TF", 27 }, { "TG", 28 }, { "TL", 23 },
    { "TN", 24 }, { "TR", 26 }, { "UA", 29 }, { "VA", 22 }, { "VG", 24 }, { "WF", 27 },
    { "XK", 20 }, { "YE", 30 }, { "YT", 27 },
};

static int country_cmp(const void *key, const void *row)
{
    return strcmp(key, ((const struct country *)row)->code);
}

static unsigned mod97(unsigned rest, unsigned sym)
{
    if (sym_digit(sym))
        return (rest * 10 + (sym - '0')) % 97;
    return (rest * 100 + (sym_lower(sym) - 'a' + 10)) % 97;
}

/* ISO 7064: the first four symbols go to the end, letters count 10 to 35, the rest is 1. */
static bool checks(const unsigned char *sym, unsigned n)
{
    unsigned rest = 0;
    for (unsigned i = 4; i < n + 4; i++)
        rest = mod97(rest, sym[i % n]);
    unsigned digits = (sym[2] - '0') * 10u + (sym[3] - '0');
    return rest == 1 && digits >= 2 && digits <= 98;
}

/* Length of the IBANs of the country at the candidate, 0: it cannot be one. */
static unsigned head(struct pii_cursor *c, unsigned char sym[static 4], size_t *ret_pos)
{
    size_t pos = c->at, next;
    for (unsigned i = 0; i < 4; i++, pos = next) {
        unsigned s = pii_peek(c, pos, &next);
        if (i < 2 ? !sym_alpha(s) : !sym_digit(s))
            return 0;
        sym[i] = (unsigned char)s;
    }
    char code[3] = { (char)(sym[0] & ~32), (char)(sym[1] & ~32), '\0' };
    const struct country *k =
        bsearch(code, countries, ARRAY_LEN(countries), sizeof(*countries), country_cmp);
    *ret_pos = pos;
    return k ? k->len : 0;
}

bool pii_iban(struct pii_cursor *c, struct pii_hit *ret)
{
    unsigned char sym[34] = { 0 };
    size_t pos, next;
    if (sym_word(c->prev))
        return false;
    unsigned len = head(c, sym, &pos);
    if (!len)
        return false;
    bool upper = false, lower = false; /* nobody mixes them behind the country */
    for (unsigned i = 4, gap = 0; i < len; pos = next) {
        unsigned s = pii_peek(c, pos, &next);
        if (sym_alnum(s)) {
            upper |= s >= 'A' && s <= 'Z';
            lower |= s >= 'a';
            sym[i++] = (unsigned char)s;
            gap = 0;
        } else if ((s != ' ' && s != '-' && s != '.') || ++gap > 2) {
            return false;
        }
    }
    if ((upper && lower) || sym_word(pii_peek(c, pos, &next)) || !checks(sym, len))
        return false;
    *ret = (struct pii_hit){ PII_IBAN_CODE, c->at, pos, 1.0, false };
    return true;
}

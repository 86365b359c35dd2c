#include "router/signals/pii/text.h"

#include <stdlib.h>

enum { WORD_MAX = 16, WORDS_BACK = 10, NEAR = 3 };

/* Sorted for bsearch. `number` alone says little; it is weighed below. */
static const struct word {
    char word[WORD_MAX];
    unsigned context;
} words[] = {
    { "account", CONTEXT_id },
    { "acct", CONTEXT_id },
    { "answering", CONTEXT_phone },
    { "appendix", CONTEXT_version },
    { "asin", CONTEXT_id },
    { "barcode", CONTEXT_id },
    { "batch", CONTEXT_id },
    { "bid", CONTEXT_id },
    { "booking", CONTEXT_id },
    { "build", CONTEXT_version },
    { "call", CONTEXT_phone },
    { "called", CONTEXT_phone },
    { "calling", CONTEXT_phone },
    { "case", CONTEXT_id },
    { "cell", CONTEXT_phone },
    { "cellphone", CONTEXT_phone },
    { "cellphones", CONTEXT_phone },
    { "cellular", CONTEXT_phone },
    { "chapter", CONTEXT_version },
    { "checksum", CONTEXT_id },
    { "clause", CONTEXT_version },
    { "commit", CONTEXT_id },
    { "contact", CONTEXT_phone },
    { "coupon", CONTEXT_id },
    { "crc", CONTEXT_id },
    { "customerid", CONTEXT_id },
    { "dial", CONTEXT_phone },
    { "dialed", CONTEXT_phone },
    { "dialing", CONTEXT_phone },
    { "dialling", CONTEXT_phone },
    { "doi", CONTEXT_id },
    { "driver", CONTEXT_id },
    { "drivers", CONTEXT_id },
    { "ean", CONTEXT_id },
    { "epoch", CONTEXT_id },
    { "fax", CONTEXT_phone },
    { "figure", CONTEXT_version },
    { "firmware", CONTEXT_version },
    { "fon", CONTEXT_phone },
    { "gsm", CONTEXT_phone },
    { "gtin", CONTEXT_id },
    { "handy", CONTEXT_phone },
    { "handynummer", CONTEXT_phone },
    { "hotline", CONTEXT_phone },
    { "id", CONTEXT_id },
    { "ids", CONTEXT_id },
    { "imei", CONTEXT_id },
    { "invoice", CONTEXT_id },
    { "isbn", CONTEXT_id },
    { "issn", CONTEXT_id },
    { "issue", CONTEXT_id },
    { "item", CONTEXT_id },
    { "landline", CONTEXT_phone },
    { "licence", CONTEXT_id },
    { "license", CONTEXT_id },
    { "md5", CONTEXT_id },
    { "message", CONTEXT_phone },
    { "messages", CONTEXT_phone },
    { "mob", CONTEXT_phone },
    { "mobil", CONTEXT_phone },
    { "mobile", CONTEXT_phone },
    { "mobilnummer", CONTEXT_phone },
    { "mobiltelefon", CONTEXT_phone },
    { "model", CONTEXT_id },
    { "movil", CONTEXT_phone },
    { "numero", CONTEXT_phone },
    { "oid", CONTEXT_version },
    { "order", CONTEXT_id },
    { "orderid", CONTEXT_id },
    { "paragraph", CONTEXT_version },
    { "parcel", CONTEXT_id },
    { "passport", CONTEXT_id },
    { "patent", CONTEXT_id },
    { "ph", CONTEXT_phone },
    { "phone", CONTEXT_phone },
    { "phones", CONTEXT_phone },
    { "pid", CONTEXT_id },
    { "po", CONTEXT_id },
    { "policy", CONTEXT_id },
    { "population", CONTEXT_id },
    { "port", CONTEXT_id },
    { "portable", CONTEXT_phone },
    { "product", CONTEXT_id },
    { "reach", CONTEXT_phone },
    { "ref", CONTEXT_id },
    { "reference", CONTEXT_id },
    { "release", CONTEXT_version },
    { "reservation", CONTEXT_id },
    { "rev", CONTEXT_version },
    { "revision", CONTEXT_version },
    { "rfc", CONTEXT_id },
    { "ring", CONTEXT_phone },
    { "rufnummer", CONTEXT_phone },
    { "section", CONTEXT_version },
    { "serial", CONTEXT_id },
    { "serialnumber", CONTEXT_id },
    { "sku", CONTEXT_id },
    { "sms", CONTEXT_phone },
    { "social", CONTEXT_ssn },
    { "ssid", CONTEXT_id },
    { "ssn", CONTEXT_ssn },
    { "ssno", CONTEXT_ssn },
    { "ssns", CONTEXT_ssn },
    { "table", CONTEXT_version },
    { "tel", CONTEXT_phone },
    { "telefon", CONTEXT_phone },
    { "telefone", CONTEXT_phone },
    { "telefonisch", CONTEXT_phone },
    { "telefonnummer", CONTEXT_phone },
    { "telefono", CONTEXT_phone },
    { "telephone", CONTEXT_phone },
    { "text", CONTEXT_phone },
    { "texted", CONTEXT_phone },
    { "ticket", CONTEXT_id },
    { "timestamp", CONTEXT_id },
    { "tlf", CONTEXT_phone },
    { "tracking", CONTEXT_id },
    { "transaction", CONTEXT_id },
    { "txn", CONTEXT_id },
    { "unix", CONTEXT_id },
    { "upc", CONTEXT_id },
    { "userid", CONTEXT_id },
    { "v", CONTEXT_version },
    { "ver", CONTEXT_version },
    { "version", CONTEXT_version },
    { "versions", CONTEXT_version },
    { "voicemail", CONTEXT_phone },
    { "voucher", CONTEXT_id },
    { "whatsapp", CONTEXT_phone },
    { "zip", CONTEXT_id },
};

static int word_cmp(const void *key, const void *row)
{
    return strcmp(key, ((const struct word *)row)->word);
}

/* Context of the word that ends at *pos (moved before it); *ret_number: it was "number". */
static unsigned word_before(const struct pii_cursor *c, size_t *pos, bool *ret_number)
{
    char reversed[WORD_MAX], word[WORD_MAX];
    size_t n = 0, start;
    unsigned s;
    while ((s = pii_before(c, *pos, &start)) != SYM_END && sym_word(s)) {
        if (n < WORD_MAX)
            reversed[n++] = s < 128 ? (char)sym_lower(s) : '?';
        *pos = start;
    }
    if (n == WORD_MAX) /* longer than any we know */
        return 0;
    for (size_t i = 0; i < n; i++)
        word[i] = reversed[n - 1 - i];
    word[n] = '\0';
    *ret_number =
        strcmp(word, "number") == 0 || strcmp(word, "numbers") == 0 || strcmp(word, "nummer") == 0;
    const struct word *w = bsearch(word, words, ARRAY_LEN(words), sizeof(*words), word_cmp);
    return w ? w->context : 0;
}

static unsigned find_context(const struct pii_cursor *c)
{
    size_t pos = c->at;
    bool number_seen = false;
    for (unsigned i = 0; i < WORDS_BACK; i++) {
        size_t start = pos;
        unsigned s;
        while ((s = pii_before(c, pos, &start)) != SYM_END && !sym_word(s))
            pos = start;
        if (s == SYM_END)
            break;
        bool number = false;
        unsigned context = word_before(c, &pos, &number);
        if ((context & CONTEXT_version && i > 1) || (context & CONTEXT_id && i > NEAR))
            context = 0; /* of something else: "my order did not come, ring 0961 759621" */
        if (context)
            return context;
        number_seen |= number && i <= NEAR;
    }
    return number_seen ? CONTEXT_number : 0;
}

unsigned pii_context(struct pii_cursor *c)
{
    if (!c->has_context)
        c->context = find_context(c);
    c->has_context = true;
    return c->context;
}

#include "engine/local/grammar/json_text.h"

#include <errno.h>
#include <stdlib.h>

#include "base/buf.h"
#include "engine/local/grammar/json_schema.h"
#include "engine/local/grammar/regex.h"

#define SEQ(b, ...)                                                                                \
    grammar_seq(b, (const grammar_expr[]){ __VA_ARGS__ },                                          \
                sizeof((const grammar_expr[]){ __VA_ARGS__ }) / sizeof(grammar_expr))
#define ALT(b, ...)                                                                                \
    grammar_alt(b, (const grammar_expr[]){ __VA_ARGS__ },                                          \
                sizeof((const grammar_expr[]){ __VA_ARGS__ }) / sizeof(grammar_expr))
#define CLASS(b, ...)                                                                              \
    grammar_class(b, (const struct code_range[]){ __VA_ARGS__ },                                   \
                  sizeof((const struct code_range[]){ __VA_ARGS__ }) / sizeof(struct code_range),  \
                  /* negated= */ false)

/*
 * Numbers without bounds keep to what every reader holds: 18 digits fit int64_t, and two digits
 * of exponent a double.
 */
enum { NUMBER_DIGITS = 18, FRACTION_DIGITS = 17, EXPONENT_DIGITS = 2 };

void json_tokens_make(struct grammar_builder *b, struct json_tokens *ret)
{
    grammar_expr blank = CLASS(b, { '\t', '\t' }, { ' ', ' ' });
    grammar_expr line =
        SEQ(b, grammar_bytes(b, STR("\n")), grammar_repeat(b, blank, 0, JSON_INDENT));
    grammar_expr one = grammar_bytes(b, STR(" "));
    grammar_expr space = ALT(b, grammar_empty(b), one, line);
    *ret = (struct json_tokens){
        .comma = SEQ(b, grammar_bytes(b, STR(",")), space),
        .colon = SEQ(b, grammar_bytes(b, STR(":")), grammar_repeat(b, one, 0, 1)),
        .open_object = SEQ(b, grammar_bytes(b, STR("{")), space),
        .close_object = SEQ(b, space, grammar_bytes(b, STR("}"))),
        .open_array = SEQ(b, grammar_bytes(b, STR("[")), space),
        .close_array = SEQ(b, space, grammar_bytes(b, STR("]"))),
        .space = space,
    };
}

grammar_expr json_char_expr(struct grammar_builder *b)
{
    grammar_expr hex = CLASS(b, { '0', '9' }, { 'A', 'F' }, { 'a', 'f' });
    grammar_expr d = CLASS(b, { 'D', 'D' }, { 'd', 'd' });
    grammar_expr not_zero = CLASS(b, { '1', '9' }, { 'A', 'F' }, { 'a', 'f' });
    grammar_expr not_d =
        CLASS(b, { '1', '9' }, { 'A', 'C' }, { 'E', 'F' }, { 'a', 'c' }, { 'e', 'f' });
    grammar_expr zero = grammar_bytes(b, STR("0"));
    grammar_expr hex2 = grammar_repeat(b, hex, 2, 2);
    /* Four digits that are neither 0000 nor a surrogate, or a pair of surrogates. */
    grammar_expr low =
        SEQ(b, grammar_bytes(b, STR("\\u")), d, CLASS(b, { 'C', 'F' }, { 'c', 'f' }), hex2);
    grammar_expr code =
        ALT(b, SEQ(b, not_d, hex, hex2), SEQ(b, zero, not_zero, hex2),
            SEQ(b, zero, zero, not_zero, hex), SEQ(b, zero, zero, zero, not_zero),
            SEQ(b, d, CLASS(b, { '0', '7' }), hex2),
            SEQ(b, d, CLASS(b, { '8', '9' }, { 'A', 'B' }, { 'a', 'b' }), hex2, low));
    grammar_expr letter = CLASS(b, { '"', '"' }, { '/', '/' }, { '\\', '\\' }, { 'b', 'b' },
                                { 'f', 'f' }, { 'n', 'n' }, { 'r', 'r' }, { 't', 't' });
    grammar_expr escaped = ALT(b, letter, SEQ(b, grammar_bytes(b, STR("u")), code));
    return ALT(b,
               CLASS(b, { ' ', '!' }, { '#', '[' }, { ']', SURROGATE_FIRST - 1 },
                     { SURROGATE_LAST + 1, CODE_LAST }),
               SEQ(b, grammar_bytes(b, STR("\\")), escaped));
}

grammar_expr json_string_expr(struct grammar_builder *b, uint32_t min, uint32_t max)
{
    grammar_expr quote = grammar_bytes(b, STR("\""));
    return SEQ(b, quote, grammar_repeat(b, json_char_expr(b), min, max), quote);
}

grammar_expr json_number_expr(struct grammar_builder *b, bool integer)
{
    grammar_expr digit = CLASS(b, { '0', '9' });
    grammar_expr minus = grammar_repeat(b, grammar_bytes(b, STR("-")), 0, 1);
    grammar_expr natural =
        SEQ(b, CLASS(b, { '1', '9' }), grammar_repeat(b, digit, 0, NUMBER_DIGITS - 1));
    grammar_expr zero = grammar_bytes(b, STR("0"));
    if (integer)
        return ALT(b, zero, SEQ(b, minus, natural));
    grammar_expr fraction =
        SEQ(b, grammar_bytes(b, STR(".")), grammar_repeat(b, digit, 1, FRACTION_DIGITS));
    grammar_expr sign = grammar_repeat(b, CLASS(b, { '+', '+' }, { '-', '-' }), 0, 1);
    grammar_expr exponent = SEQ(b, CLASS(b, { 'E', 'E' }, { 'e', 'e' }), sign,
                                grammar_repeat(b, digit, 1, EXPONENT_DIGITS));
    return SEQ(b, minus, ALT(b, zero, natural), grammar_repeat(b, fraction, 0, 1),
               grammar_repeat(b, exponent, 0, 1));
}

grammar_expr json_quoted_expr(struct grammar_builder *b, struct str text)
{
    CLEANUP(buf_done) struct buf out = BUF_INIT(text.n * sizeof("\\u0000") + sizeof("\"\""));
    buf_add_json(&out, text);
    if (buf_err(&out) < 0)
        return grammar_never(b);
    return grammar_bytes(b, buf_str(&out));
}

/* Members, items and values of any JSON; *ret_object is an object of them. */
static grammar_expr any_value(struct grammar_builder *b, grammar_expr *ret_object)
{
    struct json_tokens t;
    json_tokens_make(b, &t);
    grammar_expr value = grammar_rule(b);
    grammar_expr string = json_string_expr(b, 0, GRAMMAR_MANY);
    grammar_expr member = SEQ(b, string, t.colon, value);
    grammar_expr more = grammar_repeat(b, SEQ(b, t.comma, member), 0, GRAMMAR_MANY);
    grammar_expr items = grammar_repeat(b, SEQ(b, t.comma, value), 0, GRAMMAR_MANY);
    *ret_object =
        ALT(b, grammar_bytes(b, STR("{}")), SEQ(b, t.open_object, member, more, t.close_object));
    grammar_expr array =
        ALT(b, grammar_bytes(b, STR("[]")), SEQ(b, t.open_array, value, items, t.close_array));
    grammar_define(b, value,
                   ALT(b, *ret_object, array, string, json_number_expr(b, /* integer= */ false),
                       grammar_bytes(b, STR("true")), grammar_bytes(b, STR("false")),
                       grammar_bytes(b, STR("null"))));
    return value;
}

grammar_expr json_value_expr(struct grammar_builder *b)
{
    grammar_expr object;
    return any_value(b, &object);
}

grammar_expr json_object_expr(struct grammar_builder *b)
{
    grammar_expr object;
    (void)any_value(b, &object);
    return object;
}

/* --- automata as rules --- */

struct emitter {
    struct grammar_builder *b;
    const struct lang_dfa *d;
    bool quoted;
    grammar_expr *rules;  /* by state */
    struct charset class; /* of the edge in hand */
    grammar_expr *parts;  /* alternatives of the state in hand: one an edge, one the end */
    bool *done;           /* by atom */
};

/* A control character's escapes, in both cases of hexadecimal where they differ. */
static grammar_expr control_escape(struct grammar_builder *b, uint32_t c)
{
    static const char lower[] = "0123456789abcdef";
    static const char upper[] = "0123456789ABCDEF";
    char text[] = "\\u0000";
    text[4] = lower[c >> 4];
    text[5] = lower[c & 0xf];
    grammar_expr small = grammar_bytes(b, str_of(text));
    text[5] = upper[c & 0xf];
    return ALT(b, small, grammar_bytes(b, str_of(text)));
}

static grammar_expr escaped_char(struct grammar_builder *b, uint32_t c)
{
    static const char from[] = "\"\\\b\f\n\r\t";
    static const char to[] = "\"\\bfnrt";
    const char *at = c ? strchr(from, (int)c) : NULL;
    if (!at)
        return control_escape(b, c);
    const char text[] = { '\\', to[at - from] };
    return grammar_bytes(b, (struct str){ text, sizeof(text) });
}

/* One character of e->class as it stands in a JSON string. */
static grammar_expr quoted_class(struct emitter *e)
{
    grammar_expr parts[0x20 + 3];
    size_t n = 0;
    CLEANUP(charset_done) struct charset raw = { 0 };
    for (size_t i = 0; i < e->class.n; i++) {
        struct code_range r = e->class.v[i];
        for (uint32_t c = r.first; c <= r.last && c < 0x20; c++)
            parts[n++] = escaped_char(e->b, c);
        if (r.first <= '"' && r.last >= '"')
            parts[n++] = escaped_char(e->b, '"');
        if (r.first <= '\\' && r.last >= '\\')
            parts[n++] = escaped_char(e->b, '\\');
        const struct code_range holes[] = { { ' ', '"' - 1 },
                                            { '"' + 1, '\\' - 1 },
                                            { '\\' + 1, CODE_LAST } };
        for (size_t h = 0; h < ARRAY_LEN(holes); h++) {
            uint32_t first = r.first > holes[h].first ? r.first : holes[h].first;
            charset_add(&raw, first, r.last < holes[h].last ? r.last : holes[h].last);
        }
    }
    if (raw.n)
        parts[n++] = grammar_class(e->b, raw.v, raw.n, /* negated= */ false);
    e->class.no_memory |= raw.no_memory;
    return grammar_alt(e->b, parts, n);
}

static int emit_state(struct emitter *e, uint32_t state)
{
    const struct lang_dfa *d = e->d;
    const uint32_t *next = d->next + (size_t)state * d->n_atoms;
    size_t n = 0;
    memset(e->done, 0, d->n_atoms * sizeof(*e->done));
    for (uint32_t i = 0; i < d->n_atoms; i++) {
        if (e->done[i] || next[i] == LANG_DEAD)
            continue;
        e->class.n = 0;
        for (uint32_t j = i; j < d->n_atoms; j++) {
            if (next[j] != next[i])
                continue;
            e->done[j] = true;
            charset_add_all(&e->class, d->ranges + d->atoms[j], d->atoms[j + 1] - d->atoms[j]);
        }
        charset_tidy(&e->class);
        grammar_expr one = e->quoted
                               ? quoted_class(e)
                               : grammar_class(e->b, e->class.v, e->class.n, /* negated= */ false);
        e->parts[n++] = SEQ(e->b, one, e->rules[next[i]]);
        if (e->class.no_memory)
            return -ENOMEM;
    }
    if (d->accept[state])
        e->parts[n++] = e->quoted ? grammar_bytes(e->b, STR("\"")) : grammar_empty(e->b);
    grammar_define(e->b, e->rules[state], grammar_alt(e->b, e->parts, n));
    return 0;
}

static void emitter_done(struct emitter *e)
{
    free(e->rules);
    free(e->parts);
    free(e->done);
    charset_done(&e->class);
}

int json_dfa_expr(struct grammar_builder *b, const struct lang_dfa *d, bool quoted,
                  grammar_expr *ret)
{
    CLEANUP(emitter_done) struct emitter e = { .b = b, .d = d, .quoted = quoted };
    if (d->n == 0) {
        *ret = grammar_never(b);
        return 0;
    }
    e.rules = calloc(d->n, sizeof(*e.rules));
    e.parts = calloc((size_t)d->n_atoms + 1, sizeof(*e.parts));
    e.done = calloc((size_t)d->n_atoms + 1, sizeof(*e.done));
    if (!e.rules || !e.parts || !e.done)
        return -ENOMEM;
    for (uint32_t i = 0; i < d->n; i++)
        e.rules[i] = grammar_rule(b);
    for (uint32_t i = 0; i < d->n; i++) {
        int r = emit_state(&e, i);
        if (r < 0)
            return r;
    }
    *ret = quoted ? SEQ(b, grammar_bytes(b, STR("\"")), e.rules[0]) : e.rules[0];
    return 0;
}

int regex_expr(struct grammar_builder *b, struct str pattern, grammar_expr *ret,
               struct fail *reterr)
{
    CLEANUP(lang_freep) struct lang *l = lang_new();
    CLEANUP(lang_dfa_done) struct lang_dfa d = LANG_DFA_INIT;
    if (!l)
        return -ENOMEM;
    int r = regex_add(l, pattern, REGEX_WHOLE, reterr);
    if (r != 0)
        return r;
    r = lang_determinise(l, &d);
    if (r == -E2BIG)
        return fail_set(reterr, FAIL_invalid_request, "the pattern needs too many states");
    if (r < 0)
        return r;
    if (d.n == 0)
        return fail_set(reterr, FAIL_invalid_request, "no text matches the pattern");
    return json_dfa_expr(b, &d, /* quoted= */ false, ret);
}

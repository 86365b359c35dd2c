#include "engine/local/grammar/grammar.h"

#include "engine/local/grammar/grammar_impl.h"

#include <errno.h>
#include <stdlib.h>

#include "base/num.h"

static const grammar_expr empty_expr = { 0 }, never_expr = { 1 };

void *grammar_grow(void *p, uint32_t *cap, uint32_t n, uint32_t more, size_t size)
{
    size_t want = 0, bytes = 0;
    if (!add_ok(n, more, &want) || want > UINT32_MAX / 2)
        return NULL;
    if (p && want <= *cap)
        return p;
    uint32_t larger = *cap ? *cap : 64;
    while (larger < want)
        larger *= 2;
    void *grown = mul_ok(larger, size, &bytes) ? realloc(p, bytes) : NULL;
    if (grown)
        *cap = larger;
    return grown;
}

/* Room for more items in an array of `o`: sets o->err where memory lacks. */
#define GROW(o, array, more)                                                                       \
    __extension__({                                                                                \
        void *grown_ = grammar_grow((o)->array, &(o)->cap_##array, (o)->n_##array, (more),         \
                                    sizeof(*(o)->array));                                          \
        if (grown_)                                                                                \
            (o)->array = grown_;                                                                   \
        else if (!(o)->err)                                                                        \
            (o)->err = -ENOMEM;                                                                    \
        grown_ != NULL;                                                                            \
    })

static bool within(struct grammar_builder *b, uint64_t n, uint64_t max, const char *what)
{
    if (n > max && !b->err) {
        b->err = FAILED;
        b->bound = what;
    }
    return !b->err;
}

static uint64_t mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * 0x9e3779b97f4a7c15ull;
    return h ^ (h >> 29);
}

static uint64_t hash_payload(const struct grammar_builder *b, const struct expr *e)
{
    uint64_t h = mix(e->kind, e->b);
    switch (e->kind) {
    case EXPR_bytes:
        for (uint32_t i = 0; i < e->b; i++)
            h = mix(h, (uint8_t)b->bytes[e->a + i]);
        return h;
    case EXPR_class:
        for (uint32_t i = 0; i < e->b; i++)
            h = mix(mix(h, b->ranges[e->a + i].first), b->ranges[e->a + i].last);
        return h;
    case EXPR_seq:
    case EXPR_alt:
    case EXPR_without:
        for (uint32_t i = 0; i < e->b; i++)
            h = mix(h, b->parts[e->a + i]);
        return h;
    default:
        return mix(mix(h, e->a), e->c);
    }
}

static bool same_payload(const struct grammar_builder *b, const struct expr *x,
                         const struct expr *y)
{
    if (x->kind != y->kind || x->b != y->b)
        return false;
    switch (x->kind) {
    case EXPR_bytes:
        return memcmp(b->bytes + x->a, b->bytes + y->a, x->b) == 0;
    case EXPR_class:
        return memcmp(b->ranges + x->a, b->ranges + y->a, x->b * sizeof(*b->ranges)) == 0;
    case EXPR_seq:
    case EXPR_alt:
    case EXPR_without:
        return memcmp(b->parts + x->a, b->parts + y->a, x->b * sizeof(*b->parts)) == 0;
    default:
        return x->a == y->a && x->c == y->c;
    }
}

static bool index_grow(struct grammar_builder *b)
{
    if (b->n_index && b->n_exprs * 2 < b->n_index)
        return true;
    uint32_t n = b->n_index ? b->n_index * 2 : 256;
    uint32_t *index = calloc(n, sizeof(*index));
    if (!index) {
        b->err = b->err ? b->err : -ENOMEM;
        return false;
    }
    for (uint32_t i = 0; i < b->n_exprs; i++) {
        uint32_t at = (uint32_t)hash_payload(b, &b->exprs[i]) & (n - 1);
        while (index[at])
            at = (at + 1) & (n - 1);
        index[at] = i + 1;
    }
    free(b->index);
    b->index = index;
    b->n_index = n;
    return true;
}

static uint32_t sum(uint32_t a, uint64_t more)
{
    uint64_t all = a + more;
    return all > GRAMMAR_MAX_STATES ? GRAMMAR_MAX_STATES + 1 : (uint32_t)all;
}

bool expr_is_counted(const struct expr *e, uint32_t part_size)
{
    uint32_t copies = e->c == GRAMMAR_MANY ? e->b : e->c;
    return copies > 1 && (uint64_t)copies * part_size > EXPR_EXPAND;
}

/* Size, nesting and has_rule out of the parts. */
static void measure(const struct grammar_builder *b, struct expr *e)
{
    const struct expr *part = &b->exprs[e->kind == EXPR_repeat ? e->a : 0];
    uint32_t copies = e->c == GRAMMAR_MANY ? e->b : e->c;
    switch (e->kind) {
    case EXPR_bytes:
        e->size = e->b;
        break;
    case EXPR_class:
        e->size = sum(1, b->ranges[e->a + e->b - 1].last < 0x80 ? 0 : 4ull * e->b);
        break;
    case EXPR_repeat:
        e->nesting = (uint16_t)(part->nesting + 1);
        e->has_rule = part->has_rule;
        e->size = expr_is_counted(e, part->size)
                      ? 1
                      : sum(1, (uint64_t)(copies ? copies : 1) * part->size);
        break;
    case EXPR_seq:
    case EXPR_alt:
    case EXPR_without:
        e->size = 1;
        for (uint32_t i = 0; i < e->b; i++) {
            part = &b->exprs[b->parts[e->a + i]];
            e->size = sum(e->size, part->size);
            e->has_rule |= part->has_rule;
            if (part->nesting >= e->nesting)
                e->nesting = (uint16_t)(part->nesting + 1);
        }
        break;
    case EXPR_rule:
        e->has_rule = true;
        e->size = 1;
        break;
    default:
        e->size = 1;
    }
}

/* The id of an expression, old or new. */
static grammar_expr intern(struct grammar_builder *b, struct expr e)
{
    if (b->err || !index_grow(b) || !GROW(b, exprs, 1))
        return never_expr;
    uint32_t at = (uint32_t)hash_payload(b, &e) & (b->n_index - 1);
    for (; b->index[at]; at = (at + 1) & (b->n_index - 1))
        if (same_payload(b, &e, &b->exprs[b->index[at] - 1]))
            return (grammar_expr){ b->index[at] - 1 };
    measure(b, &e);
    if (!within(b, b->n_exprs, GRAMMAR_MAX_EXPRS, "it has too many expressions") ||
        !within(b, e.nesting, GRAMMAR_MAX_NESTING, "its expressions nest too deeply"))
        return never_expr;
    b->exprs[b->n_exprs] = e;
    b->index[at] = b->n_exprs + 1;
    return (grammar_expr){ b->n_exprs++ };
}

int grammar_builder_new(struct grammar_builder **ret)
{
    CLEANUP(grammar_builder_freep) struct grammar_builder *b = calloc(1, sizeof(*b));
    if (!b)
        return -ENOMEM;
    (void)intern(b, (struct expr){ .kind = EXPR_empty });
    (void)intern(b, (struct expr){ .kind = EXPR_never });
    if (b->err < 0)
        return b->err;
    *ret = TAKE(b);
    return 0;
}

struct grammar_builder *grammar_builder_free(struct grammar_builder *b)
{
    if (!b)
        return NULL;
    free(b->exprs);
    free(b->index);
    free(b->bytes);
    free(b->parts);
    free(b->ranges);
    free(b->bodies);
    free(b);
    return NULL;
}

grammar_expr grammar_empty(struct grammar_builder *b)
{
    (void)b;
    return empty_expr;
}

grammar_expr grammar_never(struct grammar_builder *b)
{
    (void)b;
    return never_expr;
}

grammar_expr grammar_bytes(struct grammar_builder *b, struct str text)
{
    if (!text.n)
        return empty_expr;
    if (!within(b, b->n_bytes + (uint64_t)text.n, GRAMMAR_MAX_BYTES, "its literals are too long") ||
        !GROW(b, bytes, (uint32_t)text.n))
        return never_expr;
    memcpy(b->bytes + b->n_bytes, text.p, text.n);
    uint32_t before = b->n_exprs;
    grammar_expr e =
        intern(b, (struct expr){ .kind = EXPR_bytes, .a = b->n_bytes, .b = (uint32_t)text.n });
    if (b->n_exprs > before)
        b->n_bytes += (uint32_t)text.n;
    return e;
}

static int by_first(const void *x, const void *y)
{
    const struct code_range *a = x, *b = y;
    return a->first < b->first ? -1 : a->first > b->first;
}

enum { CODE_MAX = 0x10ffff, SURROGATE_FIRST = 0xd800, SURROGATE_LAST = 0xdfff };

/* Sorts, joins and (negated) inverts r in place, which has room for n + 1. Returns how many. */
static uint32_t normalise(struct code_range *r, size_t n, bool negated)
{
    uint32_t joined = 0, kept = 0;
    for (size_t i = 0; i < n; i++)
        if (r[i].first <= r[i].last && r[i].first <= CODE_MAX)
            r[kept++] =
                (struct code_range){ r[i].first, r[i].last < CODE_MAX ? r[i].last : CODE_MAX };
    qsort(r, kept, sizeof(*r), by_first);
    for (uint32_t i = 0; i < kept; i++) {
        if (joined && r[i].first <= r[joined - 1].last + 1) {
            if (r[i].last > r[joined - 1].last)
                r[joined - 1].last = r[i].last;
        } else {
            r[joined++] = r[i];
        }
    }
    if (!negated)
        return joined;
    uint32_t from = 0, out = 0;
    for (uint32_t i = 0; i < joined; i++) {
        struct code_range gap = { from, r[i].first - 1 };
        from = r[i].last + 1;
        if (r[i].first > gap.first)
            r[out++] = gap; /* never past i: gaps are as many as ranges so far */
    }
    if (from <= CODE_MAX)
        r[out++] = (struct code_range){ from, CODE_MAX };
    return out;
}

/* Takes the surrogates out; r has room for n + 1. */
static uint32_t drop_surrogates(struct code_range *r, uint32_t n)
{
    uint32_t out = 0;
    bool above = false;
    struct code_range high = { 0 };
    for (uint32_t i = 0; i < n; i++) {
        struct code_range c = r[i];
        if (c.first >= SURROGATE_FIRST && c.first <= SURROGATE_LAST)
            c.first = SURROGATE_LAST + 1;
        if (c.first < SURROGATE_FIRST && c.last > SURROGATE_LAST) {
            high = (struct code_range){ SURROGATE_LAST + 1, c.last };
            above = true;
        }
        if (c.first < SURROGATE_FIRST && c.last >= SURROGATE_FIRST)
            c.last = SURROGATE_FIRST - 1;
        if (c.first > c.last)
            continue;
        r[out++] = c;
        if (!above)
            continue;
        memmove(r + out + 1, r + i + 1, (n - i - 1) * sizeof(*r)); /* the spare place */
        r[out++] = high;
        n++;
        i++;
        above = false;
    }
    return out;
}

grammar_expr grammar_class(struct grammar_builder *b, const struct code_range *ranges, size_t n,
                           bool negated)
{
    enum { SPARE = 2 };
    if (!within(b, b->n_ranges + (uint64_t)n, GRAMMAR_MAX_PARTS, "its classes are too large") ||
        !GROW(b, ranges, (uint32_t)n + SPARE))
        return never_expr;
    struct code_range *r = b->ranges + b->n_ranges;
    if (n)
        memcpy(r, ranges, n * sizeof(*r));
    uint32_t kept = drop_surrogates(r, normalise(r, n, negated));
    if (kept == 0)
        return never_expr;
    uint32_t before = b->n_exprs;
    grammar_expr e = intern(b, (struct expr){ .kind = EXPR_class, .a = b->n_ranges, .b = kept });
    if (b->n_exprs > before)
        b->n_ranges += kept;
    return e;
}

/* A sequence or a choice: parts that change nothing are left out. */
static grammar_expr join(struct grammar_builder *b, enum expr_kind kind, const grammar_expr *parts,
                         size_t n)
{
    grammar_expr nothing = kind == EXPR_seq ? empty_expr : never_expr;
    if (!within(b, b->n_parts + (uint64_t)n, GRAMMAR_MAX_PARTS, "its lists are too long") ||
        !GROW(b, parts, (uint32_t)n + 1))
        return never_expr;
    uint32_t *out = b->parts + b->n_parts, kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (parts[i].id == never_expr.id && kind == EXPR_seq)
            return never_expr;
        if (parts[i].id != nothing.id)
            out[kept++] = parts[i].id;
    }
    if (kept == 0)
        return nothing;
    if (kept == 1)
        return (grammar_expr){ out[0] };
    uint32_t before = b->n_exprs;
    grammar_expr e = intern(b, (struct expr){ .kind = (uint8_t)kind, .a = b->n_parts, .b = kept });
    if (b->n_exprs > before)
        b->n_parts += kept;
    return e;
}

grammar_expr grammar_seq(struct grammar_builder *b, const grammar_expr *parts, size_t n)
{
    return join(b, EXPR_seq, parts, n);
}

grammar_expr grammar_alt(struct grammar_builder *b, const grammar_expr *parts, size_t n)
{
    return join(b, EXPR_alt, parts, n);
}

grammar_expr grammar_repeat(struct grammar_builder *b, grammar_expr part, uint32_t min,
                            uint32_t max)
{
    if (max > GRAMMAR_MANY)
        max = GRAMMAR_MANY;
    if (min > max)
        return never_expr;
    if (part.id == never_expr.id)
        return min ? never_expr : empty_expr;
    if (max == 0 || part.id == empty_expr.id)
        return empty_expr;
    if (min == 1 && max == 1)
        return part;
    return intern(b, (struct expr){ .kind = EXPR_repeat, .a = part.id, .b = min, .c = max });
}

grammar_expr grammar_text_without(struct grammar_builder *b, const struct str *texts, size_t n)
{
    if (!within(b, b->n_parts + (uint64_t)n, GRAMMAR_MAX_PARTS, "its lists are too long") ||
        !GROW(b, parts, (uint32_t)n + 1))
        return never_expr;
    for (size_t i = 0; i < n; i++) {
        grammar_expr e = grammar_bytes(b, texts[i]);
        if (e.id == empty_expr.id)
            return never_expr; /* every text holds the empty one */
        b->parts[b->n_parts + i] = e.id;
    }
    uint32_t before = b->n_exprs;
    grammar_expr e =
        intern(b, (struct expr){ .kind = EXPR_without, .a = b->n_parts, .b = (uint32_t)n });
    if (b->n_exprs > before)
        b->n_parts += (uint32_t)n;
    return e;
}

grammar_expr grammar_mark(struct grammar_builder *b, struct str text)
{
    grammar_expr bytes = grammar_bytes(b, text);
    if (b->err || bytes.id == empty_expr.id)
        return bytes;
    uint32_t m = 0;
    while (m < b->n_marks && b->marks[m] != bytes.id)
        m++;
    if (!within(b, m + 1ull, GRAMMAR_MAX_MARKS, "it has too many marks"))
        return never_expr;
    if (m == b->n_marks)
        b->marks[b->n_marks++] = bytes.id;
    grammar_expr token = intern(b, (struct expr){ .kind = EXPR_mark, .a = m });
    return grammar_alt(b, (grammar_expr[]){ bytes, token }, 2);
}

grammar_expr grammar_rule(struct grammar_builder *b)
{
    if (!within(b, b->n_rules + 1ull, GRAMMAR_MAX_RULES, "it has too many rules"))
        return never_expr;
    void *grown = grammar_grow(b->bodies, &b->cap_rules, b->n_rules, 1, sizeof(*b->bodies));
    if (!grown) {
        b->err = -ENOMEM;
        return never_expr;
    }
    b->bodies = grown;
    b->bodies[b->n_rules] = GRAMMAR_NONE;
    return intern(b, (struct expr){ .kind = EXPR_rule, .a = b->n_rules++ });
}

void grammar_define(struct grammar_builder *b, grammar_expr rule, grammar_expr body)
{
    if (!b->err && b->exprs[rule.id].kind == EXPR_rule)
        b->bodies[b->exprs[rule.id].a] = body.id;
}

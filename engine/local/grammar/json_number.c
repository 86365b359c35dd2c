#include "engine/local/grammar/json_number.h"

#include <errno.h>
#include <stdlib.h>

#include "base/num.h"

enum {
    SURE_DIGITS = 15,    /* significant digits that a double keeps apart */
    INTEGER_DIGITS = 18, /* of integers without a bound: they fit int64_t */
    BOUND_DIGITS = 20,   /* of integers with a bound: uint64_t */
    MAX_EXPONENT = 400,  /* of bounds, far outside of doubles */
};

/* --- decimals --- */

/* Splits "-12.5e3" into its digits and the place of the point behind the first `point` of them. */
static bool scan(struct str s, struct decimal *d, char *digits, unsigned *ret_n, int64_t *ret_point)
{
    size_t i = 0;
    unsigned n = 0;
    int64_t point = -1;
    d->negative = i < s.n && s.p[i] == '-';
    i += d->negative;
    for (; i < s.n && (s.p[i] == '.' || (s.p[i] >= '0' && s.p[i] <= '9')); i++) {
        if (s.p[i] == '.')
            point = n;
        else if (n < DECIMAL_DIGITS)
            digits[n++] = s.p[i];
        else
            return false;
    }
    int64_t exponent = 0;
    if (i < s.n) {
        struct str e = str_sub(s, i + 1);
        e = str_starts(e, STR("+")) ? str_sub(e, 1) : e;
        if (num_parse_i64(&exponent, e, -MAX_EXPONENT, MAX_EXPONENT) < 0)
            return false;
    }
    *ret_n = n;
    *ret_point = (point < 0 ? n : point) + exponent;
    return true;
}

bool decimal_parse(struct decimal *ret, struct str text)
{
    struct decimal d = { 0 };
    char digits[DECIMAL_DIGITS];
    unsigned n = 0;
    int64_t point = 0;
    if (!scan(text, &d, digits, &n, &point))
        return false;
    unsigned from = 0;
    while (from < n && digits[from] == '0')
        from++;
    while (n > from && digits[n - 1] == '0')
        n--;
    if (from == n) {
        d.negative = false;
        *ret = d;
        return true;
    }
    if (point - (int64_t)from > DECIMAL_DIGITS || (int64_t)n - point > DECIMAL_DIGITS)
        return false;
    for (int64_t i = from; i < point; i++)
        d.whole[d.n_whole++] = i < (int64_t)n ? digits[i] : '0';
    for (int64_t i = point < (int64_t)from ? point : (point > from ? point : from); i < (int64_t)n;
         i++)
        d.fraction[d.n_fraction++] = i < (int64_t)from ? '0' : digits[i];
    *ret = d;
    return true;
}

static int cmp_magnitude(const struct decimal *a, const struct decimal *b)
{
    if (a->n_whole != b->n_whole)
        return a->n_whole < b->n_whole ? -1 : 1;
    int r = memcmp(a->whole, b->whole, a->n_whole);
    if (r != 0)
        return r;
    return str_cmp((struct str){ a->fraction, a->n_fraction },
                   (struct str){ b->fraction, b->n_fraction });
}

int decimal_cmp(const struct decimal *a, const struct decimal *b)
{
    if (a->negative != b->negative)
        return a->negative ? -1 : 1;
    return a->negative ? cmp_magnitude(b, a) : cmp_magnitude(a, b);
}

/* --- ranges --- */

bool json_range_min(struct json_range *r, const struct decimal *d, bool above)
{
    int c = r->has_min ? decimal_cmp(d, &r->min) : 1;
    if (c > 0) {
        r->min = *d;
        r->above_min = above;
    } else if (c == 0) {
        r->above_min |= above;
    }
    r->has_min = true;
    return true;
}

bool json_range_max(struct json_range *r, const struct decimal *d, bool below)
{
    int c = r->has_max ? decimal_cmp(d, &r->max) : -1;
    if (c < 0) {
        r->max = *d;
        r->below_max = below;
    } else if (c == 0) {
        r->below_max |= below;
    }
    r->has_max = true;
    return true;
}

static uint64_t divisor(uint64_t a, uint64_t b)
{
    while (b) {
        uint64_t t = a % b;
        a = b;
        b = t;
    }
    return a;
}

/* The step without its factors of ten; *ret_zeros of them. */
static uint64_t step_core(uint64_t step, unsigned *ret_zeros)
{
    unsigned zeros = 0;
    for (; step && step % 10 == 0; step /= 10)
        zeros++;
    *ret_zeros = zeros;
    return step;
}

bool json_range_step(struct json_range *r, const struct decimal *d)
{
    uint64_t p = 0;
    uint64_t q = r->step ? r->step : 1;
    uint32_t scale = d->n_fraction > r->scale ? d->n_fraction : r->scale;
    if (d->negative || d->n_whole + scale > 9)
        return false;
    for (unsigned i = 0; i < d->n_whole; i++)
        p = p * 10 + (uint64_t)(d->whole[i] - '0');
    for (unsigned i = 0; i < scale; i++)
        p = p * 10 + (uint64_t)(i < d->n_fraction ? d->fraction[i] - '0' : 0);
    for (unsigned i = r->scale; i < scale; i++)
        q *= 10;
    if (p == 0)
        return false;
    uint64_t step = r->step ? p / divisor(p, q) * q : p;
    for (; scale > 0 && step % 10 == 0; scale--)
        step /= 10;
    unsigned zeros = 0;
    if (step > UINT32_MAX || step_core(step, &zeros) > JSON_RANGE_STEP_MAX)
        return false;
    r->step = (uint32_t)step;
    r->scale = scale;
    return true;
}

/* --- the graph: one state for each place, tightness and remainder --- */

/* A range of magnitudes: from zero up. */
struct magnitude {
    const struct decimal *min, *max; /* NULL: no bound */
    bool above_min, below_max;
};

struct place {
    unsigned left;     /* digits of the whole part to come */
    unsigned fraction; /* digits of the fraction that were read */
    bool point;        /* was read */
    bool at_min, at_max;
    uint32_t rest;  /* remainder by the step */
    unsigned whole; /* digits of the whole part */
};

struct digits {
    struct lang *l;
    const struct json_range *r;
    struct magnitude m;
    uint32_t accept;
    uint32_t core; /* step without factors of ten, at least 1 */
    unsigned zeros;
    struct known {
        uint64_t key; /* 0: free */
        uint32_t state;
    } * known; /* hash; [KNOWN] */
    size_t n_known;
    struct place *todo;
    uint32_t *todo_state;
    size_t n_todo, cap_todo;
};
enum { KNOWN = 1 << 16 };

static unsigned fraction_limit(const struct digits *d, unsigned whole)
{
    if (d->r->integer || (d->r->step && d->r->scale == 0))
        return 0;
    if (d->r->step)
        return d->r->scale;
    unsigned n = whole < SURE_DIGITS ? SURE_DIGITS - whole : 0;
    if (whole == 0 && d->m.min && d->m.min->n_fraction > n)
        n = d->m.min->n_fraction;
    if (whole == 0 && d->m.max && d->m.max->n_fraction > n)
        n = d->m.max->n_fraction;
    return n;
}

static uint64_t place_key(const struct place *p)
{
    /* A place that no bound touches is the same one for every length with the same rights. */
    uint64_t k = p->left;
    k = k << 6 | p->fraction;
    k = k << 1 | p->point;
    k = k << 1 | p->at_min;
    k = k << 1 | p->at_max;
    k = k << 6 | p->whole;
    return (k << 32 | p->rest) + 1;
}

/* The state of a place; a new one is put on the list. */
static uint32_t state_of(struct digits *d, struct place p)
{
    /* Where no bound is near and the fraction's length is the same for all, places are, too. */
    bool fixed = d->r->step || fraction_limit(d, p.whole) == 0;
    if (fixed && !p.at_min && !p.at_max)
        p.whole = DECIMAL_DIGITS;
    uint64_t key = place_key(&p);
    size_t slot = (size_t)((key ^ key >> 29) * 0x9e3779b97f4a7c15ull >> 40) % KNOWN;
    for (; d->known[slot].key; slot = (slot + 1) % KNOWN)
        if (d->known[slot].key == key)
            return d->known[slot].state;
    uint32_t state = lang_state(d->l);
    if (d->n_known + 1 >= KNOWN / 2 || d->n_todo == d->cap_todo)
        return lang_fail(d->l, -E2BIG);
    d->known[slot] = (struct known){ key, state };
    d->n_known++;
    d->todo[d->n_todo] = p;
    d->todo_state[d->n_todo++] = state;
    return state;
}

static char fraction_digit(const struct decimal *d, unsigned i)
{
    return i < d->n_fraction ? d->fraction[i] : '0';
}

static bool may_end(const struct digits *d, const struct place *p)
{
    if (p->left > 0 || (p->point && p->fraction == 0))
        return false;
    if (p->at_min && (d->m.min->n_fraction > p->fraction || d->m.above_min))
        return false;
    if (p->at_max && d->m.max->n_fraction <= p->fraction && d->m.below_max)
        return false;
    uint64_t rest = p->rest;
    for (unsigned i = p->fraction; i < d->r->scale; i++)
        rest = rest * 10 % d->core;
    return rest == 0;
}

/* Where the digit leads; false: nowhere. */
static bool digit_step(const struct digits *d, struct place *p, char digit)
{
    char low = '0';
    char high = '9';
    if (p->point) {
        low = p->at_min ? fraction_digit(d->m.min, p->fraction) : low;
        high = p->at_max ? fraction_digit(d->m.max, p->fraction) : high;
    } else {
        unsigned i = p->whole - p->left;
        low = p->at_min ? d->m.min->whole[i] : low;
        high = p->at_max ? d->m.max->whole[i] : high;
        /* A step of 20 is a step of 2 and a zero at the end. */
        if (d->r->scale == 0 && p->left <= d->zeros && digit != '0')
            return false;
    }
    if (digit < low || digit > high)
        return false;
    p->at_min = p->at_min && digit == low;
    p->at_max = p->at_max && digit == high;
    if (p->point || d->r->scale > 0 || p->left > d->zeros)
        p->rest = (uint32_t)(((uint64_t)p->rest * 10 + (uint64_t)(digit - '0')) % d->core);
    if (p->point)
        p->fraction++;
    else
        p->left--;
    return true;
}

static void draw_place(struct digits *d, struct place p, uint32_t state)
{
    if (may_end(d, &p))
        lang_skip(d->l, state, d->accept, GUARD_NONE);
    unsigned limit = fraction_limit(d, p.whole);
    if (p.left == 0 && !p.point && limit > 0) {
        struct place next = p;
        next.point = true;
        lang_edge(d->l, state, lang_range(d->l, '.', '.'), state_of(d, next));
    }
    if (p.left == 0 && (!p.point || p.fraction >= limit))
        return;
    for (int c = '0'; c <= '9'; c++) {
        struct place next = p;
        if (digit_step(d, &next, (char)c))
            lang_edge(d->l, state, lang_range(d->l, (uint32_t)c, (uint32_t)c), state_of(d, next));
    }
}

/* Texts with `whole` digits before the point (0: the digit 0), from `start`. */
static void draw_length(struct digits *d, unsigned whole, uint32_t start)
{
    const struct magnitude *m = &d->m;
    struct place p = { .left = whole, .whole = whole };
    if ((m->min && m->min->n_whole > whole) || (m->max && m->max->n_whole < whole))
        return;
    p.at_min = m->min && m->min->n_whole == whole;
    p.at_max = m->max && m->max->n_whole == whole;
    char first = whole ? '1' : '0';
    char last = whole ? '9' : '0';
    for (char c = first; c <= last; c++) {
        struct place next = p;
        if (whole == 0 || digit_step(d, &next, c))
            lang_edge(d->l, start, lang_range(d->l, (uint32_t)c, (uint32_t)c), state_of(d, next));
    }
}

static void draw_magnitudes(struct digits *d, struct magnitude m, uint32_t start)
{
    unsigned longest = d->r->integer ? INTEGER_DIGITS : SURE_DIGITS;
    memset(d->known, 0, KNOWN * sizeof(*d->known));
    d->n_known = 0;
    d->n_todo = 0;
    if (m.min && m.min->n_whole >= longest)
        longest = m.min->n_whole + 1;
    if (m.max && m.max->n_whole > BOUND_DIGITS && m.max->n_whole > longest)
        m.max = NULL; /* never reached */
    if (m.max && m.max->n_whole != longest)
        longest = m.max->n_whole;
    if (longest >= DECIMAL_DIGITS)
        longest = DECIMAL_DIGITS - 1;
    d->m = m;
    for (unsigned whole = 0; whole <= longest; whole++)
        draw_length(d, whole, start);
    for (size_t i = 0; i < d->n_todo && !lang_failed(d->l); i++)
        draw_place(d, d->todo[i], d->todo_state[i]);
}

/* Texts of negative numbers, then of the others. */
static void draw(struct digits *d, uint32_t start)
{
    static const struct decimal zero = { 0 };
    const struct json_range *r = d->r;
    bool max_negative = r->has_max && r->max.negative;
    bool max_zero = r->has_max && decimal_cmp(&r->max, &zero) == 0;
    bool min_negative = !r->has_min || r->min.negative;
    if (min_negative) {
        uint32_t minus = lang_state(d->l);
        struct magnitude m = { .min = max_negative ? &r->max : &zero,
                               .max = r->has_min ? &r->min : NULL,
                               .above_min = max_negative ? r->below_max : true,
                               .below_max = r->above_min };
        lang_edge(d->l, start, lang_range(d->l, '-', '-'), minus);
        draw_magnitudes(d, m, minus);
    }
    if (!max_negative && !(max_zero && r->below_max)) {
        struct magnitude m = { .min = min_negative ? &zero : &r->min,
                               .max = r->has_max ? &r->max : NULL,
                               .above_min = !min_negative && r->above_min,
                               .below_max = r->below_max };
        draw_magnitudes(d, m, start);
    }
}

void json_range_add(struct lang *l, const struct json_range *r)
{
    struct digits d = { .l = l, .r = r, .cap_todo = KNOWN };
    uint32_t start = lang_state(l);
    d.accept = lang_state(l);
    d.core = (uint32_t)step_core(r->step, &d.zeros);
    if (d.core == 0)
        d.core = 1;
    d.known = calloc(KNOWN, sizeof(*d.known));
    d.todo = calloc(KNOWN, sizeof(*d.todo));
    d.todo_state = calloc(KNOWN, sizeof(*d.todo_state));
    if (d.known && d.todo && d.todo_state)
        draw(&d, start);
    else
        (void)lang_fail(l, -ENOMEM);
    free(d.known);
    free(d.todo);
    free(d.todo_state);
    lang_operand(l, start, d.accept, /* negated= */ false);
}

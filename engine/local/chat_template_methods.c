/*
 * Methods of values, and the functions that every template may call.
 */
#include "engine/local/chat_template_impl.h"

#include <locale.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <wctype.h>

enum { MAX_RANGE = 100000 }; /* as Jinja's sandbox */

/* ---- characters ---- */

static locale_t unicode; /* made once; (locale_t)0 where the system has none: ASCII then */
static pthread_once_t unicode_once = PTHREAD_ONCE_INIT;

static void make_unicode(void)
{
    unicode = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
}

static unsigned change(unsigned rune, bool up)
{
    if (rune < 0x80) {
        if (up)
            return rune >= 'a' && rune <= 'z' ? rune - 32 : rune;
        return rune >= 'A' && rune <= 'Z' ? rune + 32 : rune;
    }
    (void)pthread_once(&unicode_once, make_unicode);
    if (!unicode)
        return rune;
    return (unsigned)(up ? towupper_l((wint_t)rune, unicode) : towlower_l((wint_t)rune, unicode));
}

static bool is_alpha(unsigned rune)
{
    if (rune < 0x80)
        return (rune | 32) >= 'a' && (rune | 32) <= 'z';
    (void)pthread_once(&unicode_once, make_unicode);
    return unicode && iswalpha_l((wint_t)rune, unicode);
}

static bool is_digit(unsigned rune)
{
    return rune >= '0' && rune <= '9';
}

static bool is_blank(unsigned rune)
{
    return (rune >= 9 && rune <= 13) || (rune >= 0x1c && rune <= 0x20) || rune == 0x85 ||
           rune == 0xa0 || rune == 0x1680 || (rune >= 0x2000 && rune <= 0x200a) || rune == 0x2028 ||
           rune == 0x2029 || rune == 0x202f || rune == 0x205f || rune == 0x3000;
}

static bool is_one_of(unsigned rune, const struct text *set)
{
    if (!set)
        return is_blank(rune);
    for (size_t at = 0; at < set->n;)
        if ((unsigned)str_utf8_next(text_str(set), &at) == rune)
            return true;
    return false;
}

/* Where the character that ends at `end` begins. */
static size_t step_back(const struct text *t, size_t end)
{
    size_t at = end - 1;
    while (at > 0 && end - at < 4 && ((unsigned char)t->p[at] & 0xc0) == 0x80)
        at--;
    size_t check = at;
    (void)str_utf8_next((struct str){ t->p, end }, &check);
    return check == end ? at : end - 1;
}

struct val text_trim(struct render *r, const struct text *t, const struct args *a, int sides)
{
    struct val chars = arg_at(a, 0, "chars");
    const struct text *set = chars.kind == V_text ? chars.s : NULL;
    size_t from = 0, to = t->n;
    while ((sides & 1) && from < to) {
        size_t at = from;
        if (!is_one_of((unsigned)str_utf8_next(text_str(t), &at), set))
            break;
        from = at;
    }
    while ((sides & 2) && to > from) {
        size_t at = step_back(t, to), check = at;
        if (!is_one_of((unsigned)str_utf8_next((struct str){ t->p, to }, &check), set))
            break;
        to = at;
    }
    return render_step(r, (t->n - (to - from)) / 16) ? val_slice(r, t, from, to) : V_UNDEFINED;
}

/* A capital sigma from `from` to `end` that closes a word has a small form of its own. */
static bool closes_word(const struct text *t, size_t from, size_t end)
{
    size_t before = from ? step_back(t, from) : 0, after = end;
    return from && is_alpha((unsigned)str_utf8_next(text_str(t), &before)) &&
           !(end < t->n && is_alpha((unsigned)str_utf8_next(text_str(t), &after)));
}

/* how: u(pper), l(ower), c(apitalize), t(itle as Jinja's filter), T(itle as str.title). */
struct val text_case(struct render *r, const struct text *t, char how)
{
    CLEANUP(out_done) struct out o;
    out_init(&o, r);
    bool start = true;
    for (size_t at = 0; at < t->n && r->err == 0;) {
        size_t from = at;
        unsigned rune = (unsigned)str_utf8_next(text_str(t), &at);
        bool up = how == 'u' || (how != 'l' && start);
        unsigned changed = change(rune, up);
        if (rune == 0x3a3 && !up && closes_word(t, from, at))
            changed = 0x3c2;
        if (how == 'c')
            start = false;
        else if (how == 'T')
            start = !is_alpha(rune);
        else
            start = is_blank(rune) || (rune < 0x80 && rune && strchr("-({[<", (int)rune));
        if (changed == rune && !(up && rune == 0xdf)) {
            out_add_text(&o, t, from, at);
            continue;
        }
        char utf8[4];
        struct str s = { utf8, str_utf8_put(utf8, changed) };
        struct val piece = val_slice(r, t, from, at); /* for its origin */
        if (r->err == 0)
            out_add(&o, up && rune == 0xdf ? STR("SS") : s,
                    piece.s->runs ? piece.s->runs[0].literal : piece.s->literal);
    }
    return out_take(&o);
}

/* replace(old, new, count=-1) */
struct val text_replace(struct render *r, const struct text *t, const struct args *a)
{
    struct val old = arg_at(a, 0, "old"), new = arg_at(a, 1, "new");
    int64_t left = arg_int(r, a, 2, "count", -1);
    if (old.kind != V_text || new.kind != V_text)
        return render_fail(r, "replace needs two strings");
    CLEANUP(out_done) struct out o;
    out_init(&o, r);
    size_t at = 0;
    while (left != 0 && at <= t->n && r->err == 0) {
        ptrdiff_t hit = str_find(str_sub(text_str(t), at), text_str(old.s));
        if (hit < 0)
            break;
        out_add_text(&o, t, at, at + (size_t)hit);
        out_add_val(&o, new);
        at += (size_t)hit + old.s->n;
        if (!old.s->n) { /* between all characters */
            size_t next = at;
            if (at == t->n)
                break;
            (void)str_utf8_next(text_str(t), &next);
            out_add_text(&o, t, at, next);
            at = next;
        }
        left -= left > 0;
    }
    out_add_text(&o, t, at, t->n);
    return out_take(&o);
}

/* ---- methods of strings ---- */

#define SELF self.s

static struct val m_strip(struct render *r, struct val self, const struct args *a)
{
    return text_trim(r, SELF, a, 3);
}

static struct val m_lstrip(struct render *r, struct val self, const struct args *a)
{
    return text_trim(r, SELF, a, 1);
}

static struct val m_rstrip(struct render *r, struct val self, const struct args *a)
{
    return text_trim(r, SELF, a, 2);
}

static struct val m_upper(struct render *r, struct val self, const struct args *a)
{
    return text_case(r, SELF, 'u');
}

static struct val m_lower(struct render *r, struct val self, const struct args *a)
{
    return text_case(r, SELF, 'l');
}

static struct val m_title(struct render *r, struct val self, const struct args *a)
{
    return text_case(r, SELF, 'T');
}

static struct val m_capitalize(struct render *r, struct val self, const struct args *a)
{
    return text_case(r, SELF, 'c');
}

static struct val m_replace(struct render *r, struct val self, const struct args *a)
{
    return text_replace(r, SELF, a);
}

static struct val m_join(struct render *r, struct val self, const struct args *a)
{
    struct args sep = { .v = &self, .n = 1 };
    return filter_find(STR("join"))(r, arg_at(a, 0, "iterable"), &sep);
}

/* Pieces of white-space separated text; the rest is one after `left` cuts. */
static void split_blank(struct render *r, const struct text *t, int64_t left, struct list *l)
{
    size_t at = 0;
    while (render_step(r, 1)) {
        size_t next = at;
        while (at < t->n && is_blank((unsigned)str_utf8_next(text_str(t), &next)))
            at = next;
        if (at >= t->n)
            return;
        size_t end = at;
        next = at;
        while (end < t->n && !is_blank((unsigned)str_utf8_next(text_str(t), &next)))
            end = next;
        if (left == 0)
            end = t->n;
        (void)list_add(r, l, val_slice(r, t, at, end));
        left -= left > 0;
        at = end;
    }
}

static ptrdiff_t find_last(struct str s, struct str what)
{
    for (size_t i = s.n >= what.n ? s.n - what.n + 1 : 0; i > 0; i--)
        if (memcmp(s.p + i - 1, what.p, what.n) == 0)
            return (ptrdiff_t)i - 1;
    return -1;
}

static struct val split(struct render *r, const struct text *t, const struct args *a, bool right)
{
    struct val sep = arg_at(a, 0, "sep"), l = val_list(r, 0);
    int64_t left = arg_int(r, a, 1, "maxsplit", -1);
    if (r->err != 0)
        return V_UNDEFINED;
    if (sep.kind != V_text) {
        split_blank(r, t, left, l.l);
        return l;
    }
    if (!sep.s->n)
        return render_fail(r, "split by an empty separator");
    size_t from = 0, end = t->n;
    right = right && left >= 0;
    for (; left != 0 && render_step(r, 1); left -= left > 0) {
        struct str rest = { t->p + from, end - from };
        ptrdiff_t hit = right ? find_last(rest, text_str(sep.s)) : str_find(rest, text_str(sep.s));
        if (hit < 0)
            break;
        size_t at = from + (size_t)hit;
        (void)list_add(r, l.l,
                       right ? val_slice(r, t, at + sep.s->n, end) : val_slice(r, t, from, at));
        from = right ? from : at + sep.s->n;
        end = right ? at : end;
    }
    (void)list_add(r, l.l, val_slice(r, t, from, end));
    return right && r->err == 0 ? filter_find(STR("reverse"))(r, l, a) : l;
}

static struct val m_split(struct render *r, struct val self, const struct args *a)
{
    return split(r, SELF, a, false);
}

static struct val m_rsplit(struct render *r, struct val self, const struct args *a)
{
    return split(r, SELF, a, true);
}

static struct val m_splitlines(struct render *r, struct val self, const struct args *a)
{
    struct val l = val_list(r, 0), keep = arg_at(a, 0, "keepends");
    for (size_t at = 0; at < SELF->n && render_step(r, 1);) {
        size_t end = at;
        while (end < SELF->n && SELF->p[end] != '\n' && SELF->p[end] != '\r')
            end++;
        size_t next = end < SELF->n ? end + 1 : end;
        if (next < SELF->n && SELF->p[end] == '\r' && SELF->p[next] == '\n')
            next++;
        (void)list_add(r, l.l, val_slice(r, SELF, at, val_true(keep) ? next : end));
        at = next;
    }
    return l;
}

/* A prefix or suffix, or a tuple of them. */
static struct val affix(struct render *r, const struct text *t, const struct args *a, bool end)
{
    struct val want = arg_at(a, 0, NULL);
    const struct val *v = want.kind == V_list ? want.l->items : &want;
    size_t n = want.kind == V_list ? want.l->n : 1;
    for (size_t i = 0; i < n; i++) {
        if (v[i].kind != V_text)
            return render_fail(r, "a prefix or suffix must be a string, not %s", val_type(v[i]));
        struct str s = text_str(v[i].s);
        if (end ? str_ends(text_str(t), s) : str_starts(text_str(t), s))
            return val_bool(true);
    }
    return val_bool(false);
}

static struct val m_startswith(struct render *r, struct val self, const struct args *a)
{
    return affix(r, SELF, a, false);
}

static struct val m_endswith(struct render *r, struct val self, const struct args *a)
{
    return affix(r, SELF, a, true);
}

static struct val m_removeprefix(struct render *r, struct val self, const struct args *a)
{
    struct val hit = affix(r, SELF, a, false);
    return val_true(hit) ? val_slice(r, SELF, arg_at(a, 0, NULL).s->n, SELF->n) : self;
}

static struct val m_removesuffix(struct render *r, struct val self, const struct args *a)
{
    struct val hit = affix(r, SELF, a, true);
    return val_true(hit) ? val_slice(r, SELF, 0, SELF->n - arg_at(a, 0, NULL).s->n) : self;
}

static int64_t find_rune(struct render *r, const struct text *t, const struct args *a, bool last)
{
    struct val what = arg_at(a, 0, NULL);
    if (what.kind != V_text) {
        (void)render_fail(r, "find needs a string, not %s", val_type(what));
        return -1;
    }
    ptrdiff_t at =
        last ? find_last(text_str(t), text_str(what.s)) : str_find(text_str(t), text_str(what.s));
    struct text head = { .p = t->p, .n = at < 0 ? 0 : (size_t)at };
    return at < 0 || !render_step(r, t->n / 64) ? -1 : (int64_t)text_runes(&head);
}

static struct val m_find(struct render *r, struct val self, const struct args *a)
{
    return val_int(find_rune(r, SELF, a, false));
}

static struct val m_rfind(struct render *r, struct val self, const struct args *a)
{
    return val_int(find_rune(r, SELF, a, true));
}

static struct val m_index(struct render *r, struct val self, const struct args *a)
{
    int64_t at = find_rune(r, SELF, a, false);
    return at < 0 ? render_fail(r, "substring not found") : val_int(at);
}

static struct val m_count(struct render *r, struct val self, const struct args *a)
{
    struct val what = arg_at(a, 0, NULL);
    int64_t n = 0;
    if (what.kind != V_text || !what.s->n)
        return render_fail(r, "count needs a string that is not empty");
    for (struct str rest = text_str(SELF); render_step(r, 1); n++) {
        ptrdiff_t hit = str_find(rest, text_str(what.s));
        if (hit < 0)
            break;
        rest = str_sub(rest, (size_t)hit + what.s->n);
    }
    return val_int(n);
}

static struct val all_runes(const struct text *t, bool (*is)(unsigned))
{
    for (size_t at = 0; at < t->n;)
        if (!is((unsigned)str_utf8_next(text_str(t), &at)))
            return val_bool(false);
    return val_bool(t->n > 0);
}

static bool is_alnum(unsigned rune)
{
    return is_alpha(rune) || is_digit(rune);
}

static struct val m_isdigit(struct render *r, struct val self, const struct args *a)
{
    return all_runes(SELF, is_digit);
}

static struct val m_isalpha(struct render *r, struct val self, const struct args *a)
{
    return all_runes(SELF, is_alpha);
}

static struct val m_isalnum(struct render *r, struct val self, const struct args *a)
{
    return all_runes(SELF, is_alnum);
}

static struct val m_isspace(struct render *r, struct val self, const struct args *a)
{
    return all_runes(SELF, is_blank);
}

static struct val m_isupper(struct render *r, struct val self, const struct args *a)
{
    return test_find(STR("upper"))(r, self, a);
}

static struct val m_islower(struct render *r, struct val self, const struct args *a)
{
    return test_find(STR("lower"))(r, self, a);
}

/* ---- methods of the others ---- */

static struct val m_items(struct render *r, struct val self, const struct args *a)
{
    return filter_find(STR("items"))(r, self, a);
}

static struct val m_keys(struct render *r, struct val self, const struct args *a)
{
    return filter_find(STR("list"))(r, self, a);
}

static struct val m_values(struct render *r, struct val self, const struct args *a)
{
    struct val l = val_list(r, self.d->n);
    for (size_t i = 0; i < self.d->n && render_step(r, 1); i++)
        (void)list_add(r, l.l, self.d->pairs[i].value);
    return l;
}

static struct val m_get(struct render *r, struct val self, const struct args *a)
{
    struct val found = arg_at(a, 1, NULL);
    if (found.kind == V_undefined)
        found = V_NONE;
    (void)dict_get(r, self.d, arg_at(a, 0, NULL), &found);
    return found;
}

static struct val m_list_index(struct render *r, struct val self, const struct args *a)
{
    for (size_t i = 0; i < self.l->n && render_step(r, 1); i++)
        if (val_equal(r, self.l->items[i], arg_at(a, 0, NULL)))
            return val_int((int64_t)i);
    return render_fail(r, "the list has no such element");
}

static struct val m_list_count(struct render *r, struct val self, const struct args *a)
{
    int64_t n = 0;
    for (size_t i = 0; i < self.l->n && render_step(r, 1); i++)
        n += val_equal(r, self.l->items[i], arg_at(a, 0, NULL));
    return val_int(n);
}

static struct val m_immutable(struct render *r, struct val self, const struct args *a)
{
    return render_fail(r, "a template cannot change a %s", val_type(self));
}

static struct val m_cycle(struct render *r, struct val self, const struct args *a)
{
    return a->n ? a->v[self.loop->at % a->n] : render_fail(r, "cycle needs values");
}

static struct val m_changed(struct render *r, struct val self, const struct args *a)
{
    struct val now = val_list(r, a->n);
    for (size_t i = 0; i < a->n; i++)
        (void)list_add(r, now.l, a->v[i]);
    if (r->err != 0)
        return V_UNDEFINED;
    bool changed = self.loop->changed.kind != V_list || !val_equal(r, self.loop->changed, now);
    self.loop->changed = now;
    return val_bool(changed);
}

static const struct method {
    enum val_kind kind;
    const char *name;
    native_fn fn;
} methods[] = {
    { V_text, "strip", m_strip },
    { V_text, "lstrip", m_lstrip },
    { V_text, "rstrip", m_rstrip },
    { V_text, "split", m_split },
    { V_text, "rsplit", m_rsplit },
    { V_text, "splitlines", m_splitlines },
    { V_text, "startswith", m_startswith },
    { V_text, "endswith", m_endswith },
    { V_text, "removeprefix", m_removeprefix },
    { V_text, "removesuffix", m_removesuffix },
    { V_text, "replace", m_replace },
    { V_text, "upper", m_upper },
    { V_text, "lower", m_lower },
    { V_text, "title", m_title },
    { V_text, "capitalize", m_capitalize },
    { V_text, "join", m_join },
    { V_text, "find", m_find },
    { V_text, "rfind", m_rfind },
    { V_text, "index", m_index },
    { V_text, "count", m_count },
    { V_text, "isdigit", m_isdigit },
    { V_text, "isnumeric", m_isdigit },
    { V_text, "isdecimal", m_isdigit },
    { V_text, "isalpha", m_isalpha },
    { V_text, "isalnum", m_isalnum },
    { V_text, "isspace", m_isspace },
    { V_text, "isupper", m_isupper },
    { V_text, "islower", m_islower },
    { V_dict, "items", m_items },
    { V_dict, "keys", m_keys },
    { V_dict, "values", m_values },
    { V_dict, "get", m_get },
    { V_dict, "pop", m_immutable },
    { V_dict, "update", m_immutable },
    { V_dict, "setdefault", m_immutable },
    { V_dict, "clear", m_immutable },
    { V_list, "index", m_list_index },
    { V_list, "count", m_list_count },
    { V_list, "append", m_immutable },
    { V_list, "extend", m_immutable },
    { V_list, "insert", m_immutable },
    { V_list, "pop", m_immutable },
    { V_list, "remove", m_immutable },
    { V_list, "reverse", m_immutable },
    { V_list, "sort", m_immutable },
    { V_list, "clear", m_immutable },
    { V_loop, "cycle", m_cycle },
    { V_loop, "changed", m_changed },
};

bool method_find(struct render *r, struct val v, struct str name, struct val *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
        if (methods[i].kind == v.kind && str_is(name, methods[i].name)) {
            *ret = val_func(r, methods[i].name, methods[i].fn, v);
            return true;
        }
    }
    return false;
}

/* ---- functions ---- */

static struct val g_range(struct render *r, struct val self, const struct args *a)
{
    int64_t first = arg_int(r, a, 0, NULL, 0), second = arg_int(r, a, 1, NULL, 0);
    int64_t step = arg_int(r, a, 2, NULL, 1);
    int64_t from = a->n > 1 ? first : 0, to = a->n > 1 ? second : first;
    struct val l = val_list(r, 0);
    if (step == 0 || a->n == 0)
        return render_fail(r, "range needs a bound, and a step that is not 0");
    for (int64_t i = from; (step > 0 ? i < to : i > to) && render_step(r, 1);) {
        if (l.l->n >= MAX_RANGE)
            return render_fail(r, "a range of more than %d numbers", MAX_RANGE);
        (void)list_add(r, l.l, val_int(i));
        if (__builtin_add_overflow(i, step, &i))
            break;
    }
    return l;
}

static struct val g_dict(struct render *r, struct val self, const struct args *a)
{
    struct val d = val_dict(r), from = arg_at(a, 0, NULL);
    for (size_t i = 0; from.kind == V_dict && i < from.d->n && r->err == 0; i++)
        dict_set(r, d.d, from.d->pairs[i].key, from.d->pairs[i].value);
    for (size_t i = 0; i < a->n_named && r->err == 0; i++)
        dict_set(r, d.d, val_copy(r, a->named[i].name, false), a->named[i].value);
    return d;
}

static struct val g_namespace(struct render *r, struct val self, const struct args *a)
{
    struct val d = g_dict(r, self, a);
    if (r->err == 0)
        d.kind = V_namespace;
    return d;
}

static struct val g_raise(struct render *r, struct val self, const struct args *a)
{
    struct val text = val_to_text(r, arg_at(a, 0, "message"));
    if (r->err == 0)
        r->err = fail_set(r->reterr, FAIL_invalid_request, "%.*s", (int)(text.s->n & 0xffff),
                          text.s->n ? text.s->p : "");
    return V_UNDEFINED;
}

static struct val g_strftime(struct render *r, struct val self, const struct args *a)
{
    struct val format = arg_at(a, 0, "format");
    char text[256];
    struct tm tm;
    time_t now = (time_t)r->now_s;
    if (format.kind != V_text || format.s->n > 64)
        return render_fail(r, "strftime_now needs a short format");
    char *f = arena_cstr(r->arena, text_str(format.s));
    if (!f || !localtime_r(&now, &tm))
        return render_no_memory(r);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* the template's own */
    size_t n = strftime(text, sizeof(text), f, &tm);
#pragma GCC diagnostic pop
    return val_copy(r, (struct str){ text, n }, false);
}

void globals_init(struct render *r)
{
    static const struct {
        const char *name;
        native_fn fn;
    } functions[] = {
        { "range", g_range },           { "dict", g_dict },
        { "namespace", g_namespace },   { "raise_exception", g_raise },
        { "strftime_now", g_strftime },
    };
    r->globals = scope_new(r, NULL);
    for (size_t i = 0; r->globals && i < ARRAY_LEN(functions); i++)
        scope_set(r, r->globals, str_of(functions[i].name),
                  val_func(r, functions[i].name, functions[i].fn, V_UNDEFINED));
}

#include "router/signals/language.h"

#include "router/signals/signals.h"
#include "router/signals/unicode.h"

#include <errno.h>
#include <stdio.h>

const char *cld2_shim(const char *text, int n, int *ret_percent, bool *ret_reliable);

enum { SAMPLE_BYTES = 65536 }; /* enough to know a language by */

struct language_rule {
    struct str name, description;
    double threshold;
};

static const struct option options[] = {
    OPT_TEXT(struct language_rule, name, "name", OPTION_REQUIRED, "ISO 639 code, such as en or zh"),
    OPT_TEXT(struct language_rule, description, "description", NULL, "for people"),
    OPT_FLOAT(struct language_rule, threshold, "threshold", 0, 1, "0", "least confidence; 0: 0.3"),
    OPT_END,
};

/* ---- detection ---- */

/* Scripts that one language, or mostly one, is written in. Ranges of code points. */
static const struct script {
    int from, to;
    const char *code;  /* the language; NULL: several, the statistics decide */
    const char *guess; /* when the statistics do not know either */
} scripts[] = {
    { 0x0041, 0x024f, NULL, NULL },   { 0x0370, 0x03ff, "el", NULL },
    { 0x0400, 0x052f, NULL, "ru" },   { 0x0531, 0x058f, "hy", NULL },
    { 0x0590, 0x05ff, "he", NULL },   { 0x0600, 0x06ff, NULL, "ar" },
    { 0x0750, 0x077f, NULL, "ar" },   { 0x0900, 0x097f, NULL, "hi" },
    { 0x0980, 0x09ff, "bn", NULL },   { 0x0a00, 0x0a7f, "pa", NULL },
    { 0x0a80, 0x0aff, "gu", NULL },   { 0x0b00, 0x0b7f, "or", NULL },
    { 0x0b80, 0x0bff, "ta", NULL },   { 0x0c00, 0x0c7f, "te", NULL },
    { 0x0c80, 0x0cff, "kn", NULL },   { 0x0d00, 0x0d7f, "ml", NULL },
    { 0x0d80, 0x0dff, "si", NULL },   { 0x0e00, 0x0e7f, "th", NULL },
    { 0x0e80, 0x0eff, "lo", NULL },   { 0x0f00, 0x0fff, "bo", NULL },
    { 0x1000, 0x109f, "my", NULL },   { 0x10a0, 0x10ff, "ka", NULL },
    { 0x1100, 0x11ff, "ko", NULL },   { 0x1200, 0x139f, "am", NULL },
    { 0x1780, 0x17ff, "km", NULL },   { 0x1e00, 0x1eff, NULL, NULL },
    { 0x1f00, 0x1fff, "el", NULL },   { 0x3040, 0x30ff, "ja", NULL },
    { 0x31f0, 0x31ff, "ja", NULL },   { 0x3400, 0x4dbf, "zh", NULL },
    { 0x4e00, 0x9fff, "zh", NULL },   { 0xac00, 0xd7af, "ko", NULL },
    { 0xf900, 0xfaff, "zh", NULL },   { 0xff66, 0xff9f, "ja", NULL },
    { 0x20000, 0x323af, "zh", NULL },
};

struct census {
    size_t weight[ARRAY_LEN(scripts)];
    size_t total, kana, han;
};

static size_t script_of(int cp) /* ARRAY_LEN: none of them */
{
    for (size_t i = 0; i < ARRAY_LEN(scripts); i++)
        if (cp >= scripts[i].from && cp <= scripts[i].to)
            return i;
    return ARRAY_LEN(scripts);
}

/* Letters by script; a dense one says as much as three letters of an alphabet. */
static struct census take_census(struct str text)
{
    struct census c = { 0 };
    for (size_t at = 0; at < text.n;) {
        int cp = str_utf8_next(text, &at);
        if (!unicode_word(cp) || (cp >= '0' && cp <= '9') || cp == '_')
            continue;
        size_t i = cp < 0x250 ? 0 : script_of(cp);
        if (i == ARRAY_LEN(scripts))
            continue;
        size_t weight = unicode_cjk(cp) ? 3 : 1;
        c.weight[i] += weight;
        c.total += weight;
        if (scripts[i].code && strcmp(scripts[i].code, "ja") == 0)
            c.kana += weight;
        if (scripts[i].code && strcmp(scripts[i].code, "zh") == 0)
            c.han += weight;
    }
    return c;
}

/* Sums over the scripts of one language; Han is Japanese beside a tenth of Kana. */
static size_t language_weight(const struct census *c, const char *code)
{
    bool japanese = c->kana * 10 >= c->kana + c->han && c->kana > 0;
    if (strcmp(code, "ja") == 0)
        return japanese ? c->kana + c->han : 0;
    if (strcmp(code, "zh") == 0)
        return japanese ? 0 : c->kana + c->han;
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(scripts); i++)
        if (scripts[i].code && strcmp(scripts[i].code, code) == 0)
            n += c->weight[i];
    return n;
}

static struct language named(const char *code, double confidence)
{
    struct language l = { .confidence = confidence };
    (void)snprintf(l.code, sizeof(l.code), "%s", code);
    return l;
}

static struct language by_script(const struct census *c)
{
    struct language best = { "", 0 };
    for (size_t i = 0; i < ARRAY_LEN(scripts); i++) {
        if (!scripts[i].code || c->total == 0)
            continue;
        double share = (double)language_weight(c, scripts[i].code) / (double)c->total;
        if (share > best.confidence)
            best = named(scripts[i].code, share);
    }
    return best;
}

/* Codes of CLD2 that are older, or say more than a language. */
static const char *usual_code(const char *code)
{
    static const char *const pairs[][2] = {
        { "iw", "he" },    { "jw", "jv" }, { "zh-Hant", "zh" },
        { "sr-ME", "sr" }, { "nb", "no" }, { "tl", "fil" },
    };
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++)
        if (strcmp(code, pairs[i][0]) == 0)
            return pairs[i][1];
    return strlen(code) > 3 ? "" : code; /* scripts without a language are "xx-Xxxx" */
}

static const char *guess(const struct census *c)
{
    size_t best = ARRAY_LEN(scripts);
    for (size_t i = 0; i < ARRAY_LEN(scripts); i++)
        if (c->weight[i] && (best == ARRAY_LEN(scripts) || c->weight[i] > c->weight[best]))
            best = i;
    return best < ARRAY_LEN(scripts) && scripts[best].guess ? scripts[best].guess : "";
}

struct language language_detect(struct str text)
{
    text = str_head(text, SAMPLE_BYTES);
    text.n = str_utf8_whole(text);
    struct census c = take_census(text);
    struct language script = by_script(&c);
    if (c.total == 0 || script.confidence > 0.5)
        return script;
    int percent = 0;
    bool reliable = false;
    const char *code = usual_code(cld2_shim(text.p, (int)text.n, &percent, &reliable));
    if (code[0] == '\0')
        return named(guess(&c), guess(&c)[0] ? 0.5 : 0);
    double confidence = percent / 100.0;
    return named(code, reliable ? confidence : confidence * 0.6);
}

/* ---- the family ---- */

struct state {
    const struct language_rule *rules;
    size_t n;
};

static int compile(void **ret_state, const struct signal_rules *rules)
{
    const struct language_rule *items = rules->items;
    for (size_t i = 0; i < rules->n; i++) {
        struct str base = items[i].name, rest;
        (void)str_cut(items[i].name, '-', &base, &rest);
        if (base.n < 2 || base.n > 3)
            (void)signal_rule_error(rules, i, "name", "'%.*s' is not an ISO 639 code such as en",
                                    STR_ARG(items[i].name));
    }
    struct state *s = arena_alloc(rules->arena, sizeof(*s));
    if (!s)
        return -ENOMEM;
    *s = (struct state){ items, rules->n };
    *ret_state = s;
    return 0;
}

static bool speaks(const struct language_rule *r, const char *code)
{
    struct str base = r->name, rest;
    (void)str_cut(r->name, '-', &base, &rest);
    if (str_eq_nocase(base, STR("nb")))
        base = STR("no");
    return str_eq_nocase(base, str_of(code));
}

static double threshold(const struct language_rule *r)
{
    return r && r->threshold > 0 ? r->threshold : 0.3;
}

static int evaluate(const void *state, struct signal_view *v, struct signal_value *values)
{
    const struct state *s = state;
    struct language l = language_detect(v->text);
    const struct language_rule *own = NULL;
    for (size_t i = 0; i < s->n; i++)
        if (speaks(&s->rules[i], l.code))
            own = &s->rules[i];
    if (l.code[0] == '\0' || l.confidence < threshold(own))
        l = named("en", 0.5); /* undetected counts as English, as the policy language has it */
    for (size_t i = 0; i < s->n; i++) {
        bool match = speaks(&s->rules[i], l.code) && l.confidence >= threshold(&s->rules[i]);
        values[i] = (struct signal_value){ match ? TRUTH_true : TRUTH_false,
                                           match ? l.confidence : 0, l.confidence };
    }
    return 0;
}

const struct signal_family family_language = {
    .options = options,
    .rule_size = sizeof(struct language_rule),
    .compile = compile,
    .evaluate = evaluate,
};

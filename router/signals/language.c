#include "router/signals/language.h"

#include "router/signals/signals.h"
#include "router/signals/unicode.h"

#include <errno.h>
#include <stdio.h>

const char *cld2_shim(const char *text, int n, int *ret_percent, bool *ret_reliable);

enum {
    SAMPLE_BYTES = 65536, /* enough to know a language by */
    SHORT_BYTES = 64,     /* below it, hints count beside statistics */
};

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

/* Letters and words that give a language away in a text too short for statistics. */
static const struct hint {
    const char *code, *letters, *words;
} hints[] = {
    { "en", "", " hello hi hey thanks thank please what how the is are yes and you my of this " },
    { "es", "ñ¿¡",
      " hola gracias adiós este por favor qué cómo buenos buenas días el los las es una " },
    { "fr", "œ", " bonjour merci salut oui je vous est les des une avec pour au revoir " },
    { "de", "ß", " hallo danke bitte ja nein ich du ist und der das ein eine guten tag wie " },
    { "pt", "ãõ", " olá oi obrigado obrigada você não uma bom dia por isso como " },
    { "it", "", " ciao grazie prego buongiorno sono che il gli una come perché " },
    { "nl", "ĳ", " hallo dank bedankt alsjeblieft ik je een het is en hoe niet goedemorgen " },
    { "pl", "łżźśćńąę", " cześć dziękuję proszę tak nie jest dzień dobry jak się " },
    { "tr", "ğı", " merhaba teşekkürler evet hayır bir ve bu nasıl lütfen " },
    { "vi", "ơưđăạảấầẩẫậắằẳẵặẹẻẽếềểễệỉịọỏốồổỗộớờởỡợụủứừửữựỳỵỷỹ", " xin chào " },
    { "sv", "", " hej tack och är jag det inte en ett hur " },
    { "ro", "ățș", " bună mulțumesc și nu cum " },
    { "cs", "ěřů", " ahoj děkuji prosím ano ne je jak " },
    { "hu", "őű", " szia köszönöm igen nem egy és hogy " },
    { "uk", "іїєґ", "" },
    { "be", "ў", "" },
    { "fa", "پچژگکی", "" },
    { "ur", "ٹڈڑےں", "" },
};

static bool has(const char *set, struct str one)
{
    return str_find(str_of(set), one) >= 0;
}

static unsigned hint_score(const struct hint *h, struct str text)
{
    unsigned score = 0;
    struct str unit;
    for (size_t at = 0; at < text.n;) {
        size_t from = at;
        int cp = str_utf8_next(text, &at);
        score += cp >= 0x80 && has(h->letters, (struct str){ text.p + from, at - from });
    }
    for (size_t pos = 0; unicode_next_unit(text, &pos, &unit);) {
        char word[32];
        int n = unit.n < 24 ? snprintf(word, sizeof(word), " %.*s ", (int)unit.n, unit.p) : 0;
        score += n > 0 && has(h->words, (struct str){ word, (size_t)n });
    }
    return score;
}

/* The language with the most hints, alone in that; "" when there is none. */
static const char *hinted(struct str folded, const char *code, unsigned *ret_own)
{
    unsigned best = 0;
    const char *winner = "";
    *ret_own = 0;
    for (size_t i = 0; i < ARRAY_LEN(hints); i++) {
        unsigned score = hint_score(&hints[i], folded);
        if (strcmp(hints[i].code, code) == 0)
            *ret_own = score;
        if (score == best)
            winner = "";
        if (score > best) {
            best = score;
            winner = hints[i].code;
        }
    }
    return winner;
}

/* Case folded into `space`, as far as it goes. */
static struct str fold_short(struct str text, char space[static 2 * SHORT_BYTES])
{
    size_t n = 0;
    for (size_t at = 0; at < text.n && n + 4 < (size_t)2 * SHORT_BYTES;)
        n += str_utf8_put(space + n, (unsigned)unicode_fold(str_utf8_next(text, &at)));
    return (struct str){ space, n };
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
    if (text.n <= SHORT_BYTES && !(code[0] && reliable && text.n > SHORT_BYTES / 2)) {
        char space[2 * SHORT_BYTES];
        unsigned own;
        const char *hint = hinted(fold_short(text, space), code, &own);
        if (hint[0] && (code[0] == '\0' || own == 0))
            return named(hint, 0.6);
    }
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

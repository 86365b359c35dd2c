#include "router/signals/language.h"

#include "router/models/shipped.h"
#include "router/signals/signals.h"
#include "router/signals/unicode.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>

#include <errno.h>

enum {
    WINDOW_BYTES = 1024, /* read of the head, the middle and the tail of a longer text */
    WINDOWS = 3,
    MAX_LETTERS = WINDOWS * WINDOW_BYTES,
    MAX_WORDS = MAX_LETTERS / 2,
    SCORED_WORDS = 40,  /* at most, spread evenly over those of the script */
    PASSES = 4,         /* after each of them a clear lead ends the scoring */
    CLEAR_LEAD = 30,    /* log-odds between the first and the second */
    TAG_BYTES = 256,    /* longest piece of markup */
    DENSE_WEIGHT = 3,   /* a letter of a script without spaces says as much as so many others */
    FIRST_MARK = 0x300, /* code point that composes with a letter before it */
    LATIN_END = 0x250,  /* code points of the Latin blocks that are looked up without a search */
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

/* ---- scripts ---- */

/* X(script, group of the model, or the one language) */
#define SCRIPTS(X)                                                                                 \
    X(latin, "LATIN", NULL)                                                                        \
    X(cyrillic, "CYRILLIC", NULL)                                                                  \
    X(arabic, "ARABIC", NULL)                                                                      \
    X(devanagari, "DEVANAGARI", NULL)                                                              \
    X(han, "HAN", NULL)                                                                            \
    X(kana, NULL, "ja")                                                                            \
    X(greek, NULL, "el")                                                                           \
    X(armenian, NULL, "hy")                                                                        \
    X(hebrew, NULL, "he")                                                                          \
    X(bengali, NULL, "bn")                                                                         \
    X(gurmukhi, NULL, "pa")                                                                        \
    X(gujarati, NULL, "gu")                                                                        \
    X(oriya, NULL, "or")                                                                           \
    X(tamil, NULL, "ta")                                                                           \
    X(telugu, NULL, "te")                                                                          \
    X(kannada, NULL, "kn")                                                                         \
    X(malayalam, NULL, "ml")                                                                       \
    X(sinhala, NULL, "si")                                                                         \
    X(thai, NULL, "th")                                                                            \
    X(lao, NULL, "lo")                                                                             \
    X(tibetan, NULL, "bo")                                                                         \
    X(burmese, NULL, "my")                                                                         \
    X(georgian, NULL, "ka")                                                                        \
    X(hangul, NULL, "ko")                                                                          \
    X(ethiopic, NULL, "am")                                                                        \
    X(khmer, NULL, "km")

enum script {
#define SCRIPT_ENUM(name, group, code) SCRIPT_##name,
    SCRIPTS(SCRIPT_ENUM)
#undef SCRIPT_ENUM
        SCRIPT_N
};

static const struct written {
    const char *group, *code;
} scripts[SCRIPT_N] = {
#define SCRIPT_ROW(name, group, code) { group, code },
    SCRIPTS(SCRIPT_ROW)
#undef SCRIPT_ROW
};

/* Where their letters are, ascending. Digits are left out. */
static const struct range {
    int from, to;
    enum script script;
} ranges[] = {
    { 0x0041, 0x024f, SCRIPT_latin },      { 0x0370, 0x03ff, SCRIPT_greek },
    { 0x0400, 0x052f, SCRIPT_cyrillic },   { 0x0531, 0x058f, SCRIPT_armenian },
    { 0x05d0, 0x05ff, SCRIPT_hebrew },     { 0x0620, 0x065f, SCRIPT_arabic },
    { 0x066e, 0x06ef, SCRIPT_arabic },     { 0x06fa, 0x06ff, SCRIPT_arabic },
    { 0x0750, 0x077f, SCRIPT_arabic },     { 0x0900, 0x0963, SCRIPT_devanagari },
    { 0x0970, 0x097f, SCRIPT_devanagari }, { 0x0980, 0x09e5, SCRIPT_bengali },
    { 0x0a00, 0x0a65, SCRIPT_gurmukhi },   { 0x0a70, 0x0a7f, SCRIPT_gurmukhi },
    { 0x0a80, 0x0ae5, SCRIPT_gujarati },   { 0x0b00, 0x0b65, SCRIPT_oriya },
    { 0x0b80, 0x0be5, SCRIPT_tamil },      { 0x0c00, 0x0c65, SCRIPT_telugu },
    { 0x0c80, 0x0ce5, SCRIPT_kannada },    { 0x0d00, 0x0d65, SCRIPT_malayalam },
    { 0x0d80, 0x0de5, SCRIPT_sinhala },    { 0x0e00, 0x0e4f, SCRIPT_thai },
    { 0x0e80, 0x0ecf, SCRIPT_lao },        { 0x0f00, 0x0f1f, SCRIPT_tibetan },
    { 0x0f40, 0x0fff, SCRIPT_tibetan },    { 0x1000, 0x103f, SCRIPT_burmese },
    { 0x1050, 0x108f, SCRIPT_burmese },    { 0x10a0, 0x10ff, SCRIPT_georgian },
    { 0x1100, 0x11ff, SCRIPT_hangul },     { 0x1200, 0x1368, SCRIPT_ethiopic },
    { 0x1780, 0x17df, SCRIPT_khmer },      { 0x1e00, 0x1eff, SCRIPT_latin },
    { 0x1f00, 0x1fff, SCRIPT_greek },      { 0x3040, 0x30ff, SCRIPT_kana },
    { 0x31f0, 0x31ff, SCRIPT_kana },       { 0x3400, 0x4dbf, SCRIPT_han },
    { 0x4e00, 0x9fff, SCRIPT_han },        { 0xac00, 0xd7af, SCRIPT_hangul },
    { 0xf900, 0xfaff, SCRIPT_han },        { 0xff66, 0xff9f, SCRIPT_kana },
    { 0x20000, 0x323af, SCRIPT_han },
};

static const struct range *find_range(int cp)
{
    size_t lo = 0, hi = ARRAY_LEN(ranges);
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (cp > ranges[mid].to)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < ARRAY_LEN(ranges) && cp >= ranges[lo].from ? &ranges[lo] : NULL;
}

static bool ascii_letter(int cp)
{
    return (cp | 0x20) >= 'a' && (cp | 0x20) <= 'z';
}

/*
 * The script of a letter; SCRIPT_N: no letter of a known one. Marks are letters where a script
 * cannot be read without them: the model learnt its words so. *near is the range of the letter
 * before, tried first, and becomes that of this one.
 */
static enum script script_of(int cp, const struct range **near)
{
    if (cp < 0x80)
        return ascii_letter(cp) ? SCRIPT_latin : SCRIPT_N;
    if (cp < (*near)->from || cp > (*near)->to) {
        const struct range *r = find_range(cp);
        if (!r)
            return SCRIPT_N;
        *near = r;
    }
    enum script s = (*near)->script;
    return (s > SCRIPT_arabic ? unicode_word(cp) : unicode_alnum(cp)) ? s : SCRIPT_N;
}

/* ---- words ---- */

struct word {
    uint16_t from;
    uint8_t n, script;
};

struct reader {
    struct str text;
    size_t at;
    bool all; /* markup, addresses and code count too */
    size_t weight[SCRIPT_N];
    size_t n_words, n_letters;
    struct word words[MAX_WORDS];
    uint32_t letters[MAX_LETTERS];
};

static bool at_space(const struct reader *r, size_t at)
{
    return at >= r->text.n || (unsigned char)r->text.p[at] <= ' ';
}

/* Past <tag …>, </tag> or <!-- at r->at; false: there is none. */
static bool skip_markup(struct reader *r)
{
    struct str rest = str_head(str_sub(r->text, r->at), TAG_BYTES);
    if (rest.n < 3 || rest.p[0] != '<' ||
        !(rest.p[1] == '/' || rest.p[1] == '!' || ascii_letter((unsigned char)rest.p[1])))
        return false;
    const char *end = memchr(rest.p, '>', rest.n);
    if (!end)
        return false;
    r->at += (size_t)(end - rest.p) + 1;
    return true;
}

/* Past a fenced block of code; false: there is none, or it does not end. */
static bool skip_fence(struct reader *r)
{
    struct str rest = str_sub(r->text, r->at), fence = STR("```");
    if (rest.p[0] != '`' || !str_starts(rest, fence))
        return false;
    ptrdiff_t end = str_find(str_sub(rest, fence.n), fence);
    if (end < 0)
        return false;
    r->at += (size_t)end + 2 * fence.n;
    return true;
}

/* Past an address at the start of a run of printable ASCII; false: there is none. */
static bool skip_address(struct reader *r)
{
    struct str rest = str_sub(r->text, r->at);
    bool address = rest.p[0] == 'w' && str_starts(rest, STR("www."));
    size_t n = 0;
    for (; n < rest.n && rest.p[n] > ' ' && rest.p[n] < 0x7f; n++)
        address |=
            rest.p[n] == '@' || (rest.p[n] == ':' && str_starts(str_sub(rest, n), STR("://")));
    r->at += address ? n : 0;
    return address;
}

static bool code_mark(struct str s, size_t at) /* a digit or '_' at `at` */
{
    return at < s.n && ((s.p[at] >= '0' && s.p[at] <= '9') || s.p[at] == '_');
}

static bool lower(char c)
{
    return c >= 'a' && c <= 'z';
}

/* Of a Latin or Cyrillic letter. */
static int folded(int letter)
{
    enum { DOTTED_I = 0x130 }; /* has no simple folding */
    if (letter < 0x80)
        return letter | 0x20;
    if (letter >= 0x430 && letter < 0x460) /* Cyrillic, small already */
        return letter;
    return letter == DOTTED_I ? 'i' : unicode_fold(letter);
}

static int next_character(struct str s, size_t *at)
{
    unsigned char byte = (unsigned char)s.p[*at];
    if (byte >= 0x80)
        return str_utf8_next(s, at);
    (*at)++;
    return byte;
}

struct run { /* of letters of one script */
    enum script script;
    size_t n;  /* letters, all of them */
    bool code; /* an identifier, by its neighbours or capitals */
};

/* Adds the word; what does not fit is left out. */
static void end_word(struct reader *r, const struct run *run, size_t from)
{
    if (run->code && !r->all) {
        r->n_letters = from;
        return;
    }
    bool dense =
        run->script == SCRIPT_han || run->script == SCRIPT_kana || run->script == SCRIPT_hangul;
    r->weight[run->script] += run->n * (dense ? DENSE_WEIGHT : 1);
    if (r->n_words < MAX_WORDS)
        r->words[r->n_words++] =
            (struct word){ (uint16_t)from, (uint8_t)(r->n_letters - from), (uint8_t)run->script };
}

/* A run of letters of the script, at r->at; `near` is the range of the first. */
static void read_word(struct reader *r, enum script script, const struct range *near)
{
    struct run run = { .script = script, .code = r->at > 0 && code_mark(r->text, r->at - 1) };
    size_t from = r->n_letters;
    bool cased = script == SCRIPT_latin || script == SCRIPT_cyrillic;
    int last = -1;
    for (size_t next = r->at; r->at < r->text.n; r->at = next) {
        int cp = next_character(r->text, &next);
        if (run.n && script_of(cp, &near) != script) {
            int whole = cp < FIRST_MARK ? -1 : unicode_compose(last, cp);
            if (whole < 0)
                break;
            if (run.n <= LANGID_WORD && r->n_letters > from)
                r->letters[r->n_letters - 1] = (uint32_t)whole;
            last = whole;
            continue;
        }
        run.code |= cp >= 'A' && cp <= 'Z' && run.n && lower(r->text.p[r->at - 1]);
        if (run.n == LANGID_WORD && script == SCRIPT_han)
            break;
        run.n++;
        last = cased ? folded(cp) : cp;
        if (run.n <= LANGID_WORD && r->n_letters < MAX_LETTERS)
            r->letters[r->n_letters++] = (uint32_t)last;
    }
    run.code |= code_mark(r->text, r->at);
    end_word(r, &run, from);
}

static void read_window(struct reader *r, struct str text)
{
    const struct range *near = ranges;
    r->text = text;
    for (r->at = 0; r->at < text.n;) {
        bool ascii = (unsigned char)text.p[r->at] < 0x80;
        bool starts = ascii && (r->at == 0 || at_space(r, r->at - 1) ||
                                (unsigned char)text.p[r->at - 1] >= 0x80);
        if (ascii && !r->all && (skip_markup(r) || (starts && (skip_fence(r) || skip_address(r)))))
            continue;
        size_t next = r->at;
        int cp = next_character(text, &next);
        enum script script = script_of(cp, &near);
        if (script == SCRIPT_N)
            r->at = next;
        else
            read_word(r, script, near);
    }
}

/* The part of a long text from `from` on, beginning and ending between characters. */
static struct str window(struct str text, size_t from)
{
    while (from > 0 && ((unsigned char)text.p[from] & 0xc0) == 0x80)
        from--;
    struct str part = str_head(str_sub(text, from), WINDOW_BYTES);
    part.n = str_utf8_whole(part);
    return part;
}

static size_t read_text(struct reader *r, struct str text, bool all)
{
    r->all = all;
    r->n_words = r->n_letters = 0;
    memset(r->weight, 0, sizeof(r->weight));
    if (text.n <= (size_t)WINDOWS * WINDOW_BYTES)
        read_window(r, text);
    for (size_t i = 0; text.n > (size_t)WINDOWS * WINDOW_BYTES && i < WINDOWS; i++)
        read_window(r, window(text, (text.n - WINDOW_BYTES) / (WINDOWS - 1) * i));
    size_t total = 0;
    for (size_t i = 0; i < SCRIPT_N; i++)
        total += r->weight[i];
    return total;
}

/* ---- the choice ---- */

static struct langid shipped; /* constant once opened */

static void open_shipped(void)
{
    if (langid_open(&shipped, shipped_language()) < 0)
        shipped.n = 0; /* the scripts of one language are left */
}

/* Han is Japanese beside a tenth of Kana. */
static enum script main_script(struct reader *r)
{
    size_t *w = r->weight;
    if (w[SCRIPT_kana] && w[SCRIPT_kana] * 10 >= w[SCRIPT_kana] + w[SCRIPT_han]) {
        w[SCRIPT_kana] += w[SCRIPT_han];
        w[SCRIPT_han] = 0;
    } else {
        w[SCRIPT_han] += w[SCRIPT_kana];
        w[SCRIPT_kana] = 0;
    }
    enum script best = 0;
    for (enum script s = 0; s < SCRIPT_N; s++)
        if (w[s] > w[best])
            best = s;
    return best;
}

/* Whether the best leads by more than further words would change; sums are steps of `scale`. */
static bool decided(const int32_t *sums, const struct langid_group *g)
{
    int32_t best = INT32_MIN, second = INT32_MIN;
    for (size_t i = 0; i < g->languages; i++) {
        if (sums[i] > best) {
            second = best;
            best = sums[i];
        } else if (sums[i] > second) {
            second = sums[i];
        }
    }
    return (double)best - (double)second > CLEAR_LEAD / (double)g->scale;
}

/* Adds up at most SCORED_WORDS of the script, in passes that spread evenly. Returns how many. */
static size_t score_words(int32_t *sums, const struct reader *r, enum script script,
                          const struct langid_group *g)
{
    uint16_t own[MAX_WORDS];
    size_t n = 0, read = 0;
    for (size_t i = 0; i < r->n_words; i++)
        if (r->words[i].script == script)
            own[n++] = (uint16_t)i;
    size_t picks = n < SCORED_WORDS ? n : SCORED_WORDS;
    for (size_t pass = 0; pass < PASSES && !(pass && decided(sums, g)); pass++)
        for (size_t i = pass; i < picks; i += PASSES) {
            const struct word *w = &r->words[own[i * n / picks]];
            langid_add(g, r->letters + w->from, w->n, sums);
            read++;
        }
    return read;
}

static void fill_candidates(struct language_candidates *ret, const struct reader *r,
                            enum script script, const struct langid_group *g)
{
    int32_t sums[LANGID_LANGUAGES] = { 0 };
    size_t words = score_words(sums, r, script, g);
    double temperature = shipped.temperature + shipped.temperature_word * (double)words;
    ret->n = g->languages;
    for (size_t i = 0; i < ret->n; i++) {
        memcpy(ret->of[i].code, g->language[i].code, sizeof(ret->of[i].code));
        ret->of[i].log_odds = sums[i] * (double)g->scale / temperature;
        ret->of[i].prior = (double)g->language[i].prior;
    }
}

void language_candidates(struct language_candidates *ret, struct str text)
{
    static pthread_once_t opened = PTHREAD_ONCE_INIT;
    struct reader r;
    (void)pthread_once(&opened, open_shipped);
    *ret = (struct language_candidates){ 0 };
    size_t total = read_text(&r, text, false);
    if (!total)
        total = read_text(&r, text, true);
    if (!total)
        return;
    enum script script = main_script(&r);
    ret->share = (double)r.weight[script] / (double)total;
    if (scripts[script].code) {
        ret->n = 1;
        (void)snprintf(ret->of[0].code, sizeof(ret->of[0].code), "%s", scripts[script].code);
        return;
    }
    const struct langid_group *g = langid_group(&shipped, scripts[script].group);
    if (g)
        fill_candidates(ret, &r, script, g);
}

struct language language_choose(const struct language_candidates *c)
{
    struct language l = { "", 0 };
    size_t best = 0;
    double sum = 0;
    if (!c->n)
        return l;
    for (size_t i = 1; i < c->n; i++)
        if (c->of[i].log_odds + c->of[i].prior > c->of[best].log_odds + c->of[best].prior)
            best = i;
    double top = c->of[best].log_odds + c->of[best].prior;
    for (size_t i = 0; i < c->n; i++)
        sum += exp(c->of[i].log_odds + c->of[i].prior - top);
    (void)snprintf(l.code, sizeof(l.code), "%s", c->of[best].code);
    l.confidence = c->share / sum;
    return l;
}

struct language language_detect(struct str text)
{
    struct language_candidates c;
    language_candidates(&c, text);
    return language_choose(&c);
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

/* Other codes under which a policy may name what is detected. */
static const char *const aliases[][2] = {
    { "no", "nb" }, { "no", "nn" }, { "fil", "tl" }, { "iw", "he" }, { "in", "id" },
};

static bool speaks(const struct language_rule *r, const char *code)
{
    struct str base = r->name, rest;
    (void)str_cut(r->name, '-', &base, &rest);
    if (str_eq_nocase(base, str_of(code)))
        return true;
    for (size_t i = 0; i < ARRAY_LEN(aliases); i++)
        if (str_eq_nocase(base, str_of(aliases[i][0])) && strcmp(code, aliases[i][1]) == 0)
            return true;
    return false;
}

static double threshold(const struct language_rule *r)
{
    return r && r->threshold > 0 ? r->threshold : 0.3;
}

/* Counts as English, as the policy language has it. */
static const struct language undetected = { "en", 0.5 };

static int evaluate(const void *state, struct signal_view *v, struct signal_value *values)
{
    const struct state *s = state;
    struct language l = language_detect(v->text);
    const struct language_rule *own = NULL;
    for (size_t i = 0; i < s->n; i++)
        if (speaks(&s->rules[i], l.code))
            own = &s->rules[i];
    if (l.code[0] == '\0' || l.confidence < threshold(own))
        l = undetected;
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

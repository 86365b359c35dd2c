#include "router/signals/signals.h"

#include "router/signals/lexical.h"
#include "router/signals/pattern.h"
#include "router/signals/stem.h"
#include "router/signals/unicode.h"

#include <errno.h>
#include <math.h>

enum method { METHOD_literal, METHOD_regex, METHOD_bm25, METHOD_ngram, METHOD_fuzzy };
enum operator{ OPERATOR_and, OPERATOR_or, OPERATOR_nor, OPERATOR_N };

static const char *const methods[] = { "literal", "regex", "bm25", "ngram", "fuzzy", NULL };
static const char *const operators[] = { "AND", "OR", "NOR", "and", "or", "nor", NULL };

struct keyword_rule {
    struct str name, description;
    unsigned op; /* modulo OPERATOR_N */
    unsigned method;
    struct text_list keywords;
    bool case_sensitive, fuzzy_match;
    uint64_t fuzzy_threshold, ngram_arity;
    double bm25_threshold, ngram_threshold;
};

static const struct option options[] = {
    OPT_TEXT(struct keyword_rule, name, "name", OPTION_REQUIRED, "by which rules refer to it"),
    OPT_TEXT(struct keyword_rule, description, "description", NULL, "for people"),
    OPT_WORD(struct keyword_rule, op, "operator", operators, "OR",
             "all, any or none of the keywords"),
    OPT_TEXTS(struct keyword_rule, keywords, "keywords", 100000, "words, phrases or patterns"),
    OPT_BOOL(struct keyword_rule, case_sensitive, "case_sensitive", "false", "compare case"),
    OPT_WORD(struct keyword_rule, method, "method", methods, "literal",
             "literal: whole words; regex: patterns; bm25, ngram, fuzzy: approximate"),
    OPT_BOOL(struct keyword_rule, fuzzy_match, "fuzzy_match", "false", "accept misspelt words too"),
    OPT_UINT(struct keyword_rule, fuzzy_threshold, "fuzzy_threshold", 0, 100, "2",
             "edits allowed; above 10: likeness in percent"),
    OPT_FLOAT(struct keyword_rule, bm25_threshold, "bm25_threshold", 0, 1000, "0.1",
              "least score of a keyword"),
    OPT_FLOAT(struct keyword_rule, ngram_threshold, "ngram_threshold", 0, 1, "0.4",
              "least similarity of a keyword"),
    OPT_UINT(struct keyword_rule, ngram_arity, "ngram_arity", 2, 8, "3", "characters of a gram"),
    OPT_END,
};

struct word {
    size_t literal; /* number in the scanner; SIZE_MAX: none */
    struct pattern *pattern,
        *wide;                  /* owned by the state; wide knows the boundaries of all scripts */
    size_t filter, wide_filter; /* of the scanner, or SCAN_NO_FILTER */
    struct lexical_text phrase;
    size_t edits;
    const size_t *tokens; /* of BM25, numbers in the vocabulary, with their weights */
    const double *weights;
    size_t n_tokens;
};

struct rule {
    const struct keyword_rule *rule;
    struct word *words;
};

struct state {
    struct rule *rules;
    size_t n;
    const struct str *vocabulary; /* sorted tokens of BM25 */
    size_t n_vocabulary;
};

static void *state_free(void *state)
{
    struct state *s = state;
    if (!s)
        return NULL;
    for (size_t i = 0; i < s->n; i++)
        for (size_t k = 0; s->rules[i].words && k < s->rules[i].rule->keywords.n; k++) {
            (void)pattern_free(s->rules[i].words[k].pattern);
            (void)pattern_free(s->rules[i].words[k].wide);
        }
    return NULL; /* the rest lives in the arena */
}

/* ---- compiling ---- */

struct build {
    const struct signal_rules *rules;
    struct state *state;
    struct str *tokens; /* all tokens of BM25, unsorted and with repeats */
    size_t n_tokens, cap_tokens;
};

static bool plain(struct str keyword) /* a pattern that only spells itself */
{
    for (size_t i = 0; i < keyword.n; i++)
        if (strchr("\\^$.|?*+()[]{}", keyword.p[i]) || keyword.p[i] == '\0')
            return false;
    return true;
}

static bool wants_wide(struct str keyword) /* boundaries beside letters that are not ASCII */
{
    bool beyond = false;
    for (size_t i = 0; i < keyword.n; i++)
        beyond = beyond || (unsigned char)keyword.p[i] >= 0x80;
    return beyond && str_find(keyword, STR("\\b")) >= 0;
}

static int add_literal(struct build *b, const struct keyword_rule *r, struct str keyword,
                       struct word *w)
{
    struct str text = r->case_sensitive ? unicode_valid_text(keyword, b->rules->arena)
                                        : unicode_fold_text(keyword, b->rules->arena);
    if (!text.p)
        return -ENOMEM;
    unsigned flags =
        (r->method != METHOD_regex ? SCAN_bounded : 0u) | (r->case_sensitive ? SCAN_exact : 0u);
    return scanner_literal(b->rules->scanner, text, flags, &w->literal);
}

static int add_pattern(struct build *b, size_t i, const struct keyword_rule *r, struct str keyword,
                       struct word *w)
{
    char why[256];
    int e = pattern_new(&w->pattern, keyword, !r->case_sensitive, false, why, sizeof(why));
    if (e == 0 && wants_wide(keyword))
        e = pattern_new(&w->wide, keyword, !r->case_sensitive, true, why, sizeof(why));
    if (e == -EINVAL)
        return signal_rule_error(b->rules, i, "keywords", "'%.*s' is %s", STR_ARG(keyword), why);
    w->filter = w->wide_filter = SCAN_NO_FILTER;
    if (e == 0 && !r->case_sensitive)
        e = scanner_filter(b->rules->scanner, keyword, false, &w->filter);
    if (e == 0 && !r->case_sensitive && w->wide)
        e = scanner_filter(b->rules->scanner, keyword, true, &w->wide_filter);
    return e;
}

static int add_phrase(struct build *b, const struct keyword_rule *r, struct str keyword,
                      struct word *w)
{
    struct arena *a = b->rules->arena;
    struct str text =
        r->case_sensitive ? unicode_valid_text(keyword, a) : unicode_fold_text(keyword, a);
    int e = text.p ? lexical_split(&w->phrase, text, a) : -ENOMEM;
    if (e < 0)
        return e;
    w->edits = (size_t)r->fuzzy_threshold;
    if (r->fuzzy_threshold > 10)
        w->edits = w->phrase.n * (size_t)(100 - r->fuzzy_threshold) / 100;
    return 0;
}

static int add_tokens(struct build *b, struct str keyword)
{
    struct arena *a = b->rules->arena;
    struct str folded = unicode_fold_text(keyword, a), token;
    if (!folded.p)
        return -ENOMEM;
    char space[STEM_BYTES];
    for (size_t pos = 0; lexical_token(folded, &pos, &token, space);) {
        if (b->n_tokens == b->cap_tokens) {
            size_t cap = b->cap_tokens ? b->cap_tokens * 2 : 64;
            struct str *more = reallocarray(b->tokens, cap, sizeof(*more));
            if (!more)
                return -ENOMEM;
            b->tokens = more;
            b->cap_tokens = cap;
        }
        b->tokens[b->n_tokens] = arena_str(a, token);
        if (!b->tokens[b->n_tokens++].p)
            return -ENOMEM;
    }
    return 0;
}

static int add_word(struct build *b, size_t i, const struct keyword_rule *r, struct str keyword,
                    struct word *w)
{
    int e = 0;
    w->literal = SIZE_MAX;
    if (str_trim(keyword).n == 0)
        return signal_rule_error(b->rules, i, "keywords", "a keyword is empty");
    if (r->method == METHOD_bm25)
        return add_tokens(b, keyword);
    if (r->method == METHOD_regex && !plain(keyword))
        e = add_pattern(b, i, r, keyword, w);
    else if (r->method != METHOD_ngram)
        e = add_literal(b, r, keyword, w);
    if (e == 0 && (r->method == METHOD_ngram || r->method == METHOD_fuzzy || r->fuzzy_match))
        e = add_phrase(b, r, keyword, w);
    return e;
}

static int by_text(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

static int make_vocabulary(struct build *b)
{
    struct state *s = b->state;
    struct str *words = arena_array(b->rules->arena, b->n_tokens + 1, sizeof(*words));
    if (!words)
        return -ENOMEM;
    if (b->n_tokens)
        qsort(b->tokens, b->n_tokens, sizeof(*b->tokens), by_text);
    for (size_t i = 0; i < b->n_tokens; i++)
        if (i == 0 || !str_eq(b->tokens[i], b->tokens[i - 1]))
            words[s->n_vocabulary++] = b->tokens[i];
    s->vocabulary = words;
    return 0;
}

static size_t token_number(const struct state *s, struct str token) /* SIZE_MAX: not in it */
{
    const struct str *hit =
        s->n_vocabulary ? bsearch(&token, s->vocabulary, s->n_vocabulary, sizeof(token), by_text)
                        : NULL;
    return hit ? (size_t)(hit - s->vocabulary) : SIZE_MAX;
}

struct document { /* one keyword, as BM25 sees it */
    size_t *tokens;
    double *counts;
    size_t n;
    double length;
};

static int read_document(const struct state *s, struct str keyword, struct arena *a,
                         struct document *ret)
{
    struct str folded = unicode_fold_text(keyword, a), token;
    size_t most = folded.n + 1;
    *ret = (struct document){ arena_array(a, most, sizeof(size_t)),
                              arena_array(a, most, sizeof(double)), 0, 0 };
    if (!folded.p || !ret->tokens || !ret->counts)
        return -ENOMEM;
    char space[STEM_BYTES];
    for (size_t pos = 0; lexical_token(folded, &pos, &token, space);) {
        size_t number = token_number(s, token), k = 0;
        while (k < ret->n && ret->tokens[k] != number)
            k++;
        ret->tokens[k] = number;
        ret->counts[k] += 1;
        ret->n += k == ret->n;
        ret->length += 1;
    }
    return 0;
}

/* The rule's keywords are the documents; a token's weight is its whole share of the score. */
static int weigh(const struct state *s, struct rule *r, struct arena *a)
{
    const double k1 = 1.2, b = 0.75;
    size_t n = r->rule->keywords.n;
    struct document *docs = arena_array(a, n + 1, sizeof(*docs));
    double *holders = arena_array(a, s->n_vocabulary + 1, sizeof(*holders));
    double total = 0;
    if (!docs || !holders)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        if (read_document(s, r->rule->keywords.items[i], a, &docs[i]) < 0)
            return -ENOMEM;
        total += docs[i].length;
        for (size_t k = 0; k < docs[i].n; k++)
            holders[docs[i].tokens[k]] += 1;
    }
    double mean = n && total > 0 ? total / (double)n : 1;
    for (size_t i = 0; i < n; i++) {
        struct document *d = &docs[i];
        for (size_t k = 0; k < d->n; k++) {
            double have = holders[d->tokens[k]], tf = d->counts[k];
            double idf = log(1 + ((double)n - have + 0.5) / (have + 0.5));
            d->counts[k] = idf * tf * (k1 + 1) / (tf + k1 * (1 - b + b * d->length / mean));
        }
        r->words[i].tokens = d->tokens;
        r->words[i].weights = d->counts;
        r->words[i].n_tokens = d->n;
    }
    return 0;
}

static int add_rule(struct build *b, size_t i, const struct keyword_rule *r)
{
    struct rule *into = &b->state->rules[i];
    into->rule = r;
    b->state->n = i + 1;
    into->words = arena_array(b->rules->arena, r->keywords.n + 1, sizeof(*into->words));
    if (!into->words)
        return -ENOMEM;
    if (r->keywords.n == 0)
        (void)signal_rule_error(b->rules, i, "keywords", "the rule has no keywords");
    for (size_t k = 0; k < r->keywords.n; k++) {
        int e = add_word(b, i, r, r->keywords.items[k], &into->words[k]);
        if (e < 0 && e != -EINVAL)
            return e;
    }
    return 0;
}

static int build_all(struct build *b)
{
    const struct signal_rules *rules = b->rules;
    struct state *s = b->state;
    s->rules = arena_array(rules->arena, rules->n, sizeof(*s->rules));
    if (!s->rules)
        return -ENOMEM;
    int e = 0;
    for (size_t i = 0; e == 0 && i < rules->n; i++)
        e = add_rule(b, i, (const struct keyword_rule *)rules->items + i);
    if (e == 0)
        e = make_vocabulary(b);
    for (size_t i = 0; e == 0 && i < rules->n; i++)
        if (s->rules[i].rule->method == METHOD_bm25)
            e = weigh(s, &s->rules[i], rules->arena);
    return e;
}

static int compile(void **ret_state, const struct signal_rules *rules)
{
    struct build b = { .rules = rules };
    b.state = arena_alloc(rules->arena, sizeof(*b.state));
    if (!b.state)
        return -ENOMEM;
    int e = build_all(&b);
    free(b.tokens);
    if (e < 0 && e != -EINVAL) {
        (void)state_free(b.state);
        return e;
    }
    *ret_state = b.state;
    return 0;
}

/* ---- evaluating ---- */

struct evaluation {
    const struct state *s;
    struct signal_view *v;
    bool *present;               /* tokens of BM25 */
    struct lexical_text text[2]; /* folded, as it is; words NULL until needed */
    struct pattern_budget budget;
};

static enum truth truth_of(int r) /* 1, 0, or no answer */
{
    return r > 0 ? TRUTH_true : r == 0 ? TRUTH_false : TRUTH_unknown;
}

static enum truth match_pattern(struct evaluation *e, const struct pattern *p, size_t filter)
{
    if (filter != SCAN_NO_FILTER && !e->v->found[filter])
        return TRUTH_false;
    return truth_of(pattern_matches(p, e->v->text, &e->budget));
}

static enum truth match_near(struct evaluation *e, const struct keyword_rule *r,
                             const struct word *w)
{
    struct lexical_text *t = &e->text[r->case_sensitive];
    if (!t->words) {
        struct str text = r->case_sensitive ? e->v->text : e->v->folded;
        if (lexical_split(t, text, e->v->arena) < 0)
            return TRUTH_unknown;
    }
    if (r->method == METHOD_ngram)
        return truth_of(lexical_ngram(t, &w->phrase, (unsigned)r->ngram_arity, r->ngram_threshold));
    return truth_of(lexical_fuzzy(t, &w->phrase, w->edits));
}

static enum truth match_bm25(const struct evaluation *e, const struct keyword_rule *r,
                             const struct word *w)
{
    double score = 0;
    bool any = false;
    for (size_t k = 0; k < w->n_tokens; k++)
        if (e->present[w->tokens[k]]) {
            score += w->weights[k];
            any = true;
        }
    return any && score >= r->bm25_threshold ? TRUTH_true : TRUTH_false;
}

static enum truth match_word(struct evaluation *e, const struct keyword_rule *r,
                             const struct word *w)
{
    if (r->method == METHOD_bm25)
        return match_bm25(e, r, w);
    enum truth t = TRUTH_false;
    if (w->literal != SIZE_MAX)
        t = e->v->found[w->literal] ? TRUTH_true : TRUTH_false;
    if (w->pattern)
        t = match_pattern(e, w->pattern, w->filter);
    if (t == TRUTH_false && w->wide)
        t = match_pattern(e, w->wide, w->wide_filter);
    if (t == TRUTH_false && w->phrase.n_words)
        t = match_near(e, r, w);
    return t;
}

static struct signal_value match_rule(struct evaluation *e, const struct rule *r)
{
    size_t hits = 0, unknown = 0, n = r->rule->keywords.n;
    for (size_t k = 0; k < n; k++) {
        enum truth t = match_word(e, r->rule, &r->words[k]);
        hits += t == TRUTH_true;
        unknown += t == TRUTH_unknown;
    }
    bool holds, open;
    switch (r->rule->op % OPERATOR_N) {
    case OPERATOR_and:
        holds = n > 0 && hits == n;
        open = hits + unknown == n && unknown > 0;
        break;
    case OPERATOR_or:
        holds = hits > 0;
        open = hits == 0 && unknown > 0;
        break;
    default:
        holds = hits == 0 && unknown == 0;
        open = hits == 0 && unknown > 0;
        break;
    }
    return (struct signal_value){ open    ? TRUTH_unknown
                                  : holds ? TRUTH_true
                                          : TRUTH_false,
                                  holds ? 1 : 0, (double)hits };
}

static int find_tokens(struct evaluation *e)
{
    e->present = arena_array(e->v->arena, e->s->n_vocabulary + 1, sizeof(*e->present));
    if (!e->present)
        return -ENOMEM;
    char space[STEM_BYTES];
    struct str token;
    for (size_t pos = 0; e->s->n_vocabulary && lexical_token(e->v->folded, &pos, &token, space);) {
        size_t number = token_number(e->s, token);
        if (number != SIZE_MAX)
            e->present[number] = true;
    }
    return 0;
}

static int evaluate(const void *state, struct signal_view *v, struct signal_value *values)
{
    const struct state *s = state;
    struct evaluation e = { .s = s, .v = v, .budget = { .arena = v->arena } };
    int r = signal_scan(v);
    if (r == 0)
        r = find_tokens(&e);
    for (size_t i = 0; r == 0 && i < s->n; i++)
        values[i] = match_rule(&e, &s->rules[i]);
    return r;
}

const struct signal_family family_keyword = {
    .options = options,
    .rule_size = sizeof(struct keyword_rule),
    .compile = compile,
    .free = state_free,
    .evaluate = evaluate,
};

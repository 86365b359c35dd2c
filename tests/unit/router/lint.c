/* The linter: what it says of small policies, and that what it says is so. Expectations by hand. */
#include "router/lint/lint.h"
#include "base/limits.h"
#include "router/profiles.h"
#include "tests/unit/router/support.h"

#include <stdio.h>
#include <stdlib.h>

/* The warnings of a policy, a line each ("path: text"); owned by the caller. */
static char *warnings_of(const struct router *r)
{
    struct problems *p = problems_new();
    struct buf b = BUF_INIT(16 * MIB);
    assert_non_null(p);
    assert_int_equal(router_lint(r, p), 0);
    buf_adds(&b, "");
    for (size_t i = 0; i < problems_len(p); i++) {
        const struct problem *w = problems_at(p, i);
        assert_int_equal(w->kind, PROBLEM_warning);
        assert_true(w->line > 0);
        buf_addf(&b, "%s: %s\n", w->path, w->text);
    }
    (void)problems_free(p);
    buf_addc(&b, '\0');
    return b.p;
}

#define HEAD "routing:\n  modelCards: [{name: m}]\n"
#define KEYWORDS                                                                                   \
    "  signals:\n    keywords: [{name: a, keywords: [x]}, {name: b, keywords: [y]}, {name: c, "    \
    "keywords: [z]}]\n"
#define DECISIONS "  decisions:\n"
#define USE(name, rules)                                                                           \
    "    - {name: " name ", priority: 1, rules: " rules ", modelRefs: [{model: m}]}\n"
#define RANK(name, rank, rules)                                                                    \
    "    - {name: " name ", " rank ", rules: " rules ", modelRefs: [{model: m}]}\n"
#define K(name) "{type: keyword, name: " name "}"
#define P(name) "{type: projection, name: " name "}"
#define C(name) "{type: context, name: " name "}"
#define S(name) "{type: structure, name: " name "}"
#define AND(x) "{operator: AND, conditions: [" x "]}"
#define OR(x) "{operator: OR, conditions: [" x "]}"
#define NOT(x) "{operator: NOT, conditions: [" x "]}"
#define ALL_USED RANK("use", "priority: 0", OR(K("a") "," K("b") "," K("c")))

static const struct {
    const char *policy;
    const char *warnings[3]; /* what the lines begin with, in order; no more than these */
} rows[] = {
    /* shadowed */
    { HEAD KEYWORDS DECISIONS RANK("wide", "priority: 9", OR(K("a") "," K("b")))
          RANK("narrow", "priority: 5", AND(K("a") "," K("c"))) ALL_USED,
      { "routing.decisions[1]: 'narrow' can never win: whenever it matches, 'wide' (priority "
        "9)" } },
    { HEAD KEYWORDS DECISIONS RANK("x", "priority: 9", K("a")) RANK("y", "priority: 8", K("b"))
          RANK("both", "priority: 5", OR(K("a") "," K("b"))) ALL_USED,
      { "routing.decisions[2]: 'both' can never win: whenever it matches, one of 'x' (priority 9), "
        "'y' (priority 8)" } },
    { HEAD KEYWORDS DECISIONS RANK("all", "priority: 9", "{}")
          RANK("use", "priority: 0", OR(K("a") "," K("b") "," K("c"))),
      { "routing.decisions[1]: 'use' can never win: whenever it matches, 'all' (priority 9)" } },
    /* De Morgan */
    { HEAD KEYWORDS DECISIONS RANK("x", "priority: 9", NOT(AND(K("a") "," K("b"))))
          RANK("y", "priority: 5", OR(NOT(K("a")) "," NOT(K("b")))) ALL_USED,
      { "routing.decisions[1]: 'y' can never win" } },
    /* "b or not b" is no match where b is unknown: 'y' wins there */
    { HEAD KEYWORDS DECISIONS RANK("x", "priority: 9", OR(K("b") "," NOT(K("b"))))
          RANK("y", "priority: 5", K("a")) ALL_USED,
      { NULL } },
    /* the narrow one goes first */
    { HEAD KEYWORDS DECISIONS RANK("narrow", "priority: 9", AND(K("a") "," K("c")))
          RANK("wide", "priority: 5", K("a")) ALL_USED,
      { NULL } },
    /* tiers: the lower goes first whatever the priority; within one, confidence decides */
    { HEAD KEYWORDS DECISIONS RANK("x", "priority: 1, tier: 1", K("a"))
          RANK("y", "priority: 9, tier: 2", AND(K("a") "," K("b")))
              RANK("use", "priority: 0, tier: 3", OR(K("a") "," K("b") "," K("c"))),
      { "routing.decisions[1]: 'y' can never win: whenever it matches, 'x' (tier 1)" } },
    { HEAD KEYWORDS DECISIONS RANK("x", "priority: 9, tier: 1", K("a"))
          RANK("y", "priority: 1, tier: 1", AND(K("a") "," K("b")))
              RANK("use", "priority: 0, tier: 3", OR(K("a") "," K("b") "," K("c"))),
      { NULL } },
    /* by confidence nobody surely goes first */
    { "routing:\n  strategy: confidence\n  modelCards: [{name: m}]\n" KEYWORDS DECISIONS RANK(
          "wide", "priority: 9", K("a")) RANK("narrow", "priority: 5", AND(K("a") "," K("b")))
          ALL_USED,
      { NULL } },
    /* it matches where b is unknown, too, and a is not known to be true there */
    { HEAD KEYWORDS DECISIONS RANK("wide", "priority: 9", K("a"))
          RANK("narrow", "priority: 5, on_unknown: match", AND(K("a") "," K("b"))) ALL_USED,
      { NULL } },
    /* unreachable */
    { HEAD KEYWORDS DECISIONS RANK("x", "priority: 9", AND(K("a") "," NOT(K("a")))) ALL_USED,
      { "routing.decisions[0]: 'x' can never match: its conditions exclude each other" } },
    { HEAD KEYWORDS DECISIONS RANK(
          "x", "priority: 9", AND(OR(K("a") "," K("b")) "," NOT(OR(K("b") "," K("a"))))) ALL_USED,
      { "routing.decisions[0]: 'x' can never match" } },
    { HEAD KEYWORDS DECISIONS RANK("x", "priority: 9",
                                   AND(K("a") "," NOT("{type: keyword, name: a, "
                                                      "on_error: match}"))) ALL_USED,
      { NULL } }, /* not the same leaf: linked with nothing */
    /* sizes that exclude or hold each other */
    { HEAD
      "  signals: {context: [{name: s, max_tokens: 1K}, {name: l, min_tokens: 2K}]}\n" DECISIONS
          RANK("x", "priority: 9", AND(C("s") "," C("l")))
              RANK("y", "priority: 2", OR(C("s") "," C("l"))),
      { "routing.decisions[0]: 'x' can never match" } },
    { HEAD
      "  signals: {context: [{name: s, min_tokens: 1K}, {name: l, min_tokens: 2K}]}\n" DECISIONS
          RANK("x", "priority: 9", C("s")) RANK("y", "priority: 2", C("l")),
      { "routing.decisions[1]: 'y' can never win: whenever it matches, 'x' (priority 9)" } },
    /* two bands that leave nothing over */
    { HEAD
      "  signals: {context: [{name: s, max_tokens: 999}, {name: l, min_tokens: 1K}]}\n" DECISIONS
          RANK("x", "priority: 9", C("s")) RANK("y", "priority: 8", C("l"))
              RANK("z", "priority: 1", "{}"),
      { "routing.decisions[2]: 'z' can never win: whenever it matches, one of 'x' (priority 9), "
        "'y' "
        "(priority 8)" } },
    { HEAD
      "  signals: {context: [{name: s, max_tokens: 999}, {name: l, min_tokens: 1001}]}\n" DECISIONS
          RANK("x", "priority: 9", C("s")) RANK("y", "priority: 8", C("l"))
              RANK("z", "priority: 1", "{}"),
      { NULL } },
    /* the same count, compared in two ways */
    { HEAD
      "  signals: {structure: [{name: s, feature: {type: count, source: {type: regex, pattern: "
      "q}}, predicate: {lt: 3}}, {name: l, feature: {type: count, source: {type: regex, pattern: "
      "q}}, predicate: {gte: 3}}]}\n" DECISIONS RANK("x", "priority: 9", AND(S("s") "," S("l")))
          RANK("y", "priority: 2", OR(S("s") "," S("l"))),
      { "routing.decisions[0]: 'x' can never match" } },
    /* levels exclude each other */
    { HEAD "  signals: {complexity: [{name: d, hard: {candidates: [h]}, easy: {candidates: "
           "[e]}}]}\n" DECISIONS RANK(
               "x", "priority: 9",
               AND("{type: complexity, name: \"d:hard\"}, {type: complexity, name: \"d:easy\"}")),
      { "routing.decisions[0]: 'x' can never match" } },
    /* 'hard' is unknown where what it is composed of is, though 'easy' is known to be false */
    { HEAD KEYWORDS
      "    complexity: [{name: d, hard: {candidates: [h]}, easy: {candidates: [e]}, composer: "
      "{type: "
      "keyword, name: a}}]\n" DECISIONS RANK("x", "priority: 9",
                                             "{type: complexity, name: \"d:hard\"}")
          RANK("y", "priority: 8", NOT("{type: complexity, name: \"d:hard\"}"))
              RANK("z", "priority: 7",
                   AND(NOT("{type: complexity, name: \"d:easy\"}") "," OR(K("b") "," K("c")))),
      { NULL } },
    /* equals */
    { HEAD KEYWORDS DECISIONS RANK("x", "priority: 5", K("a")) RANK("y", "priority: 5", K("b"))
          RANK("z", "priority: 4", K("c")),
      { "routing.decisions[0]: 'x' and 'y' have the same priority 5 and can match together: " } },
    { HEAD KEYWORDS DECISIONS RANK("x", "priority: 5", K("a")) RANK("y", "priority: 5", K("b"))
          RANK("z", "priority: 5", K("c")),
      { "routing.decisions[0]: 'x' and 'y' have the same priority 5 and can match together (and 1 "
        "more" } },
    { HEAD KEYWORDS DECISIONS RANK("x", "priority: 5", AND(K("a") "," K("b")))
          RANK("y", "priority: 5", AND(K("c") "," NOT(K("b")))),
      { NULL } },
    /* predicates that nothing meets */
    { HEAD
      "  signals: {structure: [{name: s, feature: {type: count, source: {type: regex, pattern: "
      "q}}, predicate: {gte: 5, lt: 3}}]}\n" DECISIONS RANK("x", "priority: 9", S("s")),
      { "routing.decisions[0]: 'x' can never match",
        "routing.signals.structure[0]: 's' can never match: no count from 0 on meets its "
        "predicate" } },
    { HEAD
      "  signals: {structure: [{name: s, feature: {type: count, source: {type: regex, pattern: "
      "q}}, predicate: {gt: 2, lt: 3}}]}\n" DECISIONS RANK("x", "priority: 9", NOT(S("s"))),
      { "routing.signals.structure[0]: 's' can never match: no count" } },
    { HEAD "  signals: {structure: [{name: s, feature: {type: density, source: {type: keyword_set, "
           "keywords: [must, exactly]}}, predicate: {gt: 1}}]}\n" DECISIONS RANK("x", "priority: 9",
                                                                                 NOT(S("s"))),
      { "routing.signals.structure[0]: 's' can never match: no density" } },
    { HEAD "  signals: {structure: [{name: s, feature: {type: density, source: {type: keyword_set, "
           "keywords: [must, exactly]}}, predicate: {gte: 1}}]}\n" DECISIONS RANK(
               "x", "priority: 9", S("s")),
      { NULL } },
    { HEAD
      "  signals: {conversation: [{name: s, feature: {type: exists, source: {type: "
      "tool_definition}}, predicate: {gt: 1}}]}\n" DECISIONS RANK("x", "priority: 9",
                                                                  NOT("{type: conversation, name: "
                                                                      "s}")),
      { "routing.signals.conversation[0]: 's' can never match: no value" } },
    { HEAD
      "  signals: {classifiers: [{name: s, type: llm, model: m, labels: [bad]}]}\n" DECISIONS RANK(
          "x", "priority: 9", "{type: classifier, name: s, label: bad, predicate: {gt: 1}}"),
      { "routing.decisions[0]: 'x' can never match" } },
    /* bands: 0.5 and 0.25 make 0, 0.25, 0.5 and 0.75 only */
    { HEAD KEYWORDS
      "  projections:\n    scores: [{name: s, method: weighted_sum, inputs: [{type: keyword, name: "
      "a, "
      "weight: 0.5}, {type: keyword, name: b, weight: 0.25}]}]\n    mappings: [{name: m, source: "
      "s, "
      "method: threshold_bands, outputs: [{name: low, lte: 0.3}, {name: gap, gt: 0.3, lt: 0.5}, "
      "{name: high, gte: 0.5}]}]\n" DECISIONS RANK("x", "priority: 9", P("low"))
          RANK("y", "priority: 8", P("high")) RANK("z", "priority: 7", K("c")),
      { "routing.projections.mappings[0].outputs[1]: no sum of 's' falls into the band 'gap'" } },
    { HEAD KEYWORDS "  projections:\n    scores: [{name: s, method: weighted_sum, inputs: [{type: "
                    "keyword, name: a, "
                    "weight: 0.5, value_source: confidence}, {type: keyword, name: b, weight: "
                    "0.25}]}]\n    mappings: "
                    "[{name: m, source: s, method: threshold_bands, outputs: [{name: low, lte: "
                    "0.3}, {name: gap, gt: "
                    "0.3, lt: 0.5}, {name: high, gte: 0.8}, {name: rest}]}]\n" DECISIONS RANK(
                        "x", "priority: 9", AND(P("low") "," P("gap")))
                        RANK("y", "priority: 8", P("low"))
                            RANK("z", "priority: 7", AND(K("c") "," P("low"))),
      { "routing.decisions[0]: 'x' can never match",
        "routing.decisions[2]: 'z' can never win: whenever it matches, 'y' (priority 8)",
        "routing.projections.mappings[0].outputs[2]: no sum of 's' falls into the band 'high'" } },
    /* where 'a' is unknown the sum is surely in 'wide', and in neither of the others */
    { HEAD KEYWORDS "  projections:\n    scores: [{name: s, method: weighted_sum, inputs: [{type: "
                    "keyword, name: a, "
                    "weight: 0.5}]}]\n    mappings: [{name: m, source: s, method: threshold_bands, "
                    "outputs: [{name: "
                    "low, lt: 0.3}, {name: high, gte: 0.3}]}, {name: w, source: s, outputs: "
                    "[{name: wide, gte: -1}]}]"
                    "\n" DECISIONS RANK("x", "priority: 9", P("low"))
                        RANK("y", "priority: 8", P("high")) RANK("z", "priority: 7", P("wide"))
                            RANK("use", "priority: 6", OR(K("b") "," K("c"))),
      { NULL } },
    /* that one covers what is left of another is no knowledge that it is false */
    { HEAD KEYWORDS "  projections:\n    scores: [{name: s, method: weighted_sum, inputs: [{type: "
                    "keyword, name: a, "
                    "weight: 0.5}]}]\n    mappings: [{name: m, source: s, method: threshold_bands, "
                    "outputs: [{name: "
                    "low, lt: 0.3}, {name: high, gte: 0.3}, {name: none, gte: -1}]}, {name: w, "
                    "source: s, outputs: "
                    "[{name: wide, gte: -1}]}]\n" DECISIONS RANK("x", "priority: 9", NOT(P("none")))
                        RANK("z", "priority: 7", P("wide"))
                            RANK("use", "priority: 6", OR(K("b") "," K("c"))),
      { "routing.projections.mappings[0].outputs[2]: no sum of 's' falls into the band 'none'" } },
    /* nothing is known of 's' when its pattern takes too long */
    { HEAD
      "  signals: {structure: [{name: s, feature: {type: count, source: {type: regex, pattern: "
      "q}}, predicate: {gt: 2, lt: 3}}], keywords: [{name: a, keywords: [x]}]}\n" DECISIONS RANK(
          "x", "priority: 9", NOT(S("s"))) RANK("y", "priority: 8", K("a")),
      { "routing.signals.structure[0]: 's' can never match: no count" } },
    /* lists */
    { HEAD
      "  signals: {keywords: [{name: a, keywords: [One, two, one ]}, {name: b, keywords: [One, "
      "one], case_sensitive: true}]}\n" DECISIONS RANK("x", "priority: 9", OR(K("a") "," K("b"))),
      { "routing.signals.keywords[0].keywords: 'one' stands twice in this list" } },
    /* partitions */
    { HEAD
      "  signals: {embeddings: [{name: a, candidates: [hello, good day]}, {name: b, candidates: "
      "[bye, hello]}]}\n  projections: {partitions: [{name: p, members: [a, b]}, {name: q, "
      "members: [a]}]}\n" DECISIONS RANK("x", "priority: 9", "{type: embedding, name: a}"),
      { "routing.signals.embeddings[1]: the members 'a' and 'b' of a partition overlap: both are "
        "described by 'hello'",
        "routing.projections.partitions[1]: a partition of one member changes nothing",
        "routing.projections.partitions[1]: 'a' is a member of two partitions" } },
    /* unused */
    { HEAD KEYWORDS DECISIONS RANK("x", "priority: 9", K("b")),
      { "routing.signals.keywords[0]: no decision depends on the keyword signals 'a', 'c'" } },
    { HEAD KEYWORDS
      "  projections:\n    scores: [{name: s, method: weighted_sum, inputs: [{type: keyword, name: "
      "a, "
      "weight: 1}]}]\n    mappings: [{name: m, source: s, method: threshold_bands, outputs: "
      "[{name: o, "
      "gte: 1}]}]\n" DECISIONS RANK("x", "priority: 9", OR(K("a") "," K("b") "," K("c"))),
      { "routing.projections.mappings[0]: no decision depends on an output of the mapping 'm'",
        "routing.projections.scores[0]: no decision depends on the score 's'" } },
    { "routing:\n  modelCards: [{name: m}, {name: n}, {name: p}]\n  signals: {keywords: [{name: a, "
      "keywords: [x]}]}\n  decisions:\n    - {name: x, rules: {type: keyword, name: a}, modelRefs: "
      "[{model: m}], algorithm: {type: fusion, fusion: {model: p}}}\n",
      { "routing.modelCards[1]: no decision names the model 'n'" } },
    /* nothing to say */
    { HEAD KEYWORDS DECISIONS RANK("x", "priority: 9", AND(K("a") "," NOT(K("b"))))
          RANK("y", "priority: 8", K("b")) RANK("z", "priority: 7", OR(K("a") "," K("c")))
              RANK("rest", "priority: 1", "{}"),
      { NULL } },
};

static void a_policy_is_told_what_it_does_not_mean(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct config *c = NULL;
        struct router *r = policy_from(rows[i].policy, &c);
        char *text = warnings_of(r);
        const char *line = text;
        for (size_t k = 0; k < ARRAY_LEN(rows[i].warnings); k++) {
            const char *want = rows[i].warnings[k];
            if (want && strncmp(line, want, strlen(want)) != 0)
                fail_msg("row %zu\n%s\nwants: %s\nsays:  %s", i, rows[i].policy, want, line);
            if (want)
                line = strchr(line, '\n') + 1;
        }
        if (*line)
            fail_msg("row %zu\n%s\nsays too: %s", i, rows[i].policy, line);
        free(text);
        (void)router_free(r);
        (void)config_unref(c);
    }
}

/* ---- what is claimed is so ---- */

enum { LEAVES = 5, MOST_DECISIONS = 6 };

static bool is_claimed(const char *warnings, struct str name)
{
    char never[64];
    (void)snprintf(never, sizeof(never), "'%.*s' can never ", STR_ARG(name));
    return strstr(warnings, never) != NULL;
}

static void random_rule(uint64_t *seed, unsigned depth, const char *type, struct buf *b)
{
    uint64_t kind = test_random(seed) % (depth > 2 ? 1 : 4);
    if (kind == 0) {
        buf_addf(b, "{type: %s, name: n%u}", type, (unsigned)(test_random(seed) % LEAVES));
        return;
    }
    static const char *const operators[] = { "NOT", "AND", "OR" };
    uint64_t n = kind == 1 ? 1 : 1 + test_random(seed) % 3;
    buf_addf(b, "{operator: %s, conditions: [", operators[kind - 1]);
    for (uint64_t i = 0; i < n; i++) {
        buf_adds(b, i ? ", " : "");
        random_rule(seed, depth + 1, type, b);
    }
    buf_adds(b, "]}");
}

/* Decisions of different priorities, or of few tiers, over leaves of one type. */
static void random_decisions(uint64_t *seed, const char *type, bool tiers, struct buf *b)
{
    size_t n = 2 + test_random(seed) % (MOST_DECISIONS - 1);
    buf_adds(b, "  decisions:\n");
    for (size_t i = 0; i < n; i++) {
        buf_addf(b, "    - {name: d%zu, priority: %zu", i, i * 7 % 11);
        if (tiers)
            buf_addf(b, ", tier: %u", (unsigned)(test_random(seed) % 3));
        buf_adds(b, ", modelRefs: [{model: m}], rules: ");
        random_rule(seed, 0, type, b);
        buf_adds(b, "}\n");
    }
}

struct world {
    enum truth values[LEAVES];
    double confidences[LEAVES];
};

static struct verdict leaf_value(void *ctx, const struct rule *leaf)
{
    const struct world *w = ctx;
    size_t i = (size_t)(leaf->name.p[1] - '0');
    return (struct verdict){ w->values[i], w->confidences[i] };
}

static void note_winner(const struct policy *p, struct world *w, bool *won)
{
    struct decision_list list = { p->decisions, p->n_decisions, p->by_confidence };
    struct decision_outcome o = decisions_pick(&list, leaf_value, w);
    if (o.winner)
        won[o.winner - p->decisions] = true;
}

/* Every way in which the leaves can be false, true or unknown; confidences at random. */
static void try_all(const struct policy *p, uint64_t *seed, bool *won)
{
    unsigned worlds = 1;
    for (int i = 0; i < LEAVES; i++)
        worlds *= 3;
    for (unsigned k = 0; k < worlds; k++) {
        struct world w;
        unsigned rest = k;
        for (int i = 0; i < LEAVES; i++, rest /= 3) {
            w.values[i] = (enum truth)(rest % 3);
            w.confidences[i] = 0.25 * (double)(1 + test_random(seed) % 4);
        }
        note_winner(p, &w, won);
    }
}

static void what_never_wins_is_found_and_nothing_else(void **state)
{
    uint64_t seed = 11;
    unsigned claims = 0;
    for (int round = 0; round < 400; round++) {
        bool tiers = round % 4 == 3, won[MOST_DECISIONS + 1] = { false };
        struct buf b = BUF_INIT(MIB);
        buf_adds(&b, HEAD "  signals:\n    keywords:\n");
        for (int i = 0; i < LEAVES; i++)
            buf_addf(&b, "      - {name: n%d, keywords: [w%d]}\n", i, i);
        random_decisions(&seed, "keyword", tiers, &b);
        struct config *c = NULL;
        struct router *r = policy_from(b.p, &c);
        char *warnings = warnings_of(r);
        const struct policy *p = &r->policies[0];
        try_all(p, &seed, won);
        for (size_t i = 0; i < p->n_decisions; i++) {
            bool claimed = is_claimed(warnings, p->decisions[i].name);
            claims += claimed;
            if (claimed && won[i])
                fail_msg("%s\n%s\nbut it wins", b.p, warnings);
            /* by priority alone the rules decide, so nothing goes unnoticed */
            if (!claimed && !won[i] && !tiers)
                fail_msg("%s\n%s\n'%.*s' never wins", b.p, warnings, STR_ARG(p->decisions[i].name));
        }
        free(warnings);
        buf_done(&b);
        (void)router_free(r);
        (void)config_unref(c);
    }
    assert_true(claims > 100);
}

static void what_never_wins_by_size_is_found_and_nothing_else(void **state)
{
    enum { MOST_TOKENS = 40 };
    uint64_t seed = 5;
    unsigned claims = 0;
    for (int round = 0; round < 400; round++) {
        bool won[MOST_DECISIONS + 1] = { false };
        unsigned from[LEAVES], to[LEAVES];
        struct buf b = BUF_INIT(MIB);
        buf_adds(&b, HEAD "  signals:\n    context:\n");
        for (int i = 0; i < LEAVES; i++) {
            from[i] = (unsigned)(test_random(&seed) % 12);
            to[i] = 1 + from[i] + (unsigned)(test_random(&seed) % 12);
            buf_addf(&b, "      - {name: n%d, min_tokens: \"%u\", max_tokens: \"%u\"}\n", i,
                     from[i], to[i]);
        }
        random_decisions(&seed, "context", false, &b);
        struct config *c = NULL;
        struct router *r = policy_from(b.p, &c);
        char *warnings = warnings_of(r);
        const struct policy *p = &r->policies[0];
        for (unsigned tokens = 0; tokens < MOST_TOKENS; tokens++) {
            struct world w;
            for (int i = 0; i < LEAVES; i++) {
                bool in = tokens >= from[i] && tokens <= to[i];
                w.values[i] = in ? TRUTH_true : TRUTH_false;
                w.confidences[i] = 1;
            }
            note_winner(p, &w, won);
        }
        for (size_t i = 0; i < p->n_decisions; i++) {
            bool claimed = is_claimed(warnings, p->decisions[i].name);
            claims += claimed;
            if (claimed == won[i])
                fail_msg("%s\n%s\n'%.*s' %s", b.p, warnings, STR_ARG(p->decisions[i].name),
                         won[i] ? "wins" : "never wins");
        }
        free(warnings);
        buf_done(&b);
        (void)router_free(r);
        (void)config_unref(c);
    }
    assert_true(claims > 100);
}

/* ---- bands ---- */

static struct signal_value signal_value(void *ctx, size_t signal)
{
    const struct world *w = ctx;
    return (struct signal_value){ w->values[signal],
                                  w->values[signal] == TRUTH_true ? w->confidences[signal] : 0, 0 };
}

static const struct projections *banded; /* of the policy at hand */

static struct verdict leaf_or_band(void *ctx, const struct rule *leaf)
{
    if (leaf->op == RULE_signal)
        return leaf_value(ctx, leaf);
    struct signal_value v = projections_evaluate(banded, leaf->index, signal_value, ctx);
    return (struct verdict){ v.value, v.confidence };
}

/* One score over all leaves, and bands n0 … n4 of it that may overlap, leave gaps or be empty. */
static void random_bands(uint64_t *seed, struct buf *b)
{
    buf_adds(b, "  projections:\n    scores:\n      - name: s\n        inputs:\n");
    for (int i = 0; i < LEAVES; i++)
        buf_addf(b, "          - {type: keyword, name: n%d, weight: %g, value_source: %s}\n", i,
                 0.25 * (double)test_random(seed) / (double)UINT64_MAX - 0.1,
                 test_random(seed) % 4 ? "binary" : "confidence");
    buf_addf(b, "    mappings:\n      - {name: m, source: s, method: %s, outputs: [",
             test_random(seed) % 2 ? "threshold_bands" : "multi_emit");
    for (int i = 0; i < LEAVES; i++) {
        double at = 0.8 * (double)test_random(seed) / (double)UINT64_MAX - 0.2;
        double end = at + 0.4 * (double)test_random(seed) / (double)UINT64_MAX;
        buf_addf(b, "%s{name: n%d, gte: %g, lt: %g}", i ? ", " : "", i, at, end);
    }
    buf_adds(b, "]}\n");
}

static bool is_empty_band(const char *warnings, size_t i)
{
    char never[64];
    (void)snprintf(never, sizeof(never), "falls into the band 'n%zu'", i);
    return strstr(warnings, never) != NULL;
}

static void what_is_said_of_bands_is_so(void **state)
{
    uint64_t seed = 3;
    unsigned claims = 0, empty = 0;
    for (int round = 0; round < 300; round++) {
        bool won[MOST_DECISIONS + 1] = { false }, held[LEAVES] = { false };
        struct buf b = BUF_INIT(MIB);
        buf_adds(&b, HEAD "  signals:\n    keywords:\n");
        for (int i = 0; i < LEAVES; i++)
            buf_addf(&b, "      - {name: n%d, keywords: [w%d]}\n", i, i);
        random_bands(&seed, &b);
        random_decisions(&seed, "projection", false, &b);
        struct config *c = NULL;
        struct router *r = policy_from(b.p, &c);
        char *warnings = warnings_of(r);
        const struct policy *p = &r->policies[0];
        banded = p->projections;
        for (unsigned k = 0; k < 243; k++) { /* 3^LEAVES */
            struct world w;
            unsigned rest = k;
            for (int i = 0; i < LEAVES; i++, rest /= 3) {
                w.values[i] = (enum truth)(rest % 3);
                w.confidences[i] = 0.25 * (double)(1 + test_random(&seed) % 4);
            }
            struct decision_list list = { p->decisions, p->n_decisions, p->by_confidence };
            struct decision_outcome o = decisions_pick(&list, leaf_or_band, &w);
            if (o.winner)
                won[o.winner - p->decisions] = true;
            for (size_t i = 0; i < LEAVES; i++)
                held[i] = held[i] ||
                          projections_evaluate(banded, i, signal_value, &w).value == TRUTH_true;
        }
        for (size_t i = 0; i < p->n_decisions; i++) {
            claims += is_claimed(warnings, p->decisions[i].name);
            if (won[i] && is_claimed(warnings, p->decisions[i].name))
                fail_msg("%s\n%s\nbut '%.*s' wins", b.p, warnings, STR_ARG(p->decisions[i].name));
        }
        for (size_t i = 0; i < LEAVES; i++) {
            empty += is_empty_band(warnings, i);
            if (held[i] && is_empty_band(warnings, i))
                fail_msg("%s\n%s\nbut n%zu holds", b.p, warnings, i);
        }
        free(warnings);
        buf_done(&b);
        (void)router_free(r);
        (void)config_unref(c);
    }
    assert_true(claims > 50 && empty > 20);
}

/* ---- many ---- */

static void five_thousand_decisions_are_checked(void **state)
{
    enum { MANY = 5000 };
    struct buf b = BUF_INIT(64 * MIB);
    buf_adds(&b, HEAD "  signals:\n    keywords:\n");
    for (int i = 0; i < MANY; i++)
        buf_addf(&b, "      - {name: k%d, keywords: [w%d]}\n", i, i);
    buf_adds(&b, "  decisions:\n");
    for (int i = 0; i < MANY; i++)
        buf_addf(&b,
                 "    - {name: d%d, priority: %d, modelRefs: [{model: m}], rules: {operator: AND, "
                 "conditions: [{type: keyword, name: k%d}, {operator: NOT, conditions: [{type: "
                 "keyword, name: k%d}]}]}}\n",
                 i, MANY - i, i, (i + 1) % MANY);
    buf_adds(&b, "    - {name: last, priority: -1, modelRefs: [{model: m}], rules: {operator: AND, "
                 "conditions: [{type: keyword, name: k7}, {operator: NOT, conditions: [{type: "
                 "keyword, name: k8}]}, {type: keyword, name: k0}]}}\n");
    struct config *c = NULL;
    struct router *r = policy_from(b.p, &c);
    char *text = warnings_of(r);
    assert_non_null(strstr(text,
                           "routing.decisions[5000]: 'last' can never win: whenever it matches, "
                           "'d7' (priority 4993)"));
    assert_null(strchr(strchr(text, '\n') + 1, '\n')); /* the only one */
    free(text);
    buf_done(&b);
    (void)router_free(r);
    (void)config_unref(c);
}

/* An AND of ORs has 3^40 terms: no more than a bounded part of them is looked at. */
static void a_large_rule_is_given_up_and_said_so(void **state)
{
    struct buf b = BUF_INIT(MIB);
    buf_adds(&b, HEAD "  signals:\n    keywords:\n");
    for (int i = 0; i < 120; i++)
        buf_addf(&b, "      - {name: k%d, keywords: [w%d]}\n", i, i);
    buf_adds(&b, "  decisions:\n    - {name: first, priority: 2, modelRefs: [{model: m}], rules: "
                 "{operator: OR, conditions: [");
    for (int i = 117; i < 120; i++)
        buf_addf(&b, "%s{type: keyword, name: k%d}", i == 117 ? "" : ", ", i);
    buf_adds(&b, "]}}\n    - {name: large, priority: 1, modelRefs: [{model: m}], rules: {operator: "
                 "AND, conditions: [");
    for (int i = 0; i < 120; i += 3)
        buf_addf(&b,
                 "%s{operator: OR, conditions: [{type: keyword, name: k%d}, {type: keyword, name: "
                 "k%d}, {type: keyword, name: k%d}]}",
                 i ? ", " : "", i, i + 1, i + 2);
    buf_adds(&b, "]}}\n");
    struct config *c = NULL;
    struct router *r = policy_from(b.p, &c);
    char *text = warnings_of(r);
    assert_non_null(strstr(text, "there are too many rules to compare"));
    free(text);
    buf_done(&b);
    (void)router_free(r);
    (void)config_unref(c);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_policy_is_told_what_it_does_not_mean),
        cmocka_unit_test(what_never_wins_is_found_and_nothing_else),
        cmocka_unit_test(what_never_wins_by_size_is_found_and_nothing_else),
        cmocka_unit_test(what_is_said_of_bands_is_so),
        cmocka_unit_test(five_thousand_decisions_are_checked),
        cmocka_unit_test(a_large_rule_is_given_up_and_said_so),
    };
    return TEST_RUN(tests);
}

/* The DSL: what it compiles to, what it refuses, how it is laid out. Expectations by hand. */
#include "router/dsl/dsl.h"
#include "base/limits.h"
#include "tests/support/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* What a source compiles to as YAML, or its problems; owned by the caller. */
static char *compiled(const char *source, bool *ret_ok)
{
    struct problems *p = problems_new();
    struct dsl *d = NULL;
    struct buf b = BUF_INIT(16 * MIB);
    assert_non_null(p);
    int e = dsl_compile(&d, "f", str_of(source), p);
    assert_true(e == 0 || e == -EINVAL);
    if (e == 0)
        dsl_print_yaml(dsl_root(d), &b);
    else
        problems_print(p, &b);
    *ret_ok = e == 0;
    (void)dsl_free(d);
    (void)problems_free(p);
    buf_addc(&b, '\0');
    return b.p;
}

static char *formatted(const char *source)
{
    struct problems *p = problems_new();
    struct buf b = BUF_INIT(16 * MIB);
    assert_non_null(p);
    if (dsl_format(&b, "f", str_of(source), p) != 0) {
        problems_print(p, &b);
        fail_msg("%s\n%s", source, b.p);
    }
    (void)problems_free(p);
    buf_addc(&b, '\0');
    return b.p;
}

static char *decompiled(const char *yaml)
{
    struct problems *p = problems_new();
    struct document *doc = NULL;
    struct buf b = BUF_INIT(16 * MIB);
    assert_non_null(p);
    assert_int_equal(document_parse(&doc, "f", str_of(yaml), p), 0);
    assert_int_equal(dsl_decompile(&b, document_root(doc), p), 0);
    (void)document_free(doc);
    (void)problems_free(p);
    buf_addc(&b, '\0');
    return b.p;
}

static void assert_compiles(const char *source, const char *yaml)
{
    bool ok;
    char *text = compiled(source, &ok);
    if (!ok)
        fail_msg("%s\n%s", source, text);
    assert_string_equal(text, yaml);
    free(text);
}

#define ROUTE_OF(rules)                                                                            \
    "routing:\n  decisions:\n    - name: r\n      rules:\n" rules "      modelRefs:\n"             \
    "        - model: m\n"
#define LEAF(indent, name) indent "- type: keyword\n" indent "  name: " name "\n"
#define I8 "        "
#define I10 "          "
#define I12 "            "
#define I14 "              "

static const struct {
    const char *source, *yaml;
} compiles[] = {
    { "", "routing: {}\n" },
    { "# only a comment", "routing: {}\n" },
    { "ROUTING { strategy: confidence }", "routing:\n  strategy: confidence\n" },
    /* texts and numbers keep what they are */
    { "MODEL a/b-1.5 { quality_score: 0.50 tags: [\"x:y\", plain, \"12\", 12, true, \"true\"] "
      "context_window_size: +8 }",
      "routing:\n  modelCards:\n    - name: a/b-1.5\n      quality_score: 0.50\n      tags:\n"
      "        - \"x:y\"\n        - plain\n        - \"12\"\n        - 12\n        - true\n"
      "        - \"true\"\n      context_window_size: 8\n" },
    { "SIGNAL keyword \"odd name\" { keywords: [\"a\\tb\\u00e9\\\"\\\\\", \"\\d+\", \"\"] }",
      "routing:\n  signals:\n    keywords:\n      - name: odd name\n        keywords:\n"
      "          - \"a\\tbé\\\"\\\\\"\n          - \"\\\\d+\"\n          - \"\"\n" },
    { "SIGNAL authz admin { role: admin, subjects: [{kind: User, name: \"eve\"},] }\n"
      "SIGNAL kb k { target: { kind: \"group\" value: \"g\" } }",
      "routing:\n  signals:\n    role_bindings:\n      - name: admin\n        role: admin\n"
      "        subjects:\n          - kind: User\n            name: eve\n    kb:\n      - name: k\n"
      "        target:\n          kind: group\n          value: g\n" },
    /* methods have defaults */
    { "PROJECTION mapping b { source: \"s\" outputs: [{ name: \"low\", lt: -0.5 }] }\n"
      "PROJECTION score s { inputs: [] }\nPROJECTION partition p { members: [\"x\"] }",
      "routing:\n  projections:\n    partitions:\n      - name: p\n        members:\n"
      "          - x\n    scores:\n      - name: s\n        method: weighted_sum\n"
      "        inputs: []\n    mappings:\n      - name: b\n        method: threshold_bands\n"
      "        source: s\n        outputs:\n          - name: low\n            lt: -0.5\n" },
    /* rules */
    { "ROUTE r { MODEL m }", ROUTE_OF("        operator: AND\n        conditions: []\n") },
    { "ROUTE r { MODEL m WHEN keyword(\"a\") }",
      ROUTE_OF(I8 "operator: AND\n" I8 "conditions:\n" LEAF(I10, "a")) },
    { "ROUTE r { MODEL m WHEN (keyword(\"a\")) }",
      ROUTE_OF(I8 "operator: OR\n" I8 "conditions:\n" LEAF(I10, "a")) },
    { "ROUTE r { MODEL m WHEN ((keyword(\"a\"))) }",
      ROUTE_OF(I8 "type: keyword\n" I8 "name: a\n") },
    { "ROUTE r { MODEL m WHEN NOT keyword(\"a\") }",
      ROUTE_OF(I8 "operator: NOT\n" I8 "conditions:\n" LEAF(I10, "a")) },
    /* AND binds closer than OR; groups of the same operator become one */
    { "ROUTE r { MODEL m WHEN keyword(a) OR keyword(b) AND (keyword(c) AND keyword(d)) }",
      ROUTE_OF(I8 "operator: OR\n" I8 "conditions:\n" LEAF(I10, "a") I10
               "- operator: AND\n" I12 "conditions:\n" LEAF(I14, "b") LEAF(I14, "c")
                   LEAF(I14, "d")) },
    { "ROUTE r { MODEL m WHEN (keyword(a)) AND ((keyword(b) AND keyword(c))) }",
      ROUTE_OF(I8 "operator: AND\n" I8 "conditions:\n" LEAF(I10, "a") I10
               "- operator: AND\n" I12 "conditions:\n" LEAF(I14, "b") LEAF(I14, "c")) },
    { "ROUTE r { MODEL m WHEN classifier(\"a\", label: \"spam\", predicate: { gte: 0.5 }, "
      "on_error: \"match\") }",
      ROUTE_OF(I8 "operator: AND\n" I8 "conditions:\n" I10 "- type: classifier\n" I10
                  "  name: a\n" I10 "  label: spam\n" I10 "  predicate:\n" I10 "    gte: 0.5\n" I10
                  "  on_error: match\n") },
    /* the statement is stronger than the option; other options stay */
    { "ROUTE r (description = \"old\" annotations = { owner: \"me\" }) { DESCRIPTION \"new\" "
      "PRIORITY -3 TIER 2 MODEL \"m\" (reasoning = true, effort = \"high\", lora = \"l\", "
      "weight = 0.5, ) }",
      "routing:\n  decisions:\n    - name: r\n      description: new\n      annotations:\n"
      "        owner: me\n      priority: -3\n      tier: 2\n      rules:\n"
      "        operator: AND\n        conditions: []\n      modelRefs:\n        - model: m\n"
      "          use_reasoning: true\n          reasoning_effort: high\n"
      "          lora_name: l\n          weight: 0.5\n" },
    /* the size beside a candidate belongs to its card */
    { "ROUTE r { MODEL m (param_size = \"8B\"), o (param_size = \"1B\") }\nMODEL m { modality: ar "
      "}",
      "routing:\n  modelCards:\n    - name: m\n      param_size: \"8B\"\n      modality: ar\n"
      "    - name: o\n      param_size: \"1B\"\n  decisions:\n    - name: r\n      rules:\n"
      "        operator: AND\n        conditions: []\n      modelRefs:\n        - model: m\n"
      "        - model: o\n" },
    /* plugins: a template, an alias */
    { "PLUGIN calm system_prompt { mode: \"insert\" system_prompt: \"be calm\" }\n"
      "ROUTE r { MODEL m PLUGIN calm { mode: \"replace\" } PLUGIN semantic-cache PLUGIN tools {} }",
      ROUTE_OF(
          "        operator: AND\n        conditions: []\n") "      plugins:\n"
                                                             "        - type: system_prompt\n      "
                                                             "    configuration:\n"
                                                             "            system_prompt: be calm\n "
                                                             "           mode: replace\n"
                                                             "        - type: response_cache\n     "
                                                             "   - type: tools\n" },
    /* algorithms: where on_error stands, a prompt's own block, a dotted setting */
    { "ROUTE r { MODEL m ALGORITHM multi_factor { weights: { cost: 1 } on_error: \"skip\" } }",
      ROUTE_OF("        operator: AND\n        conditions: []\n") "      algorithm:\n"
                                                                  "        type: multi_factor\n    "
                                                                  "    on_error: skip\n        "
                                                                  "multi_factor:\n"
                                                                  "          weights:\n            "
                                                                  "cost: 1\n" },
    { "ROUTE r { MODEL m ALGORITHM fusion { on_error: \"skip\" } }",
      ROUTE_OF("        operator: AND\n        conditions: []\n") "      algorithm:\n"
                                                                  "        type: fusion\n        "
                                                                  "fusion:\n          on_error: "
                                                                  "skip\n" },
    { "ROUTE r { MODEL m ALGORITHM prompt { prompt: { model: \"h\" } } }",
      ROUTE_OF("        operator: AND\n        conditions: []\n") "      algorithm:\n"
                                                                  "        type: prompt\n        "
                                                                  "prompt:\n          model: h\n" },
    { "ROUTE r { MODEL m ALGORITHM workflows { planner.model: \"h\" } }",
      ROUTE_OF(
          "        operator: AND\n        conditions: []\n") "      algorithm:\n"
                                                             "        type: workflows\n        "
                                                             "workflows:\n          planner:\n     "
                                                             "       model: h\n" },
    { "ROUTE r { MODEL m ALGORITHM static EMIT retention { ttl_turns: 3, drop: false } }",
      ROUTE_OF(
          "        operator: AND\n        conditions: []\n") "      algorithm:\n"
                                                             "        type: static\n      emits:\n "
                                                             "       - kind: retention\n          "
                                                             "retention:\n"
                                                             "            ttl_turns: 3\n           "
                                                             " drop: false\n" },
    /* an iteration appends the models that are not there yet */
    { "ROUTE r { MODEL m FOR x IN [\"m\", \"o\" (weight = 2),] { MODEL x } }",
      ROUTE_OF(
          "        operator: AND\n        conditions: []\n") "        - model: o\n"
                                                             "          weight: 2\n      "
                                                             "candidateIterations:\n        - "
                                                             "variable: x\n"
                                                             "          source: models\n          "
                                                             "models:\n            - model: m\n"
                                                             "            - model: o\n             "
                                                             " weight: 2\n          outputs:\n"
                                                             "            - type: model\n          "
                                                             "    value: x\n" },
    { "ROUTE r { MODEL m FOR x IN decision.candidates { MODEL x } }",
      ROUTE_OF("        operator: AND\n        conditions: []\n") "      candidateIterations:\n    "
                                                                  "    - variable: x\n"
                                                                  "          source: "
                                                                  "decision.candidates\n          "
                                                                  "outputs:\n"
                                                                  "            - type: model\n     "
                                                                  "         value: x\n" },
    /* the second branch is not the first, the last is none */
    { "DECISION_TREE t { IF keyword(a) { MODEL m } ELSE { NAME rest MODEL o } }",
      "routing:\n  decisions:\n    - name: t__branch_01\n      priority: 1000000\n"
      "      rules:\n" I8 "operator: AND\n" I8 "conditions:\n" LEAF(
          I10,
          "a") "      modelRefs:\n        - model: m\n    - name: rest\n      priority: 999999\n"
               "      rules:\n" I8 "operator: NOT\n" I8
               "conditions:\n" LEAF(I10, "a") "      modelRefs:\n        - model: o\n" },
    { "DECISION_TREE t { IF keyword(a) AND keyword(b) { MODEL m } ELSE IF keyword(c) "
      "{ MODEL o } ELSE { MODEL o } } DECISION_TREE u { IF keyword(a) { MODEL m } ELSE { MODEL o }"
      " }",
      "routing:\n  decisions:\n    - name: t__branch_01\n      priority: 1000000\n"
      "      rules:\n" I8 "operator: AND\n" I8 "conditions:\n" LEAF(I10, "a")
          LEAF(I10, "b") "      modelRefs:\n        - model: m\n    - name: t__branch_02\n      "
                         "priority: 999999\n"
                         "      rules:\n" I8 "operator: AND\n" I8 "conditions:\n" LEAF(I10, "c") I10
      "- operator: NOT\n" I12 "conditions:\n" I14 "- operator: AND\n" I14
      "  conditions:\n" LEAF(I14 "    ", "a")
          LEAF(I14 "    ", "b") "      modelRefs:\n        - model: o\n    - name: t__branch_03\n  "
                                "    priority: 999998\n"
                                "      rules:\n" I8 "operator: AND\n" I8 "conditions:\n" I10
                                "- operator: NOT\n" I12 "conditions:\n" I14 "- operator: AND\n" I14
                                "  conditions:\n" LEAF(I14 "    ", "a") LEAF(I14 "    ", "b") I10
      "- operator: NOT\n" I12 "conditions:\n" LEAF(
          I14, "c") "      modelRefs:\n        - model: o\n    - name: u__branch_01\n      "
                    "priority: 999000\n"
                    "      rules:\n" I8 "operator: AND\n" I8 "conditions:\n" LEAF(
                        I10, "a") "      modelRefs:\n        - model: m\n    - name: "
                                  "u__branch_02\n      priority: 998999\n"
                                  "      rules:\n" I8 "operator: NOT\n" I8 "conditions:\n" LEAF(
                                      I10, "a") "      modelRefs:\n        - model: o\n" },
    /* profiles */
    { "ENTRYPOINT { model_names: [\"v\"] recipe: \"one\" }\n"
      "RECIPE one (description = \"d\" strategy = priority) { SIGNAL context c { min_tokens: "
      "\"1K\" } ROUTE r { MODEL m } }\nRECIPE two { }",
      "routing: {}\nentrypoints:\n  - model_names:\n      - v\n    recipe: one\nrecipes:\n"
      "  - name: one\n    description: d\n    routing:\n      strategy: priority\n"
      "      signals:\n        context:\n          - name: c\n            min_tokens: \"1K\"\n"
      "      decisions:\n        - name: r\n          rules:\n            operator: AND\n"
      "            conditions: []\n          modelRefs:\n            - model: m\n"
      "  - name: two\n    routing: {}\n" },
    /* a test is no part of the configuration; both arrows are one */
    { "TEST t { \"q\" -> r \"p\" \xe2\x86\x92 \"r\" }", "routing: {}\n" },
};

static void a_source_compiles_to_its_yaml(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(compiles); i++)
        assert_compiles(compiles[i].source, compiles[i].yaml);
}

static const struct {
    const char *source, *problem; /* what the first line begins with */
} refusals[] = {
    { "SIGNL keyword a {}",
      "f:1:1: error: 'SIGNL' begins no statement here; did you mean 'SIGNAL'?" },
    { "route r {}", "f:1:1: error: 'route' begins no statement here; did you mean 'ROUTE'?" },
    { "SIGNAL keyord a {}",
      "f:1:8: error: 'keyord' is not a type of signal; did you mean 'keyword'?" },
    { "SIGNAL keyword a {", "f:1:19: error: the end of the file stands here, but" },
    { "SIGNAL keyword a { x 1 }", "f:1:22: error: '1' stands here, but ':' behind the name" },
    { "SIGNAL keyword a { x: 16K }",
      "f:1:23: error: '16K' is no number; put a text in quotes: \"16K\"" },
    { "SIGNAL keyword a { x: 1, x: 2 }", "f:1:26: error: 'x' is given twice" },
    { "SIGNAL keyword a { name: \"b\" }", "f:1:20: error: the name stands behind SIGNAL already" },
    { "SIGNAL keyword a { x: 99999999999999999999 }", "f:1:23: error: this number is too large" },
    { "SIGNAL keyword a { x: \"b }", "f:1:23: error: this text has no end" },
    { "SIGNAL keyword a { x: \"\\x00\" }", "f:1:23: error: this text holds a NUL" },
    { "SIGNAL keyword a { x: [1 2] }",
      "f:1:26: error: '2' stands here, but ',' or ']' is expected" },
    { "SIGNAL keyword a { x: ; }", "f:1:23: error: ';' stands here, but a value is expected" },
    { "\n  \xc3\xa9 x", "f:2:3: error: '\xc3\xa9' stands here, but one of SIGNAL" },
    { "PROJECTION scre a {}",
      "f:1:12: error: 'scre' is not one of partition, score, mapping; did" },
    { "ROUTE r { PRIORTY 1 }", "f:1:11: error: 'PRIORTY' begins no statement here; did you mean" },
    { "ROUTE r { PRIORITY 1.5 }", "f:1:20: error: '1.5' stands here, but a whole number" },
    { "ROUTE r { PRIORITY 1 PRIORITY 2 }", "f:1:22: error: PRIORITY stands twice in 'r'" },
    { "ROUTE r { WHEN keyword }", "f:1:24: error: '}' stands here, but '(' is expected" },
    { "ROUTE r { WHEN keyword(\"a\") AND }", "f:1:33: error: '}' stands here, but a condition" },
    { "ROUTE r { EMIT log {} }", "f:1:16: error: 'log' cannot be emitted; only retention can" },
    { "ROUTE r { EMIT retention { dorp: true } }", "f:1:28: error: retention has no field 'dorp'" },
    { "ROUTE r { EMIT retention { drop: 1 } }", "f:1:34: error: 'drop' is true or false" },
    { "ROUTE r { EMIT retention { ttl_turns: -1 } }", "f:1:39: error: 'ttl_turns' is a whole" },
    { "ROUTE r { EMIT retention { drop: true ttl_turns: 1 } }",
      "f:1:34: error: drop: true leaves" },
    { "ROUTE r (rules = { operator: \"AND\" }) { WHEN keyword(a) }",
      "f:1:41: error: 'r' has rules among its options already" },
    { "ROUTE r (priority = 1) { PRIORITY 2 }", "f:1:1: error: 'priority' of 'r' stands among" },
    { "DECISION_TREE t { IF keyword(a) { MODEL m } }", "f:1:45: error: '}' stands here, but ELSE" },
    { "DECISION_TREE t { IF keyword(a) { } ELSE { MODEL m } }",
      "f:1:19: error: this branch of 't'" },
    { "ROUTE r { MODEL m }\nDECISION_TREE t { IF keyword(a) { MODEL m } ELSE { MODEL n } }",
      "f:2:1: error: a DECISION_TREE and a ROUTE ('r') in one profile" },
    { "ENTRYPOINT { recipe: \"r\" }", "f:1:1: error: ENTRYPOINT needs model_names" },
    { "ENTRYPOINT { model_names: [\"a\"] }", "f:1:1: error: ENTRYPOINT needs recipe" },
    { "ROUTING {}", "f:1:1: error: ROUTING needs a strategy" },
    { "RECIPE r { MODEL m {} }", "f:1:12: error: 'MODEL' begins no statement here" },
    { "TEST t { \"q\" => r }", "f:1:14: error: '=' stands here, but '->'" },
    { "a\xff", "f: error: this is not a text in UTF-8" },
};

static void a_mistake_is_named_with_its_place_and_what_is_right(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
        bool ok;
        char *text = compiled(refusals[i].source, &ok);
        if (ok || strncmp(text, refusals[i].problem, strlen(refusals[i].problem)) != 0)
            fail_msg("%s\n%s", refusals[i].source, text);
        free(text);
    }
}

static void a_broken_block_does_not_hide_the_next_mistake(void **state)
{
    bool ok;
    char *text = compiled("SIGNAL keyword a { x: ] }\nROUTE r {\n  TIER x\n}\nMODEL m { y: 1 }\n"
                          "PLUGIN p { z: 1 }\n",
                          &ok);
    assert_false(ok);
    assert_non_null(strstr(text, "f:1:23: "));
    assert_non_null(strstr(text, "f:3:8: "));
    assert_non_null(strstr(text, "f:6:10: "));
    assert_null(strstr(text, "f:5:"));
    free(text);
}

static void nesting_is_bounded(void **state)
{
    static const struct {
        const char *head, *open, *tail;
        unsigned n;
        bool ok;
    } rows[] = {
        { "SIGNAL keyword a { x: ", "[", "", 50, true },
        { "SIGNAL keyword a { x: ", "[", "", 100000, false },
        { "SIGNAL keyword a { x: ", "{ y: ", "", 100000, false },
        { "ROUTE r { WHEN ", "(", "", 100000, false },
        { "ROUTE r { WHEN ", "NOT ", "keyword(a) }", 20, true },
        { "ROUTE r { WHEN ", "NOT ", "keyword(a) }", 60, false }, /* 120 levels of YAML */
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf b = BUF_INIT(MIB);
        bool ok;
        buf_adds(&b, rows[i].head);
        for (unsigned k = 0; k < rows[i].n; k++)
            buf_adds(&b, rows[i].open);
        for (unsigned k = 0; rows[i].tail[0] == '\0' && k < rows[i].n; k++)
            buf_addc(&b, ']');
        buf_adds(&b, rows[i].tail[0] ? rows[i].tail : " }");
        char *text = compiled(b.p, &ok);
        assert_int_equal(ok, rows[i].ok);
        assert_true(ok || strstr(text, "nested too deeply"));
        free(text);
        buf_done(&b);
    }
}

static void the_fields_of_a_block_are_bounded(void **state)
{
    for (int n = 500; n <= 501; n++) {
        struct buf b = BUF_INIT(MIB);
        bool ok;
        buf_adds(&b, "SIGNAL keyword a {");
        for (int i = 0; i < n; i++)
            buf_addf(&b, " f%d: 1", i);
        buf_adds(&b, " }");
        char *text = compiled(b.p, &ok);
        assert_int_equal(ok, n == 500);
        assert_true(ok || strstr(text, "more than 500 fields in one block"));
        free(text);
        buf_done(&b);
    }
}

/* ---- layout ---- */

static const struct {
    const char *source, *layout;
} layouts[] = {
    { "", "" },
    { "#a\n\n\n\n# b", "#a\n\n# b\n" },
    { "SIGNAL keyword a{x:1,y:[1,\n2]}MODEL \"m\"{}",
      "SIGNAL keyword a {\n  x: 1\n  y: [1, 2]\n}\n\n"
      "MODEL m {}\n" },
    { "SIGNAL keyword a {\n x: [ # why\n 1, # one\n # two\n 2\n # end\n ] # list\n # last\n} # all",
      "SIGNAL keyword a {\n  x: [\n    # why\n    1, # one\n    # two\n    2\n    # end\n  ] # "
      "list\n"
      "  # last\n} # all\n" },
    { "SIGNAL keyword a { x: [\n1,2] y: {\nb: 1 c: {d: 2}} }",
      "SIGNAL keyword a {\n  x: [\n    1,\n    2\n  ]\n  y: {\n    b: 1\n    c: { d: 2 }\n  "
      "}\n}\n" },
    { "ROUTE \"odd r\" (b = 1, description = \"d\") { # first\nTIER 1\n\n\nPRIORITY 2 WHEN "
      "(keyword(a)\n"
      "OR NOT structure(\"b\"))\nMODEL \"x\" (reasoning=true effort=\"low\"),y # y\n PLUGIN p "
      "ALGORITHM static {} }",
      "ROUTE \"odd r\" (b = 1 description = \"d\") {\n  # first\n  TIER 1\n\n  PRIORITY 2\n"
      "  WHEN (keyword(\"a\")\n    OR NOT structure(\"b\"))\n"
      "  MODEL \"x\" (reasoning = true, effort = \"low\"),\n        y # y\n  PLUGIN p\n"
      "  ALGORITHM static {}\n}\n" },
    { "ROUTE r { WHEN # why\n keyword(a) AND # and\n (keyword(b, # leaf\n x: 1)) # b\n MODEL\n# "
      "m\nm, "
      "# m too\n# n\nn (lora = \"l\") }",
      "ROUTE r {\n  WHEN\n    # why\n    keyword(\"a\")\n    AND (\n    # and\n"
      "    keyword(\"b\",\n      # leaf\n      x: 1\n    )) # b\n  MODEL\n"
      "        # m\n        m, # m too\n"
      "        # n\n        n (lora = \"l\")\n}\n" },
    { "TEST t { # c\n\"a\\u00e9\" -> \"r\" # d\n\"b\" -> \"r s\" } RECIPE r (description=\"x\") { "
      "ROUTING "
      "{strategy:priority} # s\n\n\n# dangling\n}",
      "TEST t {\n  # c\n  \"aé\" -> r # d\n  \"b\" -> \"r s\"\n}\n\nRECIPE r (description = \"x\") "
      "{\n"
      "  ROUTING {\n    strategy: priority\n  } # s\n\n  # dangling\n}\n" },
    { "DECISION_TREE t { IF keyword(a) { MODEL m } # i\n ELSE IF keyword(b) { FOR x IN [\"a\",b] { "
      "MODEL x } } ELSE { NAME n } }",
      "DECISION_TREE t {\n  IF keyword(\"a\") {\n    MODEL m\n  } # i\n  ELSE IF keyword(\"b\") {\n"
      "    FOR x IN [\"a\", b] {\n      MODEL x\n    }\n  }\n  ELSE {\n    NAME n\n  }\n}\n" },
    { "SIGNAL keyword # odd places\n a # more\n { x # still\n : # here\n 1 }",
      "SIGNAL keyword a {\n  # odd places\n  # more\n  x: 1 # still\n  # here\n}\n" },
};

static void the_layout_is_canonical(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(layouts); i++) {
        char *text = formatted(layouts[i].source);
        assert_string_equal(text, layouts[i].layout);
        free(text);
    }
}

static void formatting_again_changes_nothing(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(layouts); i++) {
        char *text = formatted(layouts[i].layout);
        assert_string_equal(text, layouts[i].layout);
        free(text);
    }
}

static void formatting_keeps_what_a_source_says(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(compiles); i++) {
        char *text = formatted(compiles[i].source);
        assert_compiles(text, compiles[i].yaml);
        char *again = formatted(text);
        assert_string_equal(again, text);
        free(again);
        free(text);
    }
}

/* ---- back ---- */

static void a_configuration_is_written_back_as_a_source(void **state)
{
    static const char yaml[] =
        "version: v0.3\nrouting:\n  strategy: priority\n  modelCards: [{name: m, loras: [{name: "
        "l}]}]\n"
        "  signals:\n    keywords: [{name: a b, keywords: [yes, 1e-3, 007], case_sensitive: yes}]\n"
        "    context: [{name: c, min_tokens: 1K, threshold: 1.5e2}]\n"
        "  projections:\n    scores: [{name: s, method: weighted_sum, inputs: [{type: keyword, "
        "name: a b, weight: -1}]}]\n"
        "  decisions:\n    - name: r\n      description: d\n      priority: 5\n      rules: "
        "{operator: "
        "OR, conditions: [{type: keyword, name: a b}]}\n      modelRefs: [{model: m, "
        "use_reasoning: "
        "false, lora_name: l}]\n      algorithm: {type: static}\n      adaptations: {mode: "
        "bypass}\n"
        "      plugins: [{type: tools, configuration: {mode: none}}]\n";
    static const char line[] =
        "# =============================================================================\n";
    struct buf want = BUF_INIT(MIB);
    buf_addf(&want, "%s# ROUTING PROFILE\n%s\nROUTING {\n  strategy: priority\n}\n\n", line, line);
    buf_addf(&want,
             "%s# SIGNALS\n%s\nSIGNAL context c {\n  min_tokens: \"1K\"\n  threshold: 150.0\n}\n\n"
             "SIGNAL keyword \"a b\" {\n  keywords: [\"yes\", 0.001, \"007\"]\n"
             "  case_sensitive: true\n}\n\n",
             line, line);
    buf_addf(&want,
             "%s# PROJECTIONS\n%s\nPROJECTION score s {\n  method: \"weighted_sum\"\n"
             "  inputs: [{ type: \"keyword\", name: \"a b\", weight: -1 }]\n}\n\n",
             line, line);
    buf_addf(&want, "%s# MODELS\n%s\nMODEL m {\n  loras: [{ name: \"l\" }]\n}\n\n", line, line);
    buf_addf(&want,
             "%s# ROUTES\n%s\nROUTE r (description = \"d\" adaptations = { mode: \"bypass\" }) {\n"
             "  PRIORITY 5\n  WHEN (keyword(\"a b\"))\n  MODEL \"m\" (reasoning = false, lora = "
             "\"l\")\n  ALGORITHM static\n  PLUGIN tools {\n    mode: \"none\"\n  }\n}\n",
             line, line);
    char *text = decompiled(yaml);
    assert_string_equal(text, want.p);
    free(text);
    buf_done(&want);
}

/* What the language has no statement for: kept among the options, and back. */
static void what_has_no_statement_survives_the_way_back(void **state)
{
    static const char *const parts[] = {
        "      algorithm:\n        type: confidence\n        on_error: fallback\n"
        "        confidence:\n          on_error: skip\n",
        "      plugins:\n        - type: tools\n          enabled: false\n",
        "      emits:\n        - kind: retention\n          note: x\n",
        "      candidateIterations:\n        - variable: x\n          source: models\n"
        "          models:\n            - model: other\n          outputs:\n"
        "            - type: model\n              value: x\n",
        "      on_unknown: match\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        struct buf yaml = BUF_INIT(MIB);
        buf_adds(&yaml, "routing:\n  decisions:\n    - name: r\n");
        buf_adds(&yaml, parts[i]);
        buf_adds(&yaml, "      rules:\n        operator: AND\n        conditions: []\n"
                        "      modelRefs:\n        - model: m\n");
        char *source = decompiled(yaml.p);
        assert_compiles(source, yaml.p);
        free(source);
        buf_done(&yaml);
    }
}

static void what_compiles_survives_the_way_back(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(compiles); i++) {
        if (strcmp(compiles[i].yaml, "routing: {}\n") == 0)
            continue;
        char *source = decompiled(compiles[i].yaml);
        assert_compiles(source, compiles[i].yaml);
        char *layout = formatted(source);
        assert_string_equal(layout, source);
        free(layout);
        free(source);
    }
}

/* ---- random policies ---- */

static void random_text(uint64_t *seed, struct buf *b)
{
    static const char *const bits[] = {
        "a",        "B7",   " ",  "\\",  "\"", "é",    "调研", "\n",
        "\t",       "\x01", ": ", " #",  "-",  "true", "null", "\xf0\x9f\x98\x80",
        "\xc2\x85", "{",    "'",  "1.5", "%"
    };
    struct buf text = BUF_INIT(MIB);
    buf_adds(&text, "");
    for (uint64_t n = test_random(seed) % 4; n > 0; n--)
        buf_adds(&text, bits[test_random(seed) % ARRAY_LEN(bits)]);
    buf_add_json(b, buf_str(&text));
    buf_done(&text);
}

static void random_value(uint64_t *seed, unsigned depth, struct buf *b)
{
    static const char *const plain[] = { "1", "-2.50", "true", "false", "0", "123456789012" };
    uint64_t kind = test_random(seed) % (depth > 3 ? 2 : 4), n = test_random(seed) % 4;
    if (kind == 0)
        buf_adds(b, plain[test_random(seed) % ARRAY_LEN(plain)]);
    else if (kind == 1)
        random_text(seed, b);
    else
        buf_addc(b, kind == 2 ? '[' : '{');
    for (uint64_t i = 0; kind >= 2 && i < n; i++) {
        buf_adds(b, i ? ", " : "");
        if (kind == 3)
            buf_addf(b, "k%u: ", (unsigned)i);
        random_value(seed, depth + 1, b);
    }
    if (kind >= 2)
        buf_addc(b, kind == 2 ? ']' : '}');
}

/* Groups of one hold a leaf or a NOT: one of a group is the same as the group. */
static void random_rule(uint64_t *seed, unsigned depth, bool single, struct buf *b)
{
    uint64_t kind = test_random(seed) % (depth > 4 ? 1 : 4), n = 1 + test_random(seed) % 3;
    if (single && kind > 1)
        kind = test_random(seed) % 2;
    if (kind == 0) {
        buf_addf(b, "{type: keyword, name: n%u}", (unsigned)(test_random(seed) % 9));
        return;
    }
    static const char *const operators[] = { "NOT", "AND", "OR" };
    buf_addf(b, "{operator: %s, conditions: [", operators[kind - 1]);
    for (uint64_t i = 0; i < (kind == 1 ? 1 : n); i++) {
        buf_adds(b, i ? ", " : "");
        random_rule(seed, depth + 1, kind != 1 && n == 1, b);
    }
    buf_adds(b, "]}");
}

static void random_policies_survive_the_way_back(void **state)
{
    uint64_t seed = 7;
    for (int round = 0; round < 1500; round++) {
        struct buf flow = BUF_INIT(MIB), block = BUF_INIT(MIB);
        struct problems *p = problems_new();
        struct document *doc = NULL;
        buf_adds(&flow, "routing: {modelCards: [{name: ");
        random_text(&seed, &flow);
        buf_adds(&flow, ", x: ");
        random_value(&seed, 0, &flow);
        buf_adds(&flow, "}], decisions: [{name: ");
        random_text(&seed, &flow);
        buf_adds(&flow, ", annotations: ");
        random_value(&seed, 0, &flow);
        buf_adds(&flow, ", rules: ");
        random_rule(&seed, 0, false, &flow);
        buf_adds(&flow, ", modelRefs: [{model: ");
        random_text(&seed, &flow);
        buf_adds(&flow, "}]}]}");
        assert_int_equal(document_parse(&doc, "f", buf_str(&flow), p), 0);
        dsl_print_yaml(document_root(doc), &block);
        char *source = decompiled(flow.p);
        assert_compiles(source, block.p);
        char *layout = formatted(source);
        assert_string_equal(layout, source);
        /* what is printed as YAML is what was read */
        struct document *again = NULL;
        struct buf second = BUF_INIT(MIB);
        assert_int_equal(document_parse(&again, "f", buf_str(&block), p), 0);
        dsl_print_yaml(document_root(again), &second);
        assert_string_equal(second.p, block.p);
        buf_done(&second);
        (void)document_free(again);
        free(layout);
        free(source);
        (void)document_free(doc);
        (void)problems_free(p);
        buf_done(&flow);
        buf_done(&block);
    }
}

/* ---- merging ---- */

static void a_base_keeps_what_the_source_does_not_speak_about(void **state)
{
    static const char base[] =
        "version: v0.3\nrouting:\n  decisions: [{name: r, priority: 9, adaptations: {mode: "
        "bypass}}, "
        "{name: gone}]\nproviders:\n  defaults: {default_model: m}\nrecipes: [{name: x}]\n";
    struct problems *p = problems_new();
    struct document *doc = NULL;
    struct dsl *d = NULL;
    const struct node *merged = NULL;
    struct buf b = BUF_INIT(MIB);
    assert_int_equal(document_parse(&doc, "b", str_of(base), p), 0);
    assert_int_equal(dsl_compile(&d, "f", STR("ROUTE r { MODEL m }"), p), 0);
    assert_int_equal(dsl_merge(d, document_root(doc), &merged), 0);
    dsl_print_yaml(merged, &b);
    assert_string_equal(b.p, "version: v0.3\nrouting:\n  decisions:\n    - name: r\n      rules:\n"
                             "        operator: AND\n        conditions: []\n      modelRefs:\n"
                             "        - model: m\n      adaptations:\n        mode: bypass\n"
                             "providers:\n  defaults:\n    default_model: m\n");
    buf_done(&b);
    (void)dsl_free(d);
    (void)document_free(doc);
    (void)problems_free(p);
}

static void a_plugin_that_no_route_refers_to_is_told(void **state)
{
    struct problems *p = problems_new();
    struct dsl *d = NULL;
    assert_int_equal(
        dsl_compile(&d, "f", STR("PLUGIN a tools {}\nPLUGIN b tools {}\nROUTE r { PLUGIN b }"), p),
        0);
    assert_int_equal(problems_len(p), 1);
    assert_int_equal(problems_at(p, 0)->kind, PROBLEM_warning);
    assert_int_equal(problems_at(p, 0)->line, 1);
    assert_string_equal(problems_at(p, 0)->text,
                        "no route refers to the plugin 'a'; use or remove it");
    (void)dsl_free(d);
    (void)problems_free(p);
}

static void tests_are_found_in_every_profile(void **state)
{
    struct problems *p = problems_new();
    struct dsl *d = NULL;
    const struct dsl_test *tests;
    assert_int_equal(
        dsl_compile(&d, "f",
                    STR("TEST a { \"q\" -> r }\nRECIPE x {\n TEST b {\n  \"p\" -> s\n } }"), p),
        0);
    assert_int_equal(dsl_tests(d, &tests), 2);
    assert_true(str_is(tests[0].query, "q") && str_is(tests[0].route, "r"));
    assert_int_equal(tests[0].recipe.n, 0);
    assert_true(str_is(tests[1].query, "p") && str_is(tests[1].recipe, "x"));
    assert_int_equal(tests[1].line, 4);
    assert_int_equal(tests[1].column, 3);
    (void)dsl_free(d);
    (void)problems_free(p);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_source_compiles_to_its_yaml),
        cmocka_unit_test(a_mistake_is_named_with_its_place_and_what_is_right),
        cmocka_unit_test(a_broken_block_does_not_hide_the_next_mistake),
        cmocka_unit_test(nesting_is_bounded),
        cmocka_unit_test(the_fields_of_a_block_are_bounded),
        cmocka_unit_test(the_layout_is_canonical),
        cmocka_unit_test(formatting_again_changes_nothing),
        cmocka_unit_test(formatting_keeps_what_a_source_says),
        cmocka_unit_test(a_configuration_is_written_back_as_a_source),
        cmocka_unit_test(what_has_no_statement_survives_the_way_back),
        cmocka_unit_test(what_compiles_survives_the_way_back),
        cmocka_unit_test(random_policies_survive_the_way_back),
        cmocka_unit_test(a_base_keeps_what_the_source_does_not_speak_about),
        cmocka_unit_test(a_plugin_that_no_route_refers_to_is_told),
        cmocka_unit_test(tests_are_found_in_every_profile),
    };
    return TEST_RUN(tests);
}

/*
 * What is wrong with a policy is said with its place, its path, and what would be right.
 */
#include "tests/unit/router/support.h"

#include "base/limits.h"

#include <stdlib.h>
#include <string.h>

#define MODELS "providers: {defaults: {default_model: m}, models: [{name: m}]}\n"
#define SIGNAL "  signals:\n    keywords:\n      - {name: code, keywords: [code]}\n"
#define DECISION(rules)                                                                            \
    "  decisions:\n    - name: d\n      rules: " rules "\n      modelRefs: [{model: m}]\n"

struct row {
    const char *yaml;
    const char *problem; /* the whole line, or its beginning */
};

static void check(const struct row *rows, size_t n, bool refused)
{
    unsigned wrong = 0;
    for (size_t i = 0; i < n; i++) {
        int r;
        char *all = policy_problems(rows[i].yaml, &r);
        const char *at = strstr(all, rows[i].problem);
        if (!at || (at != all && at[-1] != '\n') || (r < 0) != refused) {
            print_message("# row %zu wants %s# and has %s", i, rows[i].problem, all);
            wrong++;
        }
        free(all);
    }
    assert_int_equal(wrong, 0);
}

/* long: a table of policies, each with what is wrong with it */
static void errors_name_place_and_remedy(void **state)
{
    static const struct row rows[] = {
        { MODELS "routing:\n" SIGNAL DECISION("{type: keyword, name: cdoe}"),
          "policy.yaml:8:36: error: routing.decisions[0].rules.name: the keyword signal 'cdoe' is "
          "not "
          "defined; did you mean 'code'?\n" },
        { MODELS "global: {router: {semantics: encoder}}\n",
          "policy.yaml:2:30: error: global.router.semantics: the policy demands an encoder: name a "
          "GGUF file in engine.embedding.path, or set global.router.semantics to lexical\n" },
        { MODELS "global: {router: {semantics: lexikal}}\n",
          "policy.yaml:2:30: error: global.router.semantics: 'lexikal' is not one of auto, "
          "lexical, "
          "encoder" },
        { MODELS "routing:\n" SIGNAL DECISION("{type: keywrd, name: code}"),
          "policy.yaml:8:21: error: routing.decisions[0].rules.type: 'keywrd' is not a type of "
          "signal; "
          "did you mean 'keyword'?\n" },
        { MODELS "routing:\n" SIGNAL DECISION("{operator: NAND, conditions: []}"),
          "policy.yaml:8:25: error: routing.decisions[0].rules.operator: 'NAND' is not one of AND, "
          "OR, NOT" },
        { MODELS "routing:\n" SIGNAL DECISION(
              "{operator: NOT, conditions: [{type: keyword, name: code}, {type: "
              "keyword, name: code}]}"),
          "policy.yaml:8:14: error: routing.decisions[0].rules: NOT needs exactly one "
          "condition\n" },
        { MODELS "routing:\n" SIGNAL DECISION(
              "{operator: AND, conditions: [{operator: OR, conditions: [{type: "
              "keyword, name: nope}]}]}"),
          "policy.yaml:8:93: error: routing.decisions[0].rules.conditions[0].conditions[0].name: "
          "the "
          "keyword signal 'nope' is not defined; did you mean 'code'?\n" },
        { MODELS "routing:\n" SIGNAL DECISION("{type: keyword, name: code, on_unknwon: match}"),
          "policy.yaml:8:42: error: routing.decisions[0].rules.on_unknwon: unknown key; did you "
          "mean 'on_unknown'?\n" },
        { MODELS "routing:\n" SIGNAL DECISION(
              "{operator: NOT, conditions: [{type: keyword, name: code, on_unknown: "
              "match}]}"),
          "policy.yaml:8:83: error: routing.decisions[0].rules.conditions[0]: on_unknown belongs "
          "to the root of the rules\n" },
        { MODELS "routing:\n" SIGNAL DECISION("{type: projection, name: p}"),
          "policy.yaml:8:39: error: routing.decisions[0].rules.name: the projection 'p' is not "
          "defined\n" },
        { MODELS "routing:\n  decisions:\n    - {name: d, modelRefs: [{model: n}]}\n",
          "policy.yaml:4:37: error: routing.decisions[0].modelRefs[0].model: the model 'n' is not "
          "known; did you mean 'm'?\n" },
        { MODELS "routing:\n  decisions:\n    - {name: d, modelRefs: [{modl: m}]}\n",
          "policy.yaml:4:30: error: routing.decisions[0].modelRefs[0].modl: unknown key; did you "
          "mean 'model'?\n" },
        { MODELS "routing:\n  decisions:\n    - {name: d}\n    - {name: e}\n    - {name: d}\n",
          "policy.yaml:6:14: error: routing.decisions: the decision 'd' is defined twice\n" },
        { MODELS "routing:\n  decisions:\n    - {name: d, prioritiy: 3}\n",
          "policy.yaml:4:17: error: routing.decisions[0].prioritiy: unknown key; did you mean "
          "'priority'?\n" },
        { MODELS "routing:\n  decisions:\n    - {name: d, algorithm: {type: statik}}\n",
          "policy.yaml:4:35: error: routing.decisions[0].algorithm.type: 'statik' is not one of" },
        { MODELS "routing:\n  signals:\n    keyword: []\n",
          "policy.yaml:4:5: error: routing.signals.keyword: unknown key; did you mean "
          "'keywords'?\n" },
        { MODELS "routing:\n  signals:\n    keywords:\n      - {name: a, keywords: [x]}\n"
                 "      - {name: a, keywords: [y]}\n",
          "policy.yaml:6:16: error: routing.signals.keywords[1].name: the keyword 'a' is defined "
          "twice\n" },
        { MODELS "routing:\n  signals:\n    keywords:\n      - {name: a, keywords: ['(x'], method: "
                 "regex}\n",
          "policy.yaml:5:29: error: routing.signals.keywords[0].keywords: '(x' is not a regular "
          "expression: missing closing parenthesis at byte 2\n" },
        { MODELS "routing:\n  signals:\n    keywords:\n      - {name: a, keywords: [x, '']}\n",
          "policy.yaml:5:29: error: routing.signals.keywords[0].keywords: a keyword is empty\n" },
        { MODELS "routing:\n  signals:\n    keywords:\n      - {name: a, keywords: [x], operator: "
                 "XOR}\n",
          "policy.yaml:5:44: error: routing.signals.keywords[0].operator: 'XOR' is not one of AND, "
          "OR, NOR" },
        { MODELS "routing:\n  signals:\n    context:\n      - {name: a, min_tokens: 32Q}\n",
          "policy.yaml:5:31: error: routing.signals.context[0].min_tokens: '32Q' is not a number "
          "of tokens such as 1500, 32K or 1M\n" },
        { MODELS "routing:\n  signals:\n    context:\n      - {name: a, min_tokens: 2K, "
                 "max_tokens: 1K}\n",
          "policy.yaml:5:31: error: routing.signals.context[0].min_tokens: is above max_tokens: "
          "never matches\n" },
        { MODELS "routing:\n  signals:\n    structure:\n      - {name: a, feature: {type: count, "
                 "source: {type: regex}}}\n",
          "policy.yaml:5:28: error: routing.signals.structure[0].feature: source type regex needs "
          "a pattern\n" },
        { MODELS "routing:\n  signals:\n    structure:\n      - {name: a, feature: {type: count, "
                 "source: {type: text_bytes}}, predicate: {gte: many}}\n",
          "policy.yaml:5:88: error: routing.signals.structure[0].predicate.gte: 'many' is not a "
          "number\n" },
        { MODELS "routing:\n  signals:\n    language:\n      - {name: english}\n",
          "policy.yaml:5:16: error: routing.signals.language[0].name: 'english' is not an ISO 639 "
          "code such as en\n" },
        { MODELS "routing:\n  signals:\n    modality:\n      - {name: TEXT}\n",
          "policy.yaml:5:16: error: routing.signals.modality[0].name: 'TEXT' is not one of AR, "
          "DIFFUSION, BOTH\n" },
        { MODELS "routing:\n  signals:\n    metadata:\n      - {name: a, key: k, predicate: {}}\n",
          "policy.yaml:5:38: error: routing.signals.metadata[0].predicate: needs exactly one of "
          "equals, in and exists\n" },
        { MODELS "routing:\n  strategy: fastest\n",
          "policy.yaml:3:13: error: routing.strategy: 'fastest' is not one of priority, "
          "confidence\n" },
        { MODELS "routing:\n  projections:\n    scores:\n      - {name: s, inputs: [{type: "
                 "projection, name: s, weight: 1}]}\n    mappings: []\n",
          "policy.yaml:5:9: error: routing.projections.scores[0]: the score 's' depends on "
          "itself\n" },
        { MODELS "routing:\n  projections:\n    mappings:\n      - {name: m, source: s, outputs: "
                 "[{name: o, lt: 1}]}\n",
          "policy.yaml:5:9: error: routing.projections.mappings[0]: the score 's' is not "
          "defined\n" },
        { "providers: {defaults: {default_model: x}, models: [{name: m}]}\n",
          "policy.yaml:1:39: error: providers.defaults.default_model: the model 'x' is not "
          "known" },
        { MODELS "entrypoints: [{model_names: [v], recipe: fast}]\n",
          "policy.yaml:2:42: error: entrypoints[0]: the recipe 'fast' is not defined\n" },
        { "providers: {models: [{name: m}, {name: m}]}\n",
          "policy.yaml:1:40: error: providers.models[1].name: the model 'm' is defined twice\n" },
        { MODELS "routing:\n  modelCards: [{name: m}, {name: m}]\n",
          "policy.yaml:3:34: error: routing.modelCards[1].name: the model card 'm' is defined "
          "twice\n" },
        { MODELS "recipes: [{name: a, routing: {}}, {name: a, routing: {}}]\n",
          "policy.yaml:2:42: error: recipes[1].name: the recipe 'a' is defined twice\n" },
        /* what nobody acts on is known all the same */
        { MODELS "global: {stores: {memory: {bakend: milvus}}}\n",
          "policy.yaml:2:28: error: global.stores.memory.bakend: unknown key; did you mean "
          "'backend'?" },
        { MODELS "global: {service: {}}\n",
          "policy.yaml:2:10: error: global.service: unknown key; did you mean" },
        { MODELS "global: {services: {router_replay: {enabled: maybe}}}\n",
          "policy.yaml:2:46: error: global.services.router_replay.enabled: 'maybe' is not true or "
          "false" },
        { MODELS "global: {model_catalog: {modules: {complexty: {}}}}\n",
          "policy.yaml:2:36: error: global.model_catalog.modules.complexty: unknown key; did you" },
        { MODELS "listeners: [{port: 80, adress: x}]\n",
          "policy.yaml:2:24: error: listeners[0].adress: unknown key; did you mean 'address'?" },
        { "providers: {models: [{name: m, reliability: {retries: 2}}]}\n",
          "policy.yaml:1:46: error: providers.models[0].reliability.retries: unknown key" },
        { "providers: {models: [{name: m, backend_refs: [{name: x}]}]}\n",
          "policy.yaml:1:47: error: providers.models[0].backend_refs[0]: says neither endpoint" },
        { "providers: {models: [{name: m, api_format: grpc}]}\n",
          "policy.yaml:1:44: error: providers.models[0].api_format: 'grpc' is not one of openai" },
    };
    check(rows, ARRAY_LEN(rows), true);
}

static void what_is_not_served_is_warned_about_and_loads(void **state)
{
    static const struct row rows[] = {
        { MODELS "routing:\n  signals:\n    domains:\n      - {name: law}\n"
                 "global: {model_catalog: {modules: {classifier: {domain: {enabled: false}}}}}\n",
          "policy.yaml:5:7: warning: routing.signals.domains: signal family 'domains' is not "
          "evaluated by this version: its leaves are unknown\n" },
        { MODELS "routing:\n  decisions:\n    - {name: d, modelRefs: [{model: m}], algorithm: "
                 "{type: knn}}\n",
          "policy.yaml:4:53: warning: routing.decisions[0].algorithm.knn: the first candidate is "
          "taken: no file is named; train one with `rootstock selection train --kind knn` and set "
          "global.router.model_selection.ml.knn.pretrained_path\n" },
        { MODELS "global: {services: {startup_status: {store_backend: file}}}\n",
          "policy.yaml:2:21: ignored: global.services.startup_status: has no effect here" },
        { MODELS "global: {stores: {memory: {backend: milvus}}}\n",
          "policy.yaml:2:19: warning: global.stores.memory: is not served yet" },
        { "providers: {models: [{name: m, backend_refs: [{endpoint: 'x:1', api_key: k}]}]}\n",
          "policy.yaml:1:74: warning: providers.models[0].backend_refs[0].api_key: is a secret" },
        { "providers: {models: [{name: m, pricing: {currency: USD}}, {name: n, pricing: {currency:"
          " EUR}}]}\n",
          "policy.yaml:1:21: warning: providers.models: prices are in USD and in EUR" },
        { "providers: {models: [{name: m, reasoning_family: q}]}\n",
          "policy.yaml:1:50: warning: providers.models[0].reasoning_family: "
          "providers.defaults.reasoning_families has no 'q'" },
        { MODELS "routing:\n  modelCards: [{name: m, loras: [{name: sql}]}]\n  decisions:\n"
                 "    - {name: d, modelRefs: [{model: m, lora_name: sqk}]}\n",
          "policy.yaml:5:29: warning: routing.decisions[0].modelRefs[0].model: the model card of "
          "'m' does not list the adapter 'sqk'\n" },
    };
    check(rows, ARRAY_LEN(rows), false);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_name_place_and_remedy),
        cmocka_unit_test(what_is_not_served_is_warned_about_and_loads),
    };
    return TEST_RUN(tests);
}

/*
 * What a decision says beside its rules: candidates as a loop, retention, learning, annotations and
 * output contracts.
 */
#include "tests/unit/router/support.h"

#include "base/limits.h"
#include "router/output_contract.h"
#include "router/profiles.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define POLICY(more)                                                                               \
    "providers: {defaults: {default_model: m}, models: [{name: m}, {name: n}, {name: o}]}\n"       \
    "routing: {decisions: [{name: d, " more "}]}\n"
#define REFS "modelRefs: [{model: m}, {model: n, lora_name: x}]"

static struct decision *first(struct router *r)
{
    return &r->policies[0].decisions[0];
}

static void an_iteration_adds_candidates(void **state)
{
    static const struct {
        const char *yaml, *candidates;
    } rows[] = {
        { POLICY(REFS), "m n:x" },
        { POLICY(REFS
                 ", candidateIterations: [{variable: v, source: models, models: [{model: o}, "
                 "{model: m}, {model: n, lora_name: y}], outputs: [{type: model, value: v}]}]"),
          "m n:x o n:y" },
        { POLICY("candidateIterations: [{variable: v, source: models, models: [{model: o}],"
                 " outputs: [{type: model, value: v}]}]"),
          "o" },
        { POLICY(REFS
                 ", candidateIterations: [{variable: v, source: models, models: [{model: o}]}]"),
          "m n:x" },
        { POLICY(REFS ", candidateIterations: [{variable: v, source: decision.candidates,"
                      " outputs: [{type: model, value: v}]}]"),
          "m n:x" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct config *c = NULL;
        struct router *r = policy_from(rows[i].yaml, &c);
        const struct item_list *refs = &first(r)->refs;
        struct buf b = BUF_INIT(KIB);
        for (size_t k = 0; k < refs->n; k++) {
            const struct model_ref *ref = (const struct model_ref *)refs->items + k;
            buf_addf(&b, "%s%.*s%s%.*s", k ? " " : "", STR_ARG(ref->model),
                     ref->lora_name.n ? ":" : "", STR_ARG(ref->lora_name));
        }
        assert_string_equal(b.p, rows[i].candidates);
        buf_done(&b);
        router_free(r);
        config_unref(c);
    }
}

static void retention_keeps_what_is_not_said_apart(void **state)
{
    static const struct {
        const char *yaml;
        bool has;
        struct retention want;
    } rows[] = {
        { POLICY(REFS), false, { 0 } },
        { POLICY("emits: [{kind: retention, retention: {drop: false, ttl_turns: 4,"
                 " keep_current_model: true, prefer_prefix_retention: true}}]"),
          true,
          { TRUTH_false, TRUTH_true, TRUTH_true, 4 } },
        { POLICY("emits: [{kind: retention, retention: {drop: true}}]"),
          true,
          { TRUTH_true, TRUTH_unknown, TRUTH_unknown, -1 } },
        { POLICY("emits: [{kind: retention, retention: {ttl_turns: 0}}]"),
          true,
          { TRUTH_unknown, TRUTH_unknown, TRUTH_unknown, 0 } },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct config *c = NULL;
        struct router *r = policy_from(rows[i].yaml, &c);
        struct arena *a = arena_new(MIB);
        struct route route;
        route_text(r, "auto", "hello", a, &route);
        assert_int_equal(route.retention != NULL, rows[i].has);
        if (rows[i].has) {
            assert_int_equal(route.retention->drop, rows[i].want.drop);
            assert_int_equal(route.retention->keep_current_model, rows[i].want.keep_current_model);
            assert_int_equal(route.retention->prefer_prefix_retention,
                             rows[i].want.prefer_prefix_retention);
            assert_int_equal(route.retention->ttl_turns, rows[i].want.ttl_turns);
        }
        arena_free(a);
        router_free(r);
        config_unref(c);
    }
}

static void the_stricter_mode_of_learning_counts(void **state)
{
    static const struct {
        const char *yaml;
        enum adaptation_mode adaptation, protection;
        double stability, margin;
    } rows[] = {
        { POLICY(REFS), ADAPTATION_apply, ADAPTATION_apply, -1, -1 },
        { POLICY("adaptations: {mode: bypass}"), ADAPTATION_bypass, ADAPTATION_bypass, -1, -1 },
        { POLICY("adaptations: {adaptation: {mode: observe}, protection: {stability_weight: 1.2,"
                 " switch_margin: 0}}"),
          ADAPTATION_observe, ADAPTATION_apply, 1.2, 0 },
        { POLICY("adaptations: {mode: observe, protection: {mode: bypass}}"), ADAPTATION_observe,
          ADAPTATION_bypass, -1, -1 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct config *c = NULL;
        struct router *r = policy_from(rows[i].yaml, &c);
        const struct adaptations *a = &first(r)->adaptations;
        assert_int_equal(a->adaptation, rows[i].adaptation);
        assert_int_equal(a->protection, rows[i].protection);
        assert_true(a->stability_weight == rows[i].stability);
        assert_true(a->switch_margin == rows[i].margin);
        router_free(r);
        config_unref(c);
    }
}

static void annotations_are_kept_as_json(void **state)
{
    struct config *c = NULL;
    struct router *r = policy_from(
        POLICY("annotations: {owner: \"a\\\"b\", n: 1.5, yes: true, no: '1', z: 007, list: [x, {k: "
               "null}]}"),
        &c);
    assert_string_equal(first(r)->annotations.p, "{\"owner\":\"a\\\"b\",\"n\":1.5,\"yes\":true,"
                                                 "\"no\":\"1\",\"z\":\"007\","
                                                 "\"list\":[\"x\",{\"k\":null}]}");
    router_free(r);
    config_unref(c);
}

static void a_contract_says_what_an_answer_is(void **state)
{
    static const struct {
        const char *yaml;
        enum contract_type type;
        const char *choices;
    } rows[] = {
        { POLICY("output_contract_spec: {type: choice, choice_set: {values: [A, ' B ']}}"),
          CONTRACT_choice, "[\"A\",\"B\"]" },
        { POLICY("output_contract_spec: {type: choice, choice_set: {values: [A, B]},"
                 " render: {mode: template, template: 'Answer: {choice} {{choice}}.'}}"),
          CONTRACT_choice, "[\"Answer: A A.\",\"Answer: B B.\"]" },
        { POLICY("output_contract_spec: {type: structured_json,"
                 " json_schema: {schema_ref: terminal_action_v1}, extract: {mode: json_object,"
                 " sources: [content]}, normalize: {field_order: [a], defaults: {a: x}}}"),
          CONTRACT_structured_json, NULL },
        { POLICY("output_contract_spec: {type: reference_selection, reference: {source: "
                 "candidate_responses, id_format: index}, postprocess: [{type: "
                 "dereference_selected_reference}]}"),
          CONTRACT_reference_selection, NULL },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct config *c = NULL;
        struct router *r = policy_from(rows[i].yaml, &c);
        const struct output_contract *contract = first(r)->contract;
        assert_non_null(contract);
        assert_int_equal(contract->type, rows[i].type);
        if (rows[i].choices)
            assert_string_equal(contract->choices.p, rows[i].choices);
        router_free(r);
        config_unref(c);
    }
}

static void what_cannot_be_meant_is_refused(void **state)
{
    static const struct {
        const char *yaml, *says;
    } rows[] = {
        { POLICY("candidateIterations: [{variable: v, source: models}]"), "needs models" },
        { POLICY("candidateIterations: [{variable: v, source: decision.candidates}]"),
          "needs modelRefs" },
        { POLICY("candidateIterations: [{variable: v, source: nobody}]"), "is not one of" },
        { POLICY("candidateIterations: [{variable: v, source: models, models: [{model: o}],"
                 " outputs: [{type: model, value: w}]}]"),
          "must be the variable" },
        { POLICY("candidateIterations: [{variable: v, source: models, models: [{model: q}],"
                 " outputs: [{type: model, value: v}]}]"),
          "'q' is not known" },
        { POLICY("emits: [{kind: retention}]"), "is missing" },
        { POLICY("emits: [{kind: retention, retention: {drop: true, ttl_turns: 2}}]"),
          "contradict" },
        { POLICY("emits: [{kind: retention, retention: {ttl_turns: -1}}]"), "ttl_turns" },
        { POLICY("emits: [{kind: retention, retention: {drop: true}}, {kind: retention, retention:"
                 " {drop: true}}]"),
          "once" },
        { POLICY("emits: [{kind: retentoin}]"), "did you mean 'retention'" },
        { POLICY("adaptations: {mode: sometimes}"), "apply, observe, bypass" },
        { POLICY("adaptations: {protection: {switch_margin: -0.5}}"), "below 0" },
        { POLICY("annotations: [a]"), "needs a map" },
        { POLICY("output_contract_spec: {type: choice}"), "needs choice_set.values" },
        { POLICY("output_contract_spec: {type: choice, choice_set: {values: [a, A]}}"), "twice" },
        { POLICY("output_contract_spec: {type: choice, choice_set: {values: [a]}, render: {mode:"
                 " template, template: x}}"),
          "must hold {choice}" },
        { POLICY("output_contract_spec: {type: structured_json}"), "needs json_schema.schema_ref" },
        { POLICY("output_contract_spec: {type: structured_json, json_schema: {schema_ref: x}}"),
          "terminal_action_v1" },
        { POLICY("output_contract_spec: {type: choice, choice_set: {values: [a]}, postprocess:"
                 " [{type: dereference_selected_reference}]}"),
          "is for reference_selection" },
        { POLICY("output_contract_spec: {}"), "needs a type" },
        { POLICY(
              "output_contract_spec: {type: choice, choice_set: {values: [a]}, extract: {sources:"
              " [body]}}"),
          "extract.sources are" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int e;
        char *text = policy_problems(rows[i].yaml, &e);
        if (e != -EINVAL || !strstr(text, rows[i].says))
            fail_msg("row %zu (%s): %s", i, rows[i].says, text);
        free(text);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_iteration_adds_candidates),
        cmocka_unit_test(retention_keeps_what_is_not_said_apart),
        cmocka_unit_test(the_stricter_mode_of_learning_counts),
        cmocka_unit_test(annotations_are_kept_as_json),
        cmocka_unit_test(a_contract_says_what_an_answer_is),
        cmocka_unit_test(what_cannot_be_meant_is_refused),
    };
    return TEST_RUN(tests);
}

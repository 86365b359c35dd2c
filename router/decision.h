/*
 * Decisions: boolean rules over signals in three-valued logic, and which of those that match wins.
 *
 * Pure. A rule is immutable once compiled.
 */
#pragma once

#include "config/schema.h"
#include "router/router.h"

enum rule_op { RULE_and, RULE_or, RULE_not, RULE_signal, RULE_projection };

struct label_leaf; /* router/rules.h */

struct rule {
    enum rule_op op;
    size_t index;                   /* of the signal, or of the projection's output */
    struct str type, name;          /* of a leaf, as written */
    enum truth on_error;            /* what an unknown leaf counts as; TRUTH_unknown: stays so */
    const struct label_leaf *label; /* of a leaf that asks for one label; NULL: it does not */
    struct rule *children;          /* in the arena; cheapest first */
    size_t n;
    unsigned cost; /* rank of the dearest family below */
};

struct verdict {
    enum truth value;
    double confidence; /* of a match */
};

/* Says what a leaf is for this request. */
typedef struct verdict (*leaf_fn)(void *ctx, const struct rule *leaf);

/*
 * AND: mean confidence of its parts (no parts: a match of 0); OR: the best that matches; NOT: 1.
 * Unknown stays unknown unless the other parts settle the matter (Kleene). Leaves are asked only
 * while they can still change the verdict or its confidence.
 */
struct verdict rule_evaluate(const struct rule *r, leaf_fn leaf, void *ctx);

enum on_unknown { ON_UNKNOWN_no_match, ON_UNKNOWN_match, ON_UNKNOWN_fail_request };

struct model_ref {
    struct str model, lora_name, reasoning_description, reasoning_effort;
    double weight;
    bool use_reasoning;
    unsigned on_cold; /* enum route_cold */
    uint64_t cold_wait_ms;
};

/* `adaptations`: what learning may do with a decision. A larger one is stricter. */
enum adaptation_mode { ADAPTATION_apply, ADAPTATION_observe, ADAPTATION_bypass };

struct adaptations {
    enum adaptation_mode adaptation;        /* choosing by outcomes */
    enum adaptation_mode protection;        /* staying with a session's model */
    const char *candidate_set;              /* static: decision, tier, global; empty: the default */
    double stability_weight, switch_margin; /* -1: the defaults */
};

struct decision {
    struct str name, description;
    int64_t priority;
    uint64_t tier;
    const struct node *rules_node;
    struct item_list refs; /* struct model_ref */
    const struct node *algorithm_node, *plugins;
    const struct node *on_unknown_node;
    struct str output_contract; /* for models that answer together; may be empty */
    const struct node *contract_node, *emits_node, *adaptations_node, *annotations_node,
        *iterations_node;
    /* derived */
    struct rule rules;
    bool always; /* no rules: matches with confidence 0 */
    enum on_unknown on_unknown;
    const struct selection *selection;
    bool refused;                       /* its algorithm cannot pick here, and on_error says fail */
    const void *settings;               /* of the selection */
    const struct candidate *candidates; /* of refs; NULL: the selection does not look at them */
    const struct similarity *similarity; /* to the candidates; NULL: nobody asks */
    const char *algorithm;               /* as written, "static" when absent */
    const char *plugins_path;
    const struct output_contract *contract; /* NULL: none */
    struct adaptations adaptations;
    bool has_retention;
    struct retention retention;
    struct str annotations;                   /* a JSON object; empty: none */
    const struct decision_learning *learning; /* NULL: nothing is learned */
    struct candidate_pool *pool;              /* with learning */
};

struct candidate_pool;
struct decision_learning;
struct similarity;

struct verdict decision_evaluate(const struct decision *d, leaf_fn leaf, void *ctx);

/*
 * Whether a, matched, goes before b, matched. tiered: some matched decision has a tier: tier up,
 * confidence down, priority down, name. Else priority down, confidence down, name; or, by
 * confidence, confidence down, priority down, name.
 */
bool decision_before(const struct decision *a, double confidence_a, const struct decision *b,
                     double confidence_b, bool tiered, bool by_confidence);

/*
 * The decision that wins; NULL: none matches. `sorted`: by tier up, then priority down. A decision
 * is asked only while it could still win, so the winner is that of asking all of them. Tiers count
 * once a decision that has one matches.
 */
struct decision_list {
    const struct decision *sorted;
    size_t n;
    bool by_confidence;
};
struct decision_outcome {
    const struct decision *winner;
    double confidence;
    const struct decision
        *unresolved; /* fail_request, unknown, and it would go before the winner */
};
struct decision_outcome decisions_pick(const struct decision_list *list, leaf_fn leaf, void *ctx);

/*
 * The families of signals: each reads its rules from `routing.signals.<key>` with a table, compiles
 * them once, and says for a request which of them match.
 *
 * A compiled family is immutable; any thread evaluates with it. A view belongs to one request.
 */
#pragma once

#include "config/schema.h"
#include "router/linear/text_features.h"
#include "router/router.h"
#include "router/signals/scan.h"
#include "router/vectors/vectors.h"

/* X(family, key in routing.signals, type of a rule's leaf, help). Cheapest first. */
#define SIGNAL_FAMILIES(X)                                                                         \
    X(conversation, "conversation", "conversation", "counts of messages, tools and images")        \
    X(metadata, "metadata", "metadata", "the request's metadata map")                              \
    X(role_binding, "role_bindings", "authz", "roles of the caller")                               \
    X(context, "context", "context", "size of the request in tokens")                              \
    X(keyword, "keywords", "keyword", "words and patterns of the user's turn")                     \
    X(event, "events", "event", "event types, severities and action codes in the text")            \
    X(structure, "structure", "structure", "counts, densities and sequences in the text")          \
    X(modality, "modality", "modality", "whether text, an image or both are asked for")            \
    X(language, "language", "language", "the language of the user's turn")                         \
    X(embedding, "embeddings", "embedding", "similarity to examples")                              \
    X(domain, "domains", "domain", "subject of the request")                                       \
    X(fact_check, "fact_check", "fact_check", "whether facts are asked for")                       \
    X(user_feedback, "user_feedbacks", "user_feedback", "what the user thinks of the last answer") \
    X(reask, "reasks", "reask", "the question is asked again")                                     \
    X(preference, "preferences", "preference", "nearest route by examples")                        \
    X(complexity, "complexity", "complexity", "hard or easy, by examples")                         \
    X(jailbreak, "jailbreak", "jailbreak", "attempts to break the model's rules")                  \
    X(pii, "pii", "pii", "personal data that the rule does not allow")                             \
    X(kb, "kb", "kb", "labels and groups of a knowledge base")                                     \
    X(classifier, "classifiers", "classifier", "labels of a classifier")

enum family {
#define SIGNAL_FAMILY_ENUM(name, key, type, help) FAMILY_##name,
    SIGNAL_FAMILIES(SIGNAL_FAMILY_ENUM)
#undef SIGNAL_FAMILY_ENUM
        FAMILY_N
};

struct signal_value {
    enum truth value;
    double confidence; /* of a match; 1 where the family has no notion of it */
    double raw;        /* what was measured: a count, a density, tokens */
};

/* One request as the families see it. All text is valid UTF-8. */
struct signal_view {
    const struct route_request *request;
    const struct chat_request *chat;
    struct str text;         /* the current user turn */
    struct str folded;       /* the same, case folded; made by signal_folded */
    bool only_case;          /* folding changed nothing but case */
    struct scanner *scanner; /* of the policy; NULL: none */
    const bool *found;       /* by number of the scanner; made by signal_scan */
    struct arena *arena;     /* for scratch */
    const struct vector_space *space;
    struct signal_vector_memo *vectors; /* what signal_vectors made */
    bool no_vectors;                    /* it failed once: it would again */
    const struct features *weighed;     /* the turn's, as shipped classifiers read them */
};

/* Fills a view, but for the space: without one there are no vectors. -ENOMEM. */
int signal_view_init(struct signal_view *ret, const struct route_request *request,
                     struct arena *arena) MUST_USE;
int signal_folded(struct signal_view *v) MUST_USE; /* makes v->folded; -ENOMEM */
int signal_scan(struct signal_view *v) MUST_USE;   /* makes v->found and v->folded; -ENOMEM, -EIO */

/*
 * Vectors of texts of this request (the user's turn, earlier turns), each made once for all
 * families and those that are missing in one batch. A negative errno: whoever needs them is
 * unknown.
 */
int signal_vectors(struct signal_view *v, const struct str *texts, size_t n,
                   const struct text_vector **ret) MUST_USE;
int signal_vector(struct signal_view *v, struct str text, const struct text_vector **ret) MUST_USE;
/* The user's turns before the current one, latest first, that hold anything: at most `max`. */
size_t signal_earlier_turns(const struct signal_view *v, struct str *ret, size_t max);

/* The rules of one family in one policy, while they are compiled. */
struct signal_rules {
    void *items; /* n structs of the family's rule_size */
    size_t n;
    const struct node *list; /* where they stand */
    const char *path;        /* "routing.signals.keywords" */
    const struct config *config;
    const struct vector_space *space; /* outlives the family's state */
    struct scanner *scanner;          /* of the policy; takes all literals and patterns */
    struct arena *arena;
    struct problems *p;
};

/* What stands at a path below `global` ("model_catalog.embeddings.semantic"); NULL: nothing. */
const struct node *signal_setting(const struct signal_rules *rules, const char *path);

struct signal_family {
    const struct option *options; /* of one rule, whose struct begins with `struct str name` */
    size_t rule_size;
    /*
     * Checks what the table cannot and builds the state. 0 (problems may have been added), or a
     * negative errno. NULL: the family is not evaluated by this version, its leaves are unknown.
     */
    int (*compile)(void **ret_state, const struct signal_rules *rules);
    void *(*free)(void *state); /* NULL is fine */
    /* Sets values[0 … n) for the rules in their order. Negative errno: all of them are unknown. */
    int (*evaluate)(const void *state, struct signal_view *v, struct signal_value *values);
    /* A leaf may ask for one of a rule's labels: its number (-1: none such), and how likely it is
     * (a negative errno: unknown). NULL: it may not. */
    int (*label)(const void *state, size_t rule, struct str label);
    int (*probability)(const void *state, struct signal_view *v, size_t rule, int label,
                       double *ret);
    /* The name by which a leaf refers to a rule; NULL: the rule's own. */
    struct str (*leaf_name)(const void *rule);
    bool compares; /* asks for vectors of texts */
    /* A rule has a signal for each level, in this order, "name:level"; NULL-terminated. NULL: it
     * has one, its name. Values are then n × levels. */
    const char *const *levels;
    /* A tree of rules over other families that must hold as well; NULL: no rule has one. */
    const struct node *(*gate)(const void *rule);
};

extern const struct signal_family *const signal_families[FAMILY_N];
extern const char *const signal_keys[FAMILY_N];  /* "keywords" */
extern const char *const signal_types[FAMILY_N]; /* "keyword" */
extern const char *const signal_helps[FAMILY_N];

/* The family of a leaf's type; -1: none. */
int signal_family_of(struct str type);

/* Reports an error at rule i, at its key when it has it. Returns -EINVAL. */
int signal_rule_error(const struct signal_rules *rules, size_t i, const char *key, const char *fmt,
                      ...) PRINTF_LIKE(4, 5);
/* Likewise a warning. */
void signal_rule_warning(const struct signal_rules *rules, size_t i, const char *key,
                         const char *fmt, ...) PRINTF_LIKE(4, 5);

/* "1500", "32K", "1M" → tokens. -EINVAL: it is no such number. */
int signal_tokens(double *ret, struct str text) MUST_USE;

/* ---- numeric predicates, shared ---- */

struct predicate {
    double gt, gte, lt, lte; /* NAN: not given */
};
extern const struct option predicate_options[];

/* Reads {gt, gte, lt, lte}; NULL: none of them. */
int predicate_read(struct predicate *ret, const struct node *map, const char *path,
                   struct arena *arena, struct problems *p) MUST_USE;

bool predicate_holds(const struct predicate *p, double value); /* no bound given: value > 0 */
/* 1 / (1 + e^(-4d)), d the distance to the first bound given; 1 when none is given */
double predicate_confidence(const struct predicate *p, double value);

/* "exists" and "count" of a measured number against the predicate: sets all of *ret. */
struct signal_value signal_measured(double value, const struct predicate *p);

/* The families, each in its own file. */
#define SIGNAL_FAMILY_DECLARE(name, key, type, help)                                               \
    extern const struct signal_family family_##name;
SIGNAL_FAMILIES(SIGNAL_FAMILY_DECLARE)
#undef SIGNAL_FAMILY_DECLARE

/*
 * A lexical decision allocates nothing: what it needs comes out of the request's arena. Counted at
 * malloc itself.
 */
#include "tests/unit/router/support.h"

#include "base/limits.h"
#include "router/evaluate.h"
#include "router/profiles.h"

#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define COUNTS 0 /* the sanitizer has a malloc of its own */
static size_t allocations;
#else
#define COUNTS 1
static _Thread_local size_t allocations;

/* glibc's own, under the names by which those who replace malloc may reach them */
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *malloc(size_t n);
void *calloc(size_t n, size_t size);
void *realloc(void *p, size_t n);

void *malloc(size_t n)
{
    allocations++;
    return __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
    allocations++;
    return __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
    allocations++;
    return __libc_realloc(p, n);
}
#endif

static const char policy[] =
    "version: v0.3\n"
    "providers: {defaults: {default_model: m}}\n"
    "routing:\n"
    "  modelCards: [{name: m}]\n"
    "  signals:\n"
    "    keywords:\n"
    "      - {name: code, operator: OR, keywords: [function, compiler, 程序]}\n"
    "      - {name: exact, operator: AND, case_sensitive: true, keywords: [HTTP]}\n"
    "      - {name: pattern, operator: OR, method: regex, keywords: ['\\bv\\d+\\.\\d+']}\n"
    "      - {name: near, operator: OR, method: fuzzy, keywords: [kubernetes]}\n"
    "      - {name: grams, operator: OR, method: ngram, keywords: [database]}\n"
    "      - {name: topic, operator: OR, method: bm25, keywords: [garden plants]}\n"
    "    context: [{name: long, min_tokens: 1K}]\n"
    "    structure:\n"
    "      - {name: questions, feature: {type: count, source: {type: regex, pattern: '[?]'}},\n"
    "         predicate: {gte: 2}}\n"
    "      - {name: strict, feature: {type: density, source: {type: keyword_set,\n"
    "         keywords: [must, at least]}}, predicate: {gt: 0.05}}\n"
    "    conversation:\n"
    "      - {name: turns, feature: {type: count, source: {type: message, role: user}},\n"
    "         predicate: {gte: 2}}\n"
    "    events: [{name: outage, event_types: [service_down], temporal: true}]\n"
    "    metadata: [{name: beta, key: plan, predicate: {equals: beta}}]\n"
    "  projections:\n"
    "    scores:\n"
    "      - {name: weight, method: weighted_sum, inputs: [\n"
    "         {type: keyword, name: code, weight: 0.5}, {type: structure, name: questions,\n"
    "          weight: 0.25, value_source: raw}]}\n"
    "    mappings:\n"
    "      - {name: bands, source: weight, method: threshold_bands, outputs: [\n"
    "         {name: heavy, gte: 0.9}, {name: light, lt: 0.9}]}\n"
    "  decisions:\n"
    "    - {name: a, priority: 9, modelRefs: [{model: m}], rules: {operator: AND, conditions: [\n"
    "        {type: keyword, name: exact}, {type: keyword, name: near},\n"
    "        {type: event, name: outage}]}}\n"
    "    - {name: b, priority: 8, modelRefs: [{model: m}], rules: {operator: OR, conditions: [\n"
    "        {type: keyword, name: pattern}, {type: keyword, name: grams},\n"
    "        {type: keyword, name: topic}, {type: context, name: long},\n"
    "        {type: structure, name: strict}, {type: conversation, name: turns},\n"
    "        {type: metadata, name: beta}]}}\n"
    "    - {name: c, priority: 7, modelRefs: [{model: m}],\n"
    "       rules: {type: projection, name: light}}\n";

static const char *const texts[] = {
    "Please write a function that must return at least two values? And why?",
    "v1.2 of the HTTP server: kubernets was down today, service_down since noon",
    "Où est la bibliothèque? 程序 des Gartens, plants in a garden",
    "nothing at all",
    "",
};

static size_t allocations_of(const struct router *r, const struct chat_request *chat)
{
    CLEANUP(arena_freep) struct arena *a = arena_new(MIB);
    struct route_request q = { .chat = chat, .seed = 1 };
    struct route route;
    struct fail fail;
    assert_int_equal(arena_reserve(a, 256 * KIB), 0);
    size_t before = allocations;
    assert_int_equal(router_route(r, &q, a, &route, &fail), 0);
    return allocations - before;
}

static void a_lexical_route_allocates_nothing(void **state)
{
    if (!COUNTS)
        skip();
    struct config *c = NULL;
    struct router *r = policy_from(policy, &c);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct chat_message m = { .role = STR("user"), .content = str_of(texts[i]) };
        struct chat_request chat = { .model = STR("auto"), .messages = &m, .n_messages = 1 };
        (void)allocations_of(r, &chat); /* the scanner's scratch is kept */
        assert_int_equal(allocations_of(r, &chat), 0);
    }
    router_free(r);
    config_unref(c);
}

static void deciding_alone_needs_no_arena_either(void **state)
{
    if (!COUNTS)
        skip();
    struct config *c = NULL;
    struct router *r = policy_from(policy, &c);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        CLEANUP(arena_freep) struct arena *a = arena_new(MIB);
        struct chat_message m = { .role = STR("user"), .content = str_of(texts[i]) };
        struct chat_request chat = { .model = STR("auto"), .messages = &m, .n_messages = 1 };
        struct route_request q = { .chat = &chat, .seed = 1 };
        struct evaluation e;
        assert_int_equal(evaluation_init(&e, &r->policies[0], &q, a), 0);
        evaluation_all(&e);
        size_t before = allocations, used = arena_used(a);
        struct decision_outcome out = evaluation_decide(&e);
        assert_int_equal(allocations, before);
        assert_int_equal(arena_used(a), used);
        assert_non_null(out.winner);
    }
    router_free(r);
    config_unref(c);
}

static void the_count_is_one_that_counts(void **state)
{
    if (!COUNTS)
        skip();
    size_t before = allocations;
    void *volatile p = malloc(16);
    free(p);
    assert_int_equal(allocations, before + 1);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_count_is_one_that_counts),
        cmocka_unit_test(a_lexical_route_allocates_nothing),
        cmocka_unit_test(deciding_alone_needs_no_arena_either),
    };
    return TEST_RUN(tests);
}

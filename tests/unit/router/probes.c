/*
 * Third-party policies with their probes: each says what a request must be decided to be. A probe
 * whose outcome hangs on a signal that is not evaluated here is counted apart, and how many those
 * may be at most is stated.
 */
#include "tests/unit/router/support.h"

#include "base/limits.h"
#include "base/num.h"

#include <stdlib.h>

#define ROOT "conformance/semantic-router/recipes/"

struct tally {
    unsigned passed, failed, open;
    unsigned signals; /* asserted ones that are evaluated here */
};

static struct str scalar(const struct node *map, const char *key)
{
    const struct node *n = map ? node_get(map, key) : NULL;
    return n && n->kind == NODE_scalar ? n->scalar : STR_NULL;
}

static uint64_t number(const struct node *map, const char *key, uint64_t absent)
{
    struct str s = scalar(map, key);
    uint64_t n = absent;
    if (s.n && num_parse_u64(&n, s, 0, UINT64_MAX) < 0)
        fail_msg("%s: not a number", key);
    return n;
}

static void repeat(struct buf *b, struct str text, uint64_t times)
{
    for (uint64_t i = 0; i < times; i++)
        buf_add(b, text);
}

static void join(struct buf *b, struct str text, uint64_t times) /* a line each */
{
    for (uint64_t i = 0; i < times; i++) {
        buf_adds(b, b->n ? "\n" : "");
        buf_add(b, text);
    }
}

/* query, repeat and padding, as the probe runner joins them */
static struct str query_of(const struct node *variant, struct arena *a)
{
    struct buf b = BUF_INIT(64 * MIB);
    const struct node *padding = node_get(variant, "padding");
    struct str pad = scalar(padding, "text"), where = scalar(padding, "placement");
    uint64_t pads = padding ? number(padding, "repeat", 1) : 0, before = 0;
    if (where.n == 0 || str_is(where, "before"))
        before = pads;
    else if (str_is(where, "around"))
        before = pads / 2;
    join(&b, pad, before);
    join(&b, scalar(variant, "query"), number(variant, "repeat", 1));
    join(&b, pad, pads - before);
    struct str all = arena_str(a, buf_str(&b));
    buf_done(&b);
    assert_non_null(all.p);
    return all;
}

static struct str content_of(const struct node *content, unsigned *ret_images, struct arena *a)
{
    if (!content || content->kind != NODE_list)
        return content ? content->scalar : STR_NULL;
    struct buf b = BUF_INIT(64 * MIB);
    for (size_t i = 0; i < content->n; i++) {
        struct str type = scalar(content->items[i], "type");
        if (str_is(type, "text")) {
            buf_adds(&b, b.n ? "\n" : "");
            buf_add(&b, scalar(content->items[i], "text"));
        } else {
            ++*ret_images;
        }
    }
    struct str all = b.n ? arena_str(a, buf_str(&b)) : STR("");
    buf_done(&b);
    return all;
}

static void read_calls(struct chat_message *m, const struct node *calls, struct arena *a)
{
    struct chat_tool_call *items = arena_array(a, calls->n + 1, sizeof(*items));
    assert_non_null(items);
    for (size_t i = 0; i < calls->n; i++) {
        const struct node *f = node_get(calls->items[i], "function");
        items[i] = (struct chat_tool_call){ scalar(calls->items[i], "id"), scalar(f, "name"),
                                            scalar(f, "arguments") };
    }
    m->tool_calls = items;
    m->n_tool_calls = calls->n;
}

static void read_messages(struct chat_request *chat, const struct node *list, struct arena *a)
{
    chat->messages = arena_array(a, list->n + 1, sizeof(*chat->messages));
    assert_non_null(chat->messages);
    chat->n_messages = list->n;
    for (size_t i = 0; i < list->n; i++) {
        struct chat_message *m = &chat->messages[i];
        m->role = scalar(list->items[i], "role");
        m->content = content_of(node_get(list->items[i], "content"), &m->n_images, a);
        m->tool_call_id = scalar(list->items[i], "tool_call_id");
        const struct node *calls = node_get(list->items[i], "tool_calls");
        if (calls)
            read_calls(m, calls, a);
    }
}

/* Fills a message up so that the text of the request has a given size. */
static void generate(struct chat_request *chat, const struct node *how, struct arena *a)
{
    uint64_t have = 0, want = number(how, "target_text_bytes", 0);
    struct chat_message *m = &chat->messages[number(how, "message_index", 0)];
    for (size_t i = 0; i < chat->n_messages; i++)
        have += chat->messages[i].content.n;
    struct buf b = BUF_INIT(64 * MIB);
    buf_add(&b, m->content);
    repeat(&b, scalar(how, "character").n ? scalar(how, "character") : STR("x"), want - have);
    m->content = arena_str(a, buf_str(&b));
    buf_done(&b);
    assert_non_null(m->content.p);
}

static void read_variant(struct chat_request *chat, const struct node *variant, struct str model,
                         struct arena *a)
{
    *chat = (struct chat_request){ .model = model.n ? model : STR("auto"), .n = 1 };
    const struct node *messages = node_get(variant, "messages");
    const struct node *tools = node_get(variant, "tools");
    if (messages) {
        read_messages(chat, messages, a);
    } else {
        chat->messages = arena_alloc(a, sizeof(*chat->messages));
        assert_non_null(chat->messages);
        chat->messages[0] =
            (struct chat_message){ .role = STR("user"), .content = query_of(variant, a) };
        chat->n_messages = 1;
    }
    if (node_get(variant, "generated_text"))
        generate(chat, node_get(variant, "generated_text"), a);
    struct chat_tool *list = arena_array(a, (tools ? tools->n : 0) + 1, sizeof(*list));
    assert_non_null(list);
    chat->tools = list;
    chat->n_tools = tools ? tools->n : 0;
}

static const struct route_trace *trace_of(const struct route *r, struct str decision)
{
    for (size_t i = 0; i < r->n_traces; i++)
        if (str_eq(r->traces[i].decision, decision))
            return &r->traces[i];
    return NULL;
}

static bool open_somewhere(const struct route *r)
{
    for (size_t i = 0; i < r->n_traces; i++)
        if (r->traces[i].matched == TRUTH_unknown)
            return true;
    return false;
}

/* The probes' names of families are those of the eval API: plural for some. */
static bool same_family(struct str type, struct str key)
{
    return str_eq(type, key) || (str_starts(key, type) && key.n == type.n + 1);
}

/* Every listed signal that is evaluated here must be `want`. */
static void check_signals(const struct route *r, const struct node *families, enum truth want,
                          struct str id, struct tally *t)
{
    for (size_t f = 0; families && f < families->n; f++)
        for (size_t k = 0; k < families->items[f]->n; k++)
            for (size_t i = 0; i < r->n_signals; i++) {
                const struct route_signal *s = &r->signals[i];
                struct str name = families->items[f]->items[k]->scalar;
                if (!same_family(s->type, families->keys[f]) || !str_eq(s->name, name) ||
                    s->value == TRUTH_unknown)
                    continue;
                t->signals++;
                if (s->value == want)
                    continue;
                t->failed++;
                print_message("# %.*s: %.*s:%.*s should %smatch\n", STR_ARG(id), STR_ARG(s->type),
                              STR_ARG(name), want == TRUTH_true ? "" : "not ");
            }
}

static void judge(const struct router *r, const struct node *decision, const struct node *variant,
                  struct tally *t)
{
    struct arena *a = arena_new(LIMIT_REQUEST_ARENA);
    struct chat_request chat;
    struct route route;
    struct fail fail = { 0 };
    struct str want = scalar(decision, "expected_decision");
    read_variant(&chat, variant, scalar(decision, "model"), a);
    struct route_request q = { .chat = &chat, .trace = true };
    assert_int_equal(router_route(r, &q, a, &route, &fail), 0);
    const struct route_trace *trace = trace_of(&route, want);
    assert_non_null(trace);
    bool same = str_eq(route.decision, want);
    struct str alias = scalar(decision, "expected_alias");
    struct str algorithm = scalar(decision, "expected_algorithm");
    if (same && algorithm.n)
        assert_true(str_eq(route.algorithm, algorithm));
    if (same && alias.n && str_is(route.algorithm, "static"))
        assert_true(str_eq(route.model, alias));
    struct str id = scalar(variant, "id");
    check_signals(&route, node_get(variant, "expected_signals"), TRUTH_true, id, t);
    check_signals(&route, node_get(decision, "expected_signals"), TRUTH_true, id, t);
    check_signals(&route, node_get(decision, "forbidden_signals"), TRUTH_false, id, t);
    if (same)
        t->passed++;
    else if (trace->matched == TRUTH_unknown || open_somewhere(&route))
        t->open++;
    else
        t->failed++;
    if (!same && !(trace->matched == TRUTH_unknown || open_somewhere(&route)))
        print_message("# %.*s: wants %.*s, got %.*s (%s)\n", STR_ARG(scalar(variant, "id")),
                      STR_ARG(want), STR_ARG(route.decision), trace->reason.p);
    arena_free(a);
}

static struct tally run(const char *config, const char *probes)
{
    struct problems *p = problems_new();
    struct document *d = NULL;
    struct config *c = NULL;
    struct tally t = { 0 };
    assert_int_equal(document_load(&d, probes, p), 0);
    struct router *r = policy_from_file(config, &c);
    const struct node *decisions = node_get(document_root(d), "decisions");
    for (size_t i = 0; i < decisions->n; i++) {
        const struct node *variants = node_get(decisions->items[i], "variants");
        for (size_t k = 0; k < variants->n; k++)
            judge(r, decisions->items[i], variants->items[k], &t);
    }
    print_message("# %u passed, %u failed, %u need signals that are not evaluated; %u signals\n",
                  t.passed, t.failed, t.open, t.signals);
    router_free(r);
    config_unref(c);
    document_free(d);
    problems_free(p);
    return t;
}

static void accuracy_probes_all_pass(void **state)
{
    TEST_SHARED(config, ROOT "accuracy/config.yaml");
    TEST_SHARED(probes, ROOT "accuracy/probes.yaml");
    struct tally t = run(config, probes);
    assert_int_equal(t.failed, 0);
    assert_int_equal(t.open, 0);
    assert_int_equal(t.passed, 13);
}

static void mom_probes_pass_or_are_open(void **state)
{
    TEST_SHARED(config, ROOT "built-in/latest/mom-v1/config.yaml");
    TEST_SHARED(probes, ROOT "built-in/latest/mom-v1/probes.yaml");
    struct tally t = run(config, probes);
    /* One probe is not met by its own policy: "explicit_correction" expects a phrase of
     * balance_correction_request_phrases, and its text has none of them, so neither does it need
     * recovery. */
    assert_true(t.failed <= 9);
    assert_true(t.passed >= 118);
}

static void multi_objective_probes_pass_or_are_open(void **state)
{
    TEST_SHARED(config, ROOT "multi-objective/config.yaml");
    TEST_SHARED(probes, ROOT "multi-objective/probes.yaml");
    struct tally t = run(config, probes);
    assert_int_equal(t.failed, 0);
    assert_true(t.passed >= 117);
}

/* Most of it hangs on what statistics say of subjects, facts and likeness. */
static void balance_probes_seldom_contradict(void **state)
{
    TEST_SHARED(config, ROOT "balance/config.yaml");
    TEST_SHARED(probes, ROOT "balance/probes.yaml");
    struct tally t = run(config, probes);
    assert_true(t.failed <= 10);
}

static void reference_configuration_loads_without_errors(void **state)
{
    TEST_SHARED(config, "conformance/semantic-router/reference-config.yaml");
    struct config *c = NULL;
    struct router *r = policy_from_file(config, &c);
    assert_true(router_is_auto(r, STR("exhaustive-reference")));
    assert_true(router_is_auto(r, STR("vllm-sr/exhaustive-privacy")));
    assert_false(router_is_auto(r, STR("qwen3-8b")));
    assert_true(router_knows_model(r, STR("qwen3-8b")));
    assert_true(str_is(router_default_model(r), "qwen3-8b"));
    router_free(r);
    config_unref(c);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(accuracy_probes_all_pass),
        cmocka_unit_test(mom_probes_pass_or_are_open),
        cmocka_unit_test(multi_objective_probes_pass_or_are_open),
        cmocka_unit_test(balance_probes_seldom_contradict),
        cmocka_unit_test(reference_configuration_loads_without_errors),
    };
    return TEST_RUN(tests);
}

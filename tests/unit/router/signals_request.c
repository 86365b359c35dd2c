/*
 * Signals of the request as a whole: its size, its turns and tools, its metadata, its caller.
 */
#include "tests/unit/router/support.h"

#include "base/limits.h"

#include <stdlib.h>
#include <string.h>

static const char head[] = "providers: {defaults: {default_model: m}, models: [{name: m}]}\n";

static struct router *one_rule(const char *key, const char *type, const char *rule,
                               const char *leaf, struct config **c)
{
    struct buf b = BUF_INIT(MIB);
    buf_addf(&b,
             "%srouting:\n  signals:\n    %s:\n      - {name: r, %s}\n  decisions:\n"
             "    - {name: hit, rules: {type: %s, name: %s}, modelRefs: [{model: m}]}\n",
             head, key, rule, type, leaf);
    struct router *r = policy_from(b.p, c);
    buf_done(&b);
    return r;
}

static enum truth ask(const struct router *r, struct route_request *q, struct chat_request *chat)
{
    struct arena *a = arena_new(64 * MIB);
    struct route route;
    struct fail fail = { 0 };
    chat->model = STR("auto");
    q->chat = chat;
    q->trace = true;
    assert_int_equal(router_route(r, q, a, &route, &fail), 0);
    enum truth t = route.traces[0].matched;
    arena_free(a);
    return t;
}

static enum truth rule_on(const char *key, const char *type, const char *rule, const char *leaf,
                          struct route_request q, struct chat_request chat)
{
    struct config *c = NULL;
    struct router *r = one_rule(key, type, rule, leaf, &c);
    enum truth t = ask(r, &q, &chat);
    router_free(r);
    config_unref(c);
    return t;
}

static ptrdiff_t words(void *ctx, struct str text) /* a tokenizer of blanks */
{
    ptrdiff_t n = text.n > 0;
    for (size_t i = 0; i < text.n; i++)
        n += text.p[i] == ' ';
    return n;
}

static ptrdiff_t broken(void *ctx, struct str text)
{
    return -1;
}

static void context_counts_tokens_or_estimates_four_bytes_each(void **state)
{
    static const struct {
        const char *rule;
        size_t bytes;
        bool match;
    } rows[] = {
        /* and 10 bytes of roles, 8 tokens of framing */
        { "min_tokens: 1K", 3954, false }, /* 999 */
        { "min_tokens: 1K", 3955, true },  /* 1000: K is a thousand, not 1024 */
        { "min_tokens: 32K, max_tokens: 256K", 127954, false },
        { "min_tokens: 32K, max_tokens: 256K", 127955, true },
        { "min_tokens: 0, max_tokens: '100'", 358, true },
        { "min_tokens: 0, max_tokens: '100'", 359, false },
        { "min_tokens: 1.5k", 6000, true },
        { "min_tokens: 1M", 3999954, false },
        { "max_tokens: 11", 0, true },
        { "min_tokens: 5, max_tokens: 0", 400, true }, /* 0: no bound */
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char *text = calloc(1, rows[i].bytes + 1);
        memset(text, 'a', rows[i].bytes);
        struct chat_message m[] = {
            { .role = STR("system"), .content = { text, rows[i].bytes / 2 } },
            { .role = STR("user"), .content = { text, rows[i].bytes - rows[i].bytes / 2 } },
        };
        struct chat_request chat = { .messages = m, .n_messages = 2 };
        enum truth t =
            rule_on("context", "context", rows[i].rule, "r", (struct route_request){ NULL }, chat);
        if (t != (rows[i].match ? TRUTH_true : TRUTH_false))
            fail_msg("{%s} on %zu bytes: %d", rows[i].rule, rows[i].bytes, t);
        t = rule_on("context", "context", rows[i].rule, "r",
                    (struct route_request){ .count_tokens = broken }, chat);
        assert_int_equal(t, rows[i].match ? TRUTH_true : TRUTH_false);
        free(text);
    }
    struct chat_message m = { .role = STR("user"), .content = STR("one two three") };
    struct chat_request chat = { .messages = &m, .n_messages = 1 };
    struct route_request q = { .count_tokens = words };
    assert_int_equal(rule_on("context", "context", "min_tokens: 3, max_tokens: 3", "r", q, chat),
                     TRUTH_true);
    struct chat_request completion = { .is_completion = true, .prompt = STR("a b c d") };
    assert_int_equal(
        rule_on("context", "context", "min_tokens: 4, max_tokens: 4", "r", q, completion),
        TRUTH_true);
}

static void context_reserves_what_text_does_not_show(void **state)
{
    static const struct chat_tool_call call = { { "call", 4 }, { "f", 1 }, { "{\"a\":1}", 7 } };
    static const struct chat_tool tool = { .json = { "{\"type\":\"function\"}", 19 } };
    struct chat_message image = { .role = STR("user"), .n_images = 2 };
    struct chat_message result = { .role = STR("tool"),
                                   .content = STR("a\"b"),
                                   .tool_call_id = STR("call") };
    struct chat_message calls = { .role = STR("assistant"),
                                  .tool_calls = &call,
                                  .n_tool_calls = 1 };
    const struct {
        struct chat_request chat;
        int tokens;
    } rows[] = {
        { { .messages = &image, .n_messages = 1 }, 1 + 4 + 2 * 8192 },
        { { .messages = &image, .n_messages = 1, .max_tokens = 100 }, 1 + 4 + 2 * 8192 + 100 },
        { { .messages = &result, .n_messages = 1 }, 2 + 4 + 8 + 6 }, /* "a\"b" */
        { { .messages = &calls, .n_messages = 1 }, 6 + 4 + 8 + 11 }, /* "{\"a\":1}" */
        { { .tools = &tool, .n_tools = 1 }, 8 + 19 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char rule[64];
        (void)snprintf(rule, sizeof(rule), "min_tokens: %d, max_tokens: %d", rows[i].tokens,
                       rows[i].tokens);
        if (rule_on("context", "context", rule, "r", (struct route_request){ NULL },
                    rows[i].chat) != TRUTH_true)
            fail_msg("row %zu is not %d tokens", i, rows[i].tokens);
    }
}

#define MSG(r, c)                                                                                  \
    {                                                                                              \
        .role = STR(r), .content = STR(c)                                                          \
    }

static void conversation_counts_messages_tools_and_images(void **state)
{
    static const struct chat_tool_call call = { .id = { "c1", 2 }, .name = { "f", 1 } };
    struct chat_message plain[] = { MSG("system", "s"), MSG("user", "a"), MSG("assistant", "b"),
                                    MSG("user", "c") };
    struct chat_message loop[] = { MSG("user", "a"), MSG("assistant", ""), MSG("tool", "42") };
    struct chat_message pending[] = { MSG("user", "a"), MSG("assistant", "") };
    struct chat_message ended[] = { MSG("user", "a"), MSG("assistant", ""), MSG("tool", "42"),
                                    MSG("assistant", "done"), MSG("user", "thanks") };
    struct chat_message image[] = { MSG("developer", "d"), MSG("user", "look") };
    loop[1].tool_calls = pending[1].tool_calls = ended[1].tool_calls = &call;
    loop[1].n_tool_calls = pending[1].n_tool_calls = ended[1].n_tool_calls = 1;
    image[1].n_images = 2;
    struct chat_tool tools[2] = { { .name = STR("f") } };
    const struct chat_request chats[] = {
        { .messages = plain, .n_messages = 4, .tools = tools, .n_tools = 2 },
        { .messages = loop, .n_messages = 3 },
        { .messages = pending, .n_messages = 2 },
        { .messages = ended, .n_messages = 5 },
        { .messages = image, .n_messages = 2 },
    };
    static const struct {
        const char *source, *predicate;
        bool match[5]; /* of each chat */
    } rows[] = {
        { "{type: message, role: user}", "{gte: 2}", { true, false, false, true, false } },
        { "{type: message}", "{gte: 4}", { true, false, false, true, false } },
        { "{type: message, role: non_user}", "{gte: 2}", { true, true, false, true, false } },
        { "{type: message, role: developer}", "{gte: 1}", { false, false, false, false, true } },
        { "{type: tool_definition}", "{gte: 2}", { true, false, false, false, false } },
        { "{type: assistant_tool_call}", "{gte: 1}", { false, true, true, true, false } },
        { "{type: assistant_tool_cycle}", "{gte: 1}", { false, true, false, true, false } },
        { "{type: active_tool_loop}", "{gte: 1}", { false, true, true, false, false } },
        { "{type: image_content}", "{gt: 1}", { false, false, false, false, true } },
        { "{type: image_content}", "{lte: 0}", { true, true, true, true, false } },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        for (size_t k = 0; k < ARRAY_LEN(chats); k++) {
            char rule[256];
            (void)snprintf(rule, sizeof(rule), "feature: {type: count, source: %s}, predicate: %s",
                           rows[i].source, rows[i].predicate);
            enum truth t = rule_on("conversation", "conversation", rule, "r",
                                   (struct route_request){ NULL }, chats[k]);
            if (t != (rows[i].match[k] ? TRUTH_true : TRUTH_false))
                fail_msg("%s %s on chat %zu: %d", rows[i].source, rows[i].predicate, k, t);
        }
    assert_int_equal(rule_on("conversation", "conversation",
                             "feature: {type: exists, source: {type: active_tool_loop}}", "r",
                             (struct route_request){ NULL }, chats[1]),
                     TRUTH_true);
}

static void metadata_is_compared(void **state)
{
    static const struct {
        const char *rule;
        const char *value; /* of the key "consent"; NULL: absent */
        bool match;
    } rows[] = {
        { "key: consent, predicate: {equals: denied}", "denied", true },
        { "key: consent, predicate: {equals: denied}", "Denied", false },
        { "key: consent, predicate: {equals: denied}", NULL, false },
        { "key: consent, predicate: {in: [a, b]}", "b", true },
        { "key: consent, predicate: {in: [a, b]}", "c", false },
        { "key: consent, predicate: {exists: true}", "", true },
        { "key: consent, predicate: {exists: true}", NULL, false },
        { "key: consent, predicate: {exists: false}", NULL, true },
        { "key: consent, predicate: {exists: false}", "x", false },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct chat_pair pair = { STR("consent"), str_of(rows[i].value) };
        struct chat_message m = MSG("user", "hi");
        struct chat_request chat = {
            .messages = &m, .n_messages = 1, .metadata = &pair, .n_metadata = rows[i].value != NULL
        };
        assert_int_equal(rule_on("metadata", "metadata", rows[i].rule, "r",
                                 (struct route_request){ NULL }, chat),
                         rows[i].match ? TRUTH_true : TRUTH_false);
    }
}

static void roles_come_from_user_and_groups(void **state)
{
    static const char rule[] =
        "role: admin, subjects: [{kind: User, name: ann}, {kind: Group, name: ops}]";
    static const struct {
        bool identified;
        const char *user, *groups;
        enum truth want;
    } rows[] = {
        { true, "ann", "", TRUTH_true },
        { true, "bob", "dev, ops", TRUTH_true },
        { true, "bob", "dev,opsx", TRUTH_false },
        { true, "ops", "ann", TRUTH_false },
        { true, "", "", TRUTH_false },
        { false, "", "", TRUTH_unknown },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct chat_message m = MSG("user", "hi");
        struct chat_request chat = { .messages = &m, .n_messages = 1 };
        struct route_request q = { .identified = rows[i].identified,
                                   .user_id = str_of(rows[i].user),
                                   .user_groups = str_of(rows[i].groups) };
        assert_int_equal(rule_on("role_bindings", "authz", rule, "admin", q, chat), rows[i].want);
    }
}

static void two_bindings_may_give_one_role(void **state)
{
    struct config *c = NULL;
    struct router *r = policy_from(
        "providers: {defaults: {default_model: m}, models: [{name: m}]}\n"
        "routing:\n"
        "  signals:\n"
        "    role_bindings:\n"
        "      - {name: one, role: admin, subjects: [{kind: User, name: ann}]}\n"
        "      - {name: two, role: admin, subjects: [{kind: User, name: bob}]}\n"
        "  decisions:\n"
        "    - {name: hit, rules: {type: authz, name: admin}, modelRefs: [{model: m}]}\n",
        &c);
    static const char *const users[] = { "ann", "bob", "eve" };
    for (size_t i = 0; i < ARRAY_LEN(users); i++) {
        struct chat_message m = MSG("user", "hi");
        struct chat_request chat = { .messages = &m, .n_messages = 1 };
        struct route_request q = { .identified = true, .user_id = str_of(users[i]) };
        assert_int_equal(ask(r, &q, &chat), i < 2 ? TRUTH_true : TRUTH_false);
    }
    router_free(r);
    config_unref(c);
}

static void modality_is_told_by_keywords(void **state)
{
    static const struct {
        const char *method, *name, *text;
        enum truth want;
    } rows[] = {
        { "keyword", "DIFFUSION", "draw a cat", TRUTH_true },
        { "keyword", "AR", "draw a cat", TRUTH_false },
        { "keyword", "AR", "tell me a joke", TRUTH_true },
        { "keyword", "BOTH", "explain and illustrate, then draw", TRUTH_true },
        { "hybrid", "DIFFUSION", "draw a cat", TRUTH_true },
        { "hybrid", "DIFFUSION", "tell me a joke", TRUTH_false },
        { "classifier", "DIFFUSION", "draw a cat", TRUTH_true },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct config *c = NULL;
        struct buf b = BUF_INIT(MIB);
        buf_addf(&b,
                 "%sglobal: {model_catalog: {modules: {modality_detector: {method: %s,"
                 " keywords: [draw], both_keywords: [explain and illustrate]}}}}\n"
                 "routing:\n  signals: {modality: [{name: %s}]}\n"
                 "  decisions:\n    - {name: hit, rules: {type: modality, name: %s},"
                 " modelRefs: [{model: m}]}\n",
                 head, rows[i].method, rows[i].name, rows[i].name);
        struct router *r = policy_from(b.p, &c);
        struct chat_message m = { .role = STR("user"), .content = str_of(rows[i].text) };
        struct chat_request chat = { .messages = &m, .n_messages = 1 };
        struct route_request q = { NULL };
        assert_int_equal(ask(r, &q, &chat), rows[i].want);
        router_free(r);
        config_unref(c);
        buf_done(&b);
    }
}

static void only_the_last_user_turn_is_read(void **state)
{
    struct chat_message m[] = { MSG("user", "needle"), MSG("assistant", "needle"),
                                MSG("user", "hay"), MSG("assistant", "needle") };
    struct chat_request chat = { .messages = m, .n_messages = 4 };
    assert_int_equal(rule_on("keywords", "keyword", "keywords: [needle]", "r",
                             (struct route_request){ NULL }, chat),
                     TRUTH_false);
    assert_int_equal(rule_on("keywords", "keyword", "keywords: [hay]", "r",
                             (struct route_request){ NULL }, chat),
                     TRUTH_true);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(context_counts_tokens_or_estimates_four_bytes_each),
        cmocka_unit_test(context_reserves_what_text_does_not_show),
        cmocka_unit_test(conversation_counts_messages_tools_and_images),
        cmocka_unit_test(metadata_is_compared),
        cmocka_unit_test(roles_come_from_user_and_groups),
        cmocka_unit_test(two_bindings_may_give_one_role),
        cmocka_unit_test(modality_is_told_by_keywords),
        cmocka_unit_test(only_the_last_user_turn_is_read),
    };
    return TEST_RUN(tests);
}

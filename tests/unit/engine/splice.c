#include "tests/support/test.h"

#include "base/json_view.h"
#include "base/limits.h"
#include "engine/upstream/splice.h"

#include <errno.h>

/* ---- objects ---- */

static void members_are_replaced_and_all_else_kept(void **state)
{
    static const struct {
        const char *object;
        struct splice splices[3];
        const char *result;
    } rows[] = {
        { "{}", { { "a", STR("1"), false } }, "{\"a\":1}" },
        { " { } ", { { "a", STR("1"), false } }, " {\"a\":1 } " },
        { "{ \"b\" : 2 }", { { "a", STR("1"), false } }, "{\"a\":1, \"b\" : 2 }" },
        { "{\"b\":2}",
          { { "a", STR("1"), false }, { "c", STR("[]"), true } },
          "{\"a\":1,\"c\":[],\"b\":2}" },
        { "{ \"a\" :\t{\"a\":0} , \"b\":2}",
          { { "a", STR("1"), false } },
          "{ \"a\" :\t1 , \"b\":2}" },
        { "{\"\\u0061\":0,\"x\\ny\":\"\\u00e9\"}",
          { { "a", STR("1"), false } },
          "{\"\\u0061\":1,\"x\\ny\":\"\\u00e9\"}" },
        { "{\"a\":0}", { { "a", STR("1"), true } }, "{\"a\":0}" },
        { "{\"a\":null}", { { "a", STR("1"), true } }, "{\"a\":1}" },
        { "{\"a\":0, \"b\":2}", { { "a", { NULL, 0 }, false } }, "{ \"b\":2}" },
        { "{\"a\":0, \"b\":2}", { { "b", { NULL, 0 }, false } }, "{\"a\":0}" },
        { "{\"a\":0, \"b\":2 , \"c\":3}", { { "b", { NULL, 0 }, false } }, "{\"a\":0 , \"c\":3}" },
        { "{ \"a\":0 }", { { "a", { NULL, 0 }, false } }, "{ }" },
        { "{\"a\":0,\"b\":1}",
          { { "a", { NULL, 0 }, false }, { "b", { NULL, 0 }, false }, { "c", STR("2"), false } },
          "{\"c\":2}" },
        { "{\"a\":0,\"b\":1}",
          { { "a", { NULL, 0 }, false }, { "c", STR("2"), false } },
          "{\"c\":2,\"b\":1}" },
        { "{\"b\":1}", { { "a", STR("1"), .only_there = true } }, "{\"b\":1}" },
        { "{\"a\":null}", { { "a", STR("1"), .only_there = true } }, "{\"a\":1}" },
        { "{\"a\":2}", { { "a", .only_there = true } }, "{}" },
        { "{\"b\":1}", { { "a", { NULL, 0 }, false } }, "{\"b\":1}" },
        { "{\"a\":0 , \"b\":1 ,\"c\":2}",
          { { "a", { NULL, 0 }, false }, { "b", { NULL, 0 }, false } },
          "{\"c\":2}" },
        { "{\"a\":0,\"b\":1, \"c\":2}",
          { { "b", { NULL, 0 }, false }, { "c", { NULL, 0 }, false } },
          "{\"a\":0}" },
        { "{\"a\":0, \"b\":1,\"c\":2}",
          { { "a", { NULL, 0 }, false }, { "b", STR("[]"), false } },
          "{ \"b\":[],\"c\":2}" },
        { "{\"a\":0,\"b\":1,\"c\":2}",
          { { "a", { NULL, 0 }, false }, { "c", STR("[]"), false }, { "d", STR("3"), false } },
          "{\"d\":3,\"b\":1,\"c\":[]}" },
        { "{\"a\":0,\"b\":1,\"a\":2}", { { "a", STR("9"), false } }, "{\"a\":9,\"b\":1,\"a\":9}" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(buf_done) struct buf out = BUF_INIT(MIB);
        size_t n = 0;
        while (n < ARRAY_LEN(rows[i].splices) && rows[i].splices[n].key)
            n++;
        assert_int_equal(splice_object(&out, str_of(rows[i].object), rows[i].splices, n), 0);
        if (!str_is(buf_str(&out), rows[i].result))
            fail_msg("%s: %s", rows[i].object, out.p);
    }
    CLEANUP(buf_done) struct buf out = BUF_INIT(MIB);
    assert_int_equal(splice_object(&out, STR("[{}]"), NULL, 0), -EINVAL);
    assert_int_equal(splice_object(&out, STR(""), NULL, 0), -EINVAL);
    struct buf small = BUF_INIT(4);
    assert_int_equal(splice_object(&small, STR("{\"a\":1}"), NULL, 0), -EMSGSIZE);
    buf_done(&small);
}

/* ---- requests ---- */

enum { MESSAGES = 8 };

struct fixture {
    struct arena *arena;
    struct chat_request request;
    struct chat_message messages[MESSAGES];
};

static void join_texts(struct buf *b, struct str content)
{
    struct str part;
    for (struct json_view_walk w = json_view_walk(content); json_view_next(&w, NULL, &part);) {
        struct str text = json_view_get(part, "text");
        if (text.p && b->n)
            buf_addc(b, '\n');
        json_view_add_text(b, text);
    }
}

static struct chat_message *add(struct fixture *f, const char *role, struct str content,
                                struct str source)
{
    struct chat_message *m = &f->messages[f->request.n_messages++];
    *m = (struct chat_message){ .role = str_of(role), .source = source };
    if (json_view_kind(content) == JSON_VIEW_array) {
        CLEANUP(buf_done) struct buf b = BUF_INIT(MIB);
        join_texts(&b, content);
        m->content = arena_str(f->arena, buf_str(&b));
    } else {
        m->content = json_view_text(content, f->arena);
    }
    m->source_content = m->content.p;
    return m;
}

/* As a front decodes what these tests send. */
static void decode(struct fixture *f, enum wire wire, const char *body)
{
    struct str source = str_of(body), item, block;
    *f = (struct fixture){ .arena = arena_new(MIB) };
    f->request = (struct chat_request){ .wire = wire, .source = source, .messages = f->messages };
    f->request.stream = json_view_true(json_view_get(source, "stream"));
    struct str apart =
        json_view_get(source, wire == WIRE_anthropic_messages ? "system" : "instructions");
    if (apart.p)
        (void)add(f, "system", apart, apart);
    struct str turns = json_view_get(source, wire == WIRE_openai_responses ? "input" : "messages");
    if (json_view_kind(turns) == JSON_VIEW_string)
        (void)add(f, "user", turns, turns);
    for (struct json_view_walk w = json_view_walk(turns); json_view_next(&w, NULL, &item);) {
        struct str role = json_view_text(json_view_get(item, "role"), f->arena);
        struct str content = json_view_get(item, "content");
        for (struct json_view_walk b = json_view_walk(content); json_view_next(&b, NULL, &block);)
            if (json_view_is(json_view_get(block, "type"), "tool_result"))
                add(f, "tool", json_view_get(block, "content"), item)->tool_call_id =
                    json_view_text(json_view_get(block, "tool_use_id"), f->arena);
        if (json_view_is(json_view_get(item, "type"), "function_call_output"))
            add(f, "tool", json_view_get(item, "output"), item)->tool_call_id =
                json_view_text(json_view_get(item, "call_id"), f->arena);
        else if (json_view_is(json_view_get(item, "type"), "function_call"))
            (void)add(f, "assistant", STR_NULL, item);
        else
            (void)add(f, arena_cstr(f->arena, role), content, item);
    }
}

static void spliced(struct fixture *f, const char *model, const char *result)
{
    CLEANUP(buf_done) struct buf out = BUF_INIT(MIB);
    size_t at = 0;
    assert_int_equal(splice_request(&out, &f->request, str_of(model), NULL, 0), 0);
    if (!str_is(buf_str(&out), result))
        fail_msg("%s\nis not\n%s", out.p, result);
    if (json_view_check(buf_str(&out), LIMIT_JSON_DEPTH, &at) != JSON_VIEW_ok)
        fail_msg("%s: malformed at %zu", out.p, at);
    f->arena = arena_free(f->arena);
}

static void what_nobody_changed_stays_as_it_was(void **state)
{
    static const struct {
        enum wire wire;
        const char *body, *result;
    } rows[] = {
        { WIRE_openai_chat,
          "{ \"messages\" : [ {\"role\":\"user\", \"content\":\"a\\u00e9\"} ],\n\"model\":\"m\", "
          "\"new\":[1.0,{\"x\":1e2}] }",
          "{ \"messages\" : [ {\"role\":\"user\", \"content\":\"a\\u00e9\"} ],\n\"model\":\"n\", "
          "\"new\":[1.0,{\"x\":1e2}] }" },
        { WIRE_openai_chat, "{\"messages\":[],\"model\":\"n\"}",
          "{\"messages\":[],\"model\":\"n\"}" },
        { WIRE_openai_chat, "{\"messages\":[],\"model\":\"m\",\"stream\":true}",
          "{\"stream_options\":{\"include_usage\":true},\"messages\":[],\"model\":\"n\","
          "\"stream\":true}" },
        { WIRE_openai_chat,
          "{\"messages\":[],\"model\":\"m\",\"stream\":true,\"stream_options\":{\"x\":1,"
          "\"include_usage\":false}}",
          "{\"messages\":[],\"model\":\"n\",\"stream\":true,\"stream_options\":{\"x\":1,"
          "\"include_usage\":true}}" },
        { WIRE_openai_chat,
          "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\": true}}",
          "{\"model\":\"n\",\"stream\":true,\"stream_options\":{\"include_usage\": true}}" },
        { WIRE_openai_chat, "{\"model\":\"m\",\"stream\":true,\"stream_options\":null}",
          "{\"model\":\"n\",\"stream\":true,\"stream_options\":{\"include_usage\":true}}" },
        { WIRE_anthropic_messages,
          "{\"model\":\"m\",\"stream\":true,\"system\":[{\"type\":\"text\",\"text\":\"s\","
          "\"cache_control\":{\"type\":\"ephemeral\"}}],\"messages\":[{\"role\":\"user\","
          "\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"t\",\"content\":\"r\"},"
          "{\"type\":\"text\",\"text\":\"u\"}]}]}",
          "{\"model\":\"n\",\"stream\":true,\"system\":[{\"type\":\"text\",\"text\":\"s\","
          "\"cache_control\":{\"type\":\"ephemeral\"}}],\"messages\":[{\"role\":\"user\","
          "\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"t\",\"content\":\"r\"},"
          "{\"type\":\"text\",\"text\":\"u\"}]}]}" },
        { WIRE_openai_responses,
          "{\"model\":\"m\",\"instructions\":\"s\",\"input\":\"u\",\"stream\":true}",
          "{\"model\":\"n\",\"instructions\":\"s\",\"input\":\"u\",\"stream\":true}" },
        { WIRE_openai_responses,
          "{\"model\":\"m\",\"input\":[{\"type\":\"function_call\"},{\"role\":\"user\",\"content\":"
          "\"u\"}]}",
          "{\"model\":\"n\",\"input\":[{\"type\":\"function_call\"},{\"role\":\"user\",\"content\":"
          "\"u\"}]}" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct fixture f;
        decode(&f, rows[i].wire, rows[i].body);
        spliced(&f, "n", rows[i].result);
    }
}

static const struct {
    enum wire wire;
    const char *body;
    size_t message;
    const char *result;
} replaced[] = {
    { WIRE_openai_chat,
      "{\"messages\":[{\"role\":\"system\",\"content\":\"s\"}, { \"name\":\"ann\" , "
      "\"content\" : \"secret\",\"role\":\"user\"}]}",
      1,
      "{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{ \"name\":\"ann\" , "
      "\"content\" : \"new \\\"text\\\"\",\"role\":\"user\"}]}" },
    { WIRE_openai_chat,
      "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{"
      "\"url\":\"data:,\"}},{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":"
      "\"b\"},{\"type\":\"new\",\"x\":1}]}]}",
      0,
      "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{"
      "\"url\":\"data:,\"}},{\"type\":\"text\",\"text\":\"new "
      "\\\"text\\\"\"},{\"type\":\"new\","
      "\"x\":1}]}]}" },
    { WIRE_openai_chat,
      "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}]}", 0,
      "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"},{\"type\":"
      "\"text\",\"text\":\"new \\\"text\\\"\"}]}]}" },
    { WIRE_anthropic_messages,
      "{\"system\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":\"b\","
      "\"cache_control\":{\"type\":\"ephemeral\"}}],\"messages\":[]}",
      0,
      "{\"system\":[{\"type\":\"text\",\"text\":\"new \\\"text\\\"\",\"cache_control\":{"
      "\"type\":\"ephemeral\"}}],\"messages\":[]}" },
    { WIRE_anthropic_messages, "{\"system\":\"a\",\"messages\":[]}", 0,
      "{\"system\":\"new \\\"text\\\"\",\"messages\":[]}" },
    { WIRE_anthropic_messages,
      "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"document\",\"source\":{"
      "\"type\":\"text\",\"data\":\"secret\"}},{\"type\":\"document\",\"source\":{\"type\":"
      "\"base64\",\"data\":\"AA\"}},{\"type\":\"text\",\"text\":\"a\"}]}]}",
      0,
      "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":"
      "\"new \\\"text\\\"\"},{\"type\":\"document\",\"source\":{\"type\":\"base64\",\"data\":"
      "\"AA\"}}]}]}" },
    { WIRE_anthropic_messages,
      "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_"
      "id\":"
      "\"t1\",\"content\":\"r1\"},{\"type\":\"tool_result\",\"tool_use_id\":\"t2\",\"content\":"
      "[{"
      "\"type\":\"text\",\"text\":\"r2\"},{\"type\":\"image\"}],\"is_error\":true},{\"type\":"
      "\"text\",\"text\":\"u\"}]}]}",
      1,
      "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_"
      "id\":"
      "\"t1\",\"content\":\"r1\"},{\"type\":\"tool_result\",\"tool_use_id\":\"t2\",\"content\":"
      "[{"
      "\"type\":\"text\",\"text\":\"new "
      "\\\"text\\\"\"},{\"type\":\"image\"}],\"is_error\":true},{"
      "\"type\":\"text\",\"text\":\"u\"}]}]}" },
    { WIRE_anthropic_messages,
      "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_"
      "id\":"
      "\"t1\",\"content\":\"r1\"},{\"type\":\"text\",\"text\":\"u\"}]}]}",
      1,
      "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_"
      "id\":"
      "\"t1\",\"content\":\"r1\"},{\"type\":\"text\",\"text\":\"new \\\"text\\\"\"}]}]}" },
    { WIRE_openai_responses, "{\"input\":\"a\",\"store\":true}", 0,
      "{\"input\":[{\"role\":\"user\",\"content\":\"new \\\"text\\\"\"}],\"store\":true}" },
    { WIRE_openai_responses, "{\"instructions\":\"a\",\"input\":\"u\"}", 0,
      "{\"instructions\":\"new \\\"text\\\"\",\"input\":\"u\"}" },
    { WIRE_openai_responses,
      "{\"input\":[{\"type\":\"message\",\"role\":\"user\",\"content\":[{\"type\":\"input_"
      "text\","
      "\"text\":\"a\"},{\"type\":\"input_image\"}]},{\"type\":\"item_reference\",\"id\":\"x\"}]"
      "}",
      0,
      "{\"input\":[{\"type\":\"message\",\"role\":\"user\",\"content\":[{\"type\":\"input_"
      "text\","
      "\"text\":\"new "
      "\\\"text\\\"\"},{\"type\":\"input_image\"}]},{\"type\":\"item_reference\","
      "\"id\":\"x\"}]}" },
    { WIRE_openai_responses,
      "{\"input\":[{\"type\":\"function_call_output\",\"call_id\":\"c\",\"output\":\"o\"}]}", 0,
      "{\"input\":[{\"type\":\"function_call_output\",\"call_id\":\"c\",\"output\":"
      "\"new \\\"text\\\"\"}]}" },
};

static void a_text_that_was_replaced_keeps_what_stands_beside_it(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(replaced); i++) {
        struct fixture f;
        decode(&f, replaced[i].wire, replaced[i].body);
        f.messages[replaced[i].message].content = STR("new \"text\"");
        spliced(&f, "", replaced[i].result);
    }
}

static void messages_are_added_and_left_out(void **state)
{
    static const struct {
        enum wire wire;
        const char *body, *added,
            *left_out; /* a system message before all; all but the last left */
    } rows[] = {
        { WIRE_openai_chat,
          "{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":"
          "\"u\",\"x\":1}]}",
          "{\"messages\":[{\"role\":\"system\",\"content\":\"rule\"},{\"role\":\"system\","
          "\"content\":\"s\"},{\"role\":\"user\",\"content\":\"u\",\"x\":1}]}",
          "{\"messages\":[{\"role\":\"user\",\"content\":\"u\",\"x\":1}]}" },
        { WIRE_anthropic_messages,
          "{\"system\":\"s\",\"messages\":[{\"role\":\"user\",\"content\":\"u\",\"x\":1}]}",
          "{\"system\":[{\"type\":\"text\",\"text\":\"rule\"},{\"type\":\"text\",\"text\":\"s\"}],"
          "\"messages\":[{\"role\":\"user\",\"content\":\"u\",\"x\":1}]}",
          "{\"messages\":[{\"role\":\"user\",\"content\":\"u\",\"x\":1}]}" },
        { WIRE_anthropic_messages,
          "{\"system\":[{\"type\":\"text\",\"text\":\"s\",\"x\":1}],\"messages\":[{\"role\":"
          "\"user\",\"content\":\"u\"}]}",
          "{\"system\":[{\"type\":\"text\",\"text\":\"rule\"},{\"type\":\"text\",\"text\":\"s\","
          "\"x\":1}],\"messages\":[{\"role\":\"user\",\"content\":\"u\"}]}",
          "{\"messages\":[{\"role\":\"user\",\"content\":\"u\"}]}" },
        { WIRE_anthropic_messages, "{\"messages\":[{\"role\":\"user\",\"content\":\"u\"}]}",
          "{\"system\":\"rule\",\"messages\":[{\"role\":\"user\",\"content\":\"u\"}]}",
          "{\"messages\":[{\"role\":\"user\",\"content\":\"u\"}]}" },
        { WIRE_openai_responses, "{\"instructions\":\"s\",\"input\":\"u\"}",
          "{\"instructions\":\"rule\\n\\ns\",\"input\":\"u\"}", "{\"input\":\"u\"}" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct fixture f;
        decode(&f, rows[i].wire, rows[i].body);
        memmove(f.messages + 1, f.messages, f.request.n_messages * sizeof(*f.messages));
        f.messages[0] = (struct chat_message){ .role = STR("system"), .content = STR("rule") };
        f.request.n_messages++;
        spliced(&f, "", rows[i].added);
        decode(&f, rows[i].wire, rows[i].body);
        f.request.messages += f.request.n_messages - 1;
        f.request.n_messages = 1;
        spliced(&f, "", rows[i].left_out);
    }
}

static void new_messages_are_written_from_their_fields(void **state)
{
    static const struct chat_part parts[] = {
        { .kind = CHAT_PART_text, .text = STR("see") },
        { .kind = CHAT_PART_image, .media_type = STR("image/png"), .data = STR("AA==") },
        { .kind = CHAT_PART_image, .url = STR("https://x/y"), .detail = STR("low") },
        { .kind = CHAT_PART_file,
          .name = STR("a.pdf"),
          .media_type = STR("application/pdf"),
          .data = STR("BB==") },
    };
    static const struct chat_tool_call calls[] = { { STR("c1"), STR("f"), STR("{\"x\":1}") },
                                                   { STR("c2"), STR("g"), STR("") } };
    static const char text[] = "see";
    struct chat_message messages[] = {
        { .role = STR("user"),
          .content = { text, 3 },
          .source_content = text,
          .parts = parts,
          .n_parts = ARRAY_LEN(parts) },
        { .role = STR("assistant"), .tool_calls = calls, .n_tool_calls = ARRAY_LEN(calls) },
        { .role = STR("tool"), .tool_call_id = STR("c1"), .content = STR("r"), .is_error = true },
    };
    static const struct {
        enum wire wire;
        const char *result;
    } rows[] = {
        { WIRE_openai_chat,
          "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"see\"},{"
          "\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/"
          "png;base64,AA==\"}},{\"type\":"
          "\"image_url\",\"image_url\":{\"url\":\"https://x/y\",\"detail\":\"low\"}},{\"type\":"
          "\"file\",\"file\":{\"filename\":\"a.pdf\",\"file_data\":\"data:application/"
          "pdf;base64,BB==\"}}]},{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":"
          "\"c1\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"x\\\":1}"
          "\"}},"
          "{\"id\":\"c2\",\"type\":\"function\",\"function\":{\"name\":\"g\",\"arguments\":\"{}\"}}"
          "]},"
          "{\"role\":\"tool\",\"tool_call_id\":\"c1\",\"content\":\"r\"}]}" },
        { WIRE_anthropic_messages,
          "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"see\"},{"
          "\"type\":\"image\",\"source\":{\"type\":\"base64\",\"media_type\":\"image/"
          "png\",\"data\":\"AA==\"}},{\"type\":\"image\",\"source\":{\"type\":\"url\",\"url\":"
          "\"https://x/y\"}},{\"type\":\"document\",\"source\":{\"type\":\"base64\","
          "\"media_type\":\"application/pdf\",\"data\":\"BB==\"},\"title\":\"a.pdf\"}]},{\"role\":"
          "\"assistant\",\"content\":[{\"type\":\"tool_use\",\"id\":\"c1\",\"name\":\"f\","
          "\"input\":{"
          "\"x\":1}},{\"type\":\"tool_use\",\"id\":\"c2\",\"name\":\"g\",\"input\":{}}]},{\"role\":"
          "\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"c1\",\"content\":"
          "\"r\","
          "\"is_error\":true}]}]}" },
        { WIRE_openai_responses,
          "{\"input\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_text\",\"text\":\"see\"},{"
          "\"type\":\"input_image\",\"image_url\":\"data:image/png;base64,AA==\"},{\"type\":"
          "\"input_image\",\"image_url\":\"https://x/"
          "y\",\"detail\":\"low\"},{\"type\":\"input_file\","
          "\"filename\":\"a.pdf\",\"file_data\":\"data:application/pdf;base64,BB==\"}]},{\"type\":"
          "\"function_call\",\"call_id\":\"c1\",\"name\":\"f\",\"arguments\":\"{\\\"x\\\":1}\"},{"
          "\"type\":\"function_call\",\"call_id\":\"c2\",\"name\":\"g\",\"arguments\":\"{}\"},{"
          "\"type\":"
          "\"function_call_output\",\"call_id\":\"c1\",\"output\":\"r\"}]}" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct fixture f = { .arena = arena_new(MIB) };
        f.request = (struct chat_request){ .wire = rows[i].wire,
                                           .source = STR("{}"),
                                           .messages = messages,
                                           .n_messages = ARRAY_LEN(messages) };
        spliced(&f, "", rows[i].result);
    }
}

static void knobs_that_a_route_set_are_carried(void **state)
{
    static const struct {
        enum wire wire;
        const char *body, *result;
    } rows[] = {
        { WIRE_openai_chat, "{\"reasoning_effort\":\"low\",\"messages\":[]}",
          "{\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"answer\","
          "\"schema\":{\"a\":1},\"strict\":true}},\"chat_template_kwargs\":{\"t\":true},"
          "\"reasoning_effort\":\"high\",\"messages\":[]}" },
        { WIRE_openai_responses, "{\"reasoning\":{\"summary\":\"auto\"},\"input\":[]}",
          "{\"text\":{\"format\":{\"type\":\"json_schema\",\"name\":\"answer\",\"schema\":{\"a\":1}"
          ","
          "\"strict\":true}},\"reasoning\":{\"effort\":\"high\",\"summary\":\"auto\"},\"input\":[]"
          "}" },
        { WIRE_anthropic_messages, "{\"messages\":[],\"output_config\":{\"x\":1}}",
          "{\"messages\":[],\"output_config\":{\"format\":{\"type\":\"json_schema\",\"schema\":{"
          "\"a\":"
          "1}},\"effort\":\"high\",\"x\":1}}" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct fixture f;
        decode(&f, rows[i].wire, rows[i].body);
        f.request.changed = CHAT_CHANGED_effort | CHAT_CHANGED_template | CHAT_CHANGED_format;
        f.request.reasoning_effort = STR("high");
        f.request.template_kwargs = STR("{\"t\":true}");
        f.request.format = CHAT_FORMAT_json_schema;
        f.request.format_text = STR("{\"a\":1}");
        f.request.format_strict = true;
        spliced(&f, "", rows[i].result);
    }
}

static void a_prompt_is_replaced_where_it_is_not_the_only_one(void **state)
{
    static const int32_t ids[] = { 1, 2 };
    struct str body = STR("{\"prompt\":\"a\",\"suffix\":null}");
    struct fixture f;
    (void)state;
    decode(&f, WIRE_openai_completions, body.p);
    f.request.prompt = (struct str){ body.p + 11, 1 };
    f.request.source_prompt = f.request.prompt.p;
    spliced(&f, "m", "{\"model\":\"m\",\"prompt\":\"a\",\"suffix\":null}");
    decode(&f, WIRE_openai_completions, body.p);
    f.request.prompt = STR("b");
    f.request.source_prompt = body.p + 11;
    spliced(&f, "", "{\"prompt\":\"b\",\"suffix\":null}");
    decode(&f, WIRE_openai_completions, "{\"prompt\":[[1,2],[3]]}");
    f.request.prompt_ids = ids;
    f.request.n_prompt_ids = ARRAY_LEN(ids);
    spliced(&f, "", "{\"prompt\":[1,2]}");
}

static void what_the_caller_adds_goes_before_all(void **state)
{
    static const struct splice more[] = {
        { "model", { NULL, 0 }, false },
        { "stream", STR("true"), false },
        { "n", STR("1"), true },
        { "user", { NULL, 0 }, false },
    };
    struct fixture f;
    CLEANUP(buf_done) struct buf out = BUF_INIT(MIB);
    (void)state;
    decode(&f, WIRE_openai_chat, "{\"model\":\"m\",\"n\":3,\"user\":\"u\",\"messages\":[]}");
    assert_int_equal(splice_request(&out, &f.request, STR("x"), more, ARRAY_LEN(more)), 0);
    assert_string_equal(out.p, "{\"stream_options\":{\"include_usage\":true},\"stream\":true,"
                               "\"n\":3,\"messages\":[]}");
    (void)arena_free(f.arena);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_are_replaced_and_all_else_kept),
        cmocka_unit_test(what_nobody_changed_stays_as_it_was),
        cmocka_unit_test(a_text_that_was_replaced_keeps_what_stands_beside_it),
        cmocka_unit_test(messages_are_added_and_left_out),
        cmocka_unit_test(new_messages_are_written_from_their_fields),
        cmocka_unit_test(knobs_that_a_route_set_are_carried),
        cmocka_unit_test(a_prompt_is_replaced_where_it_is_not_the_only_one),
        cmocka_unit_test(what_the_caller_adds_goes_before_all),
    };
    return TEST_RUN(tests);
}

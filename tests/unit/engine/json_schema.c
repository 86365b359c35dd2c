/*
 * Schemas against texts that validate and texts that do not, row by row; numbers against plain
 * arithmetic. Random schemas against an independent validator: tests/e2e/json_schema.py.
 */
#include "tests/support/test.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/limits.h"
#include "engine/local/grammar/constraint.h"
#include "engine/local/grammar/json_schema.h"

static struct token_trie *trie; /* of any vocabulary: only bytes are followed here */

static int load(void **state)
{
    CLEANUP(gguf_closep) struct gguf *g = NULL;
    CLEANUP(tokenizer_freep) struct tokenizer *t = NULL;
    struct fail f = { 0 };
    (void)state;
    return gguf_open(&g, test_path("tests/fuzz/corpus/tokenizer/bpe.gguf"), &f) ||
           tokenizer_new(&t, g, &f) || token_trie_new(&trie, t);
}

static int unload(void **state)
{
    (void)state;
    trie = token_trie_free(trie);
    return 0;
}

static int compile(const char *schema, bool strict, struct grammar **ret, struct fail *f)
{
    CLEANUP(grammar_builder_freep) struct grammar_builder *b = NULL;
    const struct json_schema_options o = { "the.param", strict };
    grammar_expr root;
    assert_int_equal(grammar_builder_new(&b), 0);
    int r = json_schema_expr(b, str_of(schema), &o, &root, f);
    return r != 0 ? r : grammar_build(b, root, ret, f);
}

static bool takes(struct grammar *g, const char *text)
{
    CLEANUP(constraint_freep) struct constraint *c = NULL;
    assert_int_equal(constraint_new(&c, g, trie), 0);
    return constraint_accept_bytes(c, str_of(text)) && constraint_may_end(c);
}

struct row {
    const char *schema;
    const char *takes[8], *refuses[8];
    bool strict;
};

static void follow(const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        CLEANUP(grammar_unrefp) struct grammar *g = NULL;
        struct fail f = { 0 };
        if (compile(rows[i].schema, rows[i].strict, &g, &f) != 0)
            fail_msg("%s: %s", rows[i].schema, f.message);
        for (size_t k = 0; k < 8 && rows[i].takes[k]; k++)
            if (!takes(g, rows[i].takes[k]))
                fail_msg("%s does not take %s", rows[i].schema, rows[i].takes[k]);
        for (size_t k = 0; k < 8 && rows[i].refuses[k]; k++)
            if (takes(g, rows[i].refuses[k]))
                fail_msg("%s takes %s", rows[i].schema, rows[i].refuses[k]);
    }
}
#define FOLLOW(rows) follow(rows, ARRAY_LEN(rows))

static void types_and_values(void **state)
{
    (void)state;
    static const struct row rows[] = {
        { "{}",
          { "1", "\"a\"", "[1, {\"a\": null}]", "-1.5e+3" },
          { "", "01", "[1,]", "\"\n\"" },
          0 },
        { "true", { "null" }, { "nul" }, 0 },
        { "{\"type\": \"null\"}", { "null" }, { "true", "0" }, 0 },
        { "{\"type\": [\"boolean\", \"integer\"]}",
          { "true", "-12", "0" },
          { "null", "1.5", "-0" },
          0 },
        { "{\"type\": [\"integer\", \"number\"]}", { "1.5" }, { "null" }, 0 },
        { "{\"enum\": [\"a\\\"\", 1, null, {\"k\": [1, 2.5]}, \"\\u00e9\\u0000\"]}",
          { "\"a\\\"\"", "1", "null", "{\"k\":[1,2.5]}", "{\n  \"k\": [1, 2.5]\n}",
            "\"\xc3\xa9\\u0000\"" },
          { "\"a\"", "2", "{\"k\":[1]}" },
          0 },
        { "{\"const\": 0.1}", { "0.1" }, { "0.10000000000000001", "0.2" }, 0 },
        { "{\"enum\": [1, \"a\", null], \"type\": [\"string\", \"null\"]}",
          { "\"a\"", "null" },
          { "1" },
          0 },
        { "{\"enum\": [1, 2, 3], \"not\": {\"const\": 2}, \"maximum\": 2.5}",
          { "1" },
          { "2", "3" },
          0 },
        { "{\"minimum\": 3}", { "3", "4.5" }, { "2" }, 0 }, /* means numbers */
    };
    FOLLOW(rows);
}

static void strings(void **state)
{
    (void)state;
    static const struct row rows[] = {
        { "{\"type\": \"string\", \"minLength\": 2, \"maxLength\": 3}",
          { "\"ab\"", "\"\xf0\x9f\x98\x80\xc3\xa9\"", "\"\\n\\u00e9\\/\"", "\"\\ud83d\\ude00x\"" },
          { "\"a\"", "\"abcd\"", "\"\\ud83d\\ude00\"", "\"\\ud800xx\"" },
          0 },
        { "{\"type\": \"string\", \"maxLength\": 100000}", { "\"\"", "\"abc\"" }, { "1" }, 0 },
        { "{\"type\": \"string\", \"pattern\": \"b+\"}",
          { "\"abbc\"", "\"b\"" },
          { "\"ac\"", "\"\"" },
          0 },
        { "{\"type\": \"string\", \"pattern\": \"^a.c$\"}",
          { "\"abc\"",
            "\"a\xe2\x82\xac"
            "c\"",
            "\"a\\\"c\"", "\"a\\u0001c\"" },
          { "\"ac\"", "\"a\\nc\"", "\"abcd\"", "\"a\"c\"" },
          0 },
        { "{\"type\": \"string\", \"pattern\": \"^\\\\\\\\\\\\t[\\\"]$\"}",
          { "\"\\\\\\t\\\"\"" },
          { "\"\\t\"" },
          0 },
        { "{\"type\": \"string\", \"pattern\": \"^[a-z]*$\", \"minLength\": 2, \"maxLength\": 3}",
          { "\"ab\"", "\"abc\"" },
          { "\"a\"", "\"abcd\"", "\"AB\"" },
          0 },
        { "{\"type\": \"string\", \"pattern\": \"^[^a-y]$\"}",
          { "\"z\"", "\"\\\\\"", "\"\\b\"" },
          { "\"a\"", "\"zz\"" },
          0 },
        { "{\"type\": \"string\", \"pattern\": \"^(?=.*\\\\d)(?!.*x)\\\\w{2,3}$\"}",
          { "\"a1\"", "\"123\"" },
          { "\"ab\"", "\"x1\"", "\"a123\"" },
          0 },
        { "{\"type\": \"string\", \"pattern\": \"^(?:a|b|)c?$\"}",
          { "\"\"", "\"ac\"", "\"c\"" },
          { "\"ab\"" },
          0 },
        { "{\"type\": \"string\", \"pattern\": \"^a{2}b{1,}c{0,1}d{,2}$\"}",
          { "\"aabd{,2}\"", "\"aabbcd{,2}\"" },
          { "\"aab\"", "\"abd{,2}\"" },
          0 },
        { "{\"type\": \"string\", \"pattern\": \"\\\\bcat\\\\b\"}",
          { "\"cat\"", "\"a cat!\"" },
          { "\"cats\"", "\"concat\"" },
          0 },
        { "{\"type\": \"string\", \"pattern\": "
          "\"^\\\\u00e9\\\\x41\\\\u{1F600}\\\\ud83d\\\\ude00$\"}",
          { "\"\xc3\xa9"
            "A\xf0\x9f\x98\x80\xf0\x9f\x98\x80\"" },
          { "\"eA\"" },
          0 },
        { "{\"type\": \"string\", \"allOf\": [{\"pattern\": \"a\"}, {\"pattern\": \"b\"}]}",
          { "\"ab\"", "\"ba\"" },
          { "\"a\"", "\"b\"" },
          0 },
        { "{\"type\": \"string\", \"not\": {\"pattern\": \"a\"}}",
          { "\"b\"", "\"\"" },
          { "\"ba\"" },
          0 },
        { "{\"type\": \"string\", \"not\": {\"enum\": [\"a\", \"bc\"]}}",
          { "\"b\"", "\"\"", "\"aa\"" },
          { "\"a\"", "\"bc\"" },
          0 },
        { "{\"type\": \"string\", \"format\": \"nonsense\"}", { "\"b\"" }, { "1" }, 0 },
    };
    FOLLOW(rows);
}

static void formats(void **state)
{
    (void)state;
#define FORMAT(name) "{\"type\": \"string\", \"format\": \"" name "\"}"
    static const struct row rows[] = {
        { FORMAT("date"),
          { "\"2024-02-29\"", "\"2000-02-29\"", "\"0001-12-31\"" },
          { "\"2023-02-29\"", "\"1900-02-29\"", "\"0000-01-01\"", "\"2024-13-01\"",
            "\"2024-04-31\"" },
          0 },
        { FORMAT("time"),
          { "\"23:59:59Z\"", "\"00:00:00.25-12:30\"" },
          { "\"24:00:00Z\"", "\"10:00:00\"", "\"10:60:00Z\"" },
          0 },
        { FORMAT("date-time"),
          { "\"2024-01-02T03:04:05Z\"" },
          { "\"2024-01-02 03:04:05Z\"", "\"2024-01-02\"" },
          0 },
        { FORMAT("duration"),
          { "\"P1Y2M3DT4H5M6S\"", "\"PT5M\"", "\"P3W\"" },
          { "\"P\"", "\"PT\"", "\"P1Y2D\"", "\"P1W2D\"", "\"1D\"" },
          0 },
        { FORMAT("email"),
          { "\"a.b+c@example.com\"" },
          { "\"a@\"", "\".a@b.c\"", "\"a b@c.d\"", "\"a@-b.c\"" },
          0 },
        { FORMAT("hostname"),
          { "\"a.b-c.example\"", "\"localhost\"" },
          { "\"-a\"", "\"a_b\"", "\"a..b\"", "\"xn--x\"", "\"\"" },
          0 },
        { FORMAT("ipv4"),
          { "\"0.0.0.0\"", "\"255.10.1.9\"" },
          { "\"256.1.1.1\"", "\"1.2.3\"", "\"01.2.3.4\"" },
          0 },
        { FORMAT("ipv6"),
          { "\"::\"", "\"::1\"", "\"1:2:3:4:5:6:7:8\"", "\"1::8\"", "\"::ffff:1.2.3.4\"",
            "\"1:2:3:4:5:6:7::\"" },
          { "\"1:2:3:4:5:6:7:8:9\"", "\"1::2::3\"", "\"12345::\"", "\":1\"", "\"1:2\"" },
          0 },
        { FORMAT("uuid"),
          { "\"123e4567-E89B-12d3-a456-426614174000\"" },
          { "\"123e4567e89b12d3a456426614174000\"" },
          0 },
        { FORMAT("uri"),
          { "\"http://u@h:80/p/q?x=1#f\"", "\"urn:a:b\"", "\"http://[::1]/%20\"", "\"file:///x\"" },
          { "\"/a\"", "\"http://a b\"", "\"a\"", "\"http://h/%2\"" },
          0 },
        { FORMAT("uri-reference"),
          { "\"/a\"", "\"\"", "\"../b?c\"", "\"//h\"" },
          { "\"\\\\a\"", "\"a b\"" },
          0 },
        { FORMAT("json-pointer"), { "\"\"", "\"/a~0b/~1\"" }, { "\"a\"", "\"/~2\"", "\"/~\"" }, 0 },
        { FORMAT("relative-json-pointer"), { "\"0#\"", "\"12/a\"" }, { "\"01\"", "\"/a\"" }, 0 },
    };
    FOLLOW(rows);
}

static void objects(void **state)
{
    (void)state;
#define ABC                                                                                        \
    "\"properties\": {\"a\": {\"type\": \"integer\"}, \"b\": {\"const\": 1}, \"c\": {\"type\": "   \
    "\"null\"}}"
    static const struct row rows[] = {
        { "{\"type\": \"object\", " ABC ", \"required\": [\"b\"], \"additionalProperties\": false}",
          { "{\"b\":1}", "{\"a\":2,\"b\":1}", "{\"b\":1,\"c\":null}",
            "{\n  \"a\": 2,\n  \"b\": 1\n}", "{ \"b\": 1 }" },
          { "{}", "{\"a\":2}", "{\"b\":1,\"a\":2}", "{\"b\":1,\"b\":1}", "{\"b\":1,}",
            "{\"b\":1,\"d\":1}", "{  \"b\":1}" },
          0 },
        { "{\"type\": \"object\", " ABC "}",
          { "{}", "{\"x\":1}", "{\"a\":1,\"x\":1,\"y\":{}}" },
          { "{\"a\":\"s\"}", "{\"x\":1,\"a\":1}", "{\"\\u0061\":\"s\"}" },
          0 },
        { "{\"type\": \"object\", " ABC "}", { "{}", "{\"a\":1}" }, { "{\"x\":1}" }, true },
        { "{\"type\": \"object\", " ABC ", \"additionalProperties\": {\"type\": \"boolean\"}}",
          { "{\"x\":true}", "{\"aa\":false}" },
          { "{\"x\":1}" },
          true },
        { "{\"type\": \"object\", " ABC
          ", \"additionalProperties\": false, \"minProperties\": 2, \"maxProperties\": 2}",
          { "{\"a\":1,\"b\":1}", "{\"b\":1,\"c\":null}" },
          { "{}", "{\"a\":1}", "{\"a\":1,\"b\":1,\"c\":null}" },
          0 },
        { "{\"type\": \"object\", \"maxProperties\": 1}",
          { "{}", "{\"x\":1}" },
          { "{\"x\":1,\"y\":1}" },
          0 },
        { "{\"type\": \"object\", \"maxProperties\": 0}", { "{}" }, { "{\"x\":1}" }, 0 },
        { "{\"type\": \"object\", \"required\": [\"q\\\"\"], \"additionalProperties\": {\"type\": "
          "\"integer\"}}",
          { "{\"q\\\"\":1}", "{\"q\\\"\":1,\"x\":2}" },
          { "{}", "{\"x\":1}", "{\"q\\\"\":null}" },
          0 },
        { "{\"type\": \"object\", \"patternProperties\": {\"^x\": {\"type\": \"integer\"}, \"y$\": "
          "{\"minimum\": 5}}, \"additionalProperties\": false}",
          { "{}", "{\"xa\":1}", "{\"xy\":5}", "{\"ay\":5.5}" },
          { "{\"xy\":4}", "{\"xa\":\"s\"}", "{\"a\":1}", "{\"ay\":4}" },
          0 },
        { "{\"type\": \"object\", \"properties\": {\"xa\": {\"maximum\": 3}}, "
          "\"patternProperties\": {\"^x\": {\"type\": \"integer\"}}}",
          { "{\"xa\":3}" },
          { "{\"xa\":4}", "{\"xa\":1.5}" },
          0 },
        { "{\"type\": \"object\", \"propertyNames\": {\"maxLength\": 2}}",
          { "{\"ab\":1}" },
          { "{\"abc\":1}" },
          0 },
        { "{\"type\": \"object\", \"propertyNames\": {\"enum\": [\"a\", \"b\"]}, "
          "\"additionalProperties\": {\"type\": \"null\"}}",
          { "{}", "{\"b\":null}", "{\"a\":null,\"b\":null}" },
          { "{\"c\":null}", "{\"a\":1}" },
          0 },
        { "{\"type\": \"object\", " ABC
          ", \"additionalProperties\": false, \"dependentRequired\": {\"a\": [\"c\"]}}",
          { "{}", "{\"b\":1}", "{\"a\":1,\"c\":null}" },
          { "{\"a\":1}", "{\"a\":1,\"b\":1}" },
          0 },
    };
    FOLLOW(rows);
}

static void arrays(void **state)
{
    (void)state;
    static const struct row rows[] = {
        { "{\"type\": \"array\", \"items\": {\"type\": \"integer\"}, \"minItems\": 1, "
          "\"maxItems\": 2}",
          { "[1]", "[1,2]", "[ 1, 2 ]", "[\n\t1,\n\t2\n]" },
          { "[]", "[1,2,3]", "[1 ,2]", "[null]" },
          0 },
        { "{\"type\": \"array\", \"prefixItems\": [{\"const\": 1}, {\"const\": 2}], \"items\": "
          "{\"const\": 3}, \"minItems\": 1}",
          { "[1]", "[1,2]", "[1,2,3,3]" },
          { "[]", "[2]", "[1,3]" },
          0 },
        { "{\"type\": \"array\", \"items\": [{\"const\": 1}], \"additionalItems\": false}",
          { "[]", "[1]" },
          { "[1,1]", "[2]" },
          0 },
        { "{\"type\": \"array\", \"items\": false}", { "[]" }, { "[1]" }, 0 },
        { "{\"type\": \"array\", \"items\": {\"type\": \"integer\"}, \"contains\": {\"minimum\": "
          "5}}",
          { "[5]", "[1,6,1]" },
          { "[]", "[1,2]" },
          0 },
        { "{\"type\": \"array\", \"items\": {\"type\": \"integer\"}, \"contains\": {\"minimum\": "
          "5}, \"minContains\": 2, \"maxContains\": 2, \"maxItems\": 3}",
          { "[5,6]", "[5,1,7]" },
          { "[5]", "[5,5,5]", "[1,1,5]", "[1,5,5,1]" },
          0 },
        { "{\"type\": \"array\", \"items\": {\"enum\": [\"a\", \"b\", \"c\"]}, \"uniqueItems\": "
          "true, \"maxItems\": 2}",
          { "[]", "[\"c\",\"a\"]" },
          { "[\"a\",\"a\"]", "[\"a\",\"b\",\"c\"]" },
          0 },
        { "{\"type\": \"array\", \"items\": {\"enum\": [1,2,3,4,5,6,7,8,9]}, \"uniqueItems\": "
          "true, \"minItems\": 2}",
          { "[1,9]", "[1,2,3,4,5,6,7,8,9]" },
          { "[1]", "[1,1]", "[2,2,3]" },
          0 },
    };
    FOLLOW(rows);
}

static void choices_and_references(void **state)
{
    (void)state;
    static const struct row rows[] = {
        { "{\"anyOf\": [{\"type\": \"integer\"}, {\"type\": \"string\", \"maxLength\": 1}]}",
          { "1", "\"a\"" },
          { "\"ab\"", "null" },
          0 },
        { "{\"type\": \"integer\", \"anyOf\": [{\"minimum\": 5}, {\"maximum\": 1}], "
          "\"multipleOf\": 2}",
          { "6", "0" },
          { "5", "2", "3" },
          0 },
        { "{\"oneOf\": [{\"type\": \"integer\", \"minimum\": 5}, {\"type\": \"integer\", "
          "\"maximum\": 3}]}",
          { "5", "3" },
          { "4" },
          0 },
        { "{\"oneOf\": [{\"type\": \"integer\", \"minimum\": 2}, {\"type\": \"integer\", "
          "\"maximum\": 4}]}",
          { "5", "1" },
          { "2", "3", "4" },
          0 },
        { "{\"oneOf\": [{\"properties\": {\"k\": {\"const\": \"a\"}, \"x\": {\"type\": "
          "\"integer\"}}}, {\"properties\": {\"k\": {\"const\": \"b\"}}}], \"type\": \"object\"}",
          { "{\"k\":\"a\",\"x\":1}", "{\"k\":\"b\",\"x\":null}" },
          { "{}", "{\"k\":\"a\",\"x\":null}", "{\"k\":\"c\"}" },
          0 },
        { "{\"allOf\": [{\"properties\": {\"a\": {\"type\": \"integer\"}}, \"required\": [\"a\"]}, "
          "{\"properties\": {\"a\": {\"minimum\": 3}, \"b\": {\"type\": \"null\"}}}], \"type\": "
          "\"object\"}",
          { "{\"a\":3}", "{\"a\":3,\"b\":null}" },
          { "{\"a\":2}", "{}", "{\"a\":3,\"b\":1}" },
          true },
        { "{\"type\": [\"integer\", \"null\"], \"not\": {\"type\": \"null\"}}",
          { "1" },
          { "null" },
          0 },
        { "{\"type\": [\"integer\", \"boolean\"], \"not\": {\"enum\": [1, true]}}",
          { "2", "false" },
          { "1", "true" },
          0 },
        { "{\"type\": \"object\", \"properties\": {\"k\": {\"enum\": [1, 2]}, \"x\": true}, "
          "\"required\": [\"k\"], \"additionalProperties\": false, \"if\": {\"properties\": "
          "{\"k\": {\"const\": 1}}}, \"then\": {\"required\": [\"x\"]}, \"else\": {\"properties\": "
          "{\"x\": false}}}",
          { "{\"k\":1,\"x\":0}", "{\"k\":2}" },
          { "{\"k\":1}", "{\"k\":2,\"x\":0}" },
          0 },
        { "{\"$defs\": {\"n\": {\"type\": \"object\", \"properties\": {\"next\": {\"anyOf\": "
          "[{\"$ref\": \"#/$defs/n\"}, {\"type\": \"null\"}]}}, \"required\": [\"next\"], "
          "\"additionalProperties\": false}}, \"$ref\": \"#/$defs/n\"}",
          { "{\"next\":null}", "{\"next\":{\"next\":{\"next\":null}}}" },
          { "{}", "{\"next\":{}}" },
          0 },
        { "{\"type\": \"array\", \"items\": {\"$ref\": \"#\"}}",
          { "[]", "[[],[[]]]" },
          { "[1]" },
          0 },
        { "{\"a~/%\": {\"type\": \"null\"}, \"$ref\": \"#/a~0~1%25\"}", { "null" }, { "1" }, 0 },
        { "{\"$defs\": {\"x\": {\"$anchor\": \"here\", \"type\": \"null\"}}, \"$ref\": \"#here\"}",
          { "null" },
          { "1" },
          0 },
        { "{\"$id\": \"http://e/x\", \"$defs\": {\"y\": {\"type\": \"null\"}}, \"$ref\": "
          "\"http://e/x#/$defs/y\"}",
          { "null" },
          { "1" },
          0 },
    };
    FOLLOW(rows);
}

static void refusals_name_keyword_and_place(void **state)
{
    (void)state;
    static const struct {
        const char *schema, *keyword, *place;
        bool strict;
    } rows[] = {
        { "{\"properties\": {\"a\": {\"unevaluatedProperties\": false}}}",
          "'unevaluatedProperties'", "'#/properties/a'", 0 },
        { "{\"$dynamicRef\": \"#x\"}", "'$dynamicRef'", "'#'", 0 },
        { "{\"$ref\": \"http://other/doc\"}", "'$ref'", "'#'", 0 },
        { "{\"$ref\": \"#/$defs/x\"}", "'$ref'", "'#'", 0 },
        { "{\"$ref\": \"#\"}", "'$ref'", "'#'", 0 },
        { "{\"anyOf\": [{\"$ref\": \"#\"}, {\"type\": \"null\"}]}", "'$ref'", "'#'", 0 },
        { "{\"items\": {\"pattern\": \"(?<=a)b\"}}", "'pattern'", "'#/items'", 0 },
        { "{\"pattern\": \"(a)\\\\1\"}", "'pattern'", "'#'", 0 },
        { "{\"pattern\": \"(a\"}", "'pattern'", "'#'", 0 },
        { "{\"pattern\": \"(a|b)*a(a|b){20}\"}", "'pattern'", "'#'", 0 },
        { "{\"pattern\": \"((((a{99}){99}){99}){99}){99}\"}", "'pattern'", "'#'", 0 },
        { "{\"items\": {\"type\": \"string\"}, \"uniqueItems\": true}", "'uniqueItems'", "'#'", 0 },
        { "{\"type\": \"integer\", \"multipleOf\": 977}", "'multipleOf'", "'#'", 0 },
        { "{\"multipleOf\": 0}", "'multipleOf'", "'#'", 0 },
        { "{\"oneOf\": [{\"type\": \"integer\", \"multipleOf\": 2}, {\"type\": \"integer\", "
          "\"multipleOf\": 3}]}",
          "'oneOf'", "'#'", 0 },
        { "{\"not\": {\"format\": \"date\"}}", "'not'", "'#/not'", 0 },
        { "{\"type\": \"object\", \"minProperties\": 3}", "'minProperties'", "'#'", 0 },
        { "{\"type\": \"nothing\"}", "'type'", "'#'", 0 },
        { "{\"minLength\": -1, \"type\": \"string\"}", "'minLength'", "'#'", 0 },
        { "{\"properties\": {\"a/b\": {\"whatever\": 1}}}", "'whatever'", "'#/properties/a~1b'",
          true },
        { "{\"type\": \"string\", \"format\": \"nonsense\"}", "'format'", "'#'", true },
        { "{\"items\": 3}", "boolean", "'#", 0 },
        { "[]", "boolean", "'#", 0 },
        { "{\"type\": ", "JSON", "schema", 0 },
        { "{\"a\": 1, \"a\": 2}", "JSON", "schema", 0 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(grammar_unrefp) struct grammar *g = NULL;
        struct fail f = { 0 };
        assert_int_equal(compile(rows[i].schema, rows[i].strict, &g, &f), FAILED);
        assert_int_equal(f.code, FAIL_invalid_request);
        assert_string_equal(f.param, "the.param");
        if (!strstr(f.message, rows[i].keyword) || !strstr(f.message, rows[i].place))
            fail_msg("%s: %s", rows[i].schema, f.message);
    }
}

static void schemas_without_values_are_refused(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "false",
        "{\"type\": \"integer\", \"minimum\": 3, \"maximum\": 2}",
        "{\"type\": \"integer\", \"exclusiveMinimum\": 3, \"exclusiveMaximum\": 4}",
        "{\"type\": \"number\", \"exclusiveMinimum\": 0, \"maximum\": 0}",
        "{\"type\": \"string\", \"minLength\": 2, \"maxLength\": 1}",
        "{\"type\": \"string\", \"pattern\": \"^a$\", \"minLength\": 2}",
        "{\"enum\": []}",
        "{\"enum\": [1, 2], \"type\": \"string\"}",
        "{\"allOf\": [{\"type\": \"string\"}, {\"type\": \"null\"}]}",
        "{\"type\": \"object\", \"required\": [\"a\"], \"additionalProperties\": false}",
        "{\"type\": \"object\", \"required\": [\"a\"], \"properties\": {\"a\": {\"$ref\": \"#\"}}}",
        "{\"type\": \"array\", \"items\": false, \"minItems\": 1}",
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(grammar_unrefp) struct grammar *g = NULL;
        struct fail f = { 0 };
        if (compile(rows[i], false, &g, &f) != FAILED || f.message[0] == '\0')
            fail_msg("%s is not refused", rows[i]);
    }
}

/* --- numbers against arithmetic --- */

static void check_numbers(const char *schema, double low, double high, bool ends[2], int step)
{
    CLEANUP(grammar_unrefp) struct grammar *g = NULL;
    struct fail f = { 0 };
    bool any = false;
    int r = compile(schema, false, &g, &f);
    for (int n = -400; n <= 400; n++) {
        char text[32];
        double v = n / 4.0;
        bool inside = (ends[0] ? v > low : v >= low) && (ends[1] ? v < high : v <= high);
        inside = inside && (step == 0 || n % (4 * step) == 0);
        (void)snprintf(text, sizeof(text), "%.10g", v);
        any |= inside;
        if (r == 0 && takes(g, text) != inside)
            fail_msg("%s and %s", schema, text);
    }
    if (r != 0 && any)
        fail_msg("%s: %s", schema, f.message);
}

static void bounds_are_exact(void **state)
{
    (void)state;
    uint64_t seed = 7;
    for (int i = 0; i < 300; i++) {
        char schema[256];
        double low = (double)(int64_t)(test_random(&seed) % 400) / 4 - 60;
        double high = low + (double)(test_random(&seed) % 200) / 4;
        bool ends[2] = { test_random(&seed) % 2, test_random(&seed) % 2 };
        int step = test_random(&seed) % 2 ? (int)(test_random(&seed) % 12) : 0;
        (void)snprintf(schema, sizeof(schema), "{\"type\": \"number\", \"%s\": %g, \"%s\": %g",
                       ends[0] ? "exclusiveMinimum" : "minimum", low,
                       ends[1] ? "exclusiveMaximum" : "maximum", high);
        size_t n = strlen(schema);
        if (step)
            (void)snprintf(schema + n, sizeof(schema) - n, ", \"multipleOf\": %d}", step);
        else
            (void)snprintf(schema + n, sizeof(schema) - n, "}");
        check_numbers(schema, low, high, ends, step);
    }
}

static void numbers(void **state)
{
    (void)state;
    static const struct row rows[] = {
        { "{\"type\": \"integer\", \"minimum\": 9007199254740993, \"maximum\": "
          "18446744073709551615}",
          { "9007199254740993", "9007199254740994" },
          { "9007199254740991", "99999999999999999999" },
          0 },
        { "{\"type\": \"number\", \"minimum\": 0, \"maximum\": 1}",
          { "0", "1", "0.5", "1.0", "0.000000000000001" },
          { "1.1", "-0.1", "1e0", "-0", "00", "0." },
          0 },
        { "{\"type\": \"number\", \"minimum\": -1e308, \"maximum\": 1e308}",
          { "-5.5", "123456789012345" },
          { "1e3" },
          0 },
        { "{\"type\": \"number\", \"multipleOf\": 0.01}",
          { "0.07", "19.99", "-3", "2.5", "1.10" },
          { "0.001", "1.999" },
          0 },
        { "{\"type\": \"number\", \"multipleOf\": 2.5}",
          { "0", "2.5", "-7.5", "10" },
          { "1", "2.25", "3.5" },
          0 },
        { "{\"type\": \"integer\", \"multipleOf\": 1000}",
          { "0", "5000", "-1000" },
          { "500", "1", "1001" },
          0 },
        { "{\"type\": \"integer\", \"multipleOf\": 0.5}", { "3" }, { "0.5" }, 0 },
        { "{\"type\": \"number\", \"minimum\": 5, \"exclusiveMinimum\": true}",
          { "5.1" },
          { "5", "5.0" },
          0 },
        { "{\"type\": \"number\", \"exclusiveMinimum\": 1e-20, \"maximum\": 3e-20}",
          { "0.00000000000000000002" },
          { "0.00000000000000000001", "0", "1" },
          0 },
        { "{\"type\": \"number\"}",
          { "1.5e10", "-0.1E-5", "123456789012345678" },
          { "1e400", "1e", ".5", "+1" },
          0 },
        { "{\"type\": \"number\", \"not\": {\"const\": 1.5}, \"minimum\": 1}",
          { "1", "1.6" },
          { "1.5", "1.50" },
          0 },
    };
    FOLLOW(rows);
}

static void hostile_schemas_end_soon(void **state)
{
    (void)state;
    CLEANUP(buf_done) struct buf deep = BUF_INIT(MIB);
    CLEANUP(buf_done) struct buf wide = BUF_INIT(4 * MIB);
    CLEANUP(buf_done) struct buf choice = BUF_INIT(MIB);
    for (int i = 0; i < 500; i++)
        buf_adds(&deep, "{\"items\":");
    buf_adds(&deep, "true");
    for (int i = 0; i < 500; i++)
        buf_addc(&deep, '}');
    buf_adds(&wide, "{\"enum\":[0");
    for (int i = 1; i < 100000; i++)
        buf_addf(&wide, ",%d", i);
    buf_adds(&wide, "]}");
    buf_adds(&choice, "{\"allOf\":[{}");
    for (int i = 0; i < 40; i++)
        buf_addf(&choice, ",{\"anyOf\":[{\"minimum\":%d},{\"maximum\":%d}]}", i, -i);
    buf_adds(&choice, "]}");
    const char *const rows[] = { deep.p, wide.p, choice.p };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(grammar_unrefp) struct grammar *g = NULL;
        struct fail f = { 0 };
        assert_int_equal(compile(rows[i], false, &g, &f), FAILED);
        assert_string_equal(f.param, "the.param");
    }
}

static void many_optional_members_cost_little(void **state)
{
    (void)state;
    CLEANUP(buf_done) struct buf b = BUF_INIT(MIB);
    CLEANUP(grammar_unrefp) struct grammar *g = NULL;
    struct fail f = { 0 };
    buf_adds(&b, "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{\"m\":true");
    for (int i = 0; i < 300; i++)
        buf_addf(&b, ",\"m%d\":{\"type\":\"integer\"}", i);
    buf_adds(&b, "}}");
    assert_int_equal(compile(b.p, false, &g, &f), 0);
    assert_true(takes(g, "{\"m1\":1,\"m77\":2,\"m299\":3}"));
    assert_false(takes(g, "{\"m77\":1,\"m1\":2}"));
}

static void whole_texts_match_regular_expressions(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *takes, *refuses;
    } rows[] = {
        { "a|b", "b", "ab" },
        { "\\d+", "123", "12a" },
        { "^(?=.*b)[a-c]+$", "ab", "ac" },
        { "\"\\n?", "\"\n", "\\\"" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(grammar_builder_freep) struct grammar_builder *b = NULL;
        CLEANUP(grammar_unrefp) struct grammar *g = NULL;
        struct fail f = { 0 };
        grammar_expr root;
        assert_int_equal(grammar_builder_new(&b), 0);
        assert_int_equal(regex_expr(b, str_of(rows[i].pattern), &root, &f), 0);
        assert_int_equal(grammar_build(b, root, &g, &f), 0);
        assert_true(takes(g, rows[i].takes));
        assert_false(takes(g, rows[i].refuses));
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_and_values),
        cmocka_unit_test(strings),
        cmocka_unit_test(formats),
        cmocka_unit_test(objects),
        cmocka_unit_test(arrays),
        cmocka_unit_test(choices_and_references),
        cmocka_unit_test(numbers),
        cmocka_unit_test(bounds_are_exact),
        cmocka_unit_test(refusals_name_keyword_and_place),
        cmocka_unit_test(schemas_without_values_are_refused),
        cmocka_unit_test(hostile_schemas_end_soon),
        cmocka_unit_test(many_optional_members_cost_little),
        cmocka_unit_test(whole_texts_match_regular_expressions),
    };
    test_begin();
    return cmocka_run_group_tests(tests, load, unload);
}

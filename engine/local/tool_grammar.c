/*
 * Forced calls: what a family writes, as a grammar.
 */
#include "engine/local/tool_format.h"

#include "base/buf.h"
#include "base/limits.h"
#include "base/own.h"
#include "engine/local/grammar/json_schema.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

enum {
    CALLS_MAX = 16,   /* of one answer, where parallel calls may come */
    PIECES_MAX = 24,  /* of one text of a row */
    SPACES_MAX = 2,   /* behind reasoning */
    INDEX_DIGITS = 3, /* of a '#' */
};

/* ---- texts of a row ---- */

static size_t mark_length(struct str text)
{
    char last = text.p[0] == '<' ? '>' : text.p[0] == '[' ? ']' : 0;
    for (size_t i = 1; last && i < text.n; i++) {
        char c = text.p[i];
        if (c == last)
            return i + 1;
        bool upper = (c >= 'A' && c <= 'Z') || c == '_' || c == '/';
        if (c == ' ' || c == '\n' || c == '<' || (last == ']' && !upper))
            return 0;
    }
    return 0;
}

static grammar_expr digits(struct grammar_builder *b)
{
    static const struct code_range range = { '0', '9' };
    return grammar_repeat(b, grammar_class(b, &range, 1, false), 1, INDEX_DIGITS);
}

/* Plain bytes, marks (<…>, […]) and digits ('#'). */
static grammar_expr words(struct grammar_builder *b, const char *text)
{
    grammar_expr parts[PIECES_MAX];
    struct str rest = str_of(text);
    size_t n = 0, plain = 0;
    while (rest.n && n + 2 < PIECES_MAX) {
        size_t mark = plain < rest.n ? mark_length(str_sub(rest, plain)) : 0;
        bool number = plain < rest.n && rest.p[plain] == '#';
        if (plain < rest.n && !mark && !number) {
            plain++;
            continue;
        }
        if (plain)
            parts[n++] = grammar_bytes(b, str_head(rest, plain));
        if (mark)
            parts[n++] = grammar_mark(b, str_head(str_sub(rest, plain), mark));
        if (number)
            parts[n++] = digits(b);
        rest = str_sub(rest, plain + (mark ? mark : number ? 1 : 0));
        plain = 0;
    }
    return n ? grammar_seq(b, parts, n) : grammar_empty(b);
}

static grammar_expr maybe(struct grammar_builder *b, grammar_expr e)
{
    return grammar_repeat(b, e, 0, 1);
}

/* ---- reasoning ---- */

grammar_expr tool_format_answer(struct grammar_builder *b, const struct tool_format *f, bool opened,
                                grammar_expr body)
{
    static const struct code_range space[] = { { '\n', '\n' }, { ' ', ' ' } };
    if (!f->think_open)
        return body;
    struct str close = str_of(f->think_close);
    grammar_expr thought[] = {
        grammar_text_without(b, &close, 1),
        words(b, f->think_close),
        grammar_repeat(b, grammar_class(b, space, ARRAY_LEN(space), false), 0, SPACES_MAX),
    };
    grammar_expr rest = grammar_seq(b, thought, ARRAY_LEN(thought));
    grammar_expr block[] = { words(b, f->think_open), rest };
    grammar_expr answer[] = { opened ? rest : maybe(b, grammar_seq(b, block, 2)), body };
    return grammar_seq(b, answer, 2);
}

/* ---- schemas ---- */

struct tool_schema {
    const struct tool_format *format;
    json_t *json; /* owned */
    char param[64];
    bool strict;
};

static void tool_schema_done(struct tool_schema *s)
{
    json_decref(s->json);
}

/* A function's declared members are all that a call that is not strict should have as well: models
 * invent others. Only places that JSON Schema evaluates on their own are closed. */
static void close_objects(json_t *schema, unsigned depth)
{
    static const char *const maps[] = { "properties", "$defs", "definitions" };
    static const char *const lists[] = { "anyOf", "oneOf" };
    const char *key;
    json_t *value;
    size_t k;
    if (!json_is_object(schema) || depth > LIMIT_JSON_DEPTH)
        return;
    for (size_t i = 0; i < ARRAY_LEN(maps); i++)
        json_object_foreach(json_object_get(schema, maps[i]), key, value)
            close_objects(value, depth + 1);
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        json_array_foreach(json_object_get(schema, lists[i]), k, value)
            close_objects(value, depth + 1);
    close_objects(json_object_get(schema, "items"), depth + 1);
    static const char *const joined[] = {
        "additionalProperties", "patternProperties", "allOf", "anyOf", "oneOf", "$ref", "if"
    };
    bool closes = json_is_object(json_object_get(schema, "properties"));
    for (size_t i = 0; i < ARRAY_LEN(joined); i++)
        closes = closes && !json_object_get(schema, joined[i]);
    if (closes)
        (void)json_object_set_new(schema, "additionalProperties", json_false());
}

static bool is_strict(const struct chat_tool *tool)
{
    json_auto_t *whole = json_loadb(tool->json.p ? tool->json.p : "", tool->json.n, 0, NULL);
    return json_is_true(json_object_get(json_object_get(whole, "function"), "strict"));
}

/* The schema of a tool's arguments, which are an object whatever it leaves open. */
static int read_schema(struct tool_schema *ret, const struct chat_request *q, size_t i,
                       struct fail *reterr)
{
    const struct chat_tool *t = &q->tools[i];
    (void)snprintf(ret->param, sizeof(ret->param), "tools[%zu].function.parameters", i);
    ret->strict = is_strict(t);
    bool none = t->parameters.n == 0 || str_is(t->parameters, "null");
    ret->json = none ? json_pack("{s:s, s:{}}", "type", "object", "properties")
                     : json_loadb(t->parameters.p, t->parameters.n, 0, NULL);
    if (!json_is_object(ret->json))
        return fail_param(reterr, FAIL_invalid_request, ret->param, "'%s' must be a JSON schema",
                          ret->param);
    const json_t *type = json_object_get(ret->json, "type");
    if (type && strcmp(json_is_string(type) ? json_string_value(type) : "", "object") != 0)
        return fail_param(reterr, FAIL_invalid_request, ret->param,
                          "'%s' must have the type \"object\"", ret->param);
    if (!type && json_object_set_new(ret->json, "type", json_string("object")) < 0)
        return -ENOMEM;
    if (!ret->strict)
        close_objects(ret->json, 0);
    return 0;
}

static int schema_expr(struct grammar_builder *b, const json_t *schema, const struct tool_schema *s,
                       grammar_expr *ret, struct fail *reterr)
{
    CLEANUP(own_free) char *text = json_dumps(schema, JSON_COMPACT | JSON_ENCODE_ANY);
    struct json_schema_options o = { .param = s->param, .strict = s->strict };
    return text ? json_schema_expr(b, str_of(text), &o, ret, reterr) : -ENOMEM;
}

/* ---- arguments as tags ---- */

static bool is_word(const json_t *v, const char *word)
{
    return json_is_string(v) && strcmp(json_string_value(v), word) == 0;
}

static struct str json_view(const json_t *v)
{
    return (struct str){ json_string_value(v), json_string_length(v) };
}

static int refuse_keyword(const struct tool_schema *s, const char *key, const char *keyword,
                          struct fail *reterr)
{
    return fail_param(reterr, FAIL_invalid_request, s->param,
                      "'%s%s%s': the keyword '%s' cannot be honoured in this model's way to write "
                      "calls; leave it out",
                      s->param, key ? ".properties." : "", key ? key : "", keyword);
}

static bool is_note(const char *keyword)
{
    static const char *const notes[] = { "title",      "description", "default", "examples",
                                         "$comment",   "$schema",     "$id",     "deprecated",
                                         "readOnly",   "writeOnly",   "x-order", "$defs",
                                         "definitions" };
    for (size_t i = 0; i < ARRAY_LEN(notes); i++)
        if (strcmp(keyword, notes[i]) == 0)
            return true;
    return false;
}

/* One of the words of an enum or const, unquoted. */
static int word_expr(struct grammar_builder *b, const json_t *list, grammar_expr *ret)
{
    grammar_expr any = grammar_never(b);
    size_t i;
    json_t *word;
    json_array_foreach((json_t *)(uintptr_t)list, i, word)
    {
        grammar_expr two[] = { any, grammar_bytes(b, json_view(word)) };
        any = i ? grammar_alt(b, two, 2) : two[1];
    }
    *ret = any;
    return 0;
}

static uint32_t length_of(const json_t *v, uint32_t otherwise)
{
    json_int_t n = json_integer_value(v);
    return !json_is_integer(v) || n < 0 ? otherwise : n < GRAMMAR_MANY ? (uint32_t)n : otherwise;
}

/* Text as it is, up to the tag that closes it. */
static int text_expr(struct grammar_builder *b, const json_t *schema, const char *key,
                     const struct tool_schema *s, grammar_expr *ret, struct fail *reterr)
{
    static const char *const known[] = { "type",    "enum",      "const",
                                         "pattern", "minLength", "maxLength" };
    static const struct code_range tag = { '<', '<' };
    struct str close = str_trim(str_of(s->format->key_close));
    const char *keyword;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)schema, keyword, value)
    {
        bool ok = is_note(keyword);
        for (size_t i = 0; i < ARRAY_LEN(known) && !ok; i++)
            ok = strcmp(keyword, known[i]) == 0;
        if (!ok)
            return refuse_keyword(s, key, keyword, reterr);
    }
    const json_t *list = json_object_get(schema, "enum"), *one = json_object_get(schema, "const");
    const json_t *pattern = json_object_get(schema, "pattern");
    if (list)
        return word_expr(b, list, ret);
    if (one)
        *ret = grammar_bytes(b, json_view(one));
    else if (pattern)
        return regex_expr(b, json_view(pattern), ret, reterr);
    else if (json_object_get(schema, "minLength") || json_object_get(schema, "maxLength"))
        *ret = grammar_repeat(b, grammar_class(b, &tag, 1, true),
                              length_of(json_object_get(schema, "minLength"), 0),
                              length_of(json_object_get(schema, "maxLength"), GRAMMAR_MANY));
    else
        *ret = grammar_text_without(b, &close, 1);
    return 0;
}

/* As the parser sees it: a value that is text whatever it looks like. */
static bool is_text(const json_t *schema)
{
    const json_t *type = json_object_get(schema, "type");
    return is_word(type, "string") ||
           (!type && json_is_string(json_array_get(json_object_get(schema, "enum"), 0)));
}

static int value_expr(struct grammar_builder *b, json_t *schema, const char *key,
                      const struct tool_schema *s, grammar_expr *ret, struct fail *reterr)
{
    static const char *const shared[] = { "$defs", "definitions" };
    if (is_text(schema))
        return text_expr(b, schema, key, s, ret, reterr);
    if (!json_is_object(schema)) /* true: anything */
        return schema_expr(b, schema, s, ret, reterr);
    json_auto_t *alone = json_copy(schema);
    if (!alone)
        return -ENOMEM;
    for (size_t i = 0; i < ARRAY_LEN(shared); i++)
        if (json_object_get(s->json, shared[i]))
            (void)json_object_set(alone, shared[i], json_object_get(s->json, shared[i]));
    return schema_expr(b, alone, s, ret, reterr);
}

static bool is_required(const json_t *list, const char *key)
{
    size_t i;
    json_t *one;
    json_array_foreach((json_t *)(uintptr_t)list, i, one)
    {
        if (is_word(one, key))
            return true;
    }
    return false;
}

static int tags_expr(struct grammar_builder *b, const struct tool_schema *s, grammar_expr *ret,
                     struct fail *reterr)
{
    const struct tool_format *f = s->format;
    static const char *const known[] = { "type", "properties", "required", "additionalProperties",
                                         "strict" };
    const char *key;
    json_t *value;
    json_object_foreach(s->json, key, value)
    {
        bool ok = is_note(key);
        for (size_t i = 0; i < ARRAY_LEN(known) && !ok; i++)
            ok = strcmp(key, known[i]) == 0;
        if (!ok)
            return refuse_keyword(s, NULL, key, reterr);
    }
    *ret = grammar_empty(b);
    json_object_foreach(json_object_get(s->json, "properties"), key, value)
    {
        grammar_expr one;
        int r = value_expr(b, value, key, s, &one, reterr);
        if (r != 0)
            return r;
        grammar_expr parts[] = { words(b, f->key_open), grammar_bytes(b, str_of(key)),
                                 words(b, f->key_mid), one, words(b, f->key_close) };
        one = grammar_seq(b, parts, ARRAY_LEN(parts));
        grammar_expr both[] = { *ret, is_required(json_object_get(s->json, "required"), key)
                                          ? one
                                          : maybe(b, one) };
        *ret = grammar_seq(b, both, 2);
    }
    return 0;
}

/* ---- calls ---- */

static int call_expr(struct grammar_builder *b, const struct tool_format *f,
                     const struct chat_request *q, size_t i, grammar_expr *ret, struct fail *reterr)
{
    CLEANUP(tool_schema_done) struct tool_schema s = { .format = f };
    grammar_expr args;
    int r = read_schema(&s, q, i, reterr);
    if (r == 0)
        r = f->body == TOOL_BODY_tags ? tags_expr(b, &s, &args, reterr)
                                      : schema_expr(b, s.json, &s, &args, reterr);
    if (r != 0)
        return r;
    CLEANUP(buf_done) struct buf name = BUF_INIT(LIMIT_BODY);
    bool quoted = f->mid && f->mid[0] == '"';
    if (quoted)
        buf_add_json_chars(&name, q->tools[i].name);
    else
        buf_add(&name, q->tools[i].name);
    if (buf_err(&name) < 0)
        return buf_err(&name);
    grammar_expr parts[] = { words(b, f->pre), grammar_bytes(b, buf_str(&name)), words(b, f->mid),
                             args, words(b, f->post) };
    *ret = grammar_seq(b, parts, ARRAY_LEN(parts));
    return 0;
}

/* A call of any tool, or of the one that the request names. */
static int any_call(struct grammar_builder *b, const struct tool_format *f,
                    const struct chat_request *q, grammar_expr *ret, struct fail *reterr)
{
    *ret = grammar_never(b);
    for (size_t i = 0; i < q->n_tools; i++) {
        grammar_expr one;
        if (q->tool_choice == TOOL_CHOICE_function &&
            !str_eq(q->tools[i].name, q->tool_choice_name))
            continue;
        int r = call_expr(b, f, q, i, &one, reterr);
        if (r != 0)
            return r;
        grammar_expr both[] = { *ret, one };
        *ret = grammar_alt(b, both, 2);
    }
    return 0;
}

static grammar_expr calls_expr(struct grammar_builder *b, const struct tool_format *f,
                               const struct chat_request *q, grammar_expr call)
{
    bool one = f->single || q->single_tool_call || q->tool_choice == TOOL_CHOICE_function;
    grammar_expr more[] = { words(b, f->join), call };
    grammar_expr parts[] = { words(b, f->begin), call,
                             one ? grammar_empty(b)
                                 : grammar_repeat(b, grammar_seq(b, more, 2), 0, CALLS_MAX - 1),
                             words(b, f->end) };
    return grammar_seq(b, parts, ARRAY_LEN(parts));
}

/* Text without a mark that begins calls, and then perhaps calls. */
static grammar_expr auto_expr(struct grammar_builder *b, const struct tool_format *f,
                              grammar_expr calls)
{
    static const struct code_range brace[] = {
        { '{', '{' }, { ' ', ' ' }, { '\t', '\r' }, { '<', '<' }, { '[', '[' }
    };
    struct str marks[4];
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(f->open); i++)
        if (f->open[i])
            marks[n++] = str_of(f->open[i]);
    if (f->call_open)
        marks[n++] = str_of(f->call_open);
    grammar_expr text = n ? grammar_text_without(b, marks, n) : grammar_never(b);
    if (!f->implicit) {
        grammar_expr both[] = { text, maybe(b, calls) };
        return grammar_seq(b, both, 2);
    }
    /* An answer that begins with a brace would be read as a call. */
    bool later = strcmp(f->name, "generic") == 0; /* calls may come behind text */
    grammar_expr other[] = { grammar_class(b, brace, ARRAY_LEN(brace), true), text,
                             later ? maybe(b, calls) : grammar_empty(b) };
    grammar_expr either[] = { calls, grammar_seq(b, other, ARRAY_LEN(other)) };
    return grammar_alt(b, either, 2);
}

bool tool_format_constrains(const struct tool_format *f, const struct chat_request *q)
{
    if (q->n_tools == 0 || q->tool_choice == TOOL_CHOICE_none)
        return false;
    bool strict = q->tool_choice >= TOOL_CHOICE_required;
    if (!strict && f->body == TOOL_BODY_channels)
        return false; /* what may come before a call has too many forms */
    for (size_t i = 0; i < q->n_tools && !strict; i++)
        strict = is_strict(&q->tools[i]);
    return strict;
}

int tool_format_expr(struct grammar_builder *b, const struct tool_format *f,
                     const struct chat_request *request, bool opened, grammar_expr *ret,
                     struct fail *reterr)
{
    grammar_expr call;
    int r = any_call(b, f, request, &call, reterr);
    if (r != 0)
        return r;
    grammar_expr body = calls_expr(b, f, request, call);
    if (request->tool_choice == TOOL_CHOICE_auto)
        body = auto_expr(b, f, body);
    *ret = tool_format_answer(b, f, opened, body);
    return 0;
}

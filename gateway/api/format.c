#include "gateway/api/format.h"

#include "base/limits.h"

/* The field that is being read: param of its errors. */
struct asked {
    struct chat_request *request;
    const char *param;
    struct arena *arena;
    struct fail *reterr;
};

static int bad(const struct asked *a, const char *want)
{
    return fail_param(a->reterr, FAIL_invalid_request, a->param, "'%s' must be %s", a->param, want);
}

static int put(const struct asked *a, enum chat_format format, bool strict, struct str text)
{
    if (format != CHAT_FORMAT_json_object && !text.p)
        return body_no_memory(a->reterr);
    if (text.n > LIMIT_FORMAT_BYTES)
        return fail_param(a->reterr, FAIL_invalid_request, a->param,
                          "'%s' has %zu bytes; at most %lu are served", a->param, text.n,
                          LIMIT_FORMAT_BYTES);
    a->request->format = format;
    a->request->format_strict = strict;
    a->request->format_text = text;
    return 0;
}

static int put_schema(const struct asked *a, struct str v, bool strict)
{
    return put(a, CHAT_FORMAT_json_schema, strict, v);
}

/* ---- the spellings of vLLM and llama.cpp: a value is a schema, or a text ---- */

static bool is_schema(struct str v)
{
    return body_is_object(v) || body_is_bool(v);
}

static int read_schema(const struct asked *a, struct str v)
{
    size_t at = 0;
    if (is_schema(v))
        return put_schema(a, v, /* strict= */ true);
    /* JSON in JSON */
    struct str text = json_view_text(v, a->arena), inner = str_trim(text);
    bool is_string = body_is_string(v);
    if (is_string && !text.p)
        return body_no_memory(a->reterr);
    if (!is_string || !is_schema(inner) ||
        json_view_check(text, LIMIT_JSON_DEPTH, &at) != JSON_VIEW_ok)
        return bad(a, "a JSON schema, or its text");
    return put_schema(a, inner, /* strict= */ true);
}

static int read_text(const struct asked *a, struct str v, enum chat_format format)
{
    if (!body_is_string(v) || json_view_is(v, ""))
        return bad(a, "a string that is not empty");
    return put(a, format, /* strict= */ false, json_view_text(v, a->arena));
}

static int read_regex(const struct asked *a, struct str v)
{
    return read_text(a, v, CHAT_FORMAT_regex);
}

static int read_grammar(const struct asked *a, struct str v)
{
    return read_text(a, v, CHAT_FORMAT_grammar);
}

static int read_choice(const struct asked *a, struct str v)
{
    struct json_view_walk w = json_view_walk(v);
    struct str choice;
    bool any = false;
    for (; !w.is_object && json_view_next(&w, NULL, &choice); any = true)
        if (!body_is_string(choice))
            return bad(a, "an array of strings, at least one");
    if (!any)
        return bad(a, "an array of strings, at least one");
    return put(a, CHAT_FORMAT_choice, /* strict= */ false, v);
}

static int read_object_wish(const struct asked *a, struct str v)
{
    if (!body_is_bool(v))
        return bad(a, "a boolean");
    return json_view_true(v) ? put(a, CHAT_FORMAT_json_object, /* strict= */ false, STR_NULL) : 0;
}

struct spelling {
    const char *name; /* NULL ends a table */
    int (*read)(const struct asked *a, struct str v);
};

static const struct spelling structured[] = {
    { "json", read_schema },
    { "regex", read_regex },
    { "choice", read_choice },
    { "grammar", read_grammar },
    { "json_object", read_object_wish },
    { NULL, NULL },
};

static bool is_absent(struct str v)
{
    return !v.p || json_view_is(v, "") || (body_is_array(v) && json_view_count(v) == 0);
}

/* {"json": …} and the like: one of them. */
static int read_structured(const struct asked *a, struct str v)
{
    if (!body_is_object(v))
        return bad(a, "an object with one of json, regex, choice, grammar, json_object");
    if (!is_absent(body_part(v, "structural_tag")))
        return fail_param(a->reterr, FAIL_unsupported_parameter, a->param,
                          "'%s.structural_tag' is not served", a->param);
    unsigned n = 0;
    for (const struct spelling *s = structured; s->name; s++) {
        struct str field = body_part(v, s->name);
        if (is_absent(field) || json_view_kind(field) == JSON_VIEW_false)
            continue;
        int r = n++ ? bad(a, "an object with only one of json, regex, choice, grammar, json_object")
                    : s->read(a, field);
        if (r != 0)
            return r;
    }
    return 0;
}

/* ---- response_format ---- */

static int read_named_schema(const struct asked *a, struct str v)
{
    struct str schema = body_part(v, "schema"), strict = body_part(v, "strict");
    if (!body_is_object(v))
        return bad(a, "{\"type\":\"json_schema\",\"json_schema\":{\"name\":…,\"schema\":…}}");
    if (!body_is_string(body_part(v, "name")))
        return fail_param(a->reterr, FAIL_invalid_request, "response_format.json_schema.name",
                          "'response_format.json_schema.name' must be a string");
    if (strict.p && !body_is_bool(strict))
        return fail_param(a->reterr, FAIL_invalid_request, "response_format.json_schema.strict",
                          "'response_format.json_schema.strict' must be a boolean, not %s",
                          body_kind(strict));
    if (!schema.p) /* the schema may be left out: then it is any object */
        return put(a, CHAT_FORMAT_json_object, /* strict= */ false, STR_NULL);
    if (!body_is_object(schema))
        return fail_param(a->reterr, FAIL_invalid_request, "response_format.json_schema.schema",
                          "'response_format.json_schema.schema' must be an object, not %s",
                          body_kind(schema));
    a->request->format_name = body_part(v, "name");
    return put_schema(a, schema, json_view_true(strict));
}

static int read_response_format(const struct asked *a, struct str v)
{
    struct str type = body_part(v, "type");
    if (!body_is_object(v))
        return bad(a, "an object with a type");
    if (json_view_is(type, "text"))
        return 0;
    if (json_view_is(type, "json_schema"))
        return read_named_schema(a, body_part(v, "json_schema"));
    if (!json_view_is(type, "json_object"))
        return bad(a, "of the type text, json_object or json_schema");
    struct str schema = body_part(v, "schema"); /* as llama.cpp and others have it */
    if (is_absent(schema))
        return put(a, CHAT_FORMAT_json_object, /* strict= */ false, STR_NULL);
    return read_schema(a, schema);
}

/* ---- all of them ---- */

static const struct spelling spellings[] = {
    { "response_format", read_response_format },
    { "guided_json", read_schema },
    { "guided_regex", read_regex },
    { "guided_choice", read_choice },
    { "guided_grammar", read_grammar },
    { "structured_outputs", read_structured },
    { "grammar", read_grammar },
    { "json_schema", read_schema },
    { NULL, NULL },
};

int decode_format(struct chat_request *ret, const struct body *body, struct arena *arena,
                  struct fail *reterr)
{
    for (const struct spelling *s = spellings; s->name; s++) {
        struct str v = body_get(body, s->name);
        if (is_absent(v))
            continue;
        struct chat_request one = *ret;
        one.format = CHAT_FORMAT_text;
        struct asked a = { &one, s->name, arena, reterr };
        int r = s->read(&a, v);
        if (r != 0)
            return r;
        if (one.format == CHAT_FORMAT_text)
            continue;
        if (ret->format != CHAT_FORMAT_text)
            return fail_param(reterr, FAIL_invalid_request, s->name,
                              "'%s' and '%s' both say what the text must look like; send one",
                              ret->format_param, s->name);
        *ret = one;
        ret->format_param = s->name;
    }
    return 0;
}

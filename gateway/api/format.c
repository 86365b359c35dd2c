#include "gateway/api/format.h"

#include "base/limits.h"

#include <errno.h>

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
        return json_no_memory(a->reterr);
    if (text.n > LIMIT_FORMAT_BYTES)
        return fail_param(a->reterr, FAIL_invalid_request, a->param,
                          "'%s' has %zu bytes; at most %lu are served", a->param, text.n,
                          LIMIT_FORMAT_BYTES);
    a->request->format = format;
    a->request->format_strict = strict;
    a->request->format_text = text;
    return 0;
}

static int put_schema(const struct asked *a, const json_t *v, bool strict)
{
    return put(a, CHAT_FORMAT_json_schema, strict, json_text(a->arena, v));
}

/* ---- the spellings of vLLM and llama.cpp: a value is a schema, or a text ---- */

static int read_schema(const struct asked *a, const json_t *v)
{
    if (json_is_string(v)) { /* JSON in JSON */
        json_auto_t *parsed = json_loadb(json_string_value(v), json_string_length(v),
                                         JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);
        return parsed && !json_is_string(parsed) ? read_schema(a, parsed)
                                                 : bad(a, "a JSON schema, or its text");
    }
    if (!json_is_object(v) && !json_is_boolean(v))
        return bad(a, "a JSON schema, or its text");
    return put_schema(a, v, /* strict= */ true);
}

static int read_text(const struct asked *a, const json_t *v, enum chat_format format)
{
    if (!json_is_string(v) || json_string_length(v) == 0)
        return bad(a, "a string that is not empty");
    return put(a, format, /* strict= */ false, json_str_copy(a->arena, v));
}

static int read_regex(const struct asked *a, const json_t *v)
{
    return read_text(a, v, CHAT_FORMAT_regex);
}

static int read_grammar(const struct asked *a, const json_t *v)
{
    return read_text(a, v, CHAT_FORMAT_grammar);
}

static int read_choice(const struct asked *a, const json_t *v)
{
    size_t n = json_array_size(v);
    for (size_t i = 0; i < n; i++)
        if (!json_is_string(json_array_get(v, i)))
            return bad(a, "an array of strings, at least one");
    if (!json_is_array(v) || n == 0)
        return bad(a, "an array of strings, at least one");
    return put(a, CHAT_FORMAT_choice, /* strict= */ false, json_text(a->arena, v));
}

static int read_object_wish(const struct asked *a, const json_t *v)
{
    if (!json_is_boolean(v))
        return bad(a, "a boolean");
    return json_is_true(v) ? put(a, CHAT_FORMAT_json_object, /* strict= */ false, STR_NULL) : 0;
}

struct spelling {
    const char *name; /* NULL ends a table */
    int (*read)(const struct asked *a, const json_t *v);
};

static const struct spelling structured[] = {
    { "json", read_schema },
    { "regex", read_regex },
    { "choice", read_choice },
    { "grammar", read_grammar },
    { "json_object", read_object_wish },
    { NULL, NULL },
};

static bool is_absent(const json_t *v)
{
    return !v || json_is_null(v) || (json_is_string(v) && json_string_length(v) == 0) ||
           (json_is_array(v) && json_array_size(v) == 0);
}

/* {"json": …} and the like: one of them. */
static int read_structured(const struct asked *a, const json_t *v)
{
    if (!json_is_object(v))
        return bad(a, "an object with one of json, regex, choice, grammar, json_object");
    if (!is_absent(json_object_get(v, "structural_tag")))
        return fail_param(a->reterr, FAIL_unsupported_parameter, a->param,
                          "'%s.structural_tag' is not served", a->param);
    unsigned n = 0;
    for (const struct spelling *s = structured; s->name; s++) {
        const json_t *field = json_object_get(v, s->name);
        if (is_absent(field) || json_is_false(field))
            continue;
        int r = n++ ? bad(a, "an object with only one of json, regex, choice, grammar, json_object")
                    : s->read(a, field);
        if (r != 0)
            return r;
    }
    return 0;
}

/* ---- response_format ---- */

static int read_named_schema(const struct asked *a, const json_t *v)
{
    const json_t *schema = json_object_get(v, "schema"), *strict = json_object_get(v, "strict");
    if (!json_is_object(v))
        return bad(a, "{\"type\":\"json_schema\",\"json_schema\":{\"name\":…,\"schema\":…}}");
    if (!json_is_string(json_object_get(v, "name")))
        return fail_param(a->reterr, FAIL_invalid_request, "response_format.json_schema.name",
                          "'response_format.json_schema.name' must be a string");
    if (strict && !json_is_null(strict) && !json_is_boolean(strict))
        return fail_param(a->reterr, FAIL_invalid_request, "response_format.json_schema.strict",
                          "'response_format.json_schema.strict' must be a boolean, not %s",
                          json_kind(strict));
    if (!schema || json_is_null(schema)) /* the schema may be left out: then it is any object */
        return put(a, CHAT_FORMAT_json_object, /* strict= */ false, STR_NULL);
    if (!json_is_object(schema))
        return fail_param(a->reterr, FAIL_invalid_request, "response_format.json_schema.schema",
                          "'response_format.json_schema.schema' must be an object, not %s",
                          json_kind(schema));
    return put_schema(a, schema, json_is_true(strict));
}

static int read_response_format(const struct asked *a, const json_t *v)
{
    struct str type = json_str(json_object_get(v, "type"));
    if (!json_is_object(v))
        return bad(a, "an object with a type");
    if (str_is(type, "text"))
        return 0;
    if (str_is(type, "json_schema"))
        return read_named_schema(a, json_object_get(v, "json_schema"));
    if (!str_is(type, "json_object"))
        return bad(a, "of the type text, json_object or json_schema");
    const json_t *schema = json_object_get(v, "schema"); /* as llama.cpp and others have it */
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

int decode_format(struct chat_request *ret, const json_t *body, struct arena *arena,
                  struct fail *reterr)
{
    for (const struct spelling *s = spellings; s->name; s++) {
        const json_t *v = json_object_get(body, s->name);
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

/*
 * One call: its name, and its arguments as JSON or as tags.
 */
#include "engine/local/tool_parser_impl.h"

#include "base/limits.h"

#include <jansson.h>
#include <stdlib.h>

static struct str between(const struct tool_parser *p, size_t from, size_t to)
{
    return (struct str){ p->raw.p + from, to - from };
}

/* ---- arguments as JSON ---- */

/* Adds a byte of the arguments; control characters in their strings are written as escapes. */
static void add_byte(struct tool_parser *p, const struct json_scan *before, char c)
{
    if (json_scan_is_raw(before, c))
        buf_add_json_chars(&p->args, (struct str){ &c, 1 });
    else
        buf_addc(&p->args, c);
}

static void commit_if_due(struct tool_parser *p)
{
    if (p->tool && p->args_state != ARGS_none && (!p->whole || p->args_state == ARGS_whole))
        parser_commit(p);
}

bool parser_run_args(struct tool_parser *p)
{
    if (p->args_state == ARGS_none) {
        parser_skip_space(p);
        if (p->at < p->raw.n && p->raw.p[p->at] != '{') {
            parser_fall_back(p);
            return true;
        }
    }
    while (p->at < p->raw.n) {
        struct json_scan before = p->scan;
        char c = p->raw.p[p->at];
        enum json_step s = json_scan(&p->scan, c);
        if (s == JSON_STEP_bad) {
            parser_tell_args(p);
            parser_fall_back(p);
            return true;
        }
        add_byte(p, &before, c);
        p->at++;
        p->args_state = s == JSON_STEP_done ? ARGS_whole : ARGS_begun;
        commit_if_due(p);
        if (s == JSON_STEP_done) {
            parser_call_done(p);
            return true;
        }
    }
    parser_tell_args(p);
    return false;
}

/* ---- {"name":…,"arguments":…} ---- */

static bool is_one_of(struct str key, const char *const *words)
{
    for (; *words; words++)
        if (str_is(key, *words))
            return true;
    return false;
}

/* False: a call has no such member. */
static bool begin_member(struct tool_parser *p, struct str key)
{
    static const char *const names[] = { "name", "tool_name", "function", NULL };
    static const char *const args[] = { "arguments", "parameters", NULL };
    static const char *const others[] = { "id", "type", "tool_call_id", "index", NULL };
    p->role = is_one_of(key, names) ? ROLE_name : is_one_of(key, args) ? ROLE_args : ROLE_none;
    return p->role != ROLE_none || !p->f->implicit || is_one_of(key, others);
}

static bool begin_value(struct tool_parser *p, char c)
{
    p->value_at = p->at;
    if (p->role == ROLE_args && c == '{' && p->args_state == ARGS_none)
        p->args_state = ARGS_begun;
    return p->role == ROLE_none || c == '"' || (p->role == ROLE_args && (c == '{' || c == 'n'));
}

/* Arguments inside a string: an object, written as JSON. */
static bool unwrap_args(struct tool_parser *p, struct str quoted)
{
    json_auto_t *text = json_loadb(quoted.p, quoted.n, JSON_DECODE_ANY, NULL);
    json_auto_t *inner = text ? json_loadb(json_string_value(text), json_string_length(text),
                                           JSON_REJECT_DUPLICATES, NULL)
                              : NULL;
    if (!json_is_object(inner))
        return false;
    buf_add(&p->args, (struct str){ json_string_value(text), json_string_length(text) });
    p->args_state = ARGS_whole;
    return true;
}

static bool end_text(struct tool_parser *p)
{
    if (p->role == ROLE_name && !p->tool) {
        p->tool = parser_find(p, between(p, p->value_at + 1, p->at));
        return p->tool != NULL;
    }
    if (p->role == ROLE_args && p->args_state == ARGS_none)
        return unwrap_args(p, between(p, p->value_at, p->at + 1));
    return true;
}

/* What the byte at `at` means for the call. False: this is none. */
static bool follow(struct tool_parser *p, const struct json_scan *before, char c)
{
    const struct json_scan *now = &p->scan;
    if (p->args_state == ARGS_begun) {
        add_byte(p, before, c);
        if (now->depth == 1 && now->state == JSON_SCAN_after)
            p->args_state = ARGS_whole;
        return true;
    }
    if (now->depth == 1 && now->state == JSON_SCAN_in_key && before->state != JSON_SCAN_in_key) {
        p->value_at = p->at + 1;
        return true;
    }
    if (before->depth != 1)
        return true;
    if (before->state == JSON_SCAN_in_key && now->state == JSON_SCAN_colon)
        return begin_member(p, between(p, p->value_at, p->at));
    if (before->state == JSON_SCAN_value && now->state != JSON_SCAN_value) {
        bool ok = begin_value(p, c);
        if (ok && p->args_state == ARGS_begun)
            add_byte(p, before, c);
        return ok;
    }
    if (before->state == JSON_SCAN_in_text && now->state == JSON_SCAN_after)
        return end_text(p);
    return true;
}

static bool object_done(struct tool_parser *p)
{
    if (!p->tool) {
        parser_fall_back(p);
        return true;
    }
    if (p->args_state == ARGS_none)
        buf_adds(&p->args, "{}");
    p->args_state = ARGS_whole;
    parser_call_done(p);
    return true;
}

/* Not JSON from here on; a call whose arguments were complete is one all the same. */
static bool object_broke(struct tool_parser *p)
{
    if (p->tool && p->args_state == ARGS_whole)
        parser_commit(p);
    parser_tell_args(p);
    parser_fall_back(p);
    return true;
}

bool parser_run_object(struct tool_parser *p)
{
    while (p->at < p->raw.n) {
        struct json_scan before = p->scan;
        char c = p->raw.p[p->at];
        enum json_step s = json_scan(&p->scan, c);
        if (s == JSON_STEP_bad || !follow(p, &before, c))
            return object_broke(p);
        p->at++;
        commit_if_due(p);
        if (s == JSON_STEP_done)
            return object_done(p);
    }
    parser_tell_args(p);
    return false;
}

/* ---- names ---- */

/* Without what the family writes around it: "functions.", ":0", "[CALL_ID]…". */
static const struct parser_tool *tool_named(const struct tool_parser *p, struct str name)
{
    const struct parser_tool *t = parser_find(p, str_trim(name));
    struct str prefix = str_of(p->f->name_prefix), id = STR("[CALL_ID]");
    if (t)
        return t;
    name = str_trim(name);
    if (prefix.n && str_starts(name, prefix))
        name = str_sub(name, prefix.n);
    if (str_find(name, id) >= 0)
        name = str_head(name, (size_t)str_find(name, id));
    t = parser_find(p, str_trim(name));
    size_t n = name.n;
    while (n && name.p[n - 1] >= '0' && name.p[n - 1] <= '9')
        n--;
    if (!t && n && n < name.n && name.p[n - 1] == ':')
        t = parser_find(p, str_head(name, n - 1));
    return t;
}

/* A tag that must stand before the name. 1: behind it, 0: it may come yet, -1: it does not. */
static int skip_tag(struct tool_parser *p)
{
    bool wait = false;
    parser_skip_space(p);
    if (p->f->body != TOOL_BODY_tags || !p->f->name_prefix ||
        parser_at_mark(p, p->f->name_prefix, &wait))
        return 1;
    return wait ? 0 : -1;
}

/* Where the name ends, or -1; *ret_skip: bytes of what separates it. */
static ptrdiff_t name_end(const struct tool_parser *p, struct str rest, size_t *ret_skip)
{
    struct str separator = str_of(p->f->separator);
    ptrdiff_t end = str_find(rest, separator);
    *ret_skip = separator.n;
    if (p->f->body != TOOL_BODY_tags)
        return end;
    ptrdiff_t tag = str_find(rest, STR("<"));
    if (tag >= 0 && (end < 0 || tag < end)) { /* a function without parameters */
        *ret_skip = 0;
        return tag;
    }
    return end;
}

bool parser_run_name(struct tool_parser *p)
{
    size_t begin = p->at, skip = 0;
    int tag = skip_tag(p);
    if (tag < 0) {
        parser_fall_back(p);
        return true;
    }
    struct str rest = parser_rest(p);
    ptrdiff_t end = tag ? name_end(p, rest, &skip) : -1;
    if (end < 0 && rest.n <= TOOL_NAME_MAX) {
        p->at = begin; /* from the tag again, with more */
        return false;
    }
    p->tool = end >= 0 ? tool_named(p, str_head(rest, (size_t)end)) : NULL;
    p->at += end >= 0 ? (size_t)end : 0;
    if (!p->tool) {
        parser_fall_back(p);
        return true;
    }
    p->at += skip;
    p->phase = p->f->body == TOOL_BODY_tags ? PHASE_tags : PHASE_args;
    return true;
}

/* ---- parameters as tags ---- */

static struct str through(const char *text, char last)
{
    const char *end = text ? strchr(text, last) : NULL;
    return end ? (struct str){ text, (size_t)(end - text) + 1 } : STR_NULL;
}

static bool is_text_type(const json_t *type)
{
    if (json_is_array(type)) {
        size_t i;
        json_t *one;
        json_array_foreach((json_t *)(uintptr_t)type, i, one) if (is_text_type(one)) return true;
    }
    return json_is_string(type) && strcmp(json_string_value(type), "string") == 0;
}

/* Whether the function takes text there: then a value that looks like a number is text as well. */
static bool takes_text(const struct parser_tool *t, const char *key)
{
    json_auto_t *schema = json_loadb(t->parameters.p, t->parameters.n, 0, NULL);
    const json_t *one = json_object_get(json_object_get(schema, "properties"), key);
    const json_t *type = json_object_get(one, "type"), *words = json_object_get(one, "enum");
    return is_text_type(type) || (!type && json_is_string(json_array_get(words, 0)));
}

static bool is_json(struct str text)
{
    json_auto_t *v =
        json_loadb(text.p ? text.p : "", text.n, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);
    return v != NULL;
}

/* A value as the templates write it: between newlines. */
static struct str without_newlines(struct str value)
{
    if (value.n && value.p[0] == '\n')
        value = str_sub(value, 1);
    if (value.n && value.p[value.n - 1] == '\n')
        value.n--;
    return value;
}

static void add_parameter(struct tool_parser *p, struct str key, struct str value)
{
    CLEANUP(own_free) char *name = str_dup(str_trim(key));
    value = without_newlines(value);
    buf_adds(&p->args, p->args_state == ARGS_none ? "{" : ", ");
    p->args_state = ARGS_begun;
    buf_add_json(&p->args, str_trim(key));
    buf_adds(&p->args, ": ");
    if (name && !takes_text(p->tool, name) && is_json(str_trim(value)))
        buf_add(&p->args, str_trim(value));
    else
        buf_add_json(&p->args, value);
}

/* One parameter at `at`, if it is all there. */
static bool take_parameter(struct tool_parser *p)
{
    const struct tool_format *f = p->f;
    struct str rest = str_sub(parser_rest(p), strlen(f->key_open));
    struct str mid = through(f->key_mid, '>');
    struct str value_open = str_trim(str_sub(str_of(f->key_mid), mid.n));
    struct str close = str_trim(str_of(f->key_close));
    ptrdiff_t at = str_find(rest, mid);
    if (at < 0)
        return false;
    struct str key = str_head(rest, (size_t)at), value = str_sub(rest, (size_t)at + mid.n);
    ptrdiff_t open = str_find(value, value_open);
    if (value_open.n && open < 0)
        return false;
    if (value_open.n)
        value = str_sub(value, (size_t)open + value_open.n);
    at = str_find(value, close);
    if (at < 0)
        return false;
    p->at = (size_t)(value.p - p->raw.p) + (size_t)at + close.n;
    add_parameter(p, key, str_head(value, (size_t)at));
    return true;
}

static void tags_done(struct tool_parser *p)
{
    buf_adds(&p->args, p->args_state == ARGS_none ? "{}" : "}");
    p->args_state = ARGS_whole;
    parser_call_done(p);
}

bool parser_run_tags(struct tool_parser *p)
{
    struct str end = through(p->f->post, '>');
    if (!p->whole)
        parser_commit(p);
    for (;;) {
        parser_skip_space(p);
        struct str rest = parser_rest(p), open = str_of(p->f->key_open);
        if (str_starts(rest, end)) {
            p->at += end.n;
            tags_done(p);
            return true;
        }
        if (str_starts(rest, open)) {
            if (take_parameter(p))
                continue;
            break;
        }
        if ((rest.n < end.n && str_starts(end, rest)) ||
            (rest.n < open.n && str_starts(open, rest)))
            break;
        parser_tell_args(p);
        parser_fall_back(p);
        return true;
    }
    parser_tell_args(p);
    return false;
}

void parser_end_tags(struct tool_parser *p)
{
    parser_skip_space(p);
    if (p->at == p->raw.n)
        tags_done(p);
}

/* ---- messages with headers ---- */

/* The function that a header sends its message to. */
static struct str receiver(struct str header)
{
    struct str to = STR("to=functions.");
    ptrdiff_t at = str_find(header, to);
    if (at < 0)
        return STR_NULL;
    struct str name = str_sub(header, (size_t)at + to.n);
    size_t n = 0;
    while (n < name.n && !parser_is_space(name.p[n]) && name.p[n] != '<')
        n++;
    return str_head(name, n);
}

bool parser_run_header(struct tool_parser *p)
{
    struct str text = buf_str(&p->raw), end = STR("<|message|>");
    ptrdiff_t at = str_find(text, end);
    struct str start = str_trim(text);
    bool may = start.n == 0 || start.p[0] == '<' ||
               str_starts(start, str_head(STR("to="), start.n)) ||
               str_starts(start, str_head(STR("assistant"), start.n));
    if (at < 0 && may && text.n <= TOOL_NAME_MAX)
        return false;
    if (at < 0) {
        p->at = text.n;
        parser_fall_back(p);
        return true;
    }
    struct str header = str_head(text, (size_t)at), name = receiver(header);
    bool thinks = str_find(header, STR("<|channel|>analysis")) >= 0;
    parser_begin_call(p);
    p->at = (size_t)at + end.n;
    p->skip_space = true;
    p->tool = name.n ? parser_find(p, name) : NULL;
    if (p->tool) {
        p->phase = PHASE_args;
        return true;
    }
    parser_drop(p, p->at);
    p->phase = thinks ? PHASE_thought : PHASE_text;
    return true;
}

#include "engine/local/chat_template_messages.h"

#include "base/sha256.h"
#include "engine/local/tool_format.h"

enum { SHORT_ID = 9 }; /* characters that some templates insist on */

struct writer {
    struct render *r;
    const struct chat_request *q;
    const struct tool_format *f; /* NULL: the template has words for all */
    struct list *all;            /* messages so far */
    bool tells;                  /* the tools are still to be told */
};

static void put(struct render *r, struct val d, const char *key, struct val v)
{
    if (r->err == 0)
        dict_set(r, d.d, val_cstr(r, key), v);
}

static void put_user(struct render *r, struct val d, const char *key, struct str s)
{
    if (s.n)
        put(r, d, key, val_text(r, s, true));
}

struct val chat_json(struct render *r, struct str json)
{
    bool ok = false;
    struct val v = val_from_json(r, json, true, &ok);
    return ok || r->err != 0 ? v : val_text(r, json, true);
}

/* Templates build marks of roles ("<|" + role + "|>"): the known ones are words of the template's
 * own, any other is a user's. */
static struct val role_value(struct render *r, struct str role)
{
    static const char *const known[] = { "system", "developer", "user", "assistant", "tool" };
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (str_is(role, known[i]))
            return val_text(r, role, false);
    return val_text(r, role, true);
}

/* ---- calls ---- */

static bool is_short(struct str id)
{
    for (size_t i = 0; i < id.n; i++) {
        char c = id.p[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')))
            return false;
    }
    return id.n == SHORT_ID;
}

/* An id of 9 characters in the place of any other, the same for a call and its result. */
static void put_id(const struct writer *w, struct val d, const char *key, struct str id)
{
    if (!id.n || !w->f || !w->f->short_ids || is_short(id)) {
        put_user(w->r, d, key, id);
        return;
    }
    char hex[SHA256_HEX + 1];
    struct sha256 digest = sha256_of(id);
    sha256_hex(hex, &digest);
    put(w->r, d, key, val_copy(w->r, (struct str){ hex, SHORT_ID }, true));
}

static struct val calls_value(const struct writer *w, const struct chat_message *m)
{
    struct render *r = w->r;
    struct val all = val_list(r, m->n_tool_calls);
    for (size_t i = 0; i < m->n_tool_calls && r->err == 0; i++) {
        const struct chat_tool_call *c = &m->tool_calls[i];
        struct val one = val_dict(r), fn = val_dict(r);
        put_id(w, one, "id", c->id);
        put(r, one, "type", val_cstr(r, "function"));
        put(r, fn, "name", val_text(r, c->name, true));
        put(r, fn, "arguments", c->arguments.n ? chat_json(r, c->arguments) : val_dict(r));
        put(r, one, "function", fn);
        (void)list_add(r, all.l, one);
    }
    return all;
}

/* ---- what a template has no words for ---- */

/* A text of a format row; '#' stands for the call's number. */
static void add_words(struct out *o, const char *text, size_t number)
{
    struct str rest = str_of(text);
    ptrdiff_t at;
    while ((at = str_find(rest, STR("#"))) >= 0) {
        char digits[24];
        (void)snprintf(digits, sizeof(digits), "%zu", number);
        out_add(o, str_head(rest, (size_t)at), false);
        out_add(o, str_of(digits), false);
        rest = str_sub(rest, (size_t)at + 1);
    }
    out_add(o, rest, false);
}

/* The calls as the model itself writes them, behind the text. */
static struct val content_with_calls(const struct writer *w, const struct chat_message *m)
{
    static const struct json_style style = { -1, { ", ", 2 }, { ": ", 2 }, false, false };
    const struct tool_format *f = w->f;
    CLEANUP(out_done) struct out o;
    out_init(&o, w->r);
    out_add(&o, m->content, true);
    out_add(&o, m->content.n ? STR("\n") : STR(""), false);
    add_words(&o, f->begin, 0);
    for (size_t i = 0; i < m->n_tool_calls; i++) {
        const struct chat_tool_call *c = &m->tool_calls[i];
        add_words(&o, i ? f->join : NULL, i);
        add_words(&o, f->pre, i);
        out_add(&o, c->name, true);
        add_words(&o, f->mid, i);
        if (c->arguments.n)
            out_add_json(&o, chat_json(w->r, c->arguments), &style, 0);
        else
            out_add(&o, STR("{}"), false);
        add_words(&o, f->post, i);
    }
    add_words(&o, f->end, 0);
    return out_take(&o);
}

/* How the family calls a function, as its models were told in training where that is known. */
static void add_example(struct out *o, const struct tool_format *f)
{
    bool hermes = !f->begin && f->pre && strstr(f->pre, "<tool_call>\n{\"name\"");
    if (hermes) {
        out_add(o,
                STR("For each function call, return a json object with function name and arguments "
                    "within <tool_call></tool_call> XML tags:\n<tool_call>\n{\"name\": "
                    "<function-name>, \"arguments\": <args-json-object>}\n</tool_call>"),
                false);
        return;
    }
    out_add(o, STR("To call functions, answer in exactly this form:\n"), false);
    add_words(o, f->begin, 0);
    add_words(o, f->pre, 0);
    out_add(o, STR("<function-name>"), false);
    add_words(o, f->mid, 0);
    out_add(o, STR("<args-json-object>"), false);
    add_words(o, f->post, 0);
    add_words(o, f->end, 0);
}

static void add_tools(struct out *o, const struct chat_request *q, const struct tool_format *f)
{
    out_add(o,
            STR("# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
                "You are provided with function signatures within <tools></tools> XML tags:\n"
                "<tools>\n"),
            false);
    for (size_t i = 0; i < q->n_tools; i++) {
        out_add(o, q->tools[i].json, true);
        out_add(o, STR("\n"), false);
    }
    out_add(o, STR("</tools>\n\n"), false);
    add_example(o, f);
}

/* The tools behind a system message's text, or before a user's. */
static struct val content_with_tools(struct writer *w, struct str content, bool first)
{
    CLEANUP(out_done) struct out o;
    out_init(&o, w->r);
    if (!first && content.n) {
        out_add(&o, content, true);
        out_add(&o, STR("\n\n"), false);
    }
    add_tools(&o, w->q, w->f);
    if (first) {
        out_add(&o, STR("\n\n"), false);
        out_add(&o, content, true);
    }
    w->tells = false;
    return out_take(&o);
}

static void add_message(const struct writer *w, const char *role, struct val content)
{
    struct val one = val_dict(w->r);
    put(w->r, one, "role", val_cstr(w->r, role));
    put(w->r, one, "content", content);
    if (w->r->err == 0)
        (void)list_add(w->r, w->all, one);
}

/* Results one after another, and the user's words behind them, as one message: the turns of user
 * and assistant go on alternating. Returns how many messages it took. */
static size_t add_results(const struct writer *w, size_t from)
{
    const struct chat_request *q = w->q;
    size_t i = from;
    CLEANUP(out_done) struct out o;
    out_init(&o, w->r);
    for (; i < q->n_messages && str_is(q->messages[i].role, "tool"); i++) {
        out_add(&o, i > from ? STR("\n<tool_response>\n") : STR("<tool_response>\n"), false);
        out_add(&o, q->messages[i].content, true);
        out_add(&o, STR("\n</tool_response>"), false);
    }
    if (i < q->n_messages && str_is(q->messages[i].role, "user")) {
        out_add(&o, STR("\n\n"), false);
        out_add(&o, q->messages[i++].content, true);
    }
    add_message(w, "user", out_take(&o));
    return i - from;
}

/* ---- messages ---- */

static struct val content_value(struct writer *w, const struct chat_message *m)
{
    if (w->f && m->n_tool_calls && !w->f->has_calls)
        return content_with_calls(w, m);
    bool system = str_is(m->role, "system");
    if (w->tells && (w->f->has_system ? system : str_is(m->role, "user")))
        return content_with_tools(w, m->content, !system);
    return val_text(w->r, m->content, true);
}

static void add_as_is(struct writer *w, const struct chat_message *m)
{
    struct render *r = w->r;
    struct val one = val_dict(r);
    put(r, one, "role", role_value(r, m->role));
    put(r, one, "content", content_value(w, m));
    put_user(r, one, "reasoning_content", m->reasoning);
    if (m->n_tool_calls && m->content.n == 0)
        put_user(r, one, "thinking", m->reasoning); /* gpt-oss has a word of its own */
    put_user(r, one, "name", m->name);
    if (m->n_tool_calls && !(w->f && !w->f->has_calls))
        put(r, one, "tool_calls", calls_value(w, m));
    put_id(w, one, "tool_call_id", m->tool_call_id);
    if (r->err == 0)
        (void)list_add(r, w->all, one);
}

static bool has_system_message(const struct chat_request *q)
{
    for (size_t i = 0; i < q->n_messages; i++)
        if (str_is(q->messages[i].role, "system"))
            return true;
    return false;
}

/* A template that knows no system message gets its text at the head of the first user message, a
 * line break between (Gemma 2, the first Mistral), as llama.cpp does. */
static bool joins_system(const struct writer *w)
{
    const struct chat_request *q = w->q;
    return w->f && !w->f->has_system && q->n_messages > 1 &&
           str_is(q->messages[0].role, "system") && str_is(q->messages[1].role, "user");
}

static void add_joined(struct writer *w)
{
    const struct chat_message *m = w->q->messages;
    CLEANUP(out_done) struct out o;
    out_init(&o, w->r);
    if (w->tells) {
        add_tools(&o, w->q, w->f);
        out_add(&o, STR("\n\n"), false);
        w->tells = false;
    }
    out_add(&o, m[0].content, true);
    out_add(&o, STR("\n"), false);
    out_add(&o, m[1].content, true);
    add_message(w, "user", out_take(&o));
}

struct val chat_messages(struct render *r, const struct chat_template_vars *vars)
{
    const struct chat_request *q = vars->request;
    struct val all = val_list(r, q->n_messages);
    if (r->err != 0)
        return all;
    struct writer w = { .r = r, .q = q, .f = vars->format, .all = all.l };
    w.tells = w.f && !w.f->has_tools && q->n_tools;
    if (w.tells && w.f->has_system && !has_system_message(q))
        add_message(&w, "system", content_with_tools(&w, STR_NULL, false));
    size_t i = joins_system(&w) ? 2 : 0;
    if (i)
        add_joined(&w);
    while (i < q->n_messages && r->err == 0) {
        if (w.f && !w.f->has_results && str_is(q->messages[i].role, "tool"))
            i += add_results(&w, i);
        else
            add_as_is(&w, &q->messages[i++]);
    }
    return all;
}

#include "engine/local/tool_parser.h"

#include "base/clock.h"
#include "base/limits.h"
#include "engine/local/json_scan.h"
#include "engine/local/tool_parser_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

/* ---- life ---- */

static int copy_text(struct str *to, struct str from)
{
    *to = (struct str){ str_dup(from), from.n };
    return to->p ? 0 : -ENOMEM;
}

static int copy_tools(struct tool_parser *p, const struct tool_parser_options *o)
{
    p->tools = calloc(o->n_tools ? o->n_tools : 1, sizeof(*p->tools));
    if (!p->tools)
        return -ENOMEM;
    for (size_t i = 0; i < o->n_tools; i++) {
        struct parser_tool *t = &p->tools[p->n_tools++];
        if (copy_text(&t->name, o->tools[i].name) < 0 ||
            copy_text(&t->parameters, o->tools[i].parameters) < 0)
            return -ENOMEM;
    }
    return 0;
}

int tool_parser_new(struct tool_parser **ret, const struct tool_parser_options *o)
{
    CLEANUP(tool_parser_freep) struct tool_parser *p = calloc(1, sizeof(*p));
    if (!p)
        return -ENOMEM;
    p->f = o->format;
    p->whole = o->whole;
    p->single = o->single;
    p->forced = o->forced;
    p->on_event = o->on_event;
    p->owner = o->owner;
    p->raw = BUF_INIT(LIMIT_SSE_EVENT);
    p->args = BUF_INIT(LIMIT_SSE_EVENT);
    if (p->f->body == TOOL_BODY_channels)
        p->phase = PHASE_header;
    else if (o->opened)
        p->phase = PHASE_thought;
    p->skip_space = p->thought = o->opened;
    int r = copy_tools(p, o);
    if (r < 0)
        return r;
    *ret = TAKE(p);
    return 0;
}

struct tool_parser *tool_parser_free(struct tool_parser *p)
{
    if (!p)
        return NULL;
    for (size_t i = 0; i < p->n_tools; i++) {
        free((void *)p->tools[i].name.p);
        free((void *)p->tools[i].parameters.p);
    }
    free(p->tools);
    buf_done(&p->raw);
    buf_done(&p->args);
    free(p);
    return NULL;
}

bool tool_parser_is_thinking(const struct tool_parser *p)
{
    return p->phase == PHASE_thought;
}

size_t tool_parser_calls(const struct tool_parser *p)
{
    return p->n_calls;
}

/* ---- telling ---- */

bool parser_is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

struct str parser_rest(const struct tool_parser *p)
{
    return str_sub(buf_str(&p->raw), p->at);
}

void parser_drop(struct tool_parser *p, size_t n)
{
    buf_cut(&p->raw, n);
    p->base += n;
    p->at = p->at > n ? p->at - n : 0;
}

void parser_tell(struct tool_parser *p, enum engine_event_kind kind, size_t n)
{
    if (n) {
        struct tool_parser_event e = {
            .kind = kind,
            .text = str_head(buf_str(&p->raw), n),
            .begin = p->base,
            .end = p->base + n,
        };
        p->on_event(p->owner, &e);
        p->told = p->told || kind == ENGINE_EVENT_text;
    }
    parser_drop(p, n);
}

static void tell_call(struct tool_parser *p, struct engine_call call)
{
    call.index = (uint32_t)p->n_calls - 1;
    struct tool_parser_event e = {
        .kind = ENGINE_EVENT_tool_call,
        .call = call,
        .begin = p->base,
        .end = p->base + p->at,
    };
    p->on_event(p->owner, &e);
}

/* "call_" and 24 characters: 120 random bits. */
static void make_id(char ret[CALL_ID_SIZE])
{
    static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz";
    unsigned char random[CALL_ID_SIZE - sizeof("call_")];
    uint64_t now = clock_us();
    if (getrandom(random, sizeof(random), GRND_NONBLOCK) != (ssize_t)sizeof(random))
        for (size_t i = 0; i < sizeof(random); i++) /* early boot: unique here is enough */
            random[i] = (unsigned char)(now >> (i % 8 * 5));
    memcpy(ret, "call_", strlen("call_"));
    for (size_t i = 0; i < sizeof(random); i++)
        ret[strlen("call_") + i] = digits[random[i] & 31];
    ret[CALL_ID_SIZE - 1] = '\0';
}

void parser_tell_args(struct tool_parser *p)
{
    if (!p->committed || p->args.n == 0)
        return;
    tell_call(p, (struct engine_call){ .arguments = buf_str(&p->args) });
    buf_clear(&p->args);
}

void parser_commit(struct tool_parser *p)
{
    char id[CALL_ID_SIZE];
    if (p->committed)
        return;
    make_id(id);
    p->committed = true;
    p->n_calls++;
    tell_call(p, (struct engine_call){ .id = str_of(id), .name = p->tool->name });
}

void parser_begin_call(struct tool_parser *p)
{
    p->committed = false;
    p->tool = NULL;
    p->role = ROLE_none;
    p->args_state = ARGS_none;
    p->scan = (struct json_scan){ 0 };
    buf_clear(&p->args);
}

/* What was taken for a call is none: what was looked at, and not told, is text. */
void parser_fall_back(struct tool_parser *p)
{
    if (p->committed)
        parser_drop(p, p->at);
    else
        parser_tell(p, ENGINE_EVENT_text, p->at);
    parser_begin_call(p);
    p->in_array = false;
    p->skip_space = false;
    p->told = true;
    p->phase = PHASE_text;
}

void parser_call_done(struct tool_parser *p)
{
    parser_commit(p);
    parser_tell_args(p);
    parser_drop(p, p->at);
    parser_begin_call(p);
    p->phase = p->in_array ? PHASE_item : PHASE_after;
}

const struct parser_tool *parser_find(const struct tool_parser *p, struct str name)
{
    for (size_t i = 0; i < p->n_tools; i++)
        if (str_eq(p->tools[i].name, name))
            return &p->tools[i];
    return NULL;
}

/* ---- marks ---- */

bool parser_at_mark(struct tool_parser *p, const char *mark, bool *ret_wait)
{
    struct str rest = parser_rest(p), m = str_of(mark);
    if (!mark)
        return false;
    if (str_starts(rest, m)) {
        p->at += m.n;
        return true;
    }
    if (rest.n < m.n && str_starts(m, rest))
        *ret_wait = true;
    return false;
}

void parser_skip_space(struct tool_parser *p)
{
    while (p->at < p->raw.n && parser_is_space(p->raw.p[p->at]))
        p->at++;
}

/* ---- text and reasoning ---- */

enum mark_use { MARK_think, MARK_call, MARK_named_call, MARK_drop, MARK_header };

struct text_mark {
    const char *text;
    enum mark_use use;
};

enum { TEXT_MARKS_MAX = 8 };

static size_t channel_marks(struct text_mark *m)
{
    m[0] = (struct text_mark){ "<|end|>", MARK_drop };
    m[1] = (struct text_mark){ "<|return|>", MARK_drop };
    m[2] = (struct text_mark){ "<|call|>", MARK_drop };
    m[3] = (struct text_mark){ "<|start|>", MARK_header };
    m[4] = (struct text_mark){ "<|channel|>", MARK_header };
    return 5;
}

/* A reasoning block may only be the first thing of an answer. */
static bool may_think(const struct tool_parser *p)
{
    struct str text = str_trim(buf_str(&p->raw)), mark = str_of(p->f->think_open);
    return mark.n && !p->told && !p->thought && p->n_calls == 0 &&
           str_starts(text, str_head(mark, text.n));
}

/* What may be a mark where the parser stands. */
static size_t text_marks(const struct tool_parser *p, struct text_mark m[static TEXT_MARKS_MAX])
{
    const struct tool_format *f = p->f;
    size_t n = 0;
    if (f->body == TOOL_BODY_channels)
        return channel_marks(m);
    if (p->phase == PHASE_thought) {
        m[0] = (struct text_mark){ f->think_close, MARK_think };
        return 1;
    }
    if (may_think(p))
        m[n++] = (struct text_mark){ f->think_open, MARK_think };
    for (size_t i = 0; p->n_tools && i < ARRAY_LEN(f->open); i++)
        if (f->open[i])
            m[n++] = (struct text_mark){ f->open[i], MARK_call };
    if (p->n_tools && f->call_open)
        m[n++] = (struct text_mark){ f->call_open, MARK_named_call };
    if (f->answer_open && p->thought) {
        m[n++] = (struct text_mark){ f->answer_open, MARK_drop };
        m[n++] = (struct text_mark){ f->answer_close, MARK_drop };
    }
    return n;
}

/* Bytes at the end that begin one of the marks. */
static size_t mark_prefix(const struct tool_parser *p, const struct text_mark *m, size_t n_marks)
{
    struct str text = buf_str(&p->raw);
    size_t longest = 0;
    for (size_t i = 0; i < n_marks; i++) {
        size_t n = strlen(m[i].text), k = text.n < n - 1 ? text.n : n - 1;
        for (; k > longest; k--)
            if (str_starts(str_of(m[i].text), str_sub(text, text.n - k)))
                longest = k;
    }
    return longest;
}

static const struct text_mark *find_mark(const struct tool_parser *p, const struct text_mark *m,
                                         size_t n, size_t *ret_at)
{
    const struct text_mark *first = NULL;
    struct str text = buf_str(&p->raw);
    for (size_t i = 0; i < n; i++) {
        ptrdiff_t at = str_find(text, str_of(m[i].text));
        if (at < 0 || (first && (size_t)at >= *ret_at))
            continue;
        first = &m[i];
        *ret_at = (size_t)at;
    }
    return first;
}

/* The first n bytes without the spaces at their end. */
static size_t without_spaces(const struct tool_parser *p, size_t n, size_t most)
{
    size_t end = n;
    while (end && n - end < most && parser_is_space(p->raw.p[end - 1]))
        end--;
    return end;
}

static void lose_spaces(struct tool_parser *p)
{
    size_t n = 0;
    while (n < p->raw.n && parser_is_space(p->raw.p[n]))
        n++;
    parser_drop(p, n);
    if (p->raw.n)
        p->skip_space = false;
}

/* The spaces in front of a mark go with it. */
static bool take_mark(struct tool_parser *p, const struct text_mark *m, size_t at)
{
    bool thought = p->phase == PHASE_thought;
    size_t end = without_spaces(p, at, at);
    parser_tell(p, thought ? ENGINE_EVENT_reasoning : ENGINE_EVENT_text, end);
    size_t n = at - end + strlen(m->text);
    switch (m->use) {
    case MARK_think:
        parser_drop(p, n);
        p->thought = true;
        p->skip_space = true;
        p->phase = thought ? PHASE_text : PHASE_thought;
        break;
    case MARK_drop:
        parser_drop(p, n);
        p->skip_space = true;
        p->phase = PHASE_text;
        break;
    case MARK_header:
        p->phase = PHASE_header;
        break;
    case MARK_call:
    case MARK_named_call:
        parser_begin_call(p);
        p->at = n;
        p->in_array = false;
        p->phase = m->use == MARK_call ? PHASE_open : PHASE_name;
        break;
    }
    return true;
}

/* An answer that begins with '{', where that may be a call. */
static bool begins_bare(struct tool_parser *p)
{
    size_t n = 0;
    while (n < p->raw.n && parser_is_space(p->raw.p[n]))
        n++;
    if (!p->f->implicit || !p->n_tools || p->told || n == p->raw.n || p->raw.p[n] != '{')
        return false;
    parser_begin_call(p);
    p->at = n;
    p->phase = PHASE_open;
    return true;
}

static bool run_text(struct tool_parser *p)
{
    struct text_mark marks[TEXT_MARKS_MAX];
    enum engine_event_kind kind =
        p->phase == PHASE_thought ? ENGINE_EVENT_reasoning : ENGINE_EVENT_text;
    if (p->skip_space)
        lose_spaces(p);
    if (kind == ENGINE_EVENT_text && begins_bare(p))
        return true;
    size_t at = 0, n = text_marks(p, marks);
    const struct text_mark *m = find_mark(p, marks, n, &at);
    if (m)
        return take_mark(p, m, at);
    size_t end = p->raw.n - mark_prefix(p, marks, n);
    if (n)
        end = without_spaces(p, end, SPACE_HELD_MAX);
    parser_tell(p, kind, end);
    return false;
}

/* ---- calls ---- */

static bool run_open(struct tool_parser *p)
{
    bool wait = false;
    parser_skip_space(p);
    if (p->at == p->raw.n)
        return false;
    char c = p->raw.p[p->at];
    if (c == '{') {
        p->phase = PHASE_object;
    } else if (c == '[') {
        p->in_array = true;
        p->at++;
        p->phase = PHASE_item;
    } else if (p->f->call_open) {
        if (parser_at_mark(p, p->f->call_open, &wait))
            p->phase = PHASE_name;
        else if (wait)
            return false;
        else
            parser_fall_back(p);
    } else if (p->f->body == TOOL_BODY_named || p->f->body == TOOL_BODY_tags) {
        p->phase = PHASE_name;
    } else {
        parser_fall_back(p);
    }
    return true;
}

static bool run_item(struct tool_parser *p)
{
    for (; p->at < p->raw.n; p->at++) {
        char c = p->raw.p[p->at];
        if (c == '{') {
            p->phase = PHASE_object;
            return true;
        }
        if (c == ']') {
            p->at++;
            p->in_array = false;
            p->phase = PHASE_after;
            if (p->n_calls == 0)
                parser_fall_back(p);
            else
                parser_drop(p, p->at);
            return true;
        }
        if (c != ',' && !parser_is_space(c)) {
            parser_fall_back(p);
            return true;
        }
    }
    return false;
}

static bool run_after(struct tool_parser *p)
{
    const struct tool_format *f = p->f;
    bool wait = false;
    parser_skip_space(p);
    if (parser_at_mark(p, f->close[0], &wait) || parser_at_mark(p, f->close[1], &wait)) {
        parser_drop(p, p->at);
        return true;
    }
    if (p->at == p->raw.n)
        return false;
    if (f->implicit && p->raw.p[p->at] == ';') {
        parser_drop(p, p->at + 1);
        return true;
    }
    if (f->implicit && p->raw.p[p->at] == '{') {
        parser_begin_call(p);
        p->phase = PHASE_open;
        return true;
    }
    if (wait)
        return false;
    p->skip_space = true;
    p->at = 0;
    p->phase = PHASE_text;
    return true;
}

static bool step(struct tool_parser *p)
{
    switch (p->phase) {
    case PHASE_text:
    case PHASE_thought:
        return run_text(p);
    case PHASE_header:
        return parser_run_header(p);
    case PHASE_open:
        return run_open(p);
    case PHASE_name:
        return parser_run_name(p);
    case PHASE_object:
        return parser_run_object(p);
    case PHASE_item:
        return run_item(p);
    case PHASE_args:
        return parser_run_args(p);
    case PHASE_tags:
        return parser_run_tags(p);
    case PHASE_after:
        return run_after(p);
    }
    return false;
}

static int err_of(const struct tool_parser *p)
{
    int r = buf_err(&p->raw);
    return r < 0 ? r : buf_err(&p->args);
}

int tool_parser_push(struct tool_parser *p, struct str text)
{
    buf_add(&p->raw, text);
    while (err_of(p) == 0 && step(p))
        if (p->single && p->n_calls && (p->phase == PHASE_after || p->phase == PHASE_item))
            return TOOL_PARSER_ENOUGH;
    return err_of(p);
}

/* What is left of a call: one that was cut short stays a call, any other is text. */
static void end_call(struct tool_parser *p, bool cut)
{
    if (p->committed)
        return;
    if (p->tool && p->args_state != ARGS_none && (cut || p->args_state == ARGS_whole)) {
        parser_commit(p);
        parser_tell_args(p);
        return;
    }
    p->at = p->raw.n;
    if (cut && p->forced)
        parser_drop(p, p->raw.n);
    else
        parser_fall_back(p);
}

int tool_parser_end(struct tool_parser *p, bool cut)
{
    if (cut && p->forced && (p->phase == PHASE_text || p->phase == PHASE_after))
        return err_of(p);
    switch (p->phase) {
    case PHASE_text:
    case PHASE_thought:
        parser_tell(p, p->phase == PHASE_thought ? ENGINE_EVENT_reasoning : ENGINE_EVENT_text,
                    p->n_calls || p->phase == PHASE_thought ? without_spaces(p, p->raw.n, p->raw.n)
                                                            : p->raw.n);
        break;
    case PHASE_after:
        p->at = 0;
        parser_skip_space(p);
        parser_drop(p, p->at);
        parser_tell(p, ENGINE_EVENT_text, p->raw.n);
        break;
    case PHASE_tags:
        parser_end_tags(p);
        end_call(p, cut);
        break;
    case PHASE_item:
        if (p->n_calls)
            break;
        /* fall through */
    default:
        end_call(p, cut);
    }
    return err_of(p);
}

/*
 * Answers of the OpenAI wire. Verbatim ones are looked at for no more than what must be known of
 * them: whether something was said, usage, errors, the end.
 */
#include "engine/upstream/openai.h"

#include "base/limits.h"
#include "engine/upstream/openai_chunk.h"

#include <errno.h>

enum {
    CALLS_MAX = 256,        /* tool calls of one answer: more are an attack */
    CALLS_STEP = 4,         /* few answers have more */
    SHAPE_MAX = 4096,       /* chunks of text are shorter */
    SCRATCH_MAX = 64 * MIB, /* a decoded text: no longer than the answer it is of */
};

/* A tool call under way. */
struct open_call {
    uint64_t index; /* over there */
    char id[128];   /* as it came; cut: only to tell calls apart */
    bool begun;     /* its name was told */
    bool has_arguments;
};

struct reader {
    struct provider_reader base;
    struct reader_body body;
    const struct openai_quirks *quirks;
    struct buf text, id, name, arguments, rewritten; /* scratch */
    struct buf stop;                                 /* the stop string that ended it */
    enum finish_reason finish;
    uint64_t seen[LIMIT_CHOICES / 64], finished[LIMIT_CHOICES / 64]; /* choices, as bits */
    bool has_choice, has_finish, is_refusing;
    struct open_call *calls;
    size_t n_calls;
    struct openai_logprobs logprobs;
    struct buf shape; /* the last chunk that said a piece of text and nothing else … */
    size_t shape_begin, shape_text;  /* … its bytes before that piece, and of it, … */
    size_t shape_middle, shape_tail; /* … behind it, and behind padding (0: it has none) */
    struct engine_found shape_found;
    int err;
};

struct provider_reader *openai_reader_new(const struct provider_job *job,
                                          const struct call_head *head, struct reader_out out)
{
    struct reader *r = calloc(1, sizeof(*r));
    if (!r)
        return NULL;
    r->base = (struct provider_reader){ .job = job, .out = out };
    r->quirks = openai_quirks_of(job);
    struct buf *const scratch[] = { &r->text,      &r->id,   &r->name, &r->arguments,
                                    &r->rewritten, &r->stop, &r->shape };
    for (size_t i = 0; i < ARRAY_LEN(scratch); i++)
        *scratch[i] = BUF_INIT(SCRATCH_MAX);
    reader_body_init(&r->body);
    return &r->base;
}

void openai_reader_free(struct provider_reader *base)
{
    struct reader *r = (struct reader *)base;
    if (!r)
        return;
    struct buf *const scratch[] = { &r->text,      &r->id,   &r->name, &r->arguments,
                                    &r->rewritten, &r->stop, &r->shape };
    for (size_t i = 0; i < ARRAY_LEN(scratch); i++)
        buf_done(scratch[i]);
    reader_body_done(&r->body);
    r->logprobs.arena = arena_free(r->logprobs.arena);
    free(r->calls);
    free(r);
}

/* ---- choices ---- */

static void mark(uint64_t *bits, uint32_t i)
{
    bits[i / 64] |= (uint64_t)1 << (i % 64);
}

static bool is_marked(const uint64_t *bits, uint32_t i)
{
    return bits[i / 64] >> (i % 64) & 1;
}

/* Notes that the choice is there, and its end where this is it. false: it broke off, and that was
 * told. */
static bool note_choice(struct reader *r, const struct openai_piece *p)
{
    enum finish_reason finish;
    r->has_choice = true;
    mark(r->seen, p->index);
    openai_usage(&r->base.usage, p->usage); /* Moonshot */
    if (json_view_kind(p->finish) != JSON_VIEW_string || p->finish.n == 2)
        return true;
    struct str word = reader_string(p->finish, &r->name);
    if (!reader_finish(word, &finish)) {
        reader_fail(&r->base, FAIL_upstream_error, "the answer broke off (finish_reason %.*s)",
                    (int)str_head(word, 64).n, word.p);
        return false;
    }
    if (!is_marked(r->finished, p->index) && (p->index == 0 || !r->has_finish)) {
        r->has_finish = true; /* of many choices the first one's counts */
        r->finish = finish;
        buf_clear(&r->stop);
        json_view_add_text(&r->stop, p->stop);
    }
    mark(r->finished, p->index);
    return true;
}

static bool is_finished(const struct reader *r)
{
    for (size_t i = 0; i < ARRAY_LEN(r->seen); i++)
        if (r->seen[i] & ~r->finished[i])
            return false;
    return r->has_choice;
}

/* ---- verbatim ---- */

/* A finish reason that no client knows → the one it stands for. */
static bool is_standard(struct str word)
{
    static const char *const words[] = { "\"stop\"", "\"length\"", "\"tool_calls\"",
                                         "\"content_filter\"", "\"function_call\"" };
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (str_is(word, words[i]))
            return true;
    return false;
}

static struct str with_finish(struct reader *r, struct str json, struct str was,
                              enum finish_reason finish)
{
    size_t at = (size_t)(was.p - json.p);
    struct buf b = BUF_INIT(SCRATCH_MAX);
    buf_add(&b, str_head(json, at));
    buf_add_json(&b, str_of(finish_reason_word(finish)));
    buf_add(&b, str_sub(json, at + was.n));
    buf_done(&r->rewritten); /* `json` may be a view of it: only now */
    r->rewritten = b;
    if (buf_err(&b) < 0)
        r->err = buf_err(&b);
    return buf_err(&b) == 0 ? buf_str(&b) : json;
}

/* What the choices of a chunk, or of a whole answer, come to. */
struct sum {
    bool has_content, has_news; /* news: any is not yet finished */
    bool lacks;                 /* as of engine_found */
};

/* Goes over the choices, *json with finish reasons that clients know. false: it broke off. */
static bool over_choices(struct reader *r, struct str *json, struct str choices, struct sum *sum)
{
    size_t n = 0;
    struct json_view_walk w = json_view_walk(choices);
    for (struct str choice; json_view_next(&w, NULL, &choice); n++) {
        struct openai_piece p;
        openai_look_at_choice(&p, choice);
        struct openai_said said = openai_said(&p);
        sum->has_content = sum->has_content || said.something;
        sum->has_news = sum->has_news || !is_marked(r->finished, p.index);
        sum->lacks = sum->lacks || said.lacks || !p.logprobs.p;
        if (!note_choice(r, &p))
            return false;
        bool is_odd = json_view_kind(p.finish) == JSON_VIEW_string && !is_standard(p.finish);
        if (!is_odd)
            continue;
        enum finish_reason finish = FINISH_stop;
        size_t at = json->n - (size_t)(p.finish.p - json->p);
        (void)reader_finish(reader_string(p.finish, &r->name), &finish);
        if (p.finish.n == 2) /* "": not finished yet, as null says */
            continue;
        struct str was = { json->p + json->n - at, p.finish.n };
        *json = with_finish(r, *json, was, finish);
        /* The walk goes on where it was, in the rewritten text. */
        choices = json_view_get(*json, "choices");
        w = json_view_walk(choices);
        for (size_t i = 0; i <= n; i++)
            (void)json_view_next(&w, NULL, &choice);
    }
    return true;
}

/* `json` may have been rewritten since `c` was found in the chunk. */
static void tell_verbatim(struct reader *r, struct str name, struct str json,
                          const struct openai_chunk *c, const struct sum *sum)
{
    struct openai_chunk now = *c;
    struct engine_event e = {
        .kind = ENGINE_EVENT_verbatim, .text = json, .name = name, .has_content = sum->has_content
    };
    if (r->rewritten.p && json.p == r->rewritten.p)
        openai_look(&now, json);
    e.found = openai_found(json, &now);
    e.found.lacks = sum->lacks;
    reader_event(&r->base, &e);
}

static void pass_chunk(struct reader *r, struct str name, struct str json,
                       const struct openai_chunk *c)
{
    struct sum sum = { 0 };
    if (c->has_choices && !over_choices(r, &json, c->choices, &sum))
        return;
    bool has_usage = json_view_kind(c->usage) == JSON_VIEW_object;
    bool is_empty = c->has_choices && !json_view_has_any(c->choices);
    if (!c->has_choices) {
        if (!has_usage)
            return; /* no chunk of an answer: clients would stumble over it */
        buf_clear(&r->rewritten);
        buf_adds(&r->rewritten, "{\"choices\":[],");
        buf_add(&r->rewritten, str_sub(json, 1));
        json = buf_str(&r->rewritten);
    } else if (!sum.has_content && !sum.has_news && !has_usage && !is_empty) {
        return; /* the end once more */
    }
    tell_verbatim(r, name, json, c, &sum);
}

/* ---- translated: tool calls ---- */

/* Room for one more; false: none, and why is told or kept. */
static bool has_room(struct reader *r)
{
    if (r->n_calls == CALLS_MAX)
        reader_fail(&r->base, FAIL_upstream_error, "the answer calls too many tools");
    if (r->n_calls == CALLS_MAX || r->n_calls % CALLS_STEP != 0)
        return r->n_calls < CALLS_MAX;
    struct open_call *more = realloc(r->calls, (r->n_calls + CALLS_STEP) * sizeof(*more));
    if (more)
        r->calls = more;
    else
        r->err = -ENOMEM;
    return more;
}

/* What is kept of an id. */
static struct str known_of(struct str id)
{
    struct str known = str_head(id, sizeof(((struct open_call *)NULL)->id) - 1);
    return str_head(known, str_utf8_whole(known));
}

static struct open_call *new_call(struct reader *r, uint64_t index, struct str id)
{
    if (!has_room(r))
        return NULL;
    struct open_call *call = &r->calls[r->n_calls++];
    *call = (struct open_call){ .index = index };
    struct str known = known_of(id);
    memcpy(call->id, known.n ? known.p : "", known.n);
    return call;
}

/* The call that a delta is of. Indices are missing, or all 0, at some; ids come once at most, with
 * every piece at some. */
static struct open_call *call_of(struct reader *r, struct str item, struct str id, struct str name)
{
    uint64_t index = UINT64_MAX;
    struct open_call *call = NULL;
    bool has_index = json_view_u64(json_view_get(item, "index"), &index) == 0;
    struct str known = known_of(id);
    for (size_t i = 0; i < r->n_calls; i++) {
        struct open_call *at = &r->calls[i];
        bool same_id = id.n && str_is(known, at->id);
        if (id.n && at->id[0] ? same_id : has_index && at->index == index)
            call = at;
    }
    if (!call && !has_index && !id.n && !name.n && r->n_calls)
        call = &r->calls[r->n_calls - 1];
    if (!call && !has_index)
        index = r->n_calls;
    return call ? call : new_call(r, index, id);
}

static void begin_call(struct reader *r, struct open_call *call, struct str id, struct str name)
{
    char made[READER_CALL_ID];
    uint32_t at = (uint32_t)(call - r->calls);
    size_t max = r->quirks->strict_names ? OPENAI_TOOL_NAME : SIZE_MAX;
    if (!id.n) {
        reader_call_id(&r->base, at, made);
        id = str_of(made);
    }
    call->begun = true;
    struct engine_event e = {
        .kind = ENGINE_EVENT_tool_call,
        .call = { .index = at,
                  .id = id,
                  .name = provider_tool_original(r->base.job->request, name, max) },
    };
    reader_event(&r->base, &e);
}

static void add_arguments(struct reader *r, struct open_call *call, struct str arguments)
{
    struct engine_event e = {
        .kind = ENGINE_EVENT_tool_call,
        .call = { .index = (uint32_t)(call - r->calls), .arguments = arguments },
    };
    call->has_arguments = true;
    reader_event(&r->base, &e);
}

static void read_call(struct reader *r, struct str item)
{
    struct str function = json_view_get(item, "function");
    struct str id = reader_string(json_view_get(item, "id"), &r->id);
    struct str name = reader_string(json_view_get(function, "name"), &r->name);
    struct str v = json_view_get(function, "arguments");
    struct open_call *call = call_of(r, item, id, name);
    if (!call)
        return;
    if (!call->begun && name.n)
        begin_call(r, call, id.n ? id : str_of(call->id), name);
    if (!call->begun)
        return; /* nobody could say whose arguments they are */
    struct str arguments = json_view_kind(v) == JSON_VIEW_object /* Ollama's own form */
                               ? v
                               : reader_string(v, &r->arguments);
    if (arguments.n)
        add_arguments(r, call, arguments);
}

/* A call whose arguments never came has none: an object without members. */
static void end_calls(struct reader *r)
{
    for (size_t i = 0; i < r->n_calls; i++)
        if (r->calls[i].begun && !r->calls[i].has_arguments)
            add_arguments(r, &r->calls[i], STR("{}"));
}

/* ---- translated: text ---- */

static void tell_text(struct reader *r, struct str text, struct str logprobs)
{
    struct engine_event e = { .kind = ENGINE_EVENT_text, .text = text };
    if (logprobs.p)
        e.tokens = openai_logprobs_read(&r->logprobs, r->base.job->request, logprobs, &e.n_tokens);
    if (text.n || e.n_tokens)
        reader_event(&r->base, &e);
}

/* Content as parts: [{"type":"text","text":…},{"type":"thinking","thinking":[…]}]. */
static void read_parts(struct reader *r, struct str parts, bool is_thinking)
{
    struct json_view_walk w = json_view_walk(parts);
    for (struct str part; json_view_next(&w, NULL, &part);) {
        struct str thinking = json_view_get(part, "thinking");
        struct str text =
            json_view_kind(part) == JSON_VIEW_string ? part : json_view_get(part, "text");
        if (json_view_kind(thinking) == JSON_VIEW_array && !is_thinking) {
            read_parts(r, thinking, true);
            continue;
        }
        if (json_view_kind(thinking) == JSON_VIEW_string)
            reader_reasoning(&r->base, reader_string(thinking, &r->text));
        else if (is_thinking)
            reader_reasoning(&r->base, reader_string(text, &r->text));
        else
            reader_text(&r->base, reader_string(text, &r->text));
    }
}

/* Whoever shows it spells it in one of these ways, some in two at once. */
static void read_reasoning(struct reader *r, struct str delta)
{
    static const char *const keys[] = { "reasoning_content", "reasoning", "reasoning_text",
                                        "thinking" };
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        struct str v = json_view_get(delta, keys[i]);
        if (json_view_kind(v) != JSON_VIEW_string || v.n == 2)
            continue;
        reader_reasoning(&r->base, reader_string(v, &r->text));
        return;
    }
}

static void read_refusal(struct reader *r, struct str value)
{
    struct str text = reader_string(value, &r->text);
    if (!text.n)
        return;
    r->is_refusing = true;
    struct engine_event e = { .kind = ENGINE_EVENT_text, .text = text, .is_refusal = true };
    reader_event(&r->base, &e);
}

static void read_calls(struct reader *r, struct str delta)
{
    struct json_view_walk w = json_view_walk(json_view_get(delta, "tool_calls"));
    for (struct str item; json_view_next(&w, NULL, &item);)
        read_call(r, item);
    struct str old = json_view_get(delta, "function_call");
    if (json_view_kind(old) != JSON_VIEW_object)
        return;
    buf_clear(&r->rewritten); /* the older form, as the one call that it is */
    buf_adds(&r->rewritten, "{\"index\":0,\"function\":");
    buf_add(&r->rewritten, old);
    buf_addc(&r->rewritten, '}');
    if (buf_err(&r->rewritten) == 0)
        read_call(r, buf_str(&r->rewritten));
}

/* One job is one choice: the first is read, others are not asked for. */
static void read_choice(struct reader *r, struct str choice)
{
    struct openai_piece p;
    openai_look_at_choice(&p, choice);
    if (p.index != 0)
        return;
    bool is_over = is_marked(r->finished, 0); /* a second end, and what hangs on it */
    if (p.delta.p && !is_over) {
        struct str content = json_view_get(p.delta, "content");
        read_reasoning(r, p.delta);
        if (json_view_kind(content) == JSON_VIEW_array)
            read_parts(r, content, false);
        else
            tell_text(r, reader_string(content, &r->text), p.logprobs);
        read_refusal(r, json_view_get(p.delta, "refusal"));
        read_calls(r, p.delta);
    } else if (p.text.p && !is_over) {
        tell_text(r, reader_string(p.text, &r->text), p.logprobs);
    }
    (void)note_choice(r, &p);
}

/* ---- chunks like the last one ---- */

/* Most chunks differ from the one before in a piece of text only: its bytes say the same then. */

/* Keeps a chunk whose one choice says text and nothing else; forgets the last one. */
static void keep_shape(struct reader *r, struct str json, const struct openai_chunk *c)
{
    struct str choice, other;
    struct openai_piece p;
    struct json_view_walk w = json_view_walk(c->choices);
    buf_clear(&r->shape);
    if (json.n > SHAPE_MAX || !json_view_next(&w, NULL, &choice) ||
        json_view_next(&w, NULL, &other) || json_view_kind(c->usage) == JSON_VIEW_object)
        return;
    openai_look_at_choice(&p, choice);
    struct str text = STR_NULL;
    w = json_view_walk(p.delta);
    for (struct str key, value; json_view_next(&w, &key, &value);) {
        if (str_is(key, "content"))
            text = value;
        else if (openai_is_truthy(value) && !str_is(key, "role"))
            return;
    }
    if (json_view_kind(text) != JSON_VIEW_string || text.n <= 2 || p.text.p ||
        json_view_kind(p.finish) == JSON_VIEW_string || p.usage.p || c->extra_usage.p ||
        json_view_kind(p.logprobs) == JSON_VIEW_object || is_marked(r->finished, p.index))
        return;
    if (!r->base.job->verbatim && p.index != 0)
        return;
    buf_add(&r->shape, json);
    r->shape_found = openai_found(json, c);
    r->shape_begin = (size_t)(text.p - json.p);
    r->shape_text = text.n;
    r->shape_middle = json.n - r->shape_begin - text.n;
    r->shape_tail = 0;
    /* OpenAI pads its chunks with letters of chance. No string holds quotes that are not escaped,
     * so what looks like the member is it. */
    struct str padding = STR("\"obfuscation\":");
    struct str rest = { text.p + text.n, r->shape_middle };
    ptrdiff_t at = str_find(rest, padding);
    struct str value = at >= 0 ? json_view_value(str_sub(rest, (size_t)at + padding.n)) : STR_NULL;
    if (value.p) {
        r->shape_middle = (size_t)(value.p - rest.p);
        r->shape_tail = rest.n - r->shape_middle - value.n;
    }
}

/* Moves past n bytes that are as these; false: they are not. */
static bool pass_same(struct str *rest, const char *bytes, size_t n)
{
    if (rest->n < n || memcmp(rest->p, bytes, n) != 0)
        return false;
    *rest = str_sub(*rest, n);
    return true;
}

static bool pass_string(struct str *rest, struct str *ret)
{
    if (rest->n == 0 || rest->p[0] != '"')
        return false;
    *ret = json_view_value(*rest);
    *rest = str_sub(*rest, ret->n);
    return ret->p;
}

/* Whether the chunk is like it; *ret: the JSON string that stands for its piece. */
static bool has_shape(const struct reader *r, struct str json, struct str *ret)
{
    const char *shape = r->shape.p, *end = shape + r->shape.n;
    struct str padding;
    if (r->shape.n == 0 || !pass_same(&json, shape, r->shape_begin) || !pass_string(&json, ret))
        return false;
    if (r->shape_tail == 0)
        return json.n == r->shape_middle && pass_same(&json, end - json.n, json.n);
    const char *middle = shape + r->shape_begin + r->shape_text;
    return pass_same(&json, middle, r->shape_middle) && pass_string(&json, &padding) &&
           json.n == r->shape_tail && pass_same(&json, end - json.n, json.n);
}

/* Where in a chunk like it stands what is `at` there. */
static size_t moved(const struct reader *r, size_t at, size_t n, size_t piece)
{
    if (at <= r->shape_begin)
        return at;
    bool is_tail = r->shape_tail && at >= r->shape.n - r->shape_tail;
    return is_tail ? n - (r->shape.n - at) : at - r->shape_text + piece;
}

static struct engine_span moved_span(const struct reader *r, struct engine_span s, size_t n,
                                     size_t piece)
{
    size_t at = moved(r, s.at, n, piece);
    return (struct engine_span){ at, moved(r, s.at + s.n, n, piece) - at };
}

static void tell_piece(struct reader *r, struct str name, struct str json, struct str piece)
{
    if (!r->base.job->verbatim) {
        reader_text(&r->base, reader_string(piece, &r->text));
        return;
    }
    const struct engine_found *f = &r->shape_found;
    struct engine_event e = {
        .kind = ENGINE_EVENT_verbatim, .text = json, .name = name, .has_content = piece.n > 2
    };
    e.found = (struct engine_found){
        .model = moved_span(r, f->model, json.n, piece.n),
        .choices = moved_span(r, f->choices, json.n, piece.n),
        .usage = moved_span(r, f->usage, json.n, piece.n),
        .usage_key = moved(r, f->usage_key, json.n, piece.n),
    };
    reader_event(&r->base, &e);
}

/* ---- the end ---- */

static void tell_done(struct reader *r)
{
    enum finish_reason finish = r->finish;
    if (r->base.job->verbatim) {
        reader_done(&r->base, finish);
        return;
    }
    end_calls(r);
    if (finish == FINISH_stop && r->n_calls)
        finish = FINISH_tool_calls;
    if (finish == FINISH_stop && r->is_refusing)
        finish = FINISH_content_filter;
    struct engine_event e = { .kind = ENGINE_EVENT_done,
                              .finish = finish,
                              .stop = buf_str(&r->stop) };
    if (r->logprobs.n)
        e.mean_logprob = (float)(r->logprobs.sum / (double)r->logprobs.n);
    reader_event(&r->base, &e);
}

/* ---- a stream ---- */

static int on_chunk(struct reader *r, struct str name, struct str json)
{
    struct openai_chunk c;
    openai_look(&c, json);
    if (openai_is_error(&c) || str_is(name, "error")) {
        reader_error_in(&r->base, json);
        return 0;
    }
    openai_usage(&r->base.usage, c.usage.p && c.usage.p[0] == '{' ? c.usage : c.extra_usage);
    keep_shape(r, json, &c);
    if (r->base.job->verbatim) {
        pass_chunk(r, name, json, &c);
        return r->err;
    }
    struct json_view_walk w = json_view_walk(c.choices);
    for (struct str choice; json_view_next(&w, NULL, &choice);)
        read_choice(r, choice);
    return r->err;
}

static int on_event(void *ctx, const struct sse_event *event)
{
    struct reader *r = ctx;
    struct str data = str_trim(event->data);
    if (r->base.ended)
        return 0;
    if (r->base.job->verbatim && !r->base.job->request->stream) {
        reader_fail(&r->base, FAIL_upstream_error,
                    "the answer came as a stream where none was asked for");
        return 0;
    }
    if (str_starts(data, STR("[DONE]"))) {
        if (r->has_choice)
            tell_done(r);
        else
            reader_fail(&r->base, FAIL_upstream_error, "the stream ended without an answer");
        return 0;
    }
    struct str piece;
    if (data.n == 0)
        return 0;
    if (has_shape(r, data, &piece)) {
        tell_piece(r, event->name, data, piece);
        return 0;
    }
    struct str json = json_view_value(data);
    if (json_view_kind(json) != JSON_VIEW_object || json.n != data.n) {
        reader_fail(&r->base, FAIL_upstream_error, "the stream holds an event that is no JSON");
        return 0;
    }
    return on_chunk(r, event->name, json);
}

int openai_read(struct provider_reader *base, struct str bytes)
{
    struct reader *r = (struct reader *)base;
    return reader_body_push(&r->body, base, bytes, on_event);
}

/* ---- a whole answer ---- */

static void read_whole(struct reader *r, struct str json, const struct openai_chunk *c)
{
    if (openai_is_error(c)) {
        reader_error_in(&r->base, json);
        return;
    }
    openai_usage(&r->base.usage, c->usage);
    struct sum sum = { 0 };
    if (!json_view_has_any(c->choices)) {
        if (!c->has_choices && c->has_detail)
            reader_error_in(&r->base, json); /* an error that is not called one */
        reader_fail(&r->base, FAIL_upstream_error, "the answer holds no choices");
        return;
    }
    if (r->base.job->verbatim) {
        if (!over_choices(r, &json, c->choices, &sum))
            return;
        tell_verbatim(r, STR_NULL, json, c, &sum);
    } else {
        struct json_view_walk w = json_view_walk(c->choices);
        for (struct str choice; json_view_next(&w, NULL, &choice);)
            read_choice(r, choice);
    }
    if (r->err == 0)
        tell_done(r);
}

/* Checks the whole answer and looks at its members in one pass. false: it is no JSON. */
static bool check_whole(struct reader *r, struct str *ret, struct openai_chunk *ret_chunk)
{
    size_t at = 0;
    struct str text = buf_str(&r->body.whole);
    *ret_chunk = (struct openai_chunk){ 0 };
    enum json_view_fault fault =
        json_view_check_members(text, LIMIT_JSON_DEPTH * 2, &at, openai_look_at_member, ret_chunk);
    *ret = str_trim(text);
    if (fault) { /* it may be one to pass over; what is no UTF-8 is replaced */
        text = reader_body_whole(&r->body);
        fault = json_view_check(text, LIMIT_JSON_DEPTH * 2, &at);
        *ret = json_view_value(text);
        openai_look(ret_chunk, *ret);
    }
    return fault != JSON_VIEW_syntax && fault != JSON_VIEW_depth &&
           json_view_kind(*ret) != JSON_VIEW_none;
}

static void end_whole(struct reader *r)
{
    struct str json;
    struct openai_chunk c;
    bool is_broken = !check_whole(r, &json, &c);
    bool is_error_list = json_view_kind(json) == JSON_VIEW_array; /* Gemini's door of this wire */
    if (is_broken) {
        reader_fail(&r->base, FAIL_upstream_error, "the answer is no JSON, or breaks off");
    } else if (is_error_list) {
        reader_error_in(&r->base, json);
    } else if (r->base.job->verbatim && r->base.job->request->stream && !openai_is_error(&c)) {
        reader_fail(&r->base, FAIL_upstream_error,
                    "the answer came as a whole where a stream was asked for");
    } else {
        read_whole(r, json, &c);
    }
}

void openai_end(struct provider_reader *base)
{
    struct reader *r = (struct reader *)base;
    if (base->ended)
        return;
    if (!r->body.is_known)
        reader_fail(base, FAIL_upstream_error, "the answer is empty");
    else if (!r->body.is_stream)
        end_whole(r);
    else if (is_finished(r))
        tell_done(r);
    else
        reader_fail(base, FAIL_upstream_error, "the stream ended without finish_reason and [DONE]");
    if (!base->ended) /* no memory on the way */
        reader_fail(base, FAIL_overloaded, "no memory for the answer");
}

#include "gateway/record.h"

#include "base/clock.h"
#include "base/log.h"
#include "gateway/answer.h"
#include "gateway/caller.h"
#include "gateway/redact.h"
#include "gateway/replay.h"
#include "gateway/server.h"
#include "gateway/vsr.h"

#include <errno.h>
#include <math.h>
#include <time.h>

static const struct router_replay *settings_of(const struct request *r)
{
    const struct answer *a = r->answer;
    if (!a || !a->target.is_auto)
        return NULL;
    const struct router_replay *s = state_replay(r->state, &a->target.route);
    return s->enabled ? s : NULL;
}

bool record_id(const struct request *r, char ret[static RECORD_ID])
{
    if (!settings_of(r))
        return false;
    (void)snprintf(ret, RECORD_ID, "replay_%.24s", r->made + strlen("req_"));
    return true;
}

/* ---- what is captured on the way ---- */

/* Cut at a UTF-8 boundary. */
static struct str cut(struct str s, size_t max, bool *ret_cut)
{
    *ret_cut = s.n > max;
    if (!*ret_cut)
        return s;
    while (max && ((unsigned char)s.p[max] & 0xc0) == 0x80)
        max--;
    return str_head(s, max);
}

int record_request(struct request *r)
{
    const struct router_replay *s = settings_of(r);
    if (!s || !s->capture_request)
        return 0;
    struct answer *a = r->answer;
    struct str body = cut(buf_str(&r->body), s->max_body_bytes, &a->asked_cut);
    a->asked = redact_keys(body, r->arena);
    return a->asked.p ? 0 : -ENOMEM;
}

bool record_wants_text(const struct request *r)
{
    const struct router_replay *s = settings_of(r);
    return s && s->capture_response;
}

void record_text(struct request *r, struct str text)
{
    const struct router_replay *s = settings_of(r);
    struct answer *a = r->answer;
    if (text.n == 0 || !record_wants_text(r))
        return;
    a->answered.max = REPLAY_BODY_MAX;
    size_t room = a->answered.n < s->max_body_bytes ? s->max_body_bytes - a->answered.n : 0;
    bool is_cut = false;
    buf_add(&a->answered, cut(text, room, &is_cut));
    a->answered_cut = a->answered_cut || is_cut;
}

/* ---- members ---- */

static void add_key(struct buf *b, const char *key)
{
    buf_addf(b, ",\"%s\":", key);
}

static void add_text(struct buf *b, const char *key, struct str text)
{
    if (text.n == 0)
        return;
    add_key(b, key);
    buf_add_json(b, text);
}

static void add_bool(struct buf *b, const char *key, bool is_so)
{
    buf_addf(b, ",\"%s\":%s", key, is_so ? "true" : "false");
}

static void add_number(struct buf *b, const char *key, double x)
{
    buf_addf(b, ",\"%s\":%.10g", key, isfinite(x) ? x : 0.0);
}

static void add_time(struct buf *b, const char *key, uint64_t ms)
{
    time_t s = (time_t)(ms / 1000);
    struct tm tm;
    char text[32];
    if (!gmtime_r(&s, &tm) || strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm) == 0)
        return;
    buf_addf(b, ",\"%s\":\"%s.%03uZ\"", key, text, (unsigned)(ms % 1000));
}

/* Names of matched signals of a type, as one JSON array. */
static void add_names(struct buf *b, const struct route *route, struct str type)
{
    size_t n = 0;
    buf_addc(b, '[');
    for (size_t i = 0; i < route->n_signals; i++) {
        const struct route_signal *s = &route->signals[i];
        if (s->value != TRUTH_true || !str_eq(s->type, type))
            continue;
        buf_adds(b, n++ ? "," : "");
        buf_add_json(b, s->name);
    }
    buf_addc(b, ']');
}

/* {"keyword":["a"]}; matched signals come first, family by family. */
static void add_signals(struct buf *b, const struct route *route)
{
    struct str last = STR_NULL;
    size_t n = 0;
    add_key(b, "signals");
    buf_addc(b, '{');
    for (size_t i = 0; i < route->n_signals; i++) {
        const struct route_signal *s = &route->signals[i];
        if (s->value != TRUTH_true || str_eq(s->type, last) || str_is(s->type, "projection"))
            continue;
        last = s->type;
        buf_addf(b, "%s\"" STR_FMT "\":", n++ ? "," : "", STR_ARG(s->type));
        add_names(b, route, s->type);
    }
    buf_addc(b, '}');
    add_key(b, "projections");
    add_names(b, route, STR("projection"));
}

enum map { MAP_confidence, MAP_value, MAP_error };

static bool in_map(const struct route_signal *s, enum map map)
{
    if (map == MAP_confidence)
        return s->value == TRUTH_true;
    if (map == MAP_value)
        return s->value != TRUTH_unknown && isfinite(s->raw);
    return s->value == TRUTH_unknown;
}

static void add_map(struct buf *b, const char *key, const struct route *route, enum map map)
{
    size_t n = 0;
    add_key(b, key);
    buf_addc(b, '{');
    for (size_t i = 0; i < route->n_signals; i++) {
        const struct route_signal *s = &route->signals[i];
        if (!in_map(s, map))
            continue;
        buf_addf(b, "%s\"" STR_FMT ":", n++ ? "," : "", STR_ARG(s->type));
        buf_add_json_chars(b, s->name);
        buf_adds(b, "\":");
        if (map == MAP_error)
            buf_add_json(b, str_of(s->unknown ? s->unknown : "it could not be evaluated"));
        else
            buf_addf(b, "%.10g", map == MAP_value ? s->raw : s->confidence);
    }
    buf_addc(b, '}');
}

static void add_trace(struct buf *b, const struct route *route)
{
    static const char *const truths[] = {
        [TRUTH_false] = "false", [TRUTH_true] = "true", [TRUTH_unknown] = "unknown"
    };
    add_key(b, "decision_trace");
    buf_addc(b, '[');
    for (size_t i = 0; i < route->n_traces; i++) {
        const struct route_trace *t = &route->traces[i];
        buf_adds(b, i ? ",{\"decision_name\":" : "{\"decision_name\":");
        buf_add_json(b, t->decision);
        buf_addf(b, ",\"truth\":\"%s\",\"confidence\":%.10g,\"reason\":", truths[t->matched],
                 t->confidence);
        buf_add_json(b, t->reason);
        buf_addc(b, '}');
    }
    buf_addc(b, ']');
}

/* ---- tools ---- */

struct steps {
    const struct router_replay *settings;
    size_t skip, n; /* the first ones are left out */
    struct buf *b;
    struct arena *arena;
};

static void add_step(struct steps *s, const char *type, struct str name, struct str id,
                     struct str text)
{
    if (s->n++ < s->skip)
        return;
    bool is_cut = false;
    buf_addf(s->b, "%s{\"type\":\"%s\"", s->n - 1 > s->skip ? "," : "", type);
    add_text(s->b, "tool_name", name);
    add_text(s->b, "tool_call_id", id);
    add_text(s->b, "text", redact_keys(cut(text, s->settings->max_tool_bytes, &is_cut), s->arena));
    if (is_cut)
        add_bool(s->b, "truncated", true);
    buf_addc(s->b, '}');
}

static bool is_result(const struct chat_message *m)
{
    return str_is(m->role, "tool") || str_is(m->role, "function");
}

static size_t count_steps(const struct chat_request *chat)
{
    size_t n = 0;
    for (size_t i = 0; i < chat->n_messages; i++)
        n += chat->messages[i].n_tool_calls + is_result(&chat->messages[i]);
    return n;
}

/* Calls and their results in the request; bodies of them only where bodies are kept. */
static void add_tools(struct buf *b, struct request *r, const struct router_replay *settings)
{
    const struct chat_request *chat = &r->answer->chats[0];
    size_t all = count_steps(chat), most = settings->max_tool_steps;
    if (all == 0 || !settings->capture_request)
        return;
    struct steps s = { settings, all > most ? all - most : 0, 0, b, r->arena };
    buf_adds(b, ",\"tool_trace\":{\"steps\":[");
    for (size_t i = 0; i < chat->n_messages; i++) {
        const struct chat_message *m = &chat->messages[i];
        for (size_t k = 0; k < m->n_tool_calls; k++)
            add_step(&s, "assistant_tool_call", m->tool_calls[k].name, m->tool_calls[k].id,
                     m->tool_calls[k].arguments);
        if (is_result(m))
            add_step(&s, "tool_result", m->name, m->tool_call_id, m->content);
    }
    buf_addc(b, ']');
    add_bool(b, "steps_truncated", s.skip > 0);
    buf_addf(b, ",\"dropped_step_count\":%zu}", s.skip);
}

/* ---- the record ---- */

static void add_usage(struct buf *b, const struct engine_usage *u)
{
    buf_addf(b, ",\"prompt_tokens\":%u,\"cached_prompt_tokens\":%u,\"completion_tokens\":%u,",
             u->prompt_tokens, u->cached_tokens, u->completion_tokens);
    buf_addf(b, "\"total_tokens\":%llu",
             (unsigned long long)u->prompt_tokens + u->completion_tokens);
}

static void add_cost(struct buf *b, const struct answer *a)
{
    struct str currency;
    double cost = answer_cost(a, &currency);
    if (cost < 0)
        return;
    buf_addf(b, ",\"cost\":%.9g", cost);
    add_text(b, "currency", currency);
}

static void add_route(struct buf *b, const struct request *r)
{
    const struct answer *a = r->answer;
    const struct route *route = &a->target.route;
    add_text(b, "session_id", caller_header(r, STR("x-session-id")));
    add_text(b, "recipe", route->recipe);
    add_text(b, "decision", route->decision);
    add_text(b, "category", route->category);
    add_text(b, "original_model", route->requested);
    add_text(b, "selected_model", a->model.n ? a->model : route->model);
    add_text(b, "adapter", route->adapter);
    add_text(b, "algorithm", route->algorithm);
    add_text(b, "selection_method", route->algorithm);
    add_text(b, "selection_status", str_of(route_selection_word(route)));
    add_text(b, "selection_reason", route->selection_reason);
    add_text(b, "reasoning_mode", route->use_reasoning ? STR("on") : STR("off"));
    add_number(b, "confidence_score", route->confidence);
}

static void add_summary(struct buf *b, const struct request *r, const struct replay_record *record)
{
    const struct answer *a = r->answer;
    uint64_t us = clock_us() - r->accepted_us, now = clock_wall_ms();
    buf_adds(b, "\"id\":");
    buf_add_json(b, record->id);
    add_time(b, "timestamp", now - us / 1000);
    add_text(b, "request_id", str_of(r->id));
    add_route(b, r);
    add_signals(b, &a->target.route);
    if (record->has_usage) {
        struct engine_usage u = answer_usage(a);
        add_usage(b, &u);
        add_cost(b, a);
    }
    buf_addf(b, ",\"response_status\":%u", r->reply.status);
    add_text(b, "response_path", vsr_path(r));
    add_text(b, "lifecycle_state", str_of(replay_states[record->state]));
    add_time(b, "ended_at", now);
    buf_addf(b, ",\"duration_ms\":%llu,\"routing_us\":%llu", (unsigned long long)us / 1000,
             (unsigned long long)a->target.route.us);
    add_bool(b, "streaming", a->chats && a->chats[0].stream);
}

static void add_details(struct buf *b, struct request *r, const struct router_replay *s)
{
    struct answer *a = r->answer;
    const struct route *route = &a->target.route;
    add_map(b, "signal_confidences", route, MAP_confidence);
    add_map(b, "signal_values", route, MAP_value);
    add_map(b, "signal_errors", route, MAP_error);
    add_trace(b, route);
    if (route->annotations.n) {
        add_key(b, "annotations");
        buf_add(b, route->annotations); /* JSON already */
    }
    add_tools(b, r, s);
    if (a->asked.n) {
        add_text(b, "request_body", a->asked);
        add_bool(b, "request_body_truncated", a->asked_cut);
    }
    if (s->capture_response && a->answered.n == 0 && r->reply.body.n)
        record_text(r, buf_str(&r->reply.body)); /* an answer that is no stream, or an error */
    struct str answered = redact_keys(buf_str(&a->answered), r->arena);
    if (answered.n) {
        add_text(b, "response_body", answered);
        add_bool(b, "response_body_truncated", a->answered_cut);
    }
}

static enum replay_state state_of(const struct request *r, bool gone)
{
    if (gone)
        return REPLAY_aborted;
    return r->reply.status >= 400 || r->answer->is_failed ? REPLAY_failed : REPLAY_completed;
}

void record_finish(struct request *r, bool gone)
{
    const struct router_replay *s = settings_of(r);
    char id[RECORD_ID];
    if (!s || r->answer->is_recorded || !record_id(r, id))
        return;
    struct answer *a = r->answer;
    const struct route *route = &a->target.route;
    a->is_recorded = true;
    struct engine_usage u = answer_usage(a);
    struct replay_record record = {
        .id = str_of(id),
        .request = str_of(r->id),
        .recipe = route->recipe,
        .decision = route->decision,
        .model = a->model.n ? a->model : route->model,
        .session = caller_header(r, STR("x-session-id")),
        .state = state_of(r, gone),
        .has_usage = u.prompt_tokens > 0,
        .prompt_tokens = u.prompt_tokens,
        .completion_tokens = u.completion_tokens,
        .max_records = s->max_records,
    };
    CLEANUP(buf_done) struct buf summary = BUF_INIT(REPLAY_RECORD_BYTES);
    CLEANUP(buf_done) struct buf details = BUF_INIT(REPLAY_RECORD_BYTES);
    add_summary(&summary, r, &record);
    add_details(&details, r, s);
    record.summary = buf_str(&summary);
    record.details = buf_err(&details) < 0 ? STR_NULL : buf_str(&details);
    int err = buf_err(&summary);
    if (err == 0)
        err = replay_put(server_replay(r->server), &record);
    if (err < 0) /* it is a copy for looking at: the answer does not depend on it */
        log_line(LOG_warn, "replay", "req=%s not kept: %s", r->id, strerror(-err));
}

/*
 * What an error of a provider means: each says it with a status, a type, a code and a sentence of
 * its own, and not always with all of them.
 */
#include "engine/upstream/provider_table.h"

#include "base/limits.h"
#include "base/num.h"

/* ---- Retry-After ---- */

enum { RETRY_AFTER_MAX_S = 30 * 24 * 3600 }; /* a longer wait is nonsense */

static unsigned date_after(struct str date, uint64_t now_s)
{
    char text[64];
    struct tm t = { 0 };
    if (date.n >= sizeof(text))
        return 0;
    memcpy(text, date.p, date.n);
    text[date.n] = '\0';
    const char *end = strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &t); /* RFC 9110's own form */
    if (!end || *end)
        return 0;
    time_t at = timegm(&t);
    if (at < 0 || (uint64_t)at <= now_s || (uint64_t)at - now_s > RETRY_AFTER_MAX_S)
        return 0;
    return (unsigned)((uint64_t)at - now_s);
}

static unsigned whole_seconds(double s)
{
    unsigned down = (unsigned)s;
    return down + (s > down);
}

unsigned refusal_retry_after(const struct call_head *head, uint64_t now_s)
{
    static const double ms_per_s = 1000;
    double n = 0;
    struct str ms = str_trim(call_header(head, "retry-after-ms"));
    if (ms.n && num_parse_double(&n, ms, 0, RETRY_AFTER_MAX_S * ms_per_s) == 0)
        return whole_seconds(n / ms_per_s);
    struct str after = str_trim(call_header(head, "retry-after"));
    if (after.n == 0)
        return 0;
    if (num_parse_double(&n, after, 0, RETRY_AFTER_MAX_S) == 0)
        return whole_seconds(n);
    return date_after(after, now_s);
}

/* ---- by status ---- */

struct meaning {
    enum fail_code code;
    enum refusal_kind kind;
    const char *said; /* instead of the other side's sentence; NULL: that one is told */
};

static const char not_ours[] = "the engine behind refused the gateway's credentials";

static struct meaning status_meaning(unsigned status)
{
    switch (status) {
    case 400:
    case 422:
        return (struct meaning){ FAIL_invalid_request, REFUSAL_final, NULL };
    case 401:
    case 403:
    case 407:
        return (struct meaning){ FAIL_upstream_error, REFUSAL_elsewhere, not_ours };
    case 402:
        return (struct meaning){ FAIL_upstream_error, REFUSAL_elsewhere,
                                 "the gateway's account at the engine behind is not funded" };
    case 408:
    case 504:
        return (struct meaning){ FAIL_timeout, REFUSAL_later, NULL };
    case 413:
        return (struct meaning){ FAIL_request_too_large, REFUSAL_final, NULL };
    case 429:
        return (struct meaning){ FAIL_rate_limit_exceeded, REFUSAL_later, NULL };
    case 409:
    case 425:
    case 503:
    case 529: /* Anthropic's "overloaded" */
        return (struct meaning){ FAIL_overloaded, REFUSAL_later, NULL };
    default:
        break;
    }
    bool is_broken = status >= 500 && status != 501;
    return (struct meaning){ FAIL_upstream_error, is_broken ? REFUSAL_broken : REFUSAL_elsewhere,
                             NULL };
}

static void tell(struct provider_refusal *ret, struct meaning m, struct str message,
                 unsigned status)
{
    ret->kind = m.kind;
    if (m.said)
        message = str_of(m.said);
    if (message.n)
        (void)fail_set(&ret->fail, m.code, "%.*s", (int)str_head(message, 512).n, message.p);
    else
        (void)fail_set(&ret->fail, m.code, "the engine behind answered with status %u", status);
}

void refusal_by_status(struct provider_refusal *ret, unsigned status, struct str message)
{
    tell(ret, status_meaning(status), message, status);
}

/* ---- by what it says ---- */

static bool has_nocase(struct str text, const char *what)
{
    struct str needle = str_of(what);
    for (size_t i = 0; i + needle.n <= text.n; i++)
        if (str_eq_nocase(str_head(str_sub(text, i), needle.n), needle))
            return true;
    return false;
}

enum topic {
    TOPIC_none,
    TOPIC_context,
    TOPIC_filter,
    TOPIC_credential,
    TOPIC_quota,
    TOPIC_rate,
    TOPIC_busy,
    TOPIC_model,
    TOPIC_adapter,
    TOPIC_timeout,
    TOPIC_input, /* of a kind that the model does not take */
};

/* A row says something where the word is the type or the code, or its phrase is in the message. */
struct saying {
    enum topic topic;
    const char *word, *phrase, *also; /* `also` must be in the message beside the phrase */
};

static const struct saying sayings[] = {
    { TOPIC_context, "context_length_exceeded", "maximum context length", NULL },
    { TOPIC_context, "exceed_context_size_error", "available context size", NULL },
    { TOPIC_context, "string_above_max_length", "prompt is too long", NULL },
    { TOPIC_context, NULL, "context window", NULL },
    { TOPIC_context, NULL, "exceed context limit", NULL },
    { TOPIC_context, NULL, "context length", "exceed" },
    { TOPIC_context, NULL, "context length", "longer than" },
    { TOPIC_context, NULL, "input is too long", NULL },
    { TOPIC_context, NULL, "maximum number of tokens", "exceed" },
    { TOPIC_context, NULL, "max_model_len", NULL },
    { TOPIC_context, NULL, "tokens", "too large to process" },
    { TOPIC_input, NULL, "input is not supported", NULL }, /* llama-server, with status 500 */
    { TOPIC_filter, "content_filter", "content management policy", NULL },
    { TOPIC_filter, "content_policy_violation", "content filtering policy", NULL },
    { TOPIC_filter, "ResponsibleAIPolicyViolation", "flagged as potentially violating", NULL },
    { TOPIC_rate, "RESOURCE_EXHAUSTED", NULL, NULL }, /* Google's, of a minute's or a day's quota */
    { TOPIC_quota, "insufficient_quota", "exceeded your current quota", NULL },
    { TOPIC_quota, "billing_error", "credit balance is too low", NULL },
    { TOPIC_quota, "billing_hard_limit_reached", "Insufficient Balance", NULL },
    { TOPIC_credential, "invalid_api_key", "incorrect api key", NULL },
    { TOPIC_credential, "authentication_error", "invalid x-api-key", NULL },
    { TOPIC_credential, "permission_error", "api key not valid", NULL },
    { TOPIC_credential, "PERMISSION_DENIED", NULL, NULL },
    { TOPIC_credential, "UNAUTHENTICATED", NULL, NULL },
    { TOPIC_adapter, NULL, "lora", "not loaded" },
    { TOPIC_adapter, NULL, "lora", "never been loaded" },
    { TOPIC_adapter, NULL, "lora", "not found" },
    { TOPIC_adapter, NULL, "lora", "does not exist" },
    { TOPIC_none, NULL, "file not found", NULL }, /* llama-server, of a path */
    { TOPIC_model, "model_not_found", "the model", "does not exist" },
    { TOPIC_model, "DeploymentNotFound", "model", "not found" },
    { TOPIC_model, "not_found_error", "unknown model", NULL },
    { TOPIC_rate, "rate_limit_exceeded", "rate limit", NULL },
    { TOPIC_rate, "rate_limit_error", "too many requests", NULL },
    { TOPIC_rate, "throttlingException", NULL, NULL },
    { TOPIC_busy, "serviceUnavailableException", NULL, NULL },
    { TOPIC_timeout, "modelTimeoutException", NULL, NULL },
    { TOPIC_busy, "UNAVAILABLE", NULL, NULL },
    { TOPIC_timeout, "DEADLINE_EXCEEDED", NULL, NULL },
    { TOPIC_busy, "overloaded_error", "overloaded", NULL },
    { TOPIC_busy, "unavailable_error", "queue is full", NULL },
    { TOPIC_busy, "overloaded", "server is busy", NULL },
    { TOPIC_busy, "server_overloaded", "no slot available", NULL },
    { TOPIC_busy, "service_unavailable", "at capacity", NULL },
    { TOPIC_timeout, "timeout_error", "timed out", NULL },
};

static bool is_said(const struct saying *s, const struct provider_error *e)
{
    struct str word = str_of(s->word);
    if (s->word && (str_eq_nocase(e->type, word) || str_eq_nocase(e->code, word)))
        return true;
    return s->phrase && has_nocase(e->message, s->phrase) &&
           (!s->also || has_nocase(e->message, s->also));
}

/* Whether a topic can be meant under this status: a sentence alone may speak of many things. */
static bool may_mean(enum topic topic, unsigned status)
{
    bool is_fault = status >= 500;
    switch (topic) {
    case TOPIC_context:
    case TOPIC_filter:
    case TOPIC_input:
        return status == 0 || status == 400 || status == 413 || status == 422 || status == 500;
    case TOPIC_model:
    case TOPIC_adapter:
        return status == 0 || status == 400 || status == 404 || status == 422 || is_fault;
    case TOPIC_rate:
    case TOPIC_busy:
    case TOPIC_timeout:
        return status != 400 && status != 404 && status != 422;
    default:
        return !is_fault;
    }
}

static enum topic error_topic(const struct provider_error *e, unsigned status)
{
    for (size_t i = 0; i < ARRAY_LEN(sayings); i++)
        if (may_mean(sayings[i].topic, status) && is_said(&sayings[i], e))
            return sayings[i].topic;
    return TOPIC_none;
}

static struct meaning topic_meaning(enum topic topic, unsigned status)
{
    switch (topic) {
    case TOPIC_context:
        return (struct meaning){ FAIL_context_length_exceeded, REFUSAL_final, NULL };
    case TOPIC_input:
        return (struct meaning){ FAIL_invalid_request, REFUSAL_final, NULL };
    case TOPIC_filter:
        return (struct meaning){ FAIL_content_policy_violation, REFUSAL_final, NULL };
    case TOPIC_credential:
        return (struct meaning){ FAIL_upstream_error, REFUSAL_elsewhere, not_ours };
    case TOPIC_quota:
        return (struct meaning){ FAIL_upstream_error, REFUSAL_elsewhere,
                                 "the gateway's quota at the engine behind is spent" };
    case TOPIC_rate:
        return (struct meaning){ FAIL_rate_limit_exceeded, REFUSAL_later, NULL };
    case TOPIC_busy:
        return (struct meaning){ FAIL_overloaded, REFUSAL_later, NULL };
    case TOPIC_model:
    case TOPIC_adapter:
        return (struct meaning){ FAIL_model_not_found, REFUSAL_elsewhere,
                                 "the engine behind does not have the model" };
    case TOPIC_timeout:
        return (struct meaning){ FAIL_timeout, REFUSAL_later, NULL };
    case TOPIC_none:
        break;
    }
    /* In the midst of an answer: it broke off. */
    return status ? status_meaning(status)
                  : (struct meaning){ FAIL_upstream_error, REFUSAL_broken, NULL };
}

/* Where the key is the client's own, it is told what is wrong with it. */
static struct meaning of_client_key(struct meaning m, unsigned status)
{
    if (m.said != not_ours)
        return m;
    m.code = status == 403 ? FAIL_permission_denied : FAIL_invalid_api_key;
    m.said = NULL;
    return m;
}

static bool is_word_byte(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           c == '-' || c == '/' || (unsigned char)c >= 0x80;
}

/* Where a name stands by itself, not as a part of other words; negative: nowhere. */
static ptrdiff_t find_name(struct str text, struct str name)
{
    for (size_t from = 0; name.n;) {
        ptrdiff_t at = str_find(str_sub(text, from), name);
        if (at < 0)
            break;
        size_t begin = from + (size_t)at, end = begin + name.n;
        if ((begin == 0 || !is_word_byte(text.p[begin - 1])) &&
            (end == text.n || !is_word_byte(text.p[end])))
            return (ptrdiff_t)begin;
        from = begin + 1;
    }
    return -1;
}

/* The client's name of the model for the engine's; nothing of a sentence that holds the key. */
static void clean_message(struct buf *out, const struct provider_job *job, struct str message)
{
    struct str secret = provider_secret(job), model = job->model;
    if (secret.n && str_find(message, secret) >= 0)
        return;
    while (message.n) {
        ptrdiff_t at = find_name(message, model);
        if (at < 0)
            break;
        provider_add_clean(out, str_head(message, (size_t)at));
        buf_add(out, job->request->model);
        message = str_sub(message, (size_t)at + model.n);
    }
    provider_add_clean(out, message);
}

#define MESSAGE_BYTES (4 * KIB) /* more than is ever told of one */

void refusal_by_error(struct provider_refusal *ret, const struct provider_job *job, unsigned status,
                      const struct provider_error *e)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(4 * MESSAGE_BYTES);
    enum topic topic = error_topic(e, status);
    struct meaning m = topic_meaning(topic, status);
    if (job->endpoint->client_key)
        m = of_client_key(m, status);
    buf_addf(&text, "%s: ", provider_word(job->endpoint->provider));
    size_t prefix = text.n;
    if (m.said)
        buf_adds(&text, m.said);
    else
        clean_message(&text, job, str_head(str_trim(e->message), MESSAGE_BYTES));
    m.said = NULL;
    if (text.n == prefix)
        buf_addf(&text,
                 status ? "the engine behind answered with status %u"
                        : "the engine behind broke off with an error",
                 status);
    tell(ret, m, buf_err(&text) == 0 ? buf_str(&text) : STR_NULL, status);
    if (m.kind == REFUSAL_final && e->param.n < sizeof(ret->fail.param) && e->param.n) {
        memcpy(ret->fail.param, e->param.p, e->param.n);
        ret->fail.param[e->param.n] = '\0';
    }
    bool is_adapter = job->adapter || !str_eq(job->model, job->endpoint->model);
    ret->no_adapter = is_adapter && (topic == TOPIC_model || topic == TOPIC_adapter);
}

/* ---- what a body says ---- */

static struct str text_of(struct str value, struct arena *arena)
{
    enum json_view_kind kind = json_view_kind(value);
    if (kind == JSON_VIEW_number)
        return value;
    return kind == JSON_VIEW_string ? json_view_text(value, arena) : STR_NULL;
}

static struct str first_text(struct str object, const char *const *keys, struct arena *arena)
{
    for (; *keys; keys++) {
        struct str v = json_view_get(object, *keys);
        if (v.p && json_view_kind(v) == JSON_VIEW_array) /* FastAPI: [{"loc","msg","type"}] */
            v = json_view_at(v, "0.msg");
        struct str text = v.p ? text_of(v, arena) : STR_NULL;
        if (text.n)
            return text;
    }
    return STR_NULL;
}

void provider_error_read(struct provider_error *ret, struct str body, struct arena *arena)
{
    static const char *const messages[] = { "message", "detail", "error", "msg", "Message", NULL };
    static const char *const types[] = { "type", "error_type", "status", "__type", NULL };
    static const char *const codes[] = { "code", NULL };
    *ret = (struct provider_error){ 0 };
    struct str v = json_view_value(body);
    if (json_view_kind(v) == JSON_VIEW_array)
        v = json_view_at(v, "0");
    struct str inner = json_view_get(v, "error");
    if (json_view_kind(inner) == JSON_VIEW_object)
        v = inner;
    if (json_view_kind(v) != JSON_VIEW_object)
        return;
    ret->message = first_text(v, messages, arena);
    ret->type = first_text(v, types, arena);
    ret->code = first_text(v, codes, arena);
    ret->param = text_of(json_view_get(v, "param"), arena);
}

/* ---- a whole refusal ---- */

static bool has_error_object(struct str body, enum wire wire)
{
    size_t at = 0;
    if (json_view_check(body, LIMIT_JSON_DEPTH, &at) != JSON_VIEW_ok)
        return false;
    struct str error = json_view_get(str_trim(body), "error");
    bool is_anthropic = wire == WIRE_anthropic_messages;
    return json_view_kind(error) == JSON_VIEW_object &&
           json_view_kind(json_view_get(error, "message")) == JSON_VIEW_string &&
           (!is_anthropic || json_view_is(json_view_get(str_trim(body), "type"), "error"));
}

static bool is_openai(enum wire wire)
{
    return wire == WIRE_openai_chat || wire == WIRE_openai_completions ||
           wire == WIRE_openai_responses;
}

/* Whether the client may read the body itself: in its own wire, and without a name that is ours. */
static bool may_pass(const struct provider_job *job, struct str body, enum wire wire)
{
    enum wire theirs = job->request->wire;
    bool same = wire == theirs || (is_openai(wire) && is_openai(theirs));
    struct str secret = provider_secret(job);
    bool is_renamed = !str_eq(job->model, job->request->model);
    return same && has_error_object(body, wire) && (!secret.n || str_find(body, secret) < 0) &&
           (!is_renamed || !job->model.n || str_find(body, job->model) < 0);
}

void refusal_usual(const struct provider_job *job, const struct call_head *head, struct str body,
                   enum wire wire, struct provider_refusal *ret)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new(4 * LIMIT_UPSTREAM_REFUSAL);
    struct provider_error e = { 0 };
    *ret = (struct provider_refusal){ 0 };
    if (arena)
        provider_error_read(&e, body, arena);
    refusal_by_error(ret, job, head->status, &e);
    ret->fail.retry_after_s = refusal_retry_after(head, job->now_s);
    bool is_fault = head->status >= 500; /* a final one is the client's all the same */
    bool is_told = (ret->kind == REFUSAL_final && !is_fault) || ret->kind == REFUSAL_later;
    if (is_told && may_pass(job, body, wire))
        ret->body = str_trim(body);
}

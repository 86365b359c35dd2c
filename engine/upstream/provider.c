#include "engine/upstream/provider.h"

#include "base/limits.h"
#include "base/num.h"
#include "base/sha256.h"
#include "engine/upstream/provider_table.h"

#include <errno.h>

/* Whether both begin with the same letter, in any case: most words of a list do not. */
static bool begin_alike(struct str text, const char *word)
{
    return text.n && ((text.p[0] ^ word[0]) & ~('a' - 'A')) == 0;
}

const char *provider_word(unsigned provider)
{
    static const char *const words[] = {
        [UPSTREAM_openai] = "openai", [UPSTREAM_vllm] = "vllm",
        [UPSTREAM_sglang] = "sglang", [UPSTREAM_llama_server] = "llama_server",
        [UPSTREAM_ollama] = "ollama", [UPSTREAM_anthropic] = "anthropic",
        [UPSTREAM_azure] = "azure",   [UPSTREAM_gemini] = "gemini",
        [UPSTREAM_vertex] = "vertex", [UPSTREAM_bedrock] = "bedrock",
    };
    return provider < ARRAY_LEN(words) ? words[provider] : "upstream";
}

/* ---- a call ---- */

void provider_call_done(struct provider_call *call)
{
    buf_done(&call->url);
    buf_done(&call->body);
    call->arena = arena_free(call->arena);
    call->n_headers = 0;
}

static bool is_header_safe(struct str value)
{
    unsigned bad = 0; /* no branches: many bytes at a time */
    for (size_t i = 0; i < value.n; i++) {
        unsigned char c = (unsigned char)value.p[i];
        bad |= (unsigned)(c < ' ') & (unsigned)(c != '\t');
        bad |= c == '\x7f';
    }
    return !bad;
}

int provider_call_header(struct provider_call *call, const char *name, struct str value)
{
    enum { FIRST = 8 }; /* few have more */
    struct str key = str_of(name);
    if (!is_header_safe(value) || !is_header_safe(key) || key.n == 0 || memchr(name, ':', key.n))
        return -EINVAL;
    size_t at = 0;
    while (at < call->n_headers && !str_eq_nocase(call->headers[at].key, key))
        at++;
    if (at == PROVIDER_HEADERS)
        return -E2BIG;
    struct chat_pair *headers = arena_room(call->arena, call->headers, call->n_headers,
                                           &call->cap_headers, FIRST, sizeof(*headers));
    if (!headers)
        return -ENOMEM;
    call->headers = headers;
    struct chat_pair pair = { arena_str(call->arena, key), arena_str(call->arena, value) };
    if (!pair.key.p || !pair.value.p)
        return -ENOMEM;
    call->headers[at] = pair;
    if (at == call->n_headers)
        call->n_headers++;
    return 0;
}

int provider_cannot(const struct provider_job *job, struct fail *reterr, const char *param,
                    const char *what)
{
    if (job->upstream->drop_params)
        return 0;
    return fail_param(reterr, FAIL_unsupported_parameter, param, "'%s' is not served by %s: %s",
                      param, provider_word(job->endpoint->provider), what);
}

int provider_no_relay(const struct provider_job *job, struct fail *reterr)
{
    return fail_param(reterr, FAIL_unsupported_parameter, "model", "%s does not serve this API",
                      provider_word(job->endpoint->provider));
}

int provider_read_count(const struct provider_job *job, struct str body, const char *key,
                        struct buf *ret, struct fail *reterr)
{
    uint64_t n = 0;
    if (json_view_u64(json_view_get(json_view_value(body), key), &n) != 0)
        return fail_set(reterr, FAIL_upstream_error, "%s: the answer holds no count of tokens",
                        provider_word(job->endpoint->provider));
    buf_addf(ret, "{\"input_tokens\":%llu}", (unsigned long long)n);
    return buf_err(ret);
}

int provider_written(const struct provider_call *call, struct fail *reterr)
{
    int r = buf_err(&call->body);
    if (r == -EMSGSIZE)
        return fail_set(reterr, FAIL_request_too_large,
                        "the request is larger than %lu MiB in the words of the engine behind",
                        LIMIT_UPSTREAM_BODY / MIB);
    return r != 0 ? r : buf_err(&call->url);
}

bool provider_own_path(struct provider_call *call, const struct config_endpoint *e)
{
    if (!e->path.n)
        return false;
    buf_add(&call->url, e->url);
    buf_adds(&call->url, e->path.p[0] == '/' ? "" : "/");
    buf_add(&call->url, e->path);
    return true;
}

bool provider_speaks_none(enum wire wire)
{
    (void)wire;
    return false;
}

/* ---- headers ---- */

static struct str find_header(const struct chat_pair *headers, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq_nocase(headers[i].key, str_of(name)))
            return headers[i].value;
    return STR_NULL;
}

/* The key of a header that holds it after a scheme, "Bearer KEY", or alone. */
static struct str bare_key(struct str value)
{
    struct str scheme = str_head(value, STR("bearer ").n);
    return str_trim(str_eq_nocase(scheme, STR("bearer ")) ? str_sub(value, scheme.n) : value);
}

struct str provider_secret(const struct provider_job *job)
{
    static const char *const names[] = { "authorization", "x-api-key", "api-key",
                                         "x-goog-api-key" };
    for (size_t i = 0; job->endpoint->client_key && i < ARRAY_LEN(names); i++) {
        struct str value = find_header(job->headers, job->n_headers, names[i]);
        if (value.n)
            return bare_key(value);
    }
    return job->secret;
}

static int add_credential(struct provider_call *call, const struct provider_job *job,
                          const char *header, const char *prefix)
{
    const struct config_endpoint *e = job->endpoint;
    struct str secret = provider_secret(job);
    if (secret.n == 0)
        return 0;
    CLEANUP(buf_done) struct buf value = BUF_INIT(LIMIT_HEADER);
    /* Where only the header is configured, the key stands bare in it. */
    struct str scheme = e->auth_header.n || e->auth_prefix.n ? e->auth_prefix : str_of(prefix);
    buf_add(&value, scheme);
    if (scheme.n)
        buf_addc(&value, ' ');
    buf_add(&value, secret);
    int r = buf_err(&value);
    const char *name = e->auth_header.n ? arena_cstr(call->arena, e->auth_header) : header;
    if (!name)
        r = -ENOMEM;
    return r != 0 ? r : provider_call_header(call, name, buf_str(&value));
}

int provider_headers(struct provider_call *call, const struct provider_job *job,
                     const char *auth_header, const char *auth_prefix)
{
    const struct config_endpoint *e = job->endpoint;
    int r = provider_call_header(call, "content-type", STR("application/json"));
    const struct chat_request *q = job->request; /* NULL: a call of our own */
    bool is_own = q && q->source.n && provider_speaks(e, q->wire);
    if (r == 0 && is_own)
        r = passing_request_headers(call, job);
    if (r == 0 && job->request_id && job->request_id[0])
        r = provider_call_header(call, "x-request-id", str_of(job->request_id));
    if (r == 0 && auth_header)
        r = add_credential(call, job, auth_header, auth_prefix ? auth_prefix : "");
    for (size_t i = 0; r == 0 && i < e->n_headers; i++) {
        const char *name = arena_cstr(call->arena, e->headers[i].key);
        r = name ? provider_call_header(call, name, e->headers[i].value) : -ENOMEM;
    }
    return r;
}

/* A name that is one of the list; one that ends in '-' stands for all that begin so. */
static bool is_listed(struct str name, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!begin_alike(name, list[i]))
            continue;
        struct str item = str_of(list[i]);
        bool is_prefix = item.p[item.n - 1] == '-';
        if (str_eq_nocase(is_prefix ? str_head(name, item.n) : name, item))
            return true;
    }
    return false;
}

int passing_request_headers(struct provider_call *call, const struct provider_job *job)
{
    static const char *const passing[] = { "anthropic-",   "openai-",           "x-claude-code-",
                                           "traceparent",  "tracestate",        "idempotency-key",
                                           "x-session-id", "x-session-affinity" };
    /* Whose account it is goes with whose key it is. */
    static const char *const accounts[] = { "openai-organization", "openai-project" };
    static const char *const never[] = { "anthropic-dangerous-direct-browser-access" };
    int r = 0;
    for (size_t i = 0; r == 0 && i < job->n_headers; i++) {
        struct str name = job->headers[i].key;
        if (!is_listed(name, passing, ARRAY_LEN(passing)) ||
            is_listed(name, never, ARRAY_LEN(never)) ||
            (is_listed(name, accounts, ARRAY_LEN(accounts)) && !job->endpoint->client_key))
            continue;
        const char *key = arena_cstr(call->arena, name);
        r = key ? provider_call_header(call, key, job->headers[i].value) : -ENOMEM;
        if (r == -EINVAL || r == -E2BIG)
            r = 0; /* what cannot stand in a header, or is one too many, stays here */
    }
    return r;
}

size_t passing_response_headers(const struct call_head *head, struct chat_pair *out, size_t max)
{
    static const char *const passing[] = {
        "x-ratelimit-", "anthropic-", "openai-",          "request-id",
        "x-ms-region",  "azureml-",   "x-amzn-requestid", "apim-request-id",
    };
    size_t n = 0;
    for (size_t i = 0; i < head->n && n < max; i++)
        if (is_listed(head->headers[i].key, passing, ARRAY_LEN(passing)))
            out[n++] = head->headers[i];
    return n;
}

/* ---- a reader ---- */

void reader_event(struct provider_reader *r, struct engine_event *event)
{
    if (r->ended)
        return;
    r->ended = event->kind == ENGINE_EVENT_done || event->kind == ENGINE_EVENT_failed;
    event->usage = r->usage;
    r->out.event(r->out.owner, event);
}

void reader_text(struct provider_reader *r, struct str text)
{
    struct engine_event e = { .kind = ENGINE_EVENT_text, .text = text };
    if (text.n)
        reader_event(r, &e);
}

void reader_reasoning(struct provider_reader *r, struct str text)
{
    struct engine_event e = { .kind = ENGINE_EVENT_reasoning, .text = text };
    if (text.n)
        reader_event(r, &e);
}

void reader_verbatim(struct provider_reader *r, struct str name, struct str json, bool has_content)
{
    struct engine_event e = {
        .kind = ENGINE_EVENT_verbatim, .text = json, .name = name, .has_content = has_content
    };
    reader_event(r, &e);
}

void reader_done(struct provider_reader *r, enum finish_reason finish)
{
    struct engine_event e = { .kind = ENGINE_EVENT_done, .finish = finish };
    reader_event(r, &e);
}

void reader_fail(struct provider_reader *r, enum fail_code code, const char *fmt, ...)
{
    char text[sizeof(((struct fail *)NULL)->message)];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    struct fail fail = { 0 };
    struct engine_event e = { .kind = ENGINE_EVENT_failed, .fail = &fail };
    (void)fail_set(&fail, code, "%s: %s", provider_word(r->job->endpoint->provider), text);
    reader_event(r, &e);
}

void reader_error(struct provider_reader *r, struct str type, struct str code, struct str message)
{
    struct provider_refusal refusal = { 0 };
    struct engine_event e = { .kind = ENGINE_EVENT_failed, .fail = &refusal.fail };
    uint64_t status = 0; /* engines say it as the code */
    if (num_parse_u64(&status, code, 400, 599) < 0)
        status = 0;
    refusal_by_error(&refusal, r->job, (unsigned)status,
                     &(struct provider_error){ type, code, message });
    reader_event(r, &e);
}

void reader_error_in(struct provider_reader *r, struct str json)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new(LIMIT_UPSTREAM_EVENT);
    struct provider_error e = { 0 };
    if (arena)
        provider_error_read(&e, json, arena);
    reader_error(r, e.type, e.code, e.message);
}

void reader_call_id(const struct provider_reader *r, uint32_t index,
                    char into[static READER_CALL_ID])
{
    char key[160], hex[SHA256_HEX + 1];
    (void)snprintf(key, sizeof(key), "%s/%u/%u", r->job->request_id ? r->job->request_id : "",
                   r->job->choice, index);
    struct sha256 digest = sha256_of(str_of(key));
    sha256_hex(hex, &digest);
    (void)snprintf(into, READER_CALL_ID, "call_%.24s", hex);
}

/* ---- its bytes ---- */

void reader_body_init(struct reader_body *b)
{
    *b = (struct reader_body){ .sse = SSE_INIT(LIMIT_UPSTREAM_EVENT),
                               .whole = BUF_INIT(LIMIT_UPSTREAM_ANSWER) };
}

void reader_body_done(struct reader_body *b)
{
    sse_done(&b->sse);
    buf_done(&b->whole);
}

/* A stream's first line begins with a letter, a colon or a byte-order mark; a document, and a page
 * of HTML, with none of these. */
static bool begins_document(char c)
{
    return c == '{' || c == '[' || c == '<' || c == '"';
}

void provider_add_clean(struct buf *b, struct str text)
{
    for (size_t at = 0; at < text.n;) {
        char one[4];
        size_t from = at;
        int cp = str_utf8_next(text, &at);
        if (cp == 0xfffd)
            buf_add(b, (struct str){ one, str_utf8_put(one, 0xfffd) });
        else
            buf_add(b, (struct str){ text.p + from, at - from });
    }
}

struct str reader_body_whole(struct reader_body *b)
{
    struct str text = buf_str(&b->whole);
    if (str_utf8_valid(text))
        return text;
    struct buf clean = BUF_INIT(3 * LIMIT_UPSTREAM_ANSWER); /* U+FFFD has three bytes */
    provider_add_clean(&clean, text);
    if (buf_err(&clean) < 0) {
        buf_done(&clean);
        return STR_NULL;
    }
    buf_done(&b->whole);
    b->whole = clean;
    return buf_str(&b->whole);
}

struct str reader_string(struct str value, struct buf *scratch)
{
    struct str text = STR_NULL;
    if (json_view_plain(value, &text))
        return text;
    buf_clear(scratch);
    json_view_add_text(scratch, value);
    return buf_err(scratch) == 0 ? buf_str(scratch) : STR_NULL;
}

bool reader_finish(struct str word, enum finish_reason *ret)
{
    static const struct {
        const char *word;
        enum finish_reason finish;
    } words[] = {
        { "stop", FINISH_stop },
        { "length", FINISH_length },
        { "tool_calls", FINISH_tool_calls },
        { "content_filter", FINISH_content_filter },
        { "max_tokens", FINISH_length },
        { "model_length", FINISH_length },
        { "max_output_tokens", FINISH_length },
        { "model_context_window_exceeded", FINISH_length },
        { "context_length", FINISH_length },
        { "tool_use", FINISH_tool_calls },
        { "function_call", FINISH_tool_calls },
        { "refusal", FINISH_content_filter },
        { "safety", FINISH_content_filter },
        { "recitation", FINISH_content_filter },
        { "blocklist", FINISH_content_filter },
        { "prohibited_content", FINISH_content_filter },
        { "spii", FINISH_content_filter },
        { "sensitive", FINISH_content_filter },
        { "content_filtered", FINISH_content_filter },
        { "guardrail_intervened", FINISH_content_filter },
    };
    static const char *const broken[] = { "error",         "abort",
                                          "aborted",       "cancelled",
                                          "network_error", "insufficient_system_resource" };
    *ret = FINISH_stop;
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (begin_alike(word, words[i].word) && str_eq_nocase(word, str_of(words[i].word)))
            *ret = words[i].finish;
    for (size_t i = 0; i < ARRAY_LEN(broken); i++)
        if (begin_alike(word, broken[i]) && str_eq_nocase(word, str_of(broken[i])))
            return false;
    return true;
}

static int push(struct reader_body *b, struct str bytes, sse_fn event, void *ctx)
{
    if (!b->is_known) {
        struct str begun = str_trim(bytes); /* blanks behind what begins are the answer's */
        if (begun.n)
            bytes = str_sub(bytes, (size_t)(begun.p - bytes.p));
        else
            bytes = STR_NULL;
        if (bytes.n == 0)
            return 0;
        b->is_known = true;
        b->is_stream = !begins_document(bytes.p[0]);
    }
    if (b->is_stream)
        return sse_push(&b->sse, bytes, event, ctx);
    buf_add(&b->whole, bytes);
    return buf_err(&b->whole);
}

int reader_body_push(struct reader_body *b, struct provider_reader *r, struct str bytes,
                     sse_fn event)
{
    if (r->ended)
        return 0;
    int err = push(b, bytes, event, r);
    if (err != -EMSGSIZE)
        return err;
    reader_fail(r, FAIL_upstream_error, "the answer, or an event of it, is too large");
    return 0;
}

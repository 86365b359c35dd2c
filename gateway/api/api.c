#include "gateway/api/api.h"

#include "gateway/api/chat.h"
#include "gateway/api/completions.h"
#include "gateway/api/error.h"

#include <errno.h>

#define ANTHROPIC .errors = &error_anthropic, .cors = true

static const struct endpoint endpoints[] = {
    { "GET", "/health", api_health, .open = true, .cors = true },
    { "GET", "/ready", api_ready, .open = true, .cors = true },
    { "GET", "/metrics", api_metrics, .open = true },
    { "GET", "/v1/models", api_models, .cors = true, .common = true },
    { "GET", "/v1/models/{*}", api_model, .cors = true, .common = true },
    { "POST", "/v1/chat/completions", api_chat, .works = true, .cors = true },
    { "POST", "/v1/completions", api_completions, .works = true, .cors = true },
    { "POST", "/v1/messages", api_messages, ANTHROPIC, .works = true },
    { "POST", "/v1/messages/count_tokens", api_count_tokens, ANTHROPIC, .works = true },
    { "POST", "/anthropic/v1/messages", api_messages, ANTHROPIC, .works = true },
    { "POST", "/anthropic/v1/messages/count_tokens", api_count_tokens, ANTHROPIC, .works = true },
    { "GET", "/anthropic/v1/models", api_models, ANTHROPIC },
    { "GET", "/anthropic/v1/models/{*}", api_model, ANTHROPIC },
    { "POST", "/v1/embeddings", api_embeddings, .works = true, .cors = true },
    { "POST", "/v1/responses", api_responses, .works = true, .cors = true,
      .errors = &error_responses },
    { "POST", "/v1/responses/input_tokens", api_response_tokens, .works = true, .cors = true,
      .errors = &error_responses },
    { "GET", "/v1/responses/{}", api_response, .cors = true },
    { "DELETE", "/v1/responses/{}", api_response, .cors = true },
    { "GET", "/v1/responses/{}/input_items", api_response_items, .cors = true },
    { "POST", "/v1/responses/{}/cancel", api_response_cancel, .cors = true },
    { "POST", "/v1/conversations", api_conversations, .works = true, .cors = true },
    { "GET", "/v1/conversations/{}", api_conversation, .cors = true },
    { "POST", "/v1/conversations/{}", api_conversation, .works = true, .cors = true },
    { "DELETE", "/v1/conversations/{}", api_conversation, .cors = true },
    { "GET", "/v1/conversations/{}/items", api_conversation_items, .cors = true },
    { "POST", "/v1/conversations/{}/items", api_conversation_items, .works = true, .cors = true },
    { "GET", "/v1/conversations/{}/items/{}", api_conversation_item, .cors = true },
    { "DELETE", "/v1/conversations/{}/items/{}", api_conversation_item, .cors = true },
    { "GET", "/v1/files", api_files, .cors = true },
    { "POST", "/v1/files", api_files, .works = true, .cors = true, .uploads = true },
    { "GET", "/v1/files/{}", api_file, .cors = true },
    { "DELETE", "/v1/files/{}", api_file, .cors = true },
    { "GET", "/v1/files/{}/content", api_file_content, .cors = true },
    { "GET", "/v1/batches", api_batches, .cors = true },
    { "POST", "/v1/batches", api_batches, .works = true, .cors = true },
    { "GET", "/v1/batches/{}", api_batch, .cors = true },
    { "POST", "/v1/batches/{}/cancel", api_batch_cancel, .cors = true },
    { "POST", "/v1/moderations", api_moderations, .works = true, .cors = true },
    { "POST", "/v1/rerank", api_rerank, .works = true, .cors = true },
    { "POST", "/v2/rerank", api_rerank, .works = true, .cors = true },
    { "POST", "/rerank", api_rerank, .works = true, .cors = true },
    { "POST", "/v1/score", api_score, .works = true, .cors = true },
    { "POST", "/score", api_score, .works = true, .cors = true },
    { "POST", "/tokenize", api_tokenize, .works = true, .cors = true },
    { "POST", "/detokenize", api_detokenize, .works = true, .cors = true },
    { "POST", "/api/v1/eval", api_eval, .works = true, .cors = true },
    { "GET", "/v1/router/outcomes", api_outcomes_get, .operates = true },
    { "POST", "/v1/router/outcomes", api_outcomes_post, .works = true },
    { "GET", "/v1/router_replay", api_replay_list, .operates = true },
    { "GET", "/v1/router_replay/aggregate", api_replay_sums, .operates = true },
    { "GET", "/v1/router_replay/{}", api_replay_show, .operates = true },
    { "GET", "/admin/replay", api_replay_list, .operates = true },
    { "GET", "/admin/replay/aggregate", api_replay_sums, .operates = true },
    { "GET", "/admin/replay/{}", api_replay_show, .operates = true },
    { "GET", "/admin/upstream", api_upstream, .operates = true },
    { "GET", "/admin/adapters", api_admin_list },
    { "GET", "/admin/adapters/{*}", api_admin_adapter },
    { "POST", "/admin/adapters/{*}", api_admin_adapter, .works = true, .uploads = true },
    { "PUT", "/admin/adapters/{*}", api_admin_adapter, .works = true },
    { "DELETE", "/admin/adapters/{*}", api_admin_adapter, .works = true },
    { "POST", "/v1/load_lora_adapter", api_lora_load, .works = true },
    { "POST", "/v1/unload_lora_adapter", api_lora_unload, .works = true },
};

enum { SEGMENTS = 32 };

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int api_unescape(struct str raw, struct arena *arena, struct str *ret)
{
    char *out = arena_alloc(arena, raw.n + 1);
    if (!out)
        return -ENOMEM;
    size_t n = 0;
    for (size_t i = 0; i < raw.n; i++) {
        int c = (unsigned char)raw.p[i];
        if (c == '%') {
            int high = raw.n - i > 2 ? hex_digit(raw.p[i + 1]) : -1;
            int low = raw.n - i > 2 ? hex_digit(raw.p[i + 2]) : -1;
            if (high < 0 || low < 0)
                return -EINVAL;
            c = high * 16 + low;
            i += 2;
        }
        if (c < 0x20 || c == 0x7f)
            return -EINVAL;
        out[n++] = (char)c;
    }
    *ret = (struct str){ out, n };
    return str_utf8_valid(*ret) ? 0 : -EINVAL;
}

/* The path of "http://host/path", or of "/path". */
static struct str path_of(struct str url)
{
    ptrdiff_t scheme = str_find(url, STR("://"));
    if (url.n && url.p[0] != '/' && scheme > 0) {
        struct str rest = str_sub(url, (size_t)scheme + 3);
        size_t slash = 0;
        while (slash < rest.n && rest.p[slash] != '/')
            slash++;
        return str_sub(rest, slash);
    }
    return url;
}

struct path {
    struct str segments[SEGMENTS]; /* decoded; empty ones ("//", a trailing slash) left out */
    size_t n;
};

static int split(struct str url, struct arena *arena, struct path *ret)
{
    struct str rest = path_of(url);
    ret->n = 0;
    while (rest.n) {
        struct str segment = rest, after = STR_NULL;
        (void)str_cut(rest, '/', &segment, &after);
        rest = segment.n == rest.n ? STR_NULL : after;
        if (segment.n == 0)
            continue;
        if (ret->n == SEGMENTS)
            return -E2BIG;
        int r = api_unescape(segment, arena, &ret->segments[ret->n++]);
        if (r < 0)
            return r;
    }
    return 0;
}

static struct str join(const struct path *p, size_t from, struct arena *arena)
{
    struct str s = p->segments[from];
    for (size_t i = from + 1; i < p->n && s.p; i++)
        s = str_of(arena_printf(arena, STR_FMT "/" STR_FMT, STR_ARG(s), STR_ARG(p->segments[i])));
    return s;
}

/* Keeps what is behind "{*}" when `ret` is there. */
static bool take_rest(struct api_match *ret, const struct path *p, size_t at, size_t param,
                      struct arena *arena)
{
    size_t n = p->n - at;
    struct str *segments = arena_array(arena, n, sizeof(*segments));
    if (segments)
        memcpy(segments, p->segments + at, n * sizeof(*segments));
    ret->rest = (struct path_rest){ segments, segments ? n : 0 };
    ret->params[param] = join(p, at, arena);
    return true;
}

static bool matches(const struct endpoint *e, const struct path *p, struct arena *arena,
                    struct api_match *ret)
{
    struct str pattern = str_of(e->path + 1);
    size_t at = 0, n_params = 0;
    while (pattern.n) {
        struct str segment = pattern, after = STR_NULL;
        (void)str_cut(pattern, '/', &segment, &after);
        pattern = segment.n == pattern.n ? STR_NULL : after;
        if (at == p->n)
            return false;
        if (str_is(segment, "{*}"))
            return take_rest(ret, p, at, n_params, arena);
        if (str_is(segment, "{}"))
            ret->params[n_params++] = p->segments[at];
        else if (!str_eq(segment, p->segments[at]))
            return false;
        at++;
    }
    return at == p->n;
}

static bool serves(const struct endpoint *e, const char *method)
{
    return strcmp(e->method, method) == 0 || strcmp(method, "OPTIONS") == 0 ||
           (strcmp(method, "HEAD") == 0 && strcmp(e->method, "GET") == 0);
}

/* "GET, HEAD, POST, OPTIONS": what the rows of a path serve; NULL: no memory. */
static const char *allowed(const struct path *p, struct arena *arena)
{
    static const char *const order[] = { "GET", "HEAD", "POST", "PUT", "DELETE" };
    struct api_match scratch = { 0 };
    const char *text = "";
    for (size_t m = 0; m < ARRAY_LEN(order) && text; m++)
        for (size_t i = 0; i < ARRAY_LEN(endpoints); i++)
            if (serves(&endpoints[i], order[m]) && matches(&endpoints[i], p, arena, &scratch)) {
                text = arena_printf(arena, "%s%s, ", text, order[m]);
                break;
            }
    return text ? arena_printf(arena, "%sOPTIONS", text) : NULL;
}

/* The row that is spelt as the path is: nothing of it is to be decoded. */
static const struct endpoint *find_spelt(struct str url, const char *method)
{
    for (size_t i = 0; i < ARRAY_LEN(endpoints) && !memchr(url.p, '{', url.n); i++)
        if (str_is(url, endpoints[i].path) && strcmp(endpoints[i].method, method) == 0)
            return &endpoints[i];
    return NULL;
}

int api_find(struct api_match *ret, struct str url, const char *method, struct arena *arena,
             struct fail *reterr)
{
    *ret = (struct api_match){ 0 };
    ret->endpoint = ret->other = find_spelt(url, method);
    if (ret->endpoint)
        return 0;
    struct path p;
    int r = split(url, arena, &p);
    if (r == -EINVAL)
        return fail_set(reterr, FAIL_invalid_request, "the path is not well percent-encoded UTF-8");
    if (r == -ENOMEM)
        return fail_errno(reterr, r, "reading the path");
    for (size_t i = 0; r == 0 && i < ARRAY_LEN(endpoints) && !ret->endpoint; i++) {
        if (!matches(&endpoints[i], &p, arena, ret))
            continue;
        if (serves(&endpoints[i], method))
            ret->endpoint = &endpoints[i];
        ret->other = &endpoints[i];
    }
    if (ret->endpoint && strcmp(method, "OPTIONS") != 0)
        return 0;
    if (ret->other)
        ret->allow = allowed(&p, arena);
    if (ret->endpoint)
        return 0;
    if (!ret->other)
        return fail_set(reterr, FAIL_not_found, "Invalid URL (%.8s " STR_FMT ")", method,
                        STR_ARG(str_head(url, 200)));
    return fail_set(reterr, FAIL_method_not_allowed, "Not allowed to %.16s on " STR_FMT "; use %s",
                    method, STR_ARG(str_head(url, 200)), ret->other->method);
}

/*
 * Log-probabilities of the OpenAI wire → an event's tokens.
 */
#include "engine/upstream/openai.h"

#include "base/limits.h"

#include <math.h>

#define LOGPROBS_BYTES (256 * MIB) /* a token and its twenty others take a kilobyte */

static struct str token_bytes(struct openai_logprobs *l, struct str entry)
{
    struct str bytes = json_view_get(entry, "bytes");
    size_t n = json_view_kind(bytes) == JSON_VIEW_array ? json_view_count(bytes) : 0;
    char *out = n ? arena_alloc(l->arena, n) : NULL;
    uint64_t byte = 0;
    size_t at = 0;
    if (!out)
        return json_view_text(json_view_get(entry, "token"), l->arena);
    struct json_view_walk w = json_view_walk(bytes);
    for (struct str value; at < n && json_view_next(&w, NULL, &value);)
        if (json_view_u64(value, &byte) == 0)
            out[at++] = (char)byte;
    return (struct str){ out, at };
}

static float logprob_of(struct str value)
{
    double v = 0;
    return json_view_double(value, &v) == 0 ? (float)v : NAN;
}

static struct token_logprob read_logprob(struct openai_logprobs *l, struct str entry)
{
    return (struct token_logprob){ .id = -1,
                                   .logprob = logprob_of(json_view_get(entry, "logprob")),
                                   .bytes = token_bytes(l, entry) };
}

static void read_tops(struct openai_logprobs *l, struct engine_token *token, struct str tops)
{
    size_t n = json_view_count(tops), at = 0;
    n = n < LIMIT_TOP_LOGPROBS ? n : LIMIT_TOP_LOGPROBS;
    struct token_logprob *top = n ? arena_array(l->arena, n, sizeof(*top)) : NULL;
    struct json_view_walk w = json_view_walk(tops);
    for (struct str key, value; top && at < n && json_view_next(&w, &key, &value); at++) {
        if (w.is_object) { /* of a completion: {"token": logprob} */
            struct str quoted = { key.p - 1, key.n + 2 };
            top[at] = (struct token_logprob){ .id = -1,
                                              .logprob = logprob_of(value),
                                              .bytes = json_view_text(quoted, l->arena) };
        } else {
            top[at] = read_logprob(l, value);
        }
    }
    token->top = top;
    token->n_top = at;
}

static size_t chat_tokens(struct openai_logprobs *l, struct engine_token *tokens, size_t n,
                          struct str list)
{
    size_t at = 0;
    struct json_view_walk w = json_view_walk(list);
    for (struct str entry; at < n && json_view_next(&w, NULL, &entry); at++) {
        tokens[at].chosen = read_logprob(l, entry);
        read_tops(l, &tokens[at], json_view_get(entry, "top_logprobs"));
    }
    return at;
}

static size_t completion_tokens(struct openai_logprobs *l, struct engine_token *tokens, size_t n,
                                struct str logprobs)
{
    size_t at = 0;
    struct json_view_walk texts = json_view_walk(json_view_get(logprobs, "tokens"));
    struct json_view_walk values = json_view_walk(json_view_get(logprobs, "token_logprobs"));
    struct json_view_walk tops = json_view_walk(json_view_get(logprobs, "top_logprobs"));
    for (struct str text, value; at < n && json_view_next(&texts, NULL, &text); at++) {
        bool has_value = json_view_next(&values, NULL, &value);
        tokens[at].chosen = (struct token_logprob){ .id = -1,
                                                    .logprob = has_value ? logprob_of(value) : NAN,
                                                    .bytes = json_view_text(text, l->arena) };
        if (json_view_next(&tops, NULL, &value))
            read_tops(l, &tokens[at], value);
    }
    return at;
}

const struct engine_token *openai_logprobs_read(struct openai_logprobs *l,
                                                const struct chat_request *c, struct str logprobs,
                                                size_t *ret_n)
{
    *ret_n = 0;
    if (json_view_kind(logprobs) != JSON_VIEW_object || (!c->logprobs && c->best_of <= c->n))
        return NULL;
    size_t n = json_view_count(json_view_get(logprobs, c->is_completion ? "tokens" : "content"));
    l->arena = arena_free(l->arena);
    l->arena = n ? arena_new(LOGPROBS_BYTES) : NULL;
    struct engine_token *tokens = l->arena ? arena_array(l->arena, n, sizeof(*tokens)) : NULL;
    if (!tokens)
        return NULL;
    n = c->is_completion ? completion_tokens(l, tokens, n, logprobs)
                         : chat_tokens(l, tokens, n, json_view_get(logprobs, "content"));
    for (size_t i = 0; i < n; i++) {
        if (isnan(tokens[i].chosen.logprob))
            continue;
        l->sum += (double)tokens[i].chosen.logprob;
        l->n++;
    }
    *ret_n = c->logprobs ? n : 0;
    return tokens;
}

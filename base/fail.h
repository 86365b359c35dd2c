/*
 * A failure on the request path: filled once where it happens, rendered once by the edge in the
 * dialect of the route. No allocation.
 */
#pragma once

#include "base/own.h"

/* The one positive outcome that carries a struct fail. */
#define FAILED 1

/*
 * Every error word, with its HTTP status and the OpenAI `type` of its error object.
 * X(code, status, type, what it means and what to do)
 */
#define FAIL_WORDS(X)                                                                              \
    X(invalid_request, 400, "invalid_request_error",                                               \
      "the request is malformed; fix what it names")                                               \
    X(empty_array, 400, "invalid_request_error", "the array must hold at least one item")          \
    X(context_length_exceeded, 400, "invalid_request_error", "shorten the prompt or max_tokens")   \
    X(previous_response_not_found, 400, "invalid_request_error",                                   \
      "send the turns before in `input`, or begin anew")                                           \
    X(unsupported_parameter, 400, "invalid_request_error", "the parameter is not served here")     \
    X(invalid_api_key, 401, "invalid_request_error", "send a valid key as a bearer token")         \
    X(permission_denied, 403, "permission_error", "the key may not use this model")                \
    X(content_policy_violation, 403, "invalid_request_error", "a guardrail refused the content")   \
    X(not_found, 404, "invalid_request_error", "no such path")                                     \
    X(model_not_found, 404, "invalid_request_error", "see /v1/models for what is served")          \
    X(method_not_allowed, 405, "invalid_request_error", "see the Allow header")                    \
    X(request_timeout, 408, "invalid_request_error", "the request came too slowly; send it again") \
    X(conflict, 409, "invalid_request_error", "the name is ambiguous or already taken")            \
    X(precondition_failed, 412, "invalid_request_error", "it changed meanwhile; read it again")    \
    X(request_too_large, 413, "invalid_request_error", "the body exceeds gateway.limits.body")     \
    X(unsupported_media_type, 415, "invalid_request_error", "send application/json")               \
    X(unprocessable_adapter, 422, "invalid_request_error", "the adapter cannot be served exactly") \
    X(rate_limit_exceeded, 429, "rate_limit_error", "wait for Retry-After seconds")                \
    X(queue_full, 429, "rate_limit_error", "wait for Retry-After seconds")                         \
    X(headers_too_large, 431, "invalid_request_error", "the head exceeds gateway.limits.header")   \
    X(client_closed, 499, "invalid_request_error", "the client left (never sent)")                 \
    X(internal_error, 500, "api_error", "a fault of this server; see its log by request id")       \
    X(not_implemented, 501, "api_error", "known, but not served by this version")                  \
    X(upstream_error, 502, "api_error", "the engine behind answered with nonsense or not at all")  \
    X(overloaded, 503, "overloaded", "wait for Retry-After seconds")                               \
    X(catalog_unavailable, 503, "overloaded", "the adapter catalog is not reachable")              \
    X(adapter_loading, 503, "overloaded",                                                          \
      "the adapter is being loaded; wait for Retry-After seconds")                                 \
    X(timeout, 504, "timeout", "a deadline passed")

enum fail_code {
#define FAIL_ENUM(code, status, type, help) FAIL_##code,
    FAIL_WORDS(FAIL_ENUM)
#undef FAIL_ENUM
        FAIL_N
};

struct fail {
    enum fail_code code;
    char param[64];         /* the offending field, or "" */
    char message[320];      /* one sentence: what, where, and the fix; UTF-8, NUL-terminated */
    unsigned retry_after_s; /* 0: none */
};

const char *fail_word(enum fail_code code); /* "model_not_found" */
const char *fail_type(enum fail_code code); /* "invalid_request_error" */
unsigned fail_status(enum fail_code code);  /* 404 */

/* Fill *reterr (may be NULL) and return FAILED. The text is cut to fit, at a UTF-8 boundary. */
int fail_set(struct fail *reterr, enum fail_code code, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* The same, naming the request field at fault. */
int fail_param(struct fail *reterr, enum fail_code code, const char *param, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
/* Turns a negative errno into an internal_error (or 503 for -ENOMEM, -EAGAIN); returns FAILED. */
int fail_errno(struct fail *reterr, int negative_errno, const char *doing);

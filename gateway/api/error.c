#include "gateway/api/error.h"

static void print_or_null(struct buf *b, const char *text)
{
    if (text[0])
        buf_add_json(b, str_of(text));
    else
        buf_adds(b, "null");
}

void error_print(struct buf *b, const struct fail *fail)
{
    /* What OpenAI calls a plain bad request carries no code. */
    const char *code = fail->code == FAIL_invalid_request ? "" : fail_word(fail->code);
    buf_adds(b, "{\"error\":{\"message\":");
    buf_add_json(b, str_of(fail->message));
    buf_adds(b, ",\"type\":");
    buf_add_json(b, str_of(fail_type(fail->code)));
    buf_adds(b, ",\"param\":");
    print_or_null(b, fail->code == FAIL_model_not_found ? "" : fail->param); /* as OpenAI has it */
    buf_adds(b, ",\"code\":");
    print_or_null(b, code);
    buf_adds(b, "}}");
}

static unsigned openai_status(const struct fail *fail)
{
    return fail_status(fail->code);
}

static void openai_print(struct buf *b, const struct fail *fail, const char *request_id)
{
    (void)request_id; /* a header says it */
    error_print(b, fail);
}

const struct error_dialect error_openai = { openai_status, openai_print, NULL };

/* Engines and routing speak of messages. */
static void responses_print(struct buf *b, const struct fail *fail, const char *request_id)
{
    static const char theirs[] = "messages";
    struct fail f = *fail;
    (void)request_id;
    if (strncmp(fail->param, theirs, strlen(theirs)) == 0)
        (void)snprintf(f.param, sizeof(f.param), "input%s", fail->param + strlen(theirs));
    error_print(b, &f);
}

const struct error_dialect error_responses = { openai_status, responses_print, NULL };

/* ---- Anthropic ---- */

enum { ANTHROPIC_OVERLOADED = 529 };

static unsigned anthropic_status(const struct fail *fail)
{
    unsigned status = fail_status(fail->code);
    return status == 503 ? ANTHROPIC_OVERLOADED : status;
}

/* Its own word where it has one; else that of the class. */
static const char *anthropic_type(unsigned status)
{
    switch (status) {
    case 401:
        return "authentication_error";
    case 402:
        return "billing_error";
    case 403:
        return "permission_error";
    case 404:
        return "not_found_error";
    case 409:
        return "conflict_error";
    case 413:
        return "request_too_large";
    case 429:
        return "rate_limit_error";
    case 504:
        return "timeout_error";
    case ANTHROPIC_OVERLOADED:
        return "overloaded_error";
    default:
        return status < 500 ? "invalid_request_error" : "api_error";
    }
}

static void anthropic_print(struct buf *b, const struct fail *fail, const char *request_id)
{
    buf_addf(b, "{\"type\":\"error\",\"error\":{\"type\":\"%s\",\"message\":",
             anthropic_type(anthropic_status(fail)));
    buf_add_json(b, str_of(fail->message));
    buf_adds(b, "},\"request_id\":");
    buf_add_json(b, str_of(request_id));
    buf_addc(b, '}');
}

const struct error_dialect error_anthropic = { anthropic_status, anthropic_print, "request-id" };

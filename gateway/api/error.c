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

const struct error_dialect error_openai = { openai_status, openai_print };

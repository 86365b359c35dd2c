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

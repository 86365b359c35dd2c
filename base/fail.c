#include "base/fail.h"

#include "base/str.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *word, *type;
    unsigned status;
} words[] = {
#define FAIL_ROW(code, status, type, help) { #code, type, status },
    FAIL_WORDS(FAIL_ROW)
#undef FAIL_ROW
};

const char *fail_word(enum fail_code code)
{
    return words[code].word;
}

const char *fail_type(enum fail_code code)
{
    return words[code].type;
}

unsigned fail_status(enum fail_code code)
{
    return words[code].status;
}

static void fill(struct fail *f, enum fail_code code, const char *param, const char *fmt,
                 va_list args) PRINTF_LIKE(4, 0);

static void fill(struct fail *f, enum fail_code code, const char *param, const char *fmt,
                 va_list args)
{
    if (!f)
        return;
    *f = (struct fail){ .code = code };
    (void)snprintf(f->param, sizeof(f->param), "%s", param);
    int n = vsnprintf(f->message, sizeof(f->message), fmt, args);
    if (n >= (int)sizeof(f->message)) {
        struct str cut = { f->message, sizeof(f->message) - 1 };
        f->message[str_utf8_whole(cut)] = '\0';
    }
}

int fail_set(struct fail *reterr, enum fail_code code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fill(reterr, code, "", fmt, args);
    va_end(args);
    return FAILED;
}

int fail_param(struct fail *reterr, enum fail_code code, const char *param, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fill(reterr, code, param, fmt, args);
    va_end(args);
    return FAILED;
}

int fail_errno(struct fail *reterr, int negative_errno, const char *doing)
{
    char text[96];
    const char *why = strerror_r(-negative_errno, text, sizeof(text));
    bool busy = negative_errno == -ENOMEM || negative_errno == -EAGAIN;
    int r = fail_set(reterr, busy ? FAIL_overloaded : FAIL_internal_error, "%s: %s", doing, why);
    if (reterr && busy)
        reterr->retry_after_s = 1;
    return r;
}

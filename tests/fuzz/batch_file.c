/* Any bytes as a file of requests, as a file of answers, and as a batch's record: what is read is
 * inside of the text, and a record is written so that it reads again. */
#include "tests/fuzz/fuzz.h"

#include "base/limits.h"
#include "gateway/batch_lines.h"
#include "gateway/batch_store.h"

#include <stdlib.h>

static void try_table(struct str text)
{
    struct batch_table t;
    if (batch_table_read(&t, text, STR("/v1/completions")) < 0)
        return;
    if (t.n == 0 && t.n_problems == 0)
        abort();
    for (size_t i = 0; i < t.n; i++) {
        struct batch_line line;
        struct batch_problem problem;
        CLEANUP(buf_done) struct buf b = BUF_INIT(64 * MIB);
        size_t marked = 0, whole = 0;
        if (t.entries[i].at + t.entries[i].n > text.n ||
            !batch_line_read(&line, batch_table_line(&t, i, text), STR("/v1/completions"),
                             &problem))
            abort();
        const struct batch_answer a = {
            .custom_id = line.custom_id, .request_id = "req_1", .status = 200, .body = line.body
        };
        batch_answer_print(&b, &a);
        t.entries[i].state = ENTRY_todo;
        if (buf_err(&b) < 0 || memchr(b.p, '\n', b.n - 1))
            abort();
        if (t.n_problems == 0 &&
            (batch_table_mark(&t, buf_str(&b), &marked, &whole) < 0 || marked != 1 || whole != b.n))
            abort();
    }
    size_t marked = 0, whole = 0;
    if (batch_table_mark(&t, text, &marked, &whole) == 0 && whole > text.n)
        abort();
    batch_table_done(&t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = { (const char *)data, size };
    CLEANUP(batch_freep) struct batch *b = NULL, *again = NULL;
    CLEANUP(buf_done) struct buf first = BUF_INIT(64 * MIB), second = BUF_INIT(64 * MIB);
    try_table(text);
    if (batch_read(&b, text) < 0)
        return 0;
    batch_record(&first, b);
    if (batch_read(&again, buf_str(&first)) < 0)
        abort();
    batch_record(&second, again);
    if (!str_eq(buf_str(&first), buf_str(&second)))
        abort();
    return 0;
}

#include "tests/support/test.h"

#include "base/limits.h"
#include "gateway/batch_lines.h"
#include "gateway/batch_store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE(id)                                                                                   \
    "{\"custom_id\":\"" id "\",\"method\":\"POST\",\"url\":\"/v1/x\",\"body\":{\"n\":1}}"

static const struct str endpoint = { "/v1/x", 5 };

/* ---- lines ---- */

static void a_file_of_requests_is_read_line_by_line(void **state)
{
    (void)state;
    struct str text = STR("\xef\xbb\xbf" LINE("a") "\r\n\n  " LINE("b") "\n" LINE("c"));
    struct batch_table t;
    struct batch_line line;
    struct batch_problem p;
    assert_int_equal(batch_table_read(&t, text, endpoint), 0);
    assert_int_equal(t.n_problems, 0);
    assert_int_equal(t.n, 3);
    assert_true(batch_line_read(&line, batch_table_line(&t, 1, text), endpoint, &p));
    assert_true(str_is(line.custom_id, "\"b\""));
    assert_true(str_is(line.body, "{\"n\":1}"));
    batch_table_done(&t);
}

static void every_mistake_is_told_with_its_line(void **state)
{
    (void)state;
    const struct {
        const char *text, *code;
        size_t line;
    } rows[] = {
        { "", "empty_file", 0 },
        { "\n \n", "empty_file", 0 },
        { LINE("a") "\n{", "invalid_json_line", 2 },
        { "[]", "invalid_json_line", 1 },
        { LINE("a") "x", "invalid_json_line", 1 },
        { "\n{\"method\":\"POST\",\"url\":\"/v1/x\",\"body\":{}}", "missing_required_parameter",
          2 },
        { LINE(""), "missing_required_parameter", 1 },
        { "{\"custom_id\":1,\"method\":\"POST\",\"url\":\"/v1/x\",\"body\":{}}",
          "missing_required_parameter", 1 },
        { "{\"custom_id\":\"a\",\"method\":\"GET\",\"url\":\"/v1/x\",\"body\":{}}",
          "invalid_method", 1 },
        { "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"/v1/y\",\"body\":{}}", "url_mismatch",
          1 },
        { "{\"custom_id\":\"a\",\"method\":\"POST\",\"body\":{}}", "missing_required_parameter",
          1 },
        { "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"/v1/x\",\"body\":[]}",
          "missing_required_parameter", 1 },
        { LINE("a") "\n" LINE("b") "\n" LINE("a"), "duplicate_custom_id", 3 },
        { LINE("A") "\n" LINE("\\u0041"), "duplicate_custom_id", 2 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct batch_table t;
        assert_int_equal(batch_table_read(&t, str_of(rows[i].text), endpoint), 0);
        assert_int_equal(t.n_problems, 1);
        assert_string_equal(t.problems[0].code, rows[i].code);
        assert_int_equal(t.problems[0].line, rows[i].line);
        batch_table_done(&t);
    }
}

static void too_many_lines_and_too_many_mistakes_have_ends(void **state)
{
    (void)state;
    CLEANUP(buf_done) struct buf b = BUF_INIT(64 * MIB);
    struct batch_table t;
    for (int i = 0; i < BATCH_LINES_MAX; i++)
        buf_addf(&b, "{\"custom_id\":\"%d\",\"method\":\"POST\",\"url\":\"/v1/x\",\"body\":{}}\n",
                 i);
    assert_int_equal(batch_table_read(&t, buf_str(&b), endpoint), 0);
    assert_int_equal(t.n, BATCH_LINES_MAX);
    assert_int_equal(t.n_problems, 0);
    batch_table_done(&t);
    buf_adds(&b, LINE("one more"));
    assert_int_equal(batch_table_read(&t, buf_str(&b), endpoint), 0);
    assert_string_equal(t.problems[0].code, "too_many_tasks");
    batch_table_done(&t);
    buf_clear(&b);
    for (int i = 0; i < 2 * BATCH_PROBLEMS; i++)
        buf_adds(&b, "{\n");
    assert_int_equal(batch_table_read(&t, buf_str(&b), endpoint), 0);
    assert_int_equal(t.n_problems, BATCH_PROBLEMS);
    batch_table_done(&t);
}

/* ---- answers ---- */

static void what_was_answered_is_known_again_without_a_torn_end(void **state)
{
    (void)state;
    struct str text = STR(LINE("a") "\n" LINE("b\\n") "\n" LINE("c") "\n");
    CLEANUP(buf_done) struct buf b = BUF_INIT(MIB);
    struct batch_table t;
    size_t marked = 0, whole = 0;
    assert_int_equal(batch_table_read(&t, text, endpoint), 0);
    const struct batch_answer good = { .custom_id = STR("\"b\\n\""),
                                       .request_id = "req_7",
                                       .status = 200,
                                       .body = STR("{\n\r\"x\": 1}") };
    batch_answer_print(&b, &good);
    assert_string_equal(b.p,
                        "{\"id\":\"batch_req_7\",\"custom_id\":\"b\\n\",\"response\":{\"status_"
                        "code\":200,\"request_id\":\"req_7\",\"body\":{  \"x\": 1}},\"error\":"
                        "null}\n");
    size_t n = b.n;
    batch_answer_print(&b, &good); /* twice, as where a process died in between */
    buf_adds(&b, "{\"custom_id\":\"c\"");
    assert_int_equal(batch_table_mark(&t, buf_str(&b), &marked, &whole), 0);
    assert_int_equal(marked, 1);
    assert_int_equal(whole, 2 * n);
    assert_int_equal(t.entries[0].state, ENTRY_todo);
    assert_int_equal(t.entries[1].state, ENTRY_done);
    assert_int_equal(t.entries[2].state, ENTRY_todo);
    buf_clear(&b);
    const struct batch_answer late = { .custom_id = STR("\"c\""),
                                       .request_id = "req_8",
                                       .code = "batch_expired",
                                       .message = "Too late." };
    batch_answer_print(&b, &late);
    assert_string_equal(b.p,
                        "{\"id\":\"batch_req_8\",\"custom_id\":\"c\",\"response\":null,\"error\":"
                        "{\"code\":\"batch_expired\",\"message\":\"Too late.\"}}\n");
    assert_int_equal(batch_table_mark(&t, buf_str(&b), &marked, &whole), 0);
    assert_int_equal(t.n_done, 2);
    batch_table_done(&t);
}

/* ---- the store ---- */

struct place {
    char folder[64];
    struct config_batches config;
};

static struct batch_store *open_store(struct place *p)
{
    struct batch_store *s = NULL;
    struct fail fail = { 0 };
    if (!p->folder[0]) {
        (void)snprintf(p->folder, sizeof(p->folder), "/tmp/rootstock-batches-XXXXXX");
        assert_non_null(mkdtemp(p->folder));
        p->config = (struct config_batches){ .folder = str_of(p->folder),
                                             .max_bytes = 100,
                                             .ttl_ms = 3600000 };
    }
    assert_int_equal(batch_store_new(&s, &p->config, &fail), 0);
    return s;
}

static void put_content(const struct batch_store *s, const char *id, const char *text)
{
    char path[512];
    assert_int_equal(batch_path(s, path, sizeof(path), id, "jsonl"), 0);
    assert_int_equal(file_replace(path, str_of(text)), 0);
}

static int put_file(struct batch_store *s, const char *id, const char *owner, const char *text,
                    struct fail *reterr)
{
    struct stored_file f = { .filename = (char[]){ "a \"b\".jsonl" },
                             .created_s = 5,
                             .expires_s = UINT32_MAX };
    (void)snprintf(f.id, sizeof(f.id), "%s", id);
    (void)snprintf(f.owner, sizeof(f.owner), "%s", owner);
    (void)snprintf(f.purpose, sizeof(f.purpose), "batch");
    put_content(s, id, text);
    return batch_keep_file(s, &f, reterr);
}

static void remove_place(const struct place *p)
{
    char command[128];
    (void)snprintf(command, sizeof(command), "rm -r %s", p->folder);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c) */
}

static void files_are_their_owners_within_a_bound_and_outlive_a_process(void **state)
{
    (void)state;
    struct place p = { 0 };
    struct fail fail = { 0 };
    CLEANUP(batch_store_freep) struct batch_store *s = open_store(&p);
    struct batch_store *other = NULL;
    assert_int_equal(batch_store_new(&other, &p.config, &fail), FAILED); /* it is locked */
    assert_int_equal(put_file(s, "file-a", "one", "0123456789", &fail), 0);
    assert_int_equal(put_file(s, "file-b", "two", "01234", &fail), 0);
    char big[100];
    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    assert_int_equal(put_file(s, "file-c", "one", big, &fail), FAILED);
    assert_int_equal(fail.code, FAIL_request_too_large);
    put_content(s, "file-d.jsonl.XyZ123", "cut"); /* a draft, but for the end of its name */
    char draft[512], torn[512];
    assert_int_equal(batch_path(s, draft, sizeof(draft), "file-d.jsonl.XyZ123", "jsonl"), 0);
    (void)snprintf(torn, sizeof(torn), "%s/file-d.jsonl.XyZ123", p.folder);
    assert_int_equal(rename(draft, torn), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(s->bytes, 15);
        assert_non_null(batch_find_file(s, STR("file-a"), "one"));
        assert_null(batch_find_file(s, STR("file-a"), "two"));
        assert_null(batch_find_file(s, STR("file-c"), "one"));
        assert_string_equal(batch_find_file(s, STR("file-b"), "two")->filename, "a \"b\".jsonl");
        (void)batch_store_free(s);
        s = open_store(&p);
    }
    assert_int_not_equal(access(torn, F_OK), 0);
    assert_int_equal(batch_remove_file(s, STR("file-a"), "two"), -ENOENT);
    assert_int_equal(batch_remove_file(s, STR("file-a"), "one"), 0);
    assert_int_equal(batch_remove_file(s, STR("file-a"), "one"), -ENOENT);
    batch_sweep(s, (uint64_t)UINT32_MAX + 1);
    assert_int_equal(s->n_files, 0);
    assert_int_equal(s->bytes, 0);
    remove_place(&p);
}

static void a_batch_is_recorded_with_all_that_it_needs(void **state)
{
    (void)state;
    static const char record[] =
        "{\"owner\":\"abc\",\"key\":\"ff\",\"tenant\":\"acme\",\"output\":\"file-o\",\"error\":"
        "\"file-e\","
        "\"batch\":{\"id\":\"batch_a\",\"object\":\"batch\",\"endpoint\":\"/v1/x\",\"errors\":null,"
        "\"input_file_id\":\"file-i\",\"completion_window\":\"24h\",\"status\":\"completed\","
        "\"output_file_id\":\"file-o\",\"error_file_id\":null,\"created_at\":1,\"expires_at\":9,"
        "\"failed_at\":null,\"in_progress_at\":2,\"finalizing_at\":3,\"completed_at\":4,"
        "\"expired_at\":null,\"cancelling_at\":null,\"cancelled_at\":null,\"request_counts\":"
        "{\"total\":2,\"completed\":2,\"failed\":0},\"metadata\":{\"a\":\"b\"}}}";
    struct place p = { 0 };
    struct fail fail = { 0 };
    struct batch *b = NULL;
    CLEANUP(buf_done) struct buf again = BUF_INIT(MIB);
    assert_int_equal(batch_read(&b, str_of(record)), 0);
    batch_record(&again, b);
    assert_string_equal(again.p, record);
    CLEANUP(batch_store_freep) struct batch_store *s = open_store(&p);
    assert_int_equal(batch_keep(s, b, &fail), 0);
    (void)batch_store_free(s);
    s = open_store(&p);
    const struct batch *found = batch_find(s, STR("batch_a"), "abc");
    assert_non_null(found);
    assert_int_equal(found->key, 0xff);
    assert_string_equal(found->tenant, "acme");
    assert_null(batch_find(s, STR("batch_a"), "ab"));
    batch_sweep(s, 4 + 3600);
    assert_int_equal(s->n_batches, 1);
    batch_sweep(s, 4 + 3601);
    assert_int_equal(s->n_batches, 0);
    for (size_t n = 0; n < sizeof(record) - 1; n++) { /* no part of one is taken for one */
        struct batch *half = NULL;
        assert_int_equal(batch_read(&half, str_head(str_of(record), n)), -EINVAL);
    }
    remove_place(&p);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_of_requests_is_read_line_by_line),
        cmocka_unit_test(every_mistake_is_told_with_its_line),
        cmocka_unit_test(too_many_lines_and_too_many_mistakes_have_ends),
        cmocka_unit_test(what_was_answered_is_known_again_without_a_torn_end),
        cmocka_unit_test(files_are_their_owners_within_a_bound_and_outlive_a_process),
        cmocka_unit_test(a_batch_is_recorded_with_all_that_it_needs),
    };
    return TEST_RUN(tests);
}

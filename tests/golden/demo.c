/*
 * The shipped demo model and adapters against PyTorch's float32 outputs
 * (models/heldout/reference.json, written by models/tools/export.py).
 */
#include "tests/golden/decode.h"
#include "tests/support/test.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MAX_PROMPT = 1024, MAX_OUTPUT = 512, MAX_ROWS = 64 };

/* F16 weights multiply activations rounded to F16; PyTorch did not round. */
static const double logit_bound = 5e-2;

struct row {
    int32_t prompt[MAX_PROMPT], ids[MAX_OUTPUT];
};

static size_t read_ids(const json_t *list, int32_t *ret, size_t max)
{
    size_t n = json_array_size(list);
    assert_true(n <= max);
    for (size_t i = 0; i < n; i++)
        ret[i] = (int32_t)json_integer_value(json_array_get(list, i));
    return n;
}

static void compare(const char *adapter, size_t i, const struct decode_job *j, json_t *stored)
{
    json_t *output = json_object_get(stored, "output_ids"), *top = json_object_get(stored, "top");
    size_t k;
    json_t *pair;
    json_array_foreach(top, k, pair)
    {
        size_t id = (size_t)json_integer_value(json_array_get(pair, 0));
        double want = json_number_value(json_array_get(pair, 1));
        if (!(fabs((double)j->logits[id] - want) <= logit_bound))
            fail_msg("%s row %zu: logit %zu is %f, stored %f", adapter, i, id,
                     (double)j->logits[id], want);
    }
    for (k = 0; k < j->n_wanted; k++)
        if (j->ids[k] != json_integer_value(json_array_get(output, k)))
            fail_msg("%s row %zu: token %zu is %d, stored %d", adapter, i, k, j->ids[k],
                     (int)json_integer_value(json_array_get(output, k)));
}

static void compare_group(const struct model *m, json_t *group)
{
    const char *adapter = json_string_value(json_object_get(group, "adapter"));
    json_t *stored = json_object_get(group, "rows"), *row;
    struct decode_job jobs[MAX_ROWS] = { { 0 } };
    struct row *rows = calloc(MAX_ROWS, sizeof(*rows));
    struct lora *lora = NULL;
    struct fail f = { 0 };
    char path[256];
    (void)snprintf(path, sizeof(path), "models/adapters/%s", adapter ? adapter : "");
    if (adapter && lora_load(&lora, m, test_path(path), 1, &f))
        fail_msg("%s: %s", path, f.message);
    assert_true(json_array_size(stored) <= MAX_ROWS);
    size_t i;
    json_array_foreach(stored, i, row)
    {
        jobs[i] = (struct decode_job){ .prompt = rows[i].prompt, .lora = lora, .ids = rows[i].ids };
        jobs[i].n_prompt = read_ids(json_object_get(row, "prompt_ids"), rows[i].prompt, MAX_PROMPT);
        jobs[i].n_wanted = json_array_size(json_object_get(row, "output_ids"));
        assert_true(jobs[i].n_wanted <= MAX_OUTPUT);
        jobs[i].logits = calloc(model_shape(m)->vocab, sizeof(float));
    }
    decode_all(m, jobs, i, /* slots= */ 8, /* chunk= */ 16);
    json_array_foreach(stored, i, row)
    {
        compare(adapter ? adapter : "base", i, &jobs[i], row);
        free(jobs[i].logits);
    }
    free(rows);
    lora_free(lora);
}

static void the_demo_answers_as_pytorch_does(void **state)
{
    (void)state;
    const char *path = test_path("models/heldout/reference.json");
    if (access(path, R_OK) < 0) {
        print_message("# skipped: models/heldout/reference.json is not here\n");
        skip();
    }
    json_error_t e;
    json_t *groups = json_load_file(path, 0, &e), *group;
    if (!groups)
        fail_msg("%s:%d: %s", path, e.line, e.text);
    struct model *m = decode_model(test_path("models/demo.gguf"));
    size_t i;
    json_array_foreach(groups, i, group) compare_group(m, group);
    assert_true(i > 0);
    model_free(m);
    json_decref(groups);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_demo_answers_as_pytorch_does),
    };
    return TEST_RUN(tests);
}

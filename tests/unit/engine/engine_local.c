#include "tests/support/test.h"

#include <jansson.h>
#include <math.h>

#include "tests/unit/engine/engine_models.h"

/* ---- the same text, whatever else runs ---- */

enum { MIXED = 12 };

/* Adapter of the i-th request: two of them, then the bare base. */
static size_t adapter_of(size_t i)
{
    return i % 3 < 2 ? i % 3 : SIZE_MAX;
}

static uint32_t compare_mixed(struct engine *e, const struct fixture_adapter *adapters,
                              const struct record *alone)
{
    static struct record mixed[MIXED];
    struct engine_job *jobs[MIXED];
    uint32_t cached = 0;
    for (size_t i = 0; i < MIXED; i++) {
        struct chat_request request = varied_request(i);
        record_init(&mixed[i]);
        struct engine_spec spec = fixture_spec(&request, &adapters[i % 3], &mixed[i]);
        spec.choice = (uint32_t)(i % 2);
        spec.tenant = i % 4; /* whose rows give way is no matter */
        spec.weight = (uint32_t)(i % 3);
        jobs[i] = fixture_submit(e, &spec);
    }
    for (size_t i = 0; i < MIXED; i++) {
        record_wait(&mixed[i]);
        (void)engine_job_unref(jobs[i]);
        cached += mixed[i].usage.cached_tokens;
        assert_same(&mixed[i], &alone[i]);
        record_done(&mixed[i]);
    }
    return cached;
}

static void mixed_answers_equal_those_of_requests_run_alone(void **state)
{
    static const struct fixture_options machines[] = {
        { .slots = 5, .batch = 7, .threads = 2 },
        { .slots = 12, .batch = 1, .threads = 1 },
        { .slots = 1, .batch = 3, .threads = 2 },
        { .slots = 3, .batch = 64, .threads = 1 },
    };
    static struct record alone[MIXED];
    uint32_t cached = 0;
    for (size_t i = 0; i < MIXED; i++) {
        struct chat_request request = varied_request(i);
        run_alone(&alone[i], &request, (uint32_t)(i % 2), adapter_of(i));
    }
    for (size_t m = 0; m < ARRAY_LEN(machines); m++) {
        CLEANUP(engine_freep) struct engine *e = open_engine(machines[m]);
        struct fixture_adapter adapters[3] = { 0 };
        for (size_t i = 0; i < 2 && i < n_adapters; i++)
            adapters[i] = fixture_adapter(e, adapter_paths[i]);
        (void)compare_mixed(e, adapters, alone);
        cached += compare_mixed(e, adapters, alone); /* now the slots hold prefixes */
        for (size_t i = 0; i < 3; i++)
            (void)engine_local_lora_free(adapters[i].lora);
    }
    assert_true(cached > 0);
    for (size_t i = 0; i < MIXED; i++)
        record_done(&alone[i]);
}

/* ---- against stored outputs of another implementation: all prompts and adapters mixed ---- */

struct reference_run {
    const json_t *prompt; /* borrowed */
    struct record record;
    struct engine_job *job;
    int32_t ids[64];
};

static size_t ids_of(int32_t *ret, size_t max, const json_t *list)
{
    size_t n = 0;
    for (; n < json_array_size(list) && n < max; n++)
        ret[n] = (int32_t)json_integer_value(json_array_get(list, n));
    return n;
}

static void submit_reference(struct engine *e, struct reference_run *run, const json_t *prompt,
                             const struct fixture_adapter *a)
{
    run->prompt = prompt;
    record_init(&run->record);
    struct chat_request request = fixture_prompt("", 64);
    request.prompt_ids = run->ids;
    request.n_prompt_ids = ids_of(run->ids, ARRAY_LEN(run->ids), json_object_get(prompt, "ids"));
    struct engine_spec spec = fixture_spec(&request, a, &run->record);
    run->job = fixture_submit(e, &spec);
}

static void compare_reference(struct reference_run *run)
{
    record_wait(&run->record);
    int32_t want[64];
    size_t n = ids_of(want, ARRAY_LEN(want), json_object_get(run->prompt, "greedy"));
    assert_int_equal(n, 64);
    assert_int_equal(run->record.n_ids, n);
    assert_memory_equal(run->record.ids, want, sizeof(want));
    const char *text = json_string_value(json_object_get(run->prompt, "greedy_text"));
    assert_string_equal(record_text(&run->record), text);
    (void)engine_job_unref(run->job);
    record_done(&run->record);
}

static void compare_model(const char *model, const char *reference, const char *lora_dir)
{
    enum { PROMPTS = 10, ADAPTERS = 9 };
    json_auto_t *all = json_load_file(reference, 0, NULL);
    assert_non_null(all);
    CLEANUP(engine_freep)
    struct engine *e = fixture_engine(
        model,
        (struct fixture_options){ .slots = 16, .context = 256, .threads = 2, .cache = CACHE_f32 });
    static struct reference_run runs[ADAPTERS][PROMPTS];
    struct fixture_adapter adapters[ADAPTERS] = { 0 }; /* the last one: the bare base */
    for (size_t a = 0; a < ADAPTERS; a++) {
        const json_t *prompts_of = json_object_get(all, "prompts");
        if (a + 1 < ADAPTERS) {
            char name[3] = { 'a', (char)('0' + a), '\0' }, path[1024];
            (void)snprintf(path, sizeof(path), "%s/%s", lora_dir, name);
            adapters[a] = fixture_adapter(e, path);
            const json_t *scales = json_object_get(json_object_get(all, "adapters"), name);
            prompts_of = json_object_get(json_object_get(scales, "1.0"), "prompts");
        }
        assert_int_equal(json_array_size(prompts_of), PROMPTS);
        for (size_t p = 0; p < PROMPTS; p++)
            submit_reference(e, &runs[a][p], json_array_get(prompts_of, p), &adapters[a]);
    }
    for (size_t a = 0; a < ADAPTERS; a++) {
        for (size_t p = 0; p < PROMPTS; p++)
            compare_reference(&runs[a][p]);
        (void)engine_local_lora_free(adapters[a].lora);
    }
}

static void greedy_answers_equal_the_reference(void **state)
{
    TEST_SHARED(lora, "engine/lora/stories260K");
    TEST_SHARED(f32, "engine/models/stories260K.f32.gguf");
    TEST_SHARED(f32_reference, "engine/ref/stories260K.f32.json");
    compare_model(f32, f32_reference, lora);
}

static void adapters_change_the_answer(void **state)
{
    if (n_adapters < 2)
        skip();
    static struct record base, one, two;
    struct chat_request request = fixture_prompt(prompts[0], 30);
    request.ignore_eos = true;
    run_alone(&base, &request, 0, SIZE_MAX);
    run_alone(&one, &request, 0, 0);
    run_alone(&two, &request, 0, 1);
    assert_string_not_equal(record_text(&base), record_text(&one));
    assert_string_not_equal(record_text(&one), record_text(&two));
    record_done(&base);
    record_done(&one);
    record_done(&two);
}

static void a_seed_gives_the_same_text_and_each_choice_its_own(void **state)
{
    CLEANUP(engine_freep) struct engine *e = open_engine(DEFAULTS);
    struct chat_request request = fixture_prompt(prompts[3], 24);
    request.ignore_eos = true;
    request.sampling.temperature = 1.5f;
    request.sampling.seed = 11;
    request.sampling.has_seed = true;
    static struct record r[6]; /* choices 0 1 2 0 1 2 */
    struct engine_job *jobs[6];
    for (uint32_t i = 0; i < 6; i++) {
        record_init(&r[i]);
        struct engine_spec spec = fixture_spec(&request, NULL, &r[i]);
        spec.choice = i % 3;
        jobs[i] = fixture_submit(e, &spec);
    }
    for (uint32_t i = 0; i < 6; i++) {
        record_wait(&r[i]);
        (void)engine_job_unref(jobs[i]);
    }
    for (uint32_t i = 0; i < 3; i++)
        assert_same(&r[i], &r[i + 3]);
    assert_string_not_equal(record_text(&r[0]), record_text(&r[1]));
    assert_string_not_equal(record_text(&r[1]), record_text(&r[2]));
    uint32_t computed = 0;
    for (uint32_t i = 0; i < 6; i++)
        computed += r[i].usage.prompt_tokens - r[i].usage.cached_tokens;
    /* the choices share one prefill: each computes its last token, the first all the others */
    assert_true(computed <= r[0].usage.prompt_tokens + 5);
    for (uint32_t i = 0; i < 6; i++)
        record_done(&r[i]);
}

/* ---- what a slot remembers ---- */

static uint32_t cached_of(struct engine *e, const char *prompt, const struct fixture_adapter *a,
                          struct record *r)
{
    struct chat_request request = fixture_prompt(prompt, 8);
    request.ignore_eos = true;
    record_init(r);
    struct engine_spec spec = fixture_spec(&request, a, r);
    fixture_run(e, &spec);
    return r->usage.cached_tokens;
}

static void prefixes_are_reused_under_the_same_weights_only(void **state)
{
    if (n_adapters < 1)
        skip();
    CLEANUP(engine_freep) struct engine *e = open_engine((struct fixture_options){ .slots = 2 });
    struct fixture_adapter a = fixture_adapter(e, adapter_paths[0]);
    struct fixture_adapter same_weights_other_digest = { .lora = a.lora };
    struct fixture_adapter no_digest = a;
    static struct record r[8];
    assert_int_equal(cached_of(e, prompts[3], NULL, &r[0]), 0);
    uint32_t n = r[0].usage.prompt_tokens;
    assert_int_equal(cached_of(e, prompts[3], NULL, &r[1]), n - 1);
    assert_int_equal(cached_of(e, prompts[3], &a, &r[2]), 0);
    assert_int_equal(cached_of(e, prompts[3], &a, &r[3]), n - 1);
    assert_int_equal(cached_of(e, prompts[3], &same_weights_other_digest, &r[4]), 0);
    assert_string_equal(record_text(&r[0]), record_text(&r[1]));
    assert_string_equal(record_text(&r[2]), record_text(&r[3]));
    assert_string_equal(record_text(&r[2]), record_text(&r[4]));

    /* without a digest nothing says what the content is: it is not shared, not even with itself */
    for (int i = 5; i < 8; i++) {
        struct chat_request request = fixture_prompt(prompts[3], 8);
        request.ignore_eos = true;
        record_init(&r[i]);
        struct engine_spec spec = fixture_spec(&request, &no_digest, &r[i]);
        spec.lora_digest = NULL;
        fixture_run(e, &spec);
        assert_int_equal(r[i].usage.cached_tokens, 0);
    }
    (void)engine_local_lora_free(a.lora);
    for (int i = 0; i < 8; i++)
        record_done(&r[i]);
}

/* Each scale is a key of its own; 0 is the base. */
static void a_scale_is_part_of_what_is_reused(void **state)
{
    if (n_adapters < 1)
        skip();
    static const float scales[] = { 1, 0.5f, 1, 0.5f, 0, 0.5f };
    static const int twin[] = { -1, -1, 0, 1, -1, 1 }; /* whose content it finds */
    CLEANUP(engine_freep) struct engine *e = open_engine((struct fixture_options){ .slots = 4 });
    struct fixture_adapter a = fixture_adapter(e, adapter_paths[0]);
    static struct record r[ARRAY_LEN(scales)], base;
    uint32_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(scales); i++) {
        struct chat_request request = fixture_prompt(prompts[3], 8);
        request.ignore_eos = true;
        record_init(&r[i]);
        struct engine_spec spec = fixture_spec(&request, &a, &r[i]);
        spec.lora_scale = &scales[i];
        fixture_run(e, &spec);
        n = r[i].usage.prompt_tokens;
        assert_int_equal(r[i].usage.cached_tokens, twin[i] < 0 ? 0 : n - 1);
        if (twin[i] >= 0)
            assert_same(&r[i], &r[twin[i]]);
    }
    assert_string_not_equal(record_text(&r[0]), record_text(&r[1]));
    assert_int_equal(cached_of(e, prompts[3], NULL, &base), n - 1); /* what scale 0 left */
    assert_same(&base, &r[4]);
    (void)engine_local_lora_free(a.lora);
    for (size_t i = 0; i < ARRAY_LEN(scales); i++)
        record_done(&r[i]);
    record_done(&base);
}

static void a_scale_that_is_no_number_is_refused(void **state)
{
    if (n_adapters < 1)
        skip();
    CLEANUP(engine_freep) struct engine *e = open_engine(DEFAULTS);
    struct fixture_adapter a = fixture_adapter(e, adapter_paths[0]);
    static struct record r;
    record_init(&r);
    struct chat_request request = fixture_prompt(prompts[0], 4);
    struct engine_spec spec = fixture_spec(&request, &a, &r);
    static const float scales[] = { NAN, INFINITY, -INFINITY };
    for (size_t i = 0; i < ARRAY_LEN(scales); i++) {
        struct engine_job *job = NULL;
        struct fail f = { 0 };
        spec.lora_scale = &scales[i];
        assert_int_equal(engine_submit(e, &job, &spec, &f), FAILED);
        assert_int_equal(f.code, FAIL_invalid_request);
    }
    (void)engine_local_lora_free(a.lora);
    record_done(&r);
}

static void an_adapter_may_go_after_the_final_event(void **state)
{
    if (n_adapters < 1)
        skip();
    CLEANUP(engine_freep) struct engine *e = open_engine(DEFAULTS);
    static struct record r[2];
    for (int i = 0; i < 2; i++) { /* freed between the runs; the digest finds the prefix again */
        struct fixture_adapter a = fixture_adapter(e, adapter_paths[0]);
        uint32_t cached = cached_of(e, prompts[0], &a, &r[i]);
        assert_int_equal(cached, i == 0 ? 0 : r[0].usage.prompt_tokens - 1);
        (void)engine_local_lora_free(a.lora);
    }
    assert_same(&r[0], &r[1]);
    record_done(&r[0]);
    record_done(&r[1]);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(mixed_answers_equal_those_of_requests_run_alone),
        cmocka_unit_test(greedy_answers_equal_the_reference),
        cmocka_unit_test(adapters_change_the_answer),
        cmocka_unit_test(a_seed_gives_the_same_text_and_each_choice_its_own),
        cmocka_unit_test(prefixes_are_reused_under_the_same_weights_only),
        cmocka_unit_test(a_scale_is_part_of_what_is_reused),
        cmocka_unit_test(a_scale_that_is_no_number_is_refused),
        cmocka_unit_test(an_adapter_may_go_after_the_final_event),
    };
    test_begin();
    return cmocka_run_group_tests(tests, find_model, NULL);
}

/*
 * Embeddings of a decoder through the engine's interface: shared steps, bounds, callers of many
 * threads, and generations beside them.
 */
#include <math.h>

#include "engine/local/tokenizer.h"
#include "tests/unit/engine/engine_models.h"

static const char *const texts[] = {
    "Once upon a time",
    "What is the capital of France?",
    "a",
    ("Lily and Tom went to the park to play with the ball. They saw a man who had a very big hat "
     "and a small cat, and the cat said that"),
    "What is the capital of France?",
};

static struct embed_input input_of(size_t i)
{
    return (struct embed_input){ .text = str_of(texts[i % ARRAY_LEN(texts)]) };
}

static struct embed_result embed(struct engine *e, const struct embed_input *inputs, size_t n)
{
    struct embed_result r = { 0 };
    struct fail f = { 0 };
    if (engine_embed(e, inputs, n, &r, &f) != 0)
        fail_msg("%s", f.message);
    return r;
}

static void gives_vectors_of_unit_length_alike_in_any_company(void **state)
{
    CLEANUP(engine_freep) struct engine *e = open_engine(DEFAULTS);
    struct embed_input inputs[ARRAY_LEN(texts) * 3];
    for (size_t i = 0; i < ARRAY_LEN(inputs); i++)
        inputs[i] = input_of(i);
    struct embed_result all = embed(e, inputs, ARRAY_LEN(inputs));
    assert_int_equal(all.n, ARRAY_LEN(inputs));
    for (size_t i = 0; i < all.n; i++) {
        const float *v = all.values + i * all.width;
        double sum = 0;
        for (size_t k = 0; k < all.width; k++)
            sum += (double)v[k] * (double)v[k];
        assert_true(fabs(sum - 1) < 1e-5);
        struct embed_result one = embed(e, &inputs[i], 1);
        assert_int_equal(one.width, all.width);
        assert_memory_equal(one.values, v, all.width * sizeof(float));
        embed_result_done(&one);
    }
    assert_memory_equal(all.values + all.width, all.values + 4 * all.width,
                        all.width * sizeof(float)); /* the same text twice */
    assert_memory_not_equal(all.values, all.values + all.width, all.width * sizeof(float));
    embed_result_done(&all);
}

static void reads_token_ids_as_it_reads_their_text(void **state)
{
    CLEANUP(engine_freep) struct engine *e = open_engine(DEFAULTS);
    CLEANUP(token_list_done) struct token_list ids = { 0 };
    struct embed_input inputs[2] = { input_of(0) };
    assert_int_equal(
        tokenizer_encode(engine_local_tokenizer(e), inputs[0].text, TOKENIZE_bos, &ids), 0);
    inputs[1] = (struct embed_input){ .ids = ids.ids, .n_ids = ids.n };
    struct embed_result r = embed(e, inputs, 2);
    assert_int_equal(r.tokens, 2 * ids.n);
    assert_memory_equal(r.values, r.values + r.width, r.width * sizeof(float));
    embed_result_done(&r);
}

static void refuses_by_the_number_of_the_input(void **state)
{
    CLEANUP(engine_freep) struct engine *e = open_engine((struct fixture_options){ .context = 16 });
    int32_t many[17] = { 0 }, beyond[1] = { 1 << 24 }, negative[1] = { -1 };
    const struct {
        struct embed_input second;
        enum fail_code code;
    } rows[] = {
        { { .ids = many, .n_ids = 17 }, FAIL_context_length_exceeded },
        { { .text = str_of(texts[3]) }, FAIL_context_length_exceeded },
        { { .ids = beyond, .n_ids = 1 }, FAIL_invalid_request },
        { { .ids = negative, .n_ids = 1 }, FAIL_invalid_request },
        { { .ids = many, .n_ids = 0 }, FAIL_invalid_request },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct embed_input inputs[2] = { input_of(2), rows[i].second };
        struct embed_result r = { 0 };
        struct fail f = { 0 };
        assert_int_equal(engine_embed(e, inputs, 2, &r, &f), FAILED);
        assert_int_equal(f.code, rows[i].code);
        assert_non_null(strstr(f.message, "input 1 "));
        assert_null(r.values);
    }
    struct embed_input longest = { .ids = many, .n_ids = 16 };
    struct embed_result r = embed(e, &longest, 1);
    embed_result_done(&r);
}

static void refuses_what_a_decoder_cannot_do(void **state)
{
    CLEANUP(engine_freep) struct engine *e = open_engine(DEFAULTS);
    struct embed_input in = input_of(0);
    struct embed_result r = { 0 };
    struct token_range *ranges = NULL;
    struct fail f = { 0 };
    assert_int_equal(engine_classify(e, &in, 1, &r, &f), FAILED);
    assert_int_equal(fail_status(f.code), 400);
    assert_int_equal(engine_classify_tokens(e, in.text, &r, &ranges, &f), FAILED);
    assert_int_equal(fail_status(f.code), 400);
    assert_int_equal(engine_label(e, 0).n, 0);
    engine_drain(e);
    assert_int_equal(engine_embed(e, &in, 1, &r, &f), FAILED);
    assert_int_equal(f.code, FAIL_overloaded);
}

struct caller {
    pthread_t thread;
    struct engine *e;
    size_t first, n;
    struct embed_result result;
};

static void *call(void *arg)
{
    struct caller *c = arg;
    struct embed_input inputs[8];
    for (size_t i = 0; i < c->n; i++)
        inputs[i] = input_of(c->first + i);
    struct fail f = { 0 };
    CHECK(engine_embed(c->e, inputs, c->n, &c->result, &f) == 0);
    return NULL;
}

static void serves_callers_of_many_threads_beside_a_generation(void **state)
{
    CLEANUP(engine_freep)
    struct engine *e = open_engine((struct fixture_options){ .threads = 2, .batch = 16 });
    struct chat_request request = fixture_prompt(prompts[0], 24);
    struct record alone, beside;
    run_alone(&alone, &request, 0, n_adapters);
    record_init(&beside);
    struct engine_spec spec = fixture_spec(&request, NULL, &beside);
    struct engine_job *job = fixture_submit(e, &spec);
    struct caller callers[6];
    for (size_t i = 0; i < ARRAY_LEN(callers); i++) {
        callers[i] = (struct caller){ .e = e, .first = i, .n = 1 + i };
        assert_int_equal(thread_start(&callers[i].thread, THREAD_worker, call, &callers[i]), 0);
    }
    struct embed_input inputs[ARRAY_LEN(texts)];
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        inputs[i] = input_of(i);
    struct embed_result want = embed(e, inputs, ARRAY_LEN(texts));
    for (size_t i = 0; i < ARRAY_LEN(callers); i++) {
        struct caller *c = &callers[i];
        assert_int_equal(pthread_join(c->thread, NULL), 0);
        for (size_t k = 0; k < c->n; k++)
            assert_memory_equal(c->result.values + k * want.width,
                                want.values + (c->first + k) % ARRAY_LEN(texts) * want.width,
                                want.width * sizeof(float));
        embed_result_done(&c->result);
    }
    record_wait(&beside);
    (void)engine_job_unref(job);
    assert_same(&alone, &beside);
    size_t running = 1, waiting = 1;
    size_t both = engine_load(e, &running, &waiting);
    assert_int_equal(both, running + waiting);
    record_done(&alone);
    record_done(&beside);
    embed_result_done(&want);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_vectors_of_unit_length_alike_in_any_company),
        cmocka_unit_test(reads_token_ids_as_it_reads_their_text),
        cmocka_unit_test(refuses_by_the_number_of_the_input),
        cmocka_unit_test(refuses_what_a_decoder_cannot_do),
        cmocka_unit_test(serves_callers_of_many_threads_beside_a_generation),
    };
    test_begin();
    return cmocka_run_group_tests(tests, find_model, NULL);
}

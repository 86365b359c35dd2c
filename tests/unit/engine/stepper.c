#include "tests/unit/engine/tiny_model.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS = 23, SEQUENCES = 5 };

static const char *const archs[] = {
    "llama", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "phi3"
};
static const enum cache_type caches[] = { CACHE_f32, CACHE_f16, CACHE_q8_0 };

static int32_t token(size_t sequence, size_t i)
{
    return (int32_t)((sequence * 17 + i * 29 + 3) % TINY_VOCAB);
}

static struct stepper *stepper(const struct model *m, enum cache_type cache, uint32_t threads)
{
    struct stepper_options o = { SEQUENCES, TOKENS, SEQUENCES * TOKENS, threads, cache };
    struct stepper *s = NULL;
    struct fail f = { 0 };
    if (stepper_new(&s, m, &o, &f))
        fail_msg("%s", f.message);
    return s;
}

/* Logits of every position of one sequence, alone, `chunk` rows a step. */
static void run_alone(const struct model *m, enum cache_type cache, size_t sequence,
                      const struct lora *lora, size_t chunk, uint32_t threads,
                      float ret[TOKENS][TINY_VOCAB])
{
    struct stepper *s = stepper(m, cache, threads);
    struct step_row rows[TOKENS];
    for (size_t at = 0; at < TOKENS; at += chunk) {
        size_t n = TOKENS - at < chunk ? TOKENS - at : chunk;
        for (size_t i = 0; i < n; i++)
            rows[i] =
                (struct step_row){ token(sequence, at + i), (uint32_t)(at + i), 1, true, lora };
        const float *logits;
        assert_int_equal(stepper_run(s, rows, n, &logits), 0);
        memcpy(ret[at], logits, n * sizeof(ret[0]));
    }
    stepper_free(s);
}

static float alone[SEQUENCES][TOKENS][TINY_VOCAB], other[TOKENS][TINY_VOCAB];

static void chunks_and_threads_do_not_change_a_bit(void **state)
{
    (void)state;
    static const size_t chunks[] = { 1, 3, 7, TOKENS };
    for (size_t i = 0; i < ARRAY_LEN(archs) * ARRAY_LEN(caches); i++) {
        struct tiny_model t;
        struct model *m = tiny_model_get(
            &t,
            (struct tiny_options){ .arch = archs[i % ARRAY_LEN(archs)], .seed = i, .window = 9 });
        enum cache_type cache = caches[i / ARRAY_LEN(archs)];
        run_alone(m, cache, 0, NULL, TOKENS, 1, alone[0]);
        assert_true(isfinite(alone[0][TOKENS - 1][0]));
        for (size_t c = 0; c < ARRAY_LEN(chunks); c++)
            for (uint32_t threads = 1; threads <= 3; threads += 2) {
                run_alone(m, cache, 0, NULL, chunks[c], threads, other);
                assert_memory_equal(other, alone[0], sizeof(other));
            }
        tiny_model_done(&t);
    }
}

static const uint32_t lora_types[] = { TENSOR_F32, TENSOR_F16, TENSOR_BF16, TENSOR_Q8_0 };

/* Five sequences on three adapters and the base, out of step with each other. */
static void a_mixed_batch_equals_each_sequence_alone(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(archs) * 2; i++) {
        struct tiny_model t;
        struct model *m = tiny_model_get(
            &t, (struct tiny_options){
                    .arch = archs[i / 2], .type = i % 2 ? TENSOR_F16 : TENSOR_F32, .seed = i });
        struct lora *loras[3];
        for (uint64_t k = 0; k < 3; k++) {
            uint32_t type = lora_types[(i + k) % ARRAY_LEN(lora_types)];
            uint32_t rank = type == TENSOR_Q8_0 ? 32 : 3 + 5 * (uint32_t)k;
            assert_int_equal(lora_synthetic_of(&loras[k], m, rank, type, k), 0);
        }
        const struct lora *of[SEQUENCES] = { loras[0], NULL, loras[2], loras[0], loras[1] };
        for (size_t q = 0; q < SEQUENCES; q++)
            run_alone(m, CACHE_f16, q, of[q], 4, 1, alone[q]);
        assert_memory_not_equal(alone[0][0], alone[1][0], sizeof(alone[0][0]));
        struct stepper *s = stepper(m, CACHE_f16, 2);
        struct step_row rows[SEQUENCES * TOKENS];
        size_t at[SEQUENCES] = { 0 };
        for (size_t step = 0; step < 2 * TOKENS; step++) {
            size_t n = 0;
            for (uint32_t q = 0; q < SEQUENCES; q++)
                for (size_t k = (q + step) % 4; k > 0 && at[q] < TOKENS; k--, at[q]++)
                    rows[n++] =
                        (struct step_row){ token(q, at[q]), (uint32_t)at[q], q, true, of[q] };
            const float *logits;
            if (!n)
                continue;
            assert_int_equal(stepper_run(s, rows, n, &logits), 0);
            for (size_t r = 0; r < n; r++, logits += TINY_VOCAB)
                assert_memory_equal(logits, alone[rows[r].slot][rows[r].position],
                                    TINY_VOCAB * sizeof(float));
        }
        for (size_t q = 0; q < SEQUENCES; q++)
            assert_int_equal(at[q], TOKENS);
        stepper_free(s);
        for (size_t k = 0; k < 3; k++)
            lora_free(loras[k]);
        tiny_model_done(&t);
    }
}

static void logits_come_for_the_rows_that_want_them(void **state)
{
    (void)state;
    struct tiny_model t;
    struct model *m = tiny_model_get(&t, (struct tiny_options){ .arch = "llama" });
    run_alone(m, CACHE_f32, 2, NULL, TOKENS, 1, alone[0]);
    struct stepper *s = stepper(m, CACHE_f32, 1);
    struct step_row rows[TOKENS];
    for (size_t i = 0; i < TOKENS; i++)
        rows[i] = (struct step_row){ token(2, i), (uint32_t)i, 0, i == 4 || i == 20, NULL };
    const float *logits;
    assert_int_equal(stepper_run(s, rows, TOKENS, &logits), 0);
    assert_memory_equal(logits, alone[0][4], sizeof(alone[0][4]));
    assert_memory_equal(logits + TINY_VOCAB, alone[0][20], sizeof(alone[0][20]));
    stepper_free(s);
    tiny_model_done(&t);
}

static void states_times_the_output_matrix_are_the_logits(void **state)
{
    struct tiny_model tiny;
    struct model *m = tiny_model_get(&tiny, (struct tiny_options){ .arch = "qwen2", .seed = 7 });
    struct stepper_options o = { .slots = 1, .context = 16, .rows = 8, .threads = 1 };
    struct step_row rows[5];
    for (uint32_t i = 0; i < ARRAY_LEN(rows); i++)
        rows[i] = (struct step_row){ .token = (int32_t)(3 * i), .position = i, .logits = i != 1 };
    const float *logits, *states;
    CLEANUP(stepper_freep) struct stepper *plain = NULL, *bare = NULL;
    assert_int_equal(stepper_new(&plain, m, &o, NULL), 0);
    o.states = true;
    assert_int_equal(stepper_new(&bare, m, &o, NULL), 0);
    assert_int_equal(stepper_run(plain, rows, ARRAY_LEN(rows), &logits), 0);
    assert_int_equal(stepper_run(bare, rows, ARRAY_LEN(rows), &states), 0);
    const struct gguf_tensor *t = gguf_tensor(model_gguf(m), "output.weight");
    const float *w = t ? t->data : gguf_tensor(model_gguf(m), "token_embd.weight")->data;
    for (size_t row = 0; row < 4; row++)
        for (size_t out = 0; out < TINY_VOCAB; out++) {
            double sum = 0;
            for (size_t k = 0; k < TINY_EMBED; k++)
                sum += (double)w[out * TINY_EMBED + k] * (double)states[row * TINY_EMBED + k];
            assert_true(fabs(sum - (double)logits[row * TINY_VOCAB + out]) < 1e-4);
        }
    tiny_model_done(&tiny);
}

static void a_copied_slot_goes_on_like_its_source(void **state)
{
    (void)state;
    struct tiny_model t;
    struct model *m = tiny_model_get(&t, (struct tiny_options){ .arch = "qwen2" });
    run_alone(m, CACHE_q8_0, 3, NULL, TOKENS, 1, alone[0]);
    struct stepper *s = stepper(m, CACHE_q8_0, 1);
    struct step_row rows[TOKENS];
    for (size_t i = 0; i < TOKENS; i++)
        rows[i] = (struct step_row){ token(3, i), (uint32_t)i, 0, false, NULL };
    const float *logits;
    assert_int_equal(stepper_run(s, rows, TOKENS - 1, &logits), 0);
    stepper_copy_slot(s, 0, 4, TOKENS - 1);
    rows[TOKENS - 1].slot = 4;
    rows[TOKENS - 1].logits = true;
    assert_int_equal(stepper_run(s, rows + TOKENS - 1, 1, &logits), 0);
    assert_memory_equal(logits, alone[0][TOKENS - 1], sizeof(alone[0][0]));
    stepper_free(s);
    tiny_model_done(&t);
}

static void rows_outside_the_stepper_are_refused(void **state)
{
    (void)state;
    struct tiny_model t;
    struct model *m = tiny_model_get(&t, (struct tiny_options){ .arch = "llama" });
    struct stepper *s = stepper(m, CACHE_f32, 1);
    static const struct step_row rows[] = {
        { TINY_VOCAB, 0, 0, true, NULL },
        { -1, 0, 0, true, NULL },
        { 0, TOKENS, 0, true, NULL },
        { 0, 0, SEQUENCES, true, NULL },
    };
    const float *logits;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(stepper_run(s, &rows[i], 1, &logits), -EINVAL);
    assert_int_equal(stepper_run(s, rows, 0, &logits), -EINVAL);
    stepper_free(s);
    tiny_model_done(&t);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks_and_threads_do_not_change_a_bit),
        cmocka_unit_test(a_mixed_batch_equals_each_sequence_alone),
        cmocka_unit_test(logits_come_for_the_rows_that_want_them),
        cmocka_unit_test(states_times_the_output_matrix_are_the_logits),
        cmocka_unit_test(a_copied_slot_goes_on_like_its_source),
        cmocka_unit_test(rows_outside_the_stepper_are_refused),
    };
    return TEST_RUN(tests);
}

#include "tests/support/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "engine/local/sampler.h"

static struct sampling greedy(void)
{
    struct sampling s = SAMPLING_INIT;
    s.temperature = 0;
    return s;
}

static struct sampling seeded(uint64_t seed)
{
    struct sampling s = SAMPLING_INIT;
    s.seed = seed;
    s.has_seed = true;
    return s;
}

static struct sampler *make(const struct sampling *p, uint32_t vocab, const int32_t *prompt,
                            size_t n_prompt)
{
    struct sampler *s = NULL;
    assert_int_equal(sampler_new(&s, p, 0, vocab, prompt, n_prompt), 0);
    return s;
}

static int32_t pick(struct sampler *s, const float *logits)
{
    return sampler_pick(s, logits, NULL, NULL, 0);
}

/* ---- greedy, by hand ---- */

static void greedy_takes_the_first_of_the_largest(void **state)
{
    static const struct {
        float logits[4];
        int32_t want;
    } rows[] = {
        { { 0, 0, 0, 0 }, 0 },
        { { -5, 2, 2, 1 }, 1 },
        { { -5, -4, -3, -2 }, 3 },
        { { NAN, 1, NAN, 1 }, 1 },
        { { NAN, NAN, NAN, NAN }, 0 },
        { { -INFINITY, -INFINITY, -INFINITY, -INFINITY }, 0 },
        { { 3, INFINITY, INFINITY, 0 }, 1 },
        { { -INFINITY, -1e38f, -INFINITY, NAN }, 1 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct sampling p = greedy();
        CLEANUP(sampler_freep) struct sampler *s = make(&p, 4, NULL, 0);
        assert_int_equal(pick(s, rows[i].logits), rows[i].want);
    }
}

static void bias_adds_before_the_choice(void **state)
{
    struct chat_logit_bias bias[] = { { 2, 60 }, { 7, 60 }, { -1, 60 }, { 0, -99 } };
    struct sampling p = greedy();
    p.bias = bias;
    p.n_bias = ARRAY_LEN(bias);
    CLEANUP(sampler_freep) struct sampler *s = make(&p, 4, NULL, 0);
    bias[0].bias = 0; /* it copied them */
    assert_int_equal(pick(s, (float[]){ 9, 5, -50, 1 }), 2);
    assert_int_equal(pick(s, (float[]){ 9, 5, -200, 1 }), 1);
    assert_int_equal(pick(s, (float[]){ 200, 5, -200, 1 }), 0); /* 101: only biased */
}

static void bias_of_a_hundred_bans_or_forces(void **state)
{
    static const struct {
        struct chat_logit_bias bias[3];
        float logits[4];
        uint32_t allowed; /* bits */
        int32_t want;
    } rows[] = {
        { { { 0, -100 } }, { 500, 1, 2, 1 }, 0xf, 2 },
        { { { 1, 100 } }, { 500, -500, 2, 1 }, 0xf, 1 },
        { { { 1, 100 }, { 3, 100 } }, { 500, 1, 2, 4 }, 0xf, 3 },
        { { { 1, 100 }, { 2, -100 } }, { 500, 1, 900, 4 }, 0xf, 1 },
        { { { 1, 100 } }, { 500, -INFINITY, 2, 1 }, 0xf, 0 }, /* impossible: it forces nothing */
        { { { 1, 100 } }, { 500, 1, 2, 1 }, 0xd, 0 },         /* not allowed: likewise */
        { { { 9, 100 } }, { 500, 1, 2, 1 }, 0xf, 0 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct sampling kinds[] = { greedy(), seeded(i) };
        for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
            struct sampling p = kinds[k];
            p.temperature = k ? 0.001f : 0; /* draws, but never the second best */
            p.bias = rows[i].bias;
            p.n_bias = 3; /* the rest are zeros: no bias */
            CLEANUP(sampler_freep) struct sampler *s = make(&p, 4, NULL, 0);
            int32_t got = sampler_pick(s, rows[i].logits, &rows[i].allowed, NULL, 0);
            if (got != rows[i].want)
                fail_msg("row %zu, kind %zu: %d", i, k, got);
        }
    }
}

/* ---- what a grammar allows ---- */

static void only_allowed_ids_are_chosen(void **state)
{
    enum { VOCAB = 77 }; /* the last word of the mask is not full */
    uint64_t random = 3;
    for (int round = 0; round < 300; round++) {
        uint32_t allowed[3] = { 0 };
        float logits[VOCAB];
        for (int i = 0; i < VOCAB; i++) {
            logits[i] = (float)(test_random(&random) % 1000) / 100;
            if (test_random(&random) % 9 == 0 || i == round % VOCAB)
                allowed[i / 32] |= 1u << i % 32;
        }
        allowed[2] |= ~0u << (VOCAB - 64); /* bits past the vocabulary mean nothing */
        int32_t best = -1;
        for (int i = 0; i < VOCAB; i++)
            if (allowed[i / 32] >> i % 32 & 1 && (best < 0 || logits[i] > logits[best]))
                best = i;
        struct sampling kinds[] = { greedy(), seeded(1), seeded(2), seeded(3) };
        kinds[2].top_k = 3;
        kinds[3].top_p = 0.5f;
        for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
            CLEANUP(sampler_freep) struct sampler *s = make(&kinds[k], VOCAB, NULL, 0);
            for (int n = 0; n < 20; n++) {
                int32_t id = sampler_pick(s, logits, allowed, NULL, 0);
                assert_in_range(id, 0, VOCAB - 1);
                assert_true(allowed[id / 32] >> id % 32 & 1);
                assert_true(k > 0 || id == best);
            }
        }
    }
}

static void nothing_allowed_is_said(void **state)
{
    static const float logits[3] = { 3, 2, NAN };
    static const struct {
        uint32_t allowed;
        int32_t banned[2];
        size_t n_banned;
        int32_t want;
    } rows[] = {
        { 0, { 0 }, 0, -1 }, { 3, { 0, 1 }, 2, -1 }, { 8, { 0 }, 0, -1 }, /* past the vocabulary */
        { 4, { 0 }, 0, 2 }, /* NaN, but the only one */
        { 3, { 0 }, 1, 1 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct sampling p = seeded(1);
        CLEANUP(sampler_freep) struct sampler *s = make(&p, 3, NULL, 0);
        assert_int_equal(
            sampler_pick(s, logits, &rows[i].allowed, rows[i].banned, rows[i].n_banned),
            rows[i].want);
    }
}

static void repeat_penalty_divides_gains_and_multiplies_losses(void **state)
{
    static const struct {
        float logits[2];
        int32_t prompt[3];
        size_t n_prompt;
        float penalty;
        int32_t want;
    } rows[] = {
        { { 2, 1.5f }, { 0 }, 1, 2, 1 },         /* 1 against 1.5 */
        { { 2, 1.5f }, { 0 }, 1, 1.3f, 0 },      /* 1.54 against 1.5 */
        { { -1, -1.5f }, { 0 }, 1, 2, 1 },       /* -2 against -1.5 */
        { { 3, 1 }, { 0, 0, 0 }, 3, 2, 0 },      /* once, however often it stands there */
        { { 2, 1.5f }, { 0 }, 0, 2, 0 },         /* not in the prompt */
        { { 2, 1.5f }, { 99, -7, 0 }, 3, 2, 1 }, /* ids that do not exist harm nobody */
        { { 2, 1.5f }, { 0, 1 }, 2, 2, 0 },      /* both */
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct sampling p = greedy();
        p.repeat_penalty = rows[i].penalty;
        CLEANUP(sampler_freep) struct sampler *s = make(&p, 2, rows[i].prompt, rows[i].n_prompt);
        assert_int_equal(pick(s, rows[i].logits), rows[i].want);
    }
}

static void repeat_penalty_looks_back_64_tokens(void **state)
{
    int32_t prompt[65] = { 0 };
    for (int i = 1; i < 65; i++)
        prompt[i] = 2;
    struct sampling p = greedy();
    p.repeat_penalty = 10;
    static const float logits[3] = { 2, 1, 0.01f };
    CLEANUP(sampler_freep) struct sampler *far = make(&p, 3, prompt, 65);
    assert_int_equal(pick(far, logits), 0); /* 65 back: forgotten */
    CLEANUP(sampler_freep) struct sampler *near = make(&p, 3, prompt, 64);
    assert_int_equal(pick(near, logits), 1);
    for (int i = 0; i < 63; i++) /* what it generates counts too, and old tokens leave */
        assert_int_equal(pick(near, (float[]){ -9, -9, 100 }), 2);
    assert_int_equal(pick(near, logits), 0);
    assert_int_equal(pick(near, logits), 1);
}

static void presence_and_frequency_count_generated_tokens_only(void **state)
{
    static const float logits[2] = { 1, 0.5f };
    static const int32_t prompt[] = { 0, 0, 0 };
    struct sampling p = greedy();
    p.presence_penalty = 0.6f;
    CLEANUP(sampler_freep) struct sampler *presence = make(&p, 2, prompt, 3);
    assert_int_equal(pick(presence, logits), 0);
    assert_int_equal(pick(presence, logits), 1); /* 0.4 against 0.5 */
    assert_int_equal(pick(presence, logits), 0); /* 0.4 against -0.1 */
    assert_int_equal(pick(presence, logits), 0); /* presence does not grow */

    p = greedy();
    p.frequency_penalty = 0.3f;
    CLEANUP(sampler_freep) struct sampler *frequency = make(&p, 2, prompt, 3);
    static const int32_t want[] = { 0, 0, 1, 0, 1 }; /* 1; .7; .4<.5; .4>.2; .1<.2 */
    for (size_t i = 0; i < ARRAY_LEN(want); i++)
        assert_int_equal(pick(frequency, logits), want[i]);

    p = greedy();
    p.presence_penalty = -2;
    CLEANUP(sampler_freep) struct sampler *reward = make(&p, 2, NULL, 0);
    assert_int_equal(pick(reward, (float[]){ 0, 1 }), 1);
    assert_int_equal(pick(reward, (float[]){ 2, 1 }), 1); /* 2 against 3 */
}

static void banned_ids_are_never_chosen(void **state)
{
    static const int32_t banned[] = { 0, 3, 99, -4 };
    static const int32_t all[] = { 0, 1, 3 };
    struct sampling kinds[] = { greedy(), seeded(1), seeded(2) };
    kinds[2].top_k = 2;
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
        CLEANUP(sampler_freep) struct sampler *s = make(&kinds[k], 4, NULL, 0);
        for (int i = 0; i < 200; i++) {
            int32_t id = sampler_pick(s, (float[]){ 50, 1, 1, 50 }, NULL, banned, 4);
            assert_true(id == 1 || id == 2);
            id = sampler_pick(s, (float[]){ 50, NAN, NAN, 50 }, NULL, all, 3);
            assert_int_equal(id, 2); /* all others are banned, this one is NaN */
        }
    }
}

/* ---- the cuts, by hand: which of five ids can be drawn ---- */

static const double five[] = { 0.5, 0.25, 0.125, 0.0625, 0.0625 };

static void cuts_keep_exactly_the_ids_they_should(void **state)
{
    static const struct {
        float temperature;
        uint32_t top_k;
        float top_p, min_p;
        unsigned want;   /* a bit an id */
        float typical_p; /* 0: off */
    } rows[] = {
        { 1, 0, 1, 0, 0x1f },
        { 1, 1, 1, 0, 0x01 },
        { 1, 2, 1, 0, 0x03 },
        { 1, 4, 1, 0, 0x0f }, /* of two equals the lower id is the larger */
        { 1, 9, 1, 0, 0x1f },
        { 1, 0, 0, 0, 0x01 },
        { 1, 0, 0.49f, 0, 0x01 },
        { 1, 0, 0.51f, 0, 0x03 },
        { 1, 0, 0.74f, 0, 0x03 },
        { 1, 0, 0.80f, 0, 0x07 },
        { 1, 0, 0.90f, 0, 0x0f },
        { 1, 0, 0.99f, 0, 0x1f },
        { 1, 3, 0.80f, 0, 0x03 }, /* of 0.57 0.29 0.14, two hold 0.86 */
        { 1, 3, 0.90f, 0, 0x07 },
        { 1, 0, 1, 0.3f, 0x03 }, /* at least 0.15 */
        { 1, 0, 1, 0.2f, 0x07 },
        { 1, 0, 1, 1, 0x01 },
        { 1, 0, 1, 7, 0x01 },
        { 1, 2, 1, 0.2f, 0x03 },
        { 1, 0, 0.80f, 0.4f, 0x03 },
        { 0.5f, 0, 0.74f, 0, 0x01 }, /* squares: 0.744 0.186 0.047 0.012 0.012 */
        { 0.5f, 0, 0.75f, 0, 0x03 },
        { 2, 0, 1, 0.6f, 0x03 }, /* roots: 1 0.71 0.5 0.35 0.35 */
        { 1e-30f, 0, 1, 0, 0x01 },
        { 1e-45f, 0, 0.9f, 0, 0x01 },
        /* entropy 1.2997; from it 0.6065 0.0867 0.7798 1.4729 1.4729: ids 1 0 2 3 4 */
        { 1, 0, 1, 0, 0x02, 1e-6f },
        { 1, 0, 1, 0, 0x02, 0.24f },
        { 1, 0, 1, 0, 0x03, 0.26f },
        { 1, 0, 1, 0, 0x03, 0.74f },
        { 1, 0, 1, 0, 0x07, 0.76f },
        { 1, 0, 1, 0, 0x0f, 0.90f }, /* 0.875 is not enough; the lower of two equals */
        { 1, 0, 1, 0, 0x1f, 0.95f },
        { 1, 0, 1, 0, 0x1f, 7 },
        { 1, 2, 1, 0, 0x01, 0.5f }, /* of 2/3 1/3, entropy 0.637: 0.231 0.462 */
        { 1, 2, 1, 0, 0x03, 0.7f },
        { 1, 0, 0.5f, 0, 0x01, 0.26f }, /* of 0.5 0.25: the first holds 2/3 */
        { 1, 0, 0.7f, 0, 0x03, 0.26f },
        { 1, 0, 1, 0.9f, 0x02, 0.2f }, /* the largest that is left */
        { 1, 0, 1, 0.6f, 0x01, 0.26f },
        /* squares 0.7442 0.1860 0.0465 0.0116 0.0116, entropy 0.7796: 0.484 0.902 … */
        { 0.5f, 0, 1, 0, 0x01, 0.7f },
        { 0.5f, 0, 1, 0, 0x03, 0.75f },
    };
    float logits[5];
    for (int i = 0; i < 5; i++)
        logits[i] = (float)log(five[i]) + 20;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct sampling p = seeded(7 + i);
        p.temperature = rows[i].temperature;
        p.top_k = rows[i].top_k;
        p.top_p = rows[i].top_p;
        p.min_p = rows[i].min_p;
        p.typical_p = rows[i].typical_p > 0 ? rows[i].typical_p : 1;
        CLEANUP(sampler_freep) struct sampler *s = make(&p, 5, NULL, 0);
        unsigned seen = 0;
        for (int n = 0; n < 500; n++)
            seen |= 1u << pick(s, logits);
        if (seen != rows[i].want)
            fail_msg("row %zu: drew %#x, expected %#x", i, seen, rows[i].want);
    }
}

/* ---- the cuts against a full sort in long double ---- */

struct sorted {
    long double p;
    int32_t id;
};

static int by_share(const void *a, const void *b)
{
    const struct sorted *x = a, *y = b;
    if (x->p != y->p)
        return x->p < y->p ? 1 : -1;
    return x->id < y->id ? -1 : 1;
}

enum { PROPERTY_VOCAB = 300 };

struct surprising {
    struct sorted it;
    long double off; /* of its surprise from the entropy */
};

static int by_typicality(const void *a, const void *b)
{
    const struct surprising *x = a, *y = b;
    if (x->off != y->off)
        return x->off < y->off ? -1 : 1;
    return x->it.id < y->it.id ? -1 : 1;
}

/* The fewest typical ones that hold the share, largest first again. */
static size_t cut_to_typical(struct sorted *all, size_t n, long double share)
{
    struct surprising list[PROPERTY_VOCAB];
    long double total = 0, entropy = 0, sum = 0;
    for (size_t i = 0; i < n; i++)
        total += all[i].p;
    for (size_t i = 0; i < n; i++)
        entropy -= all[i].p / total * logl(all[i].p / total);
    for (size_t i = 0; i < n; i++)
        list[i] = (struct surprising){ all[i], fabsl(-logl(all[i].p / total) - entropy) };
    qsort(list, n, sizeof(*list), by_typicality);
    size_t kept = 0;
    while (kept < n && (kept == 0 || sum < share * total)) {
        sum += list[kept].it.p;
        all[kept] = list[kept].it;
        kept++;
    }
    qsort(all, kept, sizeof(*all), by_share);
    return kept;
}

static size_t sort_and_cut(struct sorted *all, const float *logits, const struct sampling *p)
{
    long double total = 0;
    for (int i = 0; i < PROPERTY_VOCAB; i++) {
        all[i] = (struct sorted){ expl((long double)logits[i] / p->temperature), i };
        total += all[i].p;
    }
    qsort(all, PROPERTY_VOCAB, sizeof(*all), by_share);
    size_t n = p->top_k && p->top_k < PROPERTY_VOCAB ? p->top_k : PROPERTY_VOCAB;
    if (p->typical_p < 1)
        n = cut_to_typical(all, n, p->typical_p);
    total = 0;
    for (size_t i = 0; i < n; i++)
        total += all[i].p;
    long double sum = 0;
    for (size_t i = 0; p->top_p < 1 && i < n; i++) {
        sum += all[i].p;
        if (sum >= (long double)p->top_p * total)
            n = i + 1;
    }
    while (n > 1 && all[n - 1].p < (long double)p->min_p * all[0].p)
        n--;
    return n;
}

static float unit(uint64_t *random)
{
    return (float)(test_random(random) >> 40) / (1 << 24);
}

static void random_cuts_agree_with_a_full_sort(void **state)
{
    uint64_t random = 42;
    unsigned drawn = 0, last_seen = 0, rounds = 400;
    for (unsigned round = 0; round < rounds; round++) {
        float logits[PROPERTY_VOCAB];
        for (int i = 0; i < PROPERTY_VOCAB; i++)
            logits[i] = 12 * unit(&random) - 6;
        struct sampling p = seeded(round);
        p.temperature = 0.3f + 2 * unit(&random);
        p.top_k = round % 3 ? 0 : 1 + (uint32_t)(test_random(&random) % 40);
        p.top_p = round % 2 ? 1 : 0.2f + 0.8f * unit(&random);
        p.min_p = round % 5 ? 0 : 0.3f * unit(&random);
        p.typical_p = round % 4 ? 1 : 0.1f + 0.9f * unit(&random);
        struct sorted all[PROPERTY_VOCAB];
        size_t n = sort_and_cut(all, logits, &p);
        CLEANUP(sampler_freep) struct sampler *s = make(&p, PROPERTY_VOCAB, NULL, 0);
        bool seen_last = false;
        for (int i = 0; i < 300; i++, drawn++) {
            int32_t id = pick(s, logits);
            size_t at = 0;
            while (at < n && all[at].id != id)
                at++;
            if (at == n)
                fail_msg("round %u: %d is not among the %zu kept", round, id, n);
            seen_last |= at + 1 == n;
        }
        last_seen += seen_last;
    }
    assert_true(drawn == rounds * 300);
    assert_true(last_seen > rounds / 8); /* the borders are drawn too, so nothing is cut too much */
}

/* ---- frequencies ---- */

static double chi_square(const unsigned *seen, const double *share, size_t n, unsigned draws)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double want = share[i] * draws, off = seen[i] - want;
        sum += off * off / want;
    }
    return sum;
}

static void frequencies_follow_the_probabilities(void **state)
{
    enum { DRAWS = 40000 };
    static const struct {
        float temperature;
        uint32_t top_k;
        float top_p;
        size_t n;
        double share[5];
        double critical; /* chi-square at 1e-4 for n − 1 degrees of freedom */
    } rows[] = {
        { 1, 0, 1, 5, { 0.5, 0.25, 0.125, 0.0625, 0.0625 }, 23.5 },
        { 1, 3, 1, 3, { 4 / 7.0, 2 / 7.0, 1 / 7.0 }, 18.4 },
        { 1, 0, 0.7f, 2, { 2 / 3.0, 1 / 3.0 }, 15.1 },
        { 0.5f, 2, 1, 2, { 0.8, 0.2 }, 15.1 },
        { 2, 2, 1, 2, { 0.585786, 0.414214 }, 15.1 },
    };
    float logits[5];
    for (int i = 0; i < 5; i++)
        logits[i] = (float)log(five[i]);
    for (size_t r = 0; r < ARRAY_LEN(rows); r++) {
        struct sampling p = seeded(2024 + r);
        p.temperature = rows[r].temperature;
        p.top_k = rows[r].top_k;
        p.top_p = rows[r].top_p;
        CLEANUP(sampler_freep) struct sampler *s = make(&p, 5, NULL, 0);
        unsigned seen[5] = { 0 };
        for (int i = 0; i < DRAWS; i++)
            seen[pick(s, logits)]++;
        double x = chi_square(seen, rows[r].share, rows[r].n, DRAWS);
        if (x > rows[r].critical)
            fail_msg("row %zu: chi-square %.1f", r, x);
    }
}

static void neighbouring_seeds_and_choices_are_independent(void **state)
{
    enum { BINS = 16, DRAWS = 16000 };
    static const float flat[BINS];
    double share[BINS];
    unsigned by_seed[BINS] = { 0 }, by_choice[BINS] = { 0 };
    for (int i = 0; i < BINS; i++)
        share[i] = 1.0 / BINS;
    for (uint32_t i = 0; i < DRAWS; i++) {
        struct sampling p = seeded(i);
        CLEANUP(sampler_freep) struct sampler *a = NULL;
        CLEANUP(sampler_freep) struct sampler *b = NULL;
        assert_int_equal(sampler_new(&a, &p, 0, BINS, NULL, 0), 0);
        p.seed = 5;
        assert_int_equal(sampler_new(&b, &p, i, BINS, NULL, 0), 0);
        by_seed[pick(a, flat)]++;
        by_choice[pick(b, flat)]++;
    }
    assert_true(chi_square(by_seed, share, BINS, DRAWS) < 45); /* 15 degrees: 1e-4 at 44.3 */
    assert_true(chi_square(by_choice, share, BINS, DRAWS) < 45);
}

static void the_same_seed_and_choice_draw_the_same(void **state)
{
    enum { VOCAB = 1000, TOKENS = 50 };
    static float logits[VOCAB];
    struct sampling p = seeded(99);
    CLEANUP(sampler_freep) struct sampler *a = NULL;
    CLEANUP(sampler_freep) struct sampler *b = NULL;
    CLEANUP(sampler_freep) struct sampler *other = NULL;
    assert_int_equal(sampler_new(&a, &p, 3, VOCAB, NULL, 0), 0);
    assert_int_equal(sampler_new(&b, &p, 3, VOCAB, NULL, 0), 0);
    assert_int_equal(sampler_new(&other, &p, 4, VOCAB, NULL, 0), 0);
    int same = 0;
    for (int i = 0; i < TOKENS; i++) {
        int32_t x = pick(a, logits);
        same += pick(other, logits) == x;
        assert_int_equal(pick(b, logits), x);
    }
    assert_true(same < 5);
}

static void without_a_seed_two_samplers_differ(void **state)
{
    static float logits[1000];
    struct sampling p = SAMPLING_INIT;
    CLEANUP(sampler_freep) struct sampler *a = make(&p, 1000, NULL, 0);
    CLEANUP(sampler_freep) struct sampler *b = make(&p, 1000, NULL, 0);
    int same = 0;
    for (int i = 0; i < 20; i++)
        same += pick(a, logits) == pick(b, logits);
    assert_true(same < 10); /* 1000 to the minus 10 otherwise */
}

static void strange_logits_give_a_token_and_no_crash(void **state)
{
    static const float strange[] = { NAN, INFINITY, -INFINITY, 3.4e38f, -3.4e38f, 1e-45f, 0 };
    uint64_t random = 1;
    for (int round = 0; round < 3000; round++) {
        float logits[9];
        for (size_t i = 0; i < ARRAY_LEN(logits); i++)
            logits[i] = strange[test_random(&random) % ARRAY_LEN(strange)];
        struct sampling p = seeded((uint64_t)round);
        p.temperature = (float[]){ 0, 1e-45f, 1, 3e38f, NAN, -1 }[round % 6];
        p.top_k = (uint32_t)(round % 4);
        p.top_p = (float[]){ 1, 0.5f, 0, -3, NAN }[round % 5];
        p.min_p = (float[]){ 0, 0.1f, NAN }[round % 3];
        p.typical_p = (float[]){ 1, 0.4f, 0, -3, NAN, INFINITY, 1e-45f }[round % 7];
        p.repeat_penalty = (float[]){ 1, 1.5f, 0, NAN }[round % 4];
        p.frequency_penalty = (float[]){ 0, 2 }[round % 2];
        CLEANUP(sampler_freep) struct sampler *s = make(&p, ARRAY_LEN(logits), (int32_t[]){ 1 }, 1);
        for (int i = 0; i < 3; i++) {
            int32_t id = pick(s, logits);
            assert_in_range(id, 0, ARRAY_LEN(logits) - 1);
            struct token_logprob top[4];
            assert_false(isnan(sampler_logprobs(s, logits, id, top, 4)));
            for (int k = 0; k < 4; k++)
                assert_true(top[k].logprob <= 0.001f && top[k].logprob >= -9999.0f);
        }
    }
}

/* ---- log-probabilities ---- */

static void logprobs_are_of_the_raw_logits(void **state)
{
    struct sampling p = seeded(1);
    p.temperature = 0.1f; /* no influence */
    p.top_k = 1;
    CLEANUP(sampler_freep) struct sampler *s = make(&p, 5, NULL, 0);
    float logits[5];
    for (int i = 0; i < 5; i++)
        logits[(i + 3) % 5] = (float)log(five[i]) - 3; /* ids 3 4 0 1 2 */
    struct token_logprob top[3];
    assert_float_equal(sampler_logprobs(s, logits, 0, top, 3), log(0.125), 1e-6);
    static const int32_t ids[] = { 3, 4, 0 };
    for (int i = 0; i < 3; i++) {
        assert_int_equal(top[i].id, ids[i]);
        assert_float_equal(top[i].logprob, log(five[i]), 1e-6);
    }
    assert_float_equal(sampler_logprobs(s, logits, 2, NULL, 0), log(0.0625), 1e-6);
}

static void logprobs_of_the_impossible_are_finite(void **state)
{
    struct sampling p = greedy();
    CLEANUP(sampler_freep) struct sampler *s = make(&p, 3, NULL, 0);
    struct token_logprob top[4];
    assert_float_equal(sampler_logprobs(s, (float[]){ 0, -INFINITY, NAN }, 1, top, 4), -9999, 0);
    assert_int_equal(top[0].id, 0);
    assert_float_equal(top[0].logprob, 0, 1e-6);
    assert_float_equal(top[1].logprob, -9999, 0);
    assert_int_equal(top[3].id, -1); /* there are only three */
    assert_float_equal(sampler_logprobs(s, (float[]){ 0, 0, 0 }, 7, NULL, 0), -9999, 0);
    assert_float_equal(sampler_logprobs(s, (float[]){ NAN, NAN, NAN }, 0, NULL, 0), -9999, 0);
    assert_float_equal(sampler_logprobs(s, (float[]){ 500, 500, -500 }, 1, NULL, 0), log(0.5),
                       1e-6);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_takes_the_first_of_the_largest),
        cmocka_unit_test(bias_adds_before_the_choice),
        cmocka_unit_test(bias_of_a_hundred_bans_or_forces),
        cmocka_unit_test(only_allowed_ids_are_chosen),
        cmocka_unit_test(nothing_allowed_is_said),
        cmocka_unit_test(repeat_penalty_divides_gains_and_multiplies_losses),
        cmocka_unit_test(repeat_penalty_looks_back_64_tokens),
        cmocka_unit_test(presence_and_frequency_count_generated_tokens_only),
        cmocka_unit_test(banned_ids_are_never_chosen),
        cmocka_unit_test(cuts_keep_exactly_the_ids_they_should),
        cmocka_unit_test(random_cuts_agree_with_a_full_sort),
        cmocka_unit_test(frequencies_follow_the_probabilities),
        cmocka_unit_test(neighbouring_seeds_and_choices_are_independent),
        cmocka_unit_test(the_same_seed_and_choice_draw_the_same),
        cmocka_unit_test(without_a_seed_two_samplers_differ),
        cmocka_unit_test(strange_logits_give_a_token_and_no_crash),
        cmocka_unit_test(logprobs_are_of_the_raw_logits),
        cmocka_unit_test(logprobs_of_the_impossible_are_finite),
    };
    return TEST_RUN(tests);
}

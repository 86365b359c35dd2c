/*
 * Selection: each algorithm on tables computed by hand, its draws against the binomial
 * distribution.
 */
#include "router/selection/draw.h"
#include "router/selection/learning.h"
#include "tests/unit/router/support.h"

#include "base/limits.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define MODELS                                                                                     \
    "providers:\n"                                                                                 \
    "  defaults: {default_model: a}\n"                                                             \
    "  models:\n"                                                                                  \
    "    - {name: a, pricing: {prompt_per_1m: 1, completion_per_1m: 3}}\n"                         \
    "    - {name: b, pricing: {prompt_per_1m: 4, completion_per_1m: 12}}\n"                        \
    "    - {name: c}\n"                                                                            \
    "routing:\n"                                                                                   \
    "  modelCards: [{name: a, quality_score: 0.5}, {name: b, quality_score: 0.9}, {name: c}]\n"    \
    "  decisions:\n"                                                                               \
    "    - name: d\n"                                                                              \
    "      modelRefs: "

#define TWO "[{model: a}, {model: b, lora_name: x}]\n      algorithm: "
#define THREE "[{model: a}, {model: b, lora_name: x}, {model: c}]\n      algorithm: "

enum { CANDIDATES = 3 };

struct world {
    struct candidate_state states[CANDIDATES]; /* of a, b:x, c */
    unsigned asked_tpot, asked_ttft;
    const struct router *router; /* that asks: it said what it may ask */
};

static void look(void *ctx, const struct candidate_query *q, struct candidate_state *ret)
{
    struct world *w = ctx;
    assert_true(str_is(q->decision, "d") && q->model.n == 1);
    assert_true(str_is(q->adapter, q->model.p[0] == 'b' ? "x" : ""));
    assert_int_equal(q->wants & ~router_wants(w->router), 0);
    w->asked_tpot = q->tpot_percentile;
    w->asked_ttft = q->ttft_percentile;
    *ret = w->states[q->model.p[0] - 'a'];
}

struct bench {
    struct router *router;
    struct config *config;
    struct arena *arena;
    struct chat_message message;
    struct chat_request chat;
    struct route_request q;
    struct fail fail;
};

static void bench_open(struct bench *b, const char *refs, const char *algorithm, struct world *w)
{
    struct buf yaml = BUF_INIT(MIB);
    buf_adds(&yaml, MODELS);
    buf_adds(&yaml, refs);
    buf_adds(&yaml, algorithm);
    buf_addc(&yaml, '\0');
    struct config *c = NULL;
    struct router *r = policy_from(yaml.p, &c);
    *b = (struct bench){ .router = r, .config = c, .arena = arena_new(16 * MIB) };
    assert_non_null(b->arena);
    buf_done(&yaml);
    if (w)
        w->router = r;
    b->message = (struct chat_message){ .role = STR("user"), .content = STR("hello") };
    b->chat =
        (struct chat_request){ .model = STR("auto"), .messages = &b->message, .n_messages = 1 };
    b->q = (struct route_request){
        .chat = &b->chat, .candidate = w ? look : NULL, .candidate_ctx = w, .seed = 1
    };
}

static void bench_close(struct bench *b)
{
    router_free(b->router);
    config_unref(b->config);
    arena_free(b->arena);
}

static char bench_route(struct bench *b, struct route *ret) /* 'a', 'b', 'c'; '!' fails */
{
    int r = router_route(b->router, &b->q, b->arena, ret, &b->fail);
    return r == 0 ? ret->model.p[0] : '!';
}

struct row {
    const char *algorithm;
    struct candidate_state states[CANDIDATES];
    char model;
    enum selection_status status;
};

static void check_rows_of(const char *refs, const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct world w = { 0 };
        struct bench b;
        struct route route = { 0 };
        memcpy(w.states, rows[i].states, sizeof(w.states));
        bench_open(&b, refs, rows[i].algorithm, &w);
        char got = bench_route(&b, &route);
        if (got != rows[i].model || (got != '!' && route.selection != rows[i].status))
            fail_msg("row %zu: %s: %c (%.*s)", i, rows[i].algorithm, got,
                     STR_ARG(route.selection_reason));
        if (got == 'b')
            assert_true(str_is(route.adapter, "x"));
        bench_close(&b);
    }
}

static void check_rows(const struct row *rows, size_t n)
{
    check_rows_of(THREE, rows, n);
}

#define OK SELECTION_selected
#define BACK SELECTION_fallback

/* ---- latency ---- */

#define FAST(n, first, token)                                                                      \
    {                                                                                              \
        .known = KNOWN_ttft | KNOWN_tpot, .samples = n, .ttft_ms = first, .tpot_ms = token         \
    }

static void the_least_latency_answers(void **state)
{
    static const struct row rows[] = {
        /* ratios: a (1 + 2) / 2, b (1.5 + 1) / 2, c (2 + 1.6) / 2 */
        { "{type: latency_aware, latency_aware: {tpot_percentile: 90, ttft_percentile: 95}}",
          { FAST(3, 200, 10), FAST(3, 100, 15), FAST(3, 160, 20) },
          'b',
          OK },
        { "{type: latency_aware, latency_aware: {tpot_percentile: 90}}",
          { FAST(3, 200, 10), FAST(3, 100, 15), FAST(3, 160, 20) },
          'a',
          OK },
        { "{type: latency_aware, latency_aware: {ttft_percentile: 1, description: fast}}",
          { FAST(3, 200, 10), FAST(3, 100, 15), FAST(3, 160, 20) },
          'b',
          OK },
        /* two observations say nothing */
        { "{type: latency_aware, latency_aware: {ttft_percentile: 1}}",
          { FAST(3, 200, 10), FAST(2, 100, 15), FAST(9, 160, 20) },
          'c',
          OK },
        { "{type: latency_aware, latency_aware: {ttft_percentile: 1}}",
          { FAST(2, 200, 10), FAST(2, 100, 15), FAST(0, 160, 20) },
          'a',
          BACK },
        /* a metric that is missing leaves the candidate out; it does not count as 0 */
        { "{type: latency_aware, latency_aware: {tpot_percentile: 50, ttft_percentile: 50}}",
          { FAST(5, 200, 10), { .known = KNOWN_ttft, .samples = 9, .ttft_ms = 1 }, { 0 } },
          'a',
          OK },
        { "{type: latency_aware, latency_aware: {tpot_percentile: 50}}", { { 0 } }, 'a', BACK },
        /* a tie goes to the one named first */
        { "{type: latency_aware, latency_aware: {tpot_percentile: 50}}",
          { FAST(5, 9, 20), FAST(5, 9, 10), FAST(5, 1, 10) },
          'b',
          OK },
    };
    check_rows(rows, ARRAY_LEN(rows));
}

static void the_percentiles_of_the_policy_are_asked_for(void **state)
{
    struct world w = { 0 };
    struct bench b;
    struct route route;
    bench_open(&b, THREE, "{type: latency_aware, latency_aware: {tpot_percentile: 90}}", &w);
    (void)bench_route(&b, &route);
    assert_int_equal(w.asked_tpot, 90);
    assert_int_equal(w.asked_ttft, 0);
    bench_close(&b);
    bench_open(&b, THREE, "{type: multi_factor}", &w);
    (void)bench_route(&b, &route);
    assert_int_equal(w.asked_tpot, 95);
    assert_int_equal(w.asked_ttft, 95);
    bench_close(&b);
}

/* ---- several factors ---- */

#define LOAD(n)                                                                                    \
    {                                                                                              \
        .known = KNOWN_load, .inflight = n                                                         \
    }
#define BUSY(n, token)                                                                             \
    {                                                                                              \
        .known = KNOWN_load | KNOWN_tpot, .inflight = n, .tpot_ms = token                          \
    }

static void several_factors_are_weighed(void **state)
{
    static const struct row rows[] = {
        /* quality a .5, b .9, c unknown; cost a 2, b 8, c unknown. Only quality: b */
        { "{type: multi_factor, multi_factor: {weights: {quality: 1}}}", { { 0 } }, 'b', OK },
        { "{type: multi_factor, multi_factor: {weights: {cost: 1}}}", { { 0 } }, 'a', OK },
        /* equal weights, nothing at run time: a .25 (0 + .5 + 1 + .5), b the same, c .5: a tie */
        { "{type: multi_factor}", { { 0 } }, 'a', OK },
        /* load of a 4, b 0, c 2: b gains */
        { "{type: multi_factor}", { LOAD(4), LOAD(0), LOAD(2) }, 'b', OK },
        /* quality .6, load .4: a 0 + .4 * 1, b .6 + 0, c .3 + .2 */
        { "{type: multi_factor, multi_factor: {weights: {quality: 6, load: 4}}}",
          { LOAD(0), LOAD(10), LOAD(5) },
          'b',
          OK },
        /* quality .4, load .6: a .6, b .4, c .2 + .3 */
        { "{type: multi_factor, multi_factor: {weights: {quality: 4, load: 6}}}",
          { LOAD(0), LOAD(10), LOAD(5) },
          'a',
          OK },
        { "{type: multi_factor, multi_factor: {weights: {latency: 1}}}",
          { BUSY(0, 30), BUSY(0, 20), BUSY(0, 10) },
          'c',
          OK },
        /* one metric for all: c, which has only the other one, is unknown, not fastest */
        { "{type: multi_factor, multi_factor: {weights: {latency: 1}}}",
          { BUSY(0, 30), BUSY(0, 20), { .known = KNOWN_ttft, .ttft_ms = 1 } },
          'b',
          OK },
        { "{type: multi_factor, multi_factor: {weights: {latency: 1}}}",
          { { .known = KNOWN_ttft, .ttft_ms = 3 },
            { .known = KNOWN_ttft, .ttft_ms = 2 },
            { .known = KNOWN_ttft, .ttft_ms = 1 } },
          'c',
          OK },
        { "{type: multi_factor, multi_factor: {weights: {load: 1}}}", { { 0 } }, 'a', BACK },
    };
    check_rows(rows, ARRAY_LEN(rows));
}

static void who_is_beyond_a_ceiling_is_left_out(void **state)
{
#define BY_QUALITY(slo) "{type: multi_factor, multi_factor: {weights: {quality: 1}, slo: " slo "}}"
    static const struct row rows[] = {
        { BY_QUALITY("{max_cost_per_1m: 8}"), { { 0 } }, 'b', OK }, /* at it is within it */
        { BY_QUALITY("{max_cost_per_1m: 7}"), { { 0 } }, 'a', BACK },
        { BY_QUALITY("{max_inflight: 4}"), { LOAD(4), LOAD(5), { 0 } }, 'a', BACK },
        { BY_QUALITY("{max_tpot_ms: 20}"), { BUSY(0, 30), BUSY(0, 20), { 0 } }, 'b', BACK },
        { BY_QUALITY("{max_ttft_ms: 20}"), { { 0 }, FAST(1, 21, 1), { 0 } }, 'a', BACK },
        /* nobody is left: the cheapest, the first, an error */
        { BY_QUALITY("{max_inflight: 1}"), { LOAD(2), LOAD(2), LOAD(2) }, 'a', BACK },
        { "{type: multi_factor, multi_factor: {slo: {max_inflight: 1}, on_no_candidates: first}}",
          { LOAD(2), LOAD(2), LOAD(2) },
          'a',
          BACK },
        { "{type: multi_factor, multi_factor: {slo: {max_inflight: 1}, on_no_candidates: fail}}",
          { LOAD(2), LOAD(2), LOAD(2) },
          '!',
          OK },
    };
    check_rows(rows, ARRAY_LEN(rows));
    struct world w = { .states = { LOAD(2), LOAD(2), LOAD(2) } };
    struct bench b;
    struct route route;
    bench_open(&b, "[{model: c}, {model: b, lora_name: x}, {model: a}]\n      algorithm: ",
               BY_QUALITY("{max_inflight: 1}"), &w);
    assert_int_equal(bench_route(&b, &route), 'a'); /* cheapest, though named last */
    bench_close(&b);
    bench_open(&b, THREE, rows[7].algorithm, &w);
    assert_int_equal(bench_route(&b, &route), '!');
    assert_int_equal(b.fail.code, FAIL_overloaded);
    assert_non_null(strstr(b.fail.message, "'d'"));
    bench_close(&b);
}

/* ---- ratings ---- */

#define RATED(r)                                                                                   \
    {                                                                                              \
        .known = KNOWN_rating, .rating = r                                                         \
    }

static void the_highest_rating_answers(void **state)
{
    static const struct row rows[] = {
        { "{type: elo}", { RATED(1490), RATED(1510), { 0 } }, 'b', OK },
        { "{type: elo}", { RATED(1490), RATED(1400), { 0 } }, 'c', OK }, /* 1500 at first */
        { "{type: elo, elo: {initial_rating: 1000}}", { RATED(1490), RATED(1400) }, 'a', OK },
        { "{type: elo}", { { 0 } }, 'a', BACK },
        /* strengths 10^(100/400) = 1.778 to 1; b, four times as dear, divided by 1 + f * 1,
           a by 1 + f * .25: at f = 1 it is .889 to .8, at f = 2 .593 to .667 */
        { "{type: elo, elo: {cost_scaling_factor: 1}}",
          { RATED(1500), RATED(1600), RATED(0) },
          'b',
          OK },
        { "{type: elo, elo: {cost_scaling_factor: 2}}",
          { RATED(1500), RATED(1600), RATED(0) },
          'a',
          OK },
        /* ratings far out do not overflow */
        { "{type: elo}", { RATED(1e6), RATED(2e6), { 0 } }, 'b', OK },
    };
    check_rows(rows, ARRAY_LEN(rows));
}

static void a_comparison_moves_two_ratings(void **state)
{
    double a = 1500, b = 1500;
    elo_update(&a, &b, 32, false);
    assert_true(fabs(a - 1516) < 1e-9 && fabs(b - 1484) < 1e-9);
    a = 1400, b = 1800; /* expected 1 / (1 + 10) */
    assert_true(fabs(elo_expected(a, b) - 1.0 / 11) < 1e-12);
    elo_update(&a, &b, 32, false);
    assert_true(fabs(a - (1400 + 32 * 10.0 / 11)) < 1e-9 && fabs(a + b - 3200) < 1e-9);
    a = 1400, b = 1800;
    elo_update(&a, &b, 32, true);
    assert_true(fabs(a - (1400 + 32 * (0.5 - 1.0 / 11))) < 1e-9);
}

/* The third-party case elo_after_feedback: the winner of one comparison is preferred. */
static void after_feedback_the_winner_is_preferred(void **state)
{
    struct row row = { "{type: elo}", { RATED(1500), RATED(1500), { 0 } }, 'b', OK };
    elo_update(&row.states[1].rating, &row.states[0].rating, 32, false);
    check_rows(&row, 1);
}

/* ---- draws ---- */

enum { DRAWS = 4000 };

/* Five standard deviations of a binomial: a fair share fails once in 1.7 million. */
static void check_share(size_t got, double share, const char *what)
{
    double bound = 5 * sqrt(DRAWS * share * (1 - share)) + 1e-9;
    if (fabs((double)got - DRAWS * share) > bound)
        fail_msg("%s: %zu of %d, not %g", what, got, DRAWS, share);
}

static void count_draws(struct bench *b, size_t counts[static CANDIDATES])
{
    memset(counts, 0, CANDIDATES * sizeof(*counts));
    for (unsigned i = 0; i < DRAWS; i++) {
        struct route route;
        struct arena *a = arena_new(MIB);
        struct fail fail;
        b->q.seed = i + 1;
        assert_int_equal(router_route(b->router, &b->q, a, &route, &fail), 0);
        counts[route.model.p[0] - 'a']++;
        arena_free(a);
    }
}

static void weights_share_the_requests(void **state)
{
    struct bench b;
    size_t counts[CANDIDATES];
    bench_open(
        &b,
        "[{model: a, weight: 1}, {model: b, lora_name: x, weight: 6}, {model: c, weight: 3}]\n"
        "      algorithm: ",
        "{type: weighted}", NULL);
    count_draws(&b, counts);
    check_share(counts[0], 0.1, "a");
    check_share(counts[1], 0.6, "b");
    check_share(counts[2], 0.3, "c");
    bench_close(&b);
    bench_open(&b, "[{model: a, weight: 0}, {model: c, weight: 2}]\n      algorithm: ",
               "{type: weighted}", NULL);
    count_draws(&b, counts);
    assert_int_equal(counts[2], DRAWS); /* weight 0 never answers */
    bench_close(&b);
    struct route route;
    bench_open(&b, "[{model: a, weight: 0}, {model: c, weight: 0}]\n      algorithm: ",
               "{type: weighted}", NULL);
    assert_int_equal(bench_route(&b, &route), 'a');
    assert_int_equal(route.selection, SELECTION_fallback);
    bench_close(&b);
}

static void a_session_or_user_stays_where_it_is(void **state)
{
    static const char *const algorithms[] = { "{type: weighted, weighted: {sticky: session}}",
                                              "{type: weighted, weighted: {sticky: user}}" };
    for (size_t k = 0; k < ARRAY_LEN(algorithms); k++) {
        struct bench all, fewer;
        size_t counts[CANDIDATES] = { 0 };
        bench_open(&all, THREE, algorithms[k], NULL);
        bench_open(&fewer, "[{model: a}, {model: c}]\n      algorithm: ", algorithms[k], NULL);
        for (unsigned i = 0; i < 600; i++) {
            char id[16];
            struct route route;
            (void)snprintf(id, sizeof(id), "id-%u", i);
            *(k ? &all.q.user_id : &all.q.session) = str_of(id);
            *(k ? &fewer.q.user_id : &fewer.q.session) = str_of(id);
            all.q.seed = i + 1;
            char first = bench_route(&all, &route);
            all.q.seed = i + 1000;
            assert_int_equal(bench_route(&all, &route), first);
            if (first != 'b') /* who was not on b does not move when b goes */
                assert_int_equal(bench_route(&fewer, &route), first);
            counts[first - 'a']++;
        }
        for (size_t i = 0; i < CANDIDATES; i++) /* 200 each, 5 standard deviations of 11.5 */
            assert_in_range(counts[i], 200 - 58, 200 + 58);
        bench_close(&all);
        bench_close(&fewer);
    }
}

#define TRIED(good, bad)                                                                           \
    {                                                                                              \
        .known = KNOWN_outcomes, .successes = good, .failures = bad                                \
    }

static void thompson_draws_as_often_as_it_should(void **state)
{
    struct world w = { .states = { TRIED(1, 0), TRIED(0, 0), TRIED(0, 0) } };
    struct bench b;
    size_t counts[CANDIDATES];
    bench_open(&b, "[{model: a}, {model: c}]\n      algorithm: ", "{type: rl_driven}", &w);
    count_draws(&b, counts);
    check_share(counts[0], 2.0 / 3, "Beta(2, 1) over Beta(1, 1)"); /* the integral of 2x * x */
    w.states[0] = (struct candidate_state)TRIED(0, 2);
    count_draws(&b, counts);
    check_share(counts[0], 0.25, "Beta(1, 3) over Beta(1, 1)"); /* its mean */
    w.states[0] = (struct candidate_state)TRIED(900, 100);
    w.states[2] = (struct candidate_state)TRIED(100, 900);
    count_draws(&b, counts);
    assert_int_equal(counts[0], DRAWS);
    bench_close(&b);
    bench_open(&b, THREE, "{type: rl_driven}", NULL); /* nothing known: each as often */
    count_draws(&b, counts);
    for (size_t i = 0; i < CANDIDATES; i++)
        check_share(counts[i], 1.0 / 3, "a third");
    bench_close(&b);
}

static void exploration_is_the_share_of_the_policy(void **state)
{
    /* a: mean 10 / 12, c: 2 / 12; 20 outcomes decay nothing worth a count at 1 for 100 */
    struct world w = { .states = { TRIED(9, 1), { 0 }, TRIED(1, 9) } };
    struct bench b;
    size_t counts[CANDIDATES];
    bench_open(&b, "[{model: a}, {model: c}]\n      algorithm: ",
               "{type: rl_driven, rl_driven: {use_thompson_sampling: false, exploration_rate: 0.4, "
               "exploration_decay: 1}}",
               &w);
    count_draws(&b, counts);
    check_share(counts[2], 0.2, "explored"); /* half of .4 lands on the best one */
    bench_close(&b);
    /* 100 outcomes: .4 * .5 = .2, half of it c */
    w.states[0] = (struct candidate_state)TRIED(45, 5);
    w.states[2] = (struct candidate_state)TRIED(5, 45);
    bench_open(&b, "[{model: a}, {model: c}]\n      algorithm: ",
               "{type: rl_driven, rl_driven: {use_thompson_sampling: false, exploration_rate: 0.4, "
               "exploration_decay: 0.5}}",
               &w);
    count_draws(&b, counts);
    check_share(counts[2], 0.1, "explored after 100 outcomes");
    bench_close(&b);
}

static void costs_and_users_bend_the_means(void **state)
{
#define MEANS(more)                                                                                \
    "{type: rl_driven, rl_driven: {use_thompson_sampling: false, "                                 \
    "exploration_rate: 0, min_exploration: 0" more "}}"
    static const struct row rows[] = {
        { MEANS(""), { TRIED(5, 5), TRIED(7, 3), TRIED(5, 5) }, 'b', OK }, /* .5, 8 / 12, .5 */
        /* less .2 * cost share: a .5 - .05, b .667 - .2, c .5 - 0 */
        { MEANS(", cost_awareness: true"), { TRIED(5, 5), TRIED(7, 3), TRIED(5, 5) }, 'c', OK },
        { MEANS(", cost_awareness: true, cost_weight: 0.1"),
          { TRIED(5, 5), TRIED(7, 3), TRIED(5, 5) },
          'b',
          OK },
        /* this user: .3 * .667 + .7 * 1 / 6 for b */
        { MEANS(""),
          { TRIED(5, 5),
            { .known = KNOWN_outcomes | KNOWN_user_outcomes,
              .successes = 7,
              .failures = 3,
              .user_failures = 4 } },
          'a',
          OK },
        { MEANS(", enable_personalization: false"),
          { TRIED(5, 5),
            { .known = KNOWN_outcomes | KNOWN_user_outcomes,
              .successes = 7,
              .failures = 3,
              .user_failures = 4 } },
          'b',
          OK },
    };
    check_rows(rows, ARRAY_LEN(rows));
}

static void a_seed_draws_the_same_again_and_texts_differ(void **state)
{
    struct bench b;
    struct route route;
    unsigned seen = 0;
    bench_open(&b, THREE, "{type: rl_driven}", NULL);
    b.q.seed = 0; /* the text's */
    for (unsigned i = 0; i < 40; i++) {
        char text[16];
        (void)snprintf(text, sizeof(text), "question %u", i);
        b.message.content = str_of(text);
        char first = bench_route(&b, &route);
        assert_int_equal(bench_route(&b, &route), first);
        seen |= 1u << (first - 'a');
    }
    assert_int_equal(seen, 7); /* a third of 40 each: missing one has a chance below 1e-6 */
    bench_close(&b);
}

static void a_beta_draw_has_its_mean_and_spread(void **state)
{
    static const double rows[][2] = { { 1, 1 }, { 2, 1 }, { 30, 10 }, { 1, 50 }, { 1e6, 1 } };
    uint64_t stream = 7;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        double a = rows[i][0], b = rows[i][1], sum = 0, squares = 0;
        double mean = a / (a + b), variance = mean * (1 - mean) / (a + b + 1);
        for (unsigned k = 0; k < DRAWS; k++) {
            double x = draw_beta(&stream, a, b);
            assert_true(x >= 0 && x <= 1);
            sum += x;
            squares += (x - mean) * (x - mean);
        }
        assert_true(fabs(sum / DRAWS - mean) <= 5 * sqrt(variance / DRAWS));
        if (variance > 1e-12) /* the spread itself spreads by at most sqrt(kurtosis / n) */
            assert_true(fabs(squares / DRAWS / variance - 1) < 0.2);
    }
}

/* ---- values ---- */

#define HOLDS(v)                                                                                   \
    {                                                                                              \
        .known = KNOWN_verification, .verification = v                                             \
    }
#define AUTOMIX(settings) "{type: automix, automix: {" settings "}}"

/* The third-party cases automix_simple and automix_complex: cheap first, or the dear one at once.
 */
static void a_cheap_answer_is_worth_its_escalation(void **state)
{
    static const struct row two[] = {
        /* alone: a .7 * .5 - .3 * .25 = .275, b .7 * .9 - .3 = .33; a + .95 * .3 * .33 = .369 */
        { "{type: automix}", { { 0 } }, 'a', OK },
        { AUTOMIX("max_escalations: 0"), { { 0 } }, 'b', OK },
        { AUTOMIX("discount_factor: 0"), { { 0 } }, 'b', OK },
        /* b .81 - .3 = .51, a .275 + .285 * .51 = .420 */
        { "{type: automix}", { { 0 }, HOLDS(0.9) }, 'b', OK },
        /* a .3 - .075 + .38 * .33 = .350 and no tenth more, b .363; then with it .385 */
        { "{type: automix}", { HOLDS(0.6) }, 'b', OK },
        { AUTOMIX("verification_threshold: 0.6"), { HOLDS(0.6) }, 'a', OK },
        /* a .35 + .285 * .63 = .530, b .63 */
        { AUTOMIX("cost_aware_routing: false"), { { 0 } }, 'b', OK },
        /* what never holds is not worth asking: a -.075 + .95 * .33, b .33 */
        { AUTOMIX("verification_threshold: 1"), { HOLDS(0) }, 'b', OK },
    };
    static const struct row three[] = {
        /* c, of unknown quality .8 and price 0: .56 + .285 * .369 */
        { "{type: automix}", { { 0 } }, 'c', OK },
    };
    check_rows_of(TWO, two, ARRAY_LEN(two));
    check_rows(three, ARRAY_LEN(three));
    static const struct row same = { "{type: automix}", { { 0 } }, 'c', BACK };
    check_rows_of("[{model: c}, {model: c}]\n      algorithm: ", &same, 1);
}

#define SEEN(rated, near)                                                                          \
    {                                                                                              \
        .known = KNOWN_rating | KNOWN_similarity, .rating = rated, .similarity = near              \
    }
#define LIKE(near)                                                                                 \
    {                                                                                              \
        .known = KNOWN_similarity, .similarity = near                                              \
    }
#define HYBRID(settings) "{type: hybrid, hybrid: {" settings "}}"
#define TWO_PARTS                                                                                  \
    "experience_weight: 0.5, router_dc_weight: 0.5, automix_weight: 0, cost_weight: 0, "           \
    "quality_gap_threshold: 0, normalize_scores: false"

static void a_hybrid_weighs_what_is_known(void **state)
{
    static const struct row rows[] = {
        /* spread: a 0 0 1 1, b 1 1 0 0; a .4 * (1 + .75 * .2 * .2) = .412, b .6 */
        { "{type: hybrid}", { SEEN(1500, 0.2), SEEN(1700, 0.8) }, 'b', OK },
        { HYBRID("quality_gap_threshold: 0.18"), { SEEN(1500, 0.2), SEEN(1700, 0.8) }, 'b', OK },
        { HYBRID("quality_gap_threshold: 0.19"), { SEEN(1500, 0.2), SEEN(1700, 0.8) }, 'a', OK },
        /* similarity unknown, one half each: a .55 * 1.03, b .45 */
        { "{type: hybrid}", { RATED(1500), RATED(1700) }, 'a', OK },
        { "{type: hybrid}", { { 0 } }, 'a', OK }, /* price and value alone */
        /* as they are: a .5 .2 .406 .75 gives .454, b .760 .8 .363 0 gives .541 */
        { HYBRID("normalize_scores: false"), { SEEN(1500, 0.2), SEEN(1700, 0.8) }, 'a', OK },
        { HYBRID("normalize_scores: false, quality_gap_threshold: 0.08"),
          { SEEN(1500, 0.2), SEEN(1700, 0.8) },
          'b',
          OK },
        /* .25 + .29 to .25 + .30; a tenth more for a warm cache */
        { HYBRID(TWO_PARTS), { LIKE(0.58), LIKE(0.6) }, 'b', OK },
        { HYBRID(TWO_PARTS),
          { { .known = KNOWN_similarity | KNOWN_prefix, .similarity = 0.58, .prefix = 1 },
            LIKE(0.6) },
          'a',
          OK },
    };
    check_rows_of(TWO, rows, ARRAY_LEN(rows));
    static const struct row same = { "{type: hybrid}", { { 0 } }, 'c', BACK };
    check_rows_of("[{model: c}, {model: c}]\n      algorithm: ", &same, 1);
}

/* ---- descriptions ---- */

static void the_most_similar_description_answers(void **state)
{
    static const struct row rows[] = {
        { "{type: router_dc}", { LIKE(0.4), LIKE(0.6), LIKE(0.5) }, 'b', OK },
        { "{type: router_dc}", { { 0 }, { 0 }, LIKE(0.3) }, 'c', OK }, /* at it is enough */
        /* below is left out, also where 1 / (1 + e^-x/T) would say .97 */
        { "{type: router_dc}", { LIKE(0.1), LIKE(0.25), LIKE(0.29) }, 'a', BACK },
        { "{type: router_dc, router_dc: {min_similarity: 0.26, temperature: 0.07}}",
          { LIKE(0.1), LIKE(0.25), LIKE(0.29) },
          'c',
          OK },
        { "{type: router_dc, router_dc: {min_similarity: -1}}",
          { LIKE(-0.5), LIKE(-0.2), { 0 } },
          'b',
          OK },
        { "{type: router_dc}", { { 0 } }, 'a', BACK },
        { "{type: prompt, prompt: {model: a, instructions: choose}}", { { 0 } }, 'a', BACK },
    };
    check_rows(rows, ARRAY_LEN(rows));
}

/* ---- adapters ---- */

#define AT(near, where, n)                                                                         \
    {                                                                                              \
        .known = KNOWN_similarity | KNOWN_weights | KNOWN_load, .similarity = near,                \
        .weights = WEIGHTS_##where, .inflight = n                                                  \
    }
#define AFFINITY(settings) "{type: adapter_affinity, adapter_affinity: {" settings "}}"

static void the_adapter_that_fits_and_is_at_hand_answers(void **state)
{
    static const struct row rows[] = {
        /* a and c are bare bases: nothing to load */
        /* a .6 * .8 + .1 = .58, b .06 + .1 = .16 */
        { "{type: adapter_affinity}", { LIKE(0.2), AT(0.9, memory, 0), LIKE(0.1) }, 'b', OK },
        /* a .12 + .1 = .22; b away .36, on disk .21 */
        { "{type: adapter_affinity}", { LIKE(0.8), AT(0.9, away, 0), LIKE(0.1) }, 'a', OK },
        { "{type: adapter_affinity}", { LIKE(0.8), AT(0.9, disk, 0), LIKE(0.1) }, 'b', OK },
        { AFFINITY("disk: 0.4"), { LIKE(0.8), AT(0.9, disk, 0), LIKE(0.1) }, 'a', OK },
        /* b behind 4 of 8: .21, behind 8: .26, behind 80: no more than that */
        { "{type: adapter_affinity}", { LIKE(0.8), AT(0.9, memory, 4), LIKE(0) }, 'b', OK },
        { "{type: adapter_affinity}", { LIKE(0.8), AT(0.9, memory, 8), LIKE(0) }, 'a', OK },
        { "{type: adapter_affinity}", { LIKE(0.7), AT(0.9, memory, 80), LIKE(0) }, 'b', OK },
        { AFFINITY("queue_full: 80"), { LIKE(0.8), AT(0.9, memory, 8), LIKE(0) }, 'b', OK },
        /* a, its prompt in its cache: .12 to .16 */
        { "{type: adapter_affinity}",
          { { .known = KNOWN_similarity | KNOWN_prefix, .similarity = 0.8, .prefix = 1 },
            AT(0.9, memory, 0),
            LIKE(0) },
          'a',
          OK },
        /* too far is left out, unless all are */
        { AFFINITY("content: 0, residency: 1, min_similarity: 0.5"),
          { LIKE(0.4), AT(0.6, away, 0), LIKE(0.3) },
          'b',
          OK },
        { AFFINITY("content: 0, residency: 1, min_similarity: 0.7"),
          { LIKE(0.4), AT(0.6, away, 0), LIKE(0.3) },
          'a',
          BACK },
        { "{type: adapter_affinity}", { { 0 } }, 'a', BACK },
    };
    check_rows(rows, ARRAY_LEN(rows));
}

/* ---- several calls ---- */

static void what_calls_several_models_says_so(void **state)
{
    static const struct {
        const char *algorithm, *status;
    } rows[] = {
        { "{type: confidence}", "execution_required" },
        { "{type: ratings, ratings: {max_concurrent: 3, on_error: skip}}", "execution_required" },
        { "{type: remom, remom: {breadth_schedule: [3, 2]}}", "execution_required" },
        { "{type: fusion, fusion: {model: a, analysis_models: [a, c]}}", "planned_final" },
        { "{type: workflows, workflows: {mode: dynamic, planner: {model: a}}}",
          "execution_required" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct bench b;
        struct route route;
        struct buf out = BUF_INIT(MIB);
        char want[64];
        (void)snprintf(want, sizeof(want), "\"selection_status\":\"%s\"", rows[i].status);
        bench_open(&b, THREE, rows[i].algorithm, NULL);
        assert_int_equal(bench_route(&b, &route), 'a');
        assert_int_equal(route.selection, SELECTION_execution_required);
        route_print_eval(b.router, &route, &out);
        buf_addc(&out, '\0');
        assert_non_null(strstr(out.p, want));
        buf_done(&out);
        bench_close(&b);
    }
}

static void what_is_not_served_falls_back_or_fails_as_it_says(void **state)
{
    static const struct row rows[] = {
        { "{type: knn}", { { 0 } }, 'a', BACK },
        { "{type: knn, on_error: skip}", { { 0 } }, 'a', BACK },
        { "{type: knn, on_error: fail}", { { 0 } }, '!', BACK },
        { "{type: prompt, on_error: fail, prompt: {model: a, instructions: choose}}",
          { { 0 } },
          '!',
          BACK },
        { "{type: latency_aware, on_error: fail, latency_aware: {tpot_percentile: 9}}",
          { { 0 } },
          'a',
          BACK }, /* nothing observed yet is no error */
    };
    struct bench b;
    struct route route;
    check_rows(rows, ARRAY_LEN(rows));
    bench_open(&b, THREE, rows[2].algorithm, NULL);
    assert_int_equal(bench_route(&b, &route), '!');
    assert_int_equal(b.fail.code, FAIL_not_implemented);
    assert_non_null(strstr(b.fail.message, "'knn'"));
    bench_close(&b);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_least_latency_answers),
        cmocka_unit_test(the_percentiles_of_the_policy_are_asked_for),
        cmocka_unit_test(several_factors_are_weighed),
        cmocka_unit_test(who_is_beyond_a_ceiling_is_left_out),
        cmocka_unit_test(the_highest_rating_answers),
        cmocka_unit_test(a_comparison_moves_two_ratings),
        cmocka_unit_test(after_feedback_the_winner_is_preferred),
        cmocka_unit_test(weights_share_the_requests),
        cmocka_unit_test(a_session_or_user_stays_where_it_is),
        cmocka_unit_test(thompson_draws_as_often_as_it_should),
        cmocka_unit_test(exploration_is_the_share_of_the_policy),
        cmocka_unit_test(costs_and_users_bend_the_means),
        cmocka_unit_test(a_seed_draws_the_same_again_and_texts_differ),
        cmocka_unit_test(a_beta_draw_has_its_mean_and_spread),
        cmocka_unit_test(a_cheap_answer_is_worth_its_escalation),
        cmocka_unit_test(a_hybrid_weighs_what_is_known),
        cmocka_unit_test(the_most_similar_description_answers),
        cmocka_unit_test(the_adapter_that_fits_and_is_at_hand_answers),
        cmocka_unit_test(what_is_not_served_falls_back_or_fails_as_it_says),
        cmocka_unit_test(what_calls_several_models_says_so),
    };
    return TEST_RUN(tests);
}

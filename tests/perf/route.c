/*
 * What routing costs: time a request by a policy, over prompts of one length.
 *
 *     route CONFIG.yaml [MODEL [TOKENS [ROUNDS]]]
 *
 * MODEL is an auto name or an entrypoint. The prompts are sentences in random order; four bytes are
 * counted as a token, as the policy language does where there is no tokenizer. Four lines: a route
 * as `rootstock route` makes it (only what the decision needs), one with every signal evaluated,
 * one whose signals are known already (the decision engine alone), and loading the policy. Times
 * are of this thread's processor, so a busy machine shows in the tail only.
 */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/limits.h"
#include "base/num.h"
#include "router/evaluate.h"
#include "router/profiles.h"

enum { PROMPTS = 64, WARM = 100, MAX_TOKENS = 1000000 };

static const char *const sentences[] = {
    "Could you look at the lease we signed in March and tell me whether the landlord may raise the "
    "rent before the second year ends?",
    "My sourdough never rises in winter, even though the kitchen feels warm enough to me.",
    "The scheduler drops jobs when two workers claim the same row, so we need a lock that expires.",
    "Explain how vaccines train the immune system without causing the disease itself.",
    "Prove that the sum of two odd numbers is even, and say where the proof uses integers.",
    "Our quarterly report shows revenue up nine percent while margins fell; what should we ask?",
    "Translate this letter into Spanish and keep the tone polite but firm.",
    "I would like three quiet places to stay near the coast, none of them above ninety euros.",
    "The function returns null for an empty list, which breaks the caller that sorts the result.",
    "Why did the Roman republic fail to control its generals after the wars in the east?",
    "Write a short poem about a lighthouse keeper who is afraid of the dark.",
    "Compare the two battery chemistries by cost, weight, lifetime and how they age in the cold.",
    "She felt dizzy after the new tablets, so check whether they interact with her blood thinner.",
    "First collect the logs, then reduce the failing case, and finally bisect the release.",
    "What is the boiling point of ethanol at two thousand metres above the sea?",
    "Summarise the meeting in five bullets and list who promised to do what until Friday.",
};

static double now_us(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int by_value(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;
    return a < b ? -1 : a > b;
}

static void print_line(const char *what, double *us, size_t n)
{
    qsort(us, n, sizeof(*us), by_value);
    printf("%-14s p50 %9.2f us   p90 %9.2f us   p99 %9.2f us   n %zu\n", what, us[n / 2],
           us[n * 9 / 10], us[n * 99 / 100], n);
}

struct bench {
    const struct router *router;
    struct chat_request chats[PROMPTS];
    struct chat_message messages[PROMPTS];
    double *us;
    size_t rounds;
};

static char *make_prompt(size_t tokens, uint64_t *seed)
{
    enum { TOKEN_BYTES = 4 };
    struct buf b = BUF_INIT(64 * MIB);
    while (b.n < tokens * TOKEN_BYTES) {
        struct str sentence = str_of(sentences[test_random(seed) % ARRAY_LEN(sentences)]);
        buf_add(&b, str_head(sentence, tokens * TOKEN_BYTES - b.n));
        buf_addc(&b, ' ');
    }
    return buf_take(&b, NULL);
}

static void time_routes(struct bench *b, bool trace)
{
    for (size_t i = 0; i < b->rounds + WARM; i++) {
        struct arena *a = arena_new(LIMIT_REQUEST_ARENA);
        struct route_request q = { .chat = &b->chats[i % PROMPTS], .trace = trace, .seed = 1 };
        struct route route;
        struct fail fail;
        if (!a)
            exit(1);
        double begin = now_us();
        int e = router_route(b->router, &q, a, &route, &fail);
        double end = now_us();
        if (e != 0)
            exit(1);
        if (i >= WARM)
            b->us[i - WARM] = end - begin;
        (void)arena_free(a);
    }
    print_line(trace ? "every signal" : "route", b->us, b->rounds);
}

static void time_decisions(struct bench *b, const struct policy *policy)
{
    enum { TIMES = 100 }; /* a measurement: one alone is near the clock's own cost */
    for (size_t i = 0; i < b->rounds; i++) {
        struct arena *a = arena_new(LIMIT_REQUEST_ARENA);
        struct route_request q = { .chat = &b->chats[i % PROMPTS], .seed = 1 };
        struct evaluation e;
        if (!a || evaluation_init(&e, policy, &q, a) < 0)
            exit(1);
        evaluation_all(&e);
        (void)evaluation_decide(&e); /* outputs of projections are kept from here on */
        double begin = now_us();
        for (size_t k = 0; k < TIMES; k++)
            (void)evaluation_decide(&e);
        b->us[i] = (now_us() - begin) / TIMES;
        (void)arena_free(a);
    }
    print_line("decision alone", b->us, b->rounds);
}

static const struct policy *policy_of(const struct router *r, struct str model)
{
    for (size_t i = 0; i < r->n_entrypoints; i++)
        if (str_eq(r->entrypoints[i].name, model))
            return &r->policies[r->entrypoints[i].policy];
    return &r->policies[0];
}

static void run(struct bench *b, struct str model, size_t tokens)
{
    uint64_t seed = 1;
    for (size_t i = 0; i < PROMPTS; i++) {
        b->messages[i] = (struct chat_message){ .role = STR("user"),
                                                .content = str_of(make_prompt(tokens, &seed)) };
        b->chats[i] =
            (struct chat_request){ .model = model, .messages = &b->messages[i], .n_messages = 1 };
    }
    time_routes(b, false);
    time_routes(b, true);
    time_decisions(b, policy_of(b->router, model));
    for (size_t i = 0; i < PROMPTS; i++)
        free((char *)b->messages[i].content.p);
}

int main(int argc, char **argv)
{
    uint64_t tokens = 200, rounds = 5000;
    if (argc < 2 || argc > 5 ||
        (argc > 3 && num_parse_u64(&tokens, str_of(argv[3]), 1, MAX_TOKENS) < 0) ||
        (argc > 4 && num_parse_u64(&rounds, str_of(argv[4]), 1, 10000000) < 0)) {
        (void)fputs("usage: route CONFIG.yaml [MODEL [TOKENS [ROUNDS]]]\n", stderr);
        return 2;
    }
    CLEANUP(problems_freep) struct problems *p = problems_new();
    CLEANUP(config_unrefp) struct config *c = NULL;
    CLEANUP(router_freep) struct router *r = NULL;
    CLEANUP(buf_done) struct buf text = BUF_INIT(MIB);
    CLEANUP(own_free) double *us = calloc(rounds, sizeof(*us));
    double begin = now_us();
    if (!p || !us || config_load(&c, argv[1], p) < 0 || router_new(&r, c, p) < 0) {
        problems_print(p, &text);
        (void)fputs(text.p ? text.p : "no memory\n", stderr);
        return 1;
    }
    printf("%-14s     %9.2f us\n", "loading", now_us() - begin);
    struct bench b = { .router = r, .us = us, .rounds = rounds };
    run(&b, argc > 2 ? str_of(argv[2]) : STR("auto"), tokens);
    return 0;
}

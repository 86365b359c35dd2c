/*
 * What a flood costs its neighbour: one tenant asks now and then, another asks 100 times as often.
 *
 *     fairness [MODEL.gguf [SECONDS [RATE [THREADS]]]]
 *
 * Requests come as they come (Poisson), whether or not earlier ones were answered. Phases with and
 * without the flood alternate, SECONDS each, three times; the prompts of both have 48 tokens, all
 * different, and ask for 24. Printed: the asker's times to the first token and to the last one,
 * alone and beside the flood, and their ratio; what the flood got.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "tests/perf/load.h"
#include "tests/support/test.h"

enum { ROUNDS = 3, TIMES = 100 };

struct times {
    double ms[LOAD_MOST];
    size_t n;
};

static void collect(struct times *to, const struct load *l, size_t from, enum load_time which)
{
    to->n += load_times(l, from, which, to->ms + to->n);
}

static void print_line(const char *what, struct times *alone, struct times *beside)
{
    double a50 = load_quantile(alone->ms, alone->n, 0.5);
    double a95 = load_quantile(alone->ms, alone->n, 0.95);
    double b50 = load_quantile(beside->ms, beside->n, 0.5);
    double b95 = load_quantile(beside->ms, beside->n, 0.95);
    (void)printf("%-12s alone p50 %7.2f p95 %7.2f ms   beside the flood p50 %7.2f p95 %7.2f ms   "
                 "p95 ratio %.2f\n",
                 what, a50, a95, b50, b95, b95 / a95);
}

int main(int argc, char **argv)
{
    static struct times first[2], last[2], flood_last;
    static struct load asker, flood;
    struct load *const loads[] = { &asker, &flood };
    const char *path = argc > 1 ? argv[1] : test_path("models/demo.gguf");
    double seconds = argc > 2 ? strtod(argv[2], NULL) : 10;
    double rate = argc > 3 ? strtod(argv[3], NULL) : 5;
    log_set_level(LOG_error);
    struct engine *e = load_engine(path, argc > 4 ? strtoull(argv[4], NULL, 10) : 0, 128);
    load_init(&asker, e, 1);
    load_init(&flood, e, 2);
    asker.tenant = 1;
    flood.tenant = 2;
    asker.rate = rate;
    load_run(loads, 2, 1, NULL); /* warm */
    size_t asked[2] = { 0 };
    for (int round = 0; round < ROUNDS; round++)
        for (int loud = 0; loud < 2; loud++) {
            size_t from = asker.n, flood_from = flood.n;
            flood.rate = loud ? TIMES * rate : 0;
            load_run(loads, 2, seconds, &flood);
            asked[loud] += asker.n - from;
            collect(&first[loud], &asker, from, LOAD_first);
            collect(&last[loud], &asker, from, LOAD_last);
            collect(&flood_last, &flood, flood_from, LOAD_last);
        }
    print_line("first token", &first[0], &first[1]);
    print_line("last token", &last[0], &last[1]);
    (void)printf("asker: %zu of %zu answered alone, %zu of %zu beside the flood; the flood: %zu "
                 "of %zu, %.0f tokens/s\n",
                 first[0].n, asked[0], first[1].n, asked[1], flood_last.n, flood.n,
                 (double)flood_last.n * (flood.prompt + flood.answer) / (ROUNDS * seconds));
    load_done(&asker);
    load_done(&flood);
    (void)engine_free(e);
    return 0;
}

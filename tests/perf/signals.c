/*
 * What the shipped classifiers cost on a text of about 200 tokens: reading it once, then each
 * classifier's scores. The least of many rounds, in microseconds of processor time.
 *
 *     signals
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "router/linear/classifier_file.h"
#include "router/models/shipped.h"
#include "router/signals/unicode.h"
#include "router/vectors/words.h"

static const char text[] =
    "We run a small online shop for garden tools and our customers have started to complain that "
    "orders placed in the evening are confirmed only the next morning. The database is PostgreSQL "
    "on a single machine with four cores, the web server is written in Go, and a nightly job "
    "copies every order into the accounting system. Since the last release the job takes about "
    "three hours instead of twenty minutes, and while it runs most requests wait for a lock on "
    "the table of orders. I have looked at the slow query log and found one statement that reads "
    "the whole table twice, but I do not understand why the planner no longer uses the index that "
    "we created two years ago. Could you explain step by step how I should find the cause, which "
    "settings of the planner matter here, whether a partial index on unpaid orders would help, and "
    "how to copy the orders without blocking the customers in the meantime? Please keep the answer "
    "short and give an example of each statement that I would have to run on the server.";

enum { ROUNDS = 2000 };

static double now_us(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

struct least {
    double folding, hashing, weighing;
};

static struct features read_once(const struct background *b, struct arena *a, struct least *l)
{
    struct features hashed = { 0 }, f = { 0 };
    double from = now_us();
    struct str folded = unicode_fold_text(str_of(text), a);
    double at = now_us();
    if (!folded.p || features_of(&hashed, folded, b->rarity, a) < 0)
        abort();
    double then = now_us();
    float words[WORDS_WIDTH];
    words_vector(folded, words);
    if (background_features(b, &hashed, words, a, &f) < 0)
        abort();
    double end = now_us();
    l->folding = at - from < l->folding ? at - from : l->folding;
    l->hashing = then - at < l->hashing ? then - at : l->hashing;
    l->weighing = end - then < l->weighing ? end - then : l->weighing;
    return f;
}

static double score(const struct classifier_file *c, const struct features *f)
{
    double least = 1e9;
    float p[64];
    for (int i = 0; i < ROUNDS; i++) {
        double from = now_us();
        classifier_file_read(c, f, p);
        double took = now_us() - from;
        least = took < least ? took : least;
    }
    return least;
}

int main(void)
{
    struct background b;
    struct fail why = { 0 };
    struct least l = { 1e9, 1e9, 1e9 };
    const struct {
        const char *name;
        struct str bytes;
    } models[] = {
        { "domain", shipped_domain() },     { "fact_check", shipped_fact_check() },
        { "feedback", shipped_feedback() }, { "jailbreak", shipped_jailbreak() },
        { "modality", shipped_modality() },
    };
    if (background_open(&b, "rarity.bin", shipped_rarity(), &why) != 0)
        return EXIT_FAILURE;
    for (int i = 0; i < ROUNDS; i++) {
        CLEANUP(arena_freep) struct arena *scratch = arena_new((size_t)16 << 20);
        (void)read_once(&b, scratch, &l);
    }
    CLEANUP(arena_freep) struct arena *a = arena_new((size_t)16 << 20);
    struct features f = read_once(&b, a, &l);
    (void)printf("%zu bytes, %u features\n", sizeof(text) - 1, f.n);
    (void)printf("folding %.1f us  hashing %.1f us  weighing, vectors of words %.1f us\n",
                 l.folding, l.hashing, l.weighing);
    double all = 0;
    for (size_t i = 0; i < ARRAY_LEN(models); i++) {
        CLEANUP(classifier_file_closep) struct classifier_file *c = NULL;
        if (classifier_file_open(&c, models[i].name, models[i].bytes, &why) != 0)
            return EXIT_FAILURE;
        double us = score(c, &f);
        all += us;
        (void)printf("%-12s %.1f us\n", models[i].name, us);
    }
    (void)printf("all classifiers %.1f us, with reading %.1f us\n", all,
                 all + l.folding + l.hashing + l.weighing);
    return 0;
}

/* Sequences on several threads that share one grammar, and take it away one after the other. */
#include "tests/support/test.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/local/grammar/constraint.h"

enum { THREADS = 4, TEXTS = 30, STEPS = 40 };

static struct token_trie *trie;
static int32_t n_vocab;

struct worker {
    struct grammar *g; /* a reference of its own */
    uint64_t random;
    unsigned steps;
};

static void *follow(void *arg)
{
    struct worker *w = arg;
    for (unsigned text = 0; text < TEXTS; text++) {
        CLEANUP(constraint_freep) struct constraint *c = NULL;
        if (constraint_new(&c, w->g, trie) != 0)
            abort();
        for (unsigned i = 0; i < STEPS && !constraint_must_end(c); i++) {
            const uint32_t *mask = constraint_mask(c);
            int32_t id = (int32_t)(test_random(&w->random) % (unsigned)n_vocab);
            while (!(mask[id / 32] >> (id % 32) & 1))
                id = (id + 1) % n_vocab;
            if (!constraint_accept(c, id))
                abort();
            w->steps++;
        }
    }
    (void)grammar_unref(w->g);
    return NULL;
}

static struct grammar *compile(void)
{
    CLEANUP(grammar_builder_freep) struct grammar_builder *b = NULL;
    struct grammar *g = NULL;
    grammar_expr root;
    struct fail f = { 0 };
    if (grammar_builder_new(&b) != 0 ||
        grammar_parse_gbnf(b,
                           STR("root ::= list\nlist ::= \"[\" (item (\",\" item)*)? \"]\"\n"
                               "item ::= list | [a-z ]{1,80} | [0-9]+\n"),
                           &root, &f) != 0 ||
        grammar_build(b, root, &g, &f) != 0)
        abort();
    return g;
}

int main(void)
{
    CLEANUP(gguf_closep) struct gguf *file = NULL;
    CLEANUP(tokenizer_freep) struct tokenizer *t = NULL;
    struct fail f = { 0 };
    pthread_t threads[THREADS];
    struct worker workers[THREADS];
    unsigned steps = 0;
    if (gguf_open(&file, test_path("tests/fuzz/corpus/tokenizer/bpe.gguf"), &f) != 0 ||
        tokenizer_new(&t, file, &f) != 0 || token_trie_new(&trie, t) != 0)
        abort();
    n_vocab = (int32_t)tokenizer_vocab(t);
    struct grammar *g = compile();
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){ .g = grammar_share(g), .random = i };
        if (pthread_create(&threads[i], NULL, follow, &workers[i]) != 0)
            abort();
    }
    (void)grammar_unref(g);
    for (unsigned i = 0; i < THREADS; i++) {
        (void)pthread_join(threads[i], NULL);
        steps += workers[i].steps;
    }
    (void)token_trie_free(trie);
    (void)printf("1..1\n%sok 1 - sequences of one grammar on several threads (%u steps)\n",
                 steps ? "" : "not ", steps);
    return steps ? EXIT_SUCCESS : EXIT_FAILURE;
}

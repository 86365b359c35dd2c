/* Any text as a JSON schema: refused with a keyword, or compiled and followed at random. */
#include "tests/fuzz/fuzz.h"
#include "tests/support/test.h"

#include "engine/local/grammar/constraint.h"
#include "engine/local/grammar/json_schema.h"

#include <stdlib.h>

static struct token_trie *trie; /* once a process: it lives as long */
static uint32_t n_vocab;

static void load(void)
{
    CLEANUP(gguf_closep) struct gguf *g = NULL;
    CLEANUP(tokenizer_freep) struct tokenizer *t = NULL;
    struct fail f = { 0 };
    if (gguf_open(&g, test_path("tests/fuzz/corpus/tokenizer/bpe.gguf"), &f) != 0 ||
        tokenizer_new(&t, g, &f) != 0 || token_trie_new(&trie, t) != 0)
        abort();
    n_vocab = tokenizer_vocab(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(grammar_builder_freep) struct grammar_builder *b = NULL;
    CLEANUP(grammar_unrefp) struct grammar *g = NULL;
    CLEANUP(constraint_freep) struct constraint *c = NULL;
    const struct json_schema_options o = { "schema", size % 2 == 1 };
    grammar_expr root;
    struct fail f = { 0 };
    if (!trie)
        load();
    if (grammar_builder_new(&b) != 0)
        abort();
    int r = json_schema_expr(b, (struct str){ (const char *)data, size }, &o, &root, &f);
    if (r == FAILED && (f.message[0] == '\0' || f.param[0] == '\0'))
        abort(); /* a refusal without its reason */
    if (r != 0 || grammar_build(b, root, &g, &f) != 0 || constraint_new(&c, g, trie) != 0)
        return 0;
    uint64_t seed = size;
    for (unsigned step = 0; step < 16; step++) {
        const uint32_t *mask = constraint_mask(c);
        uint32_t id = (uint32_t)(test_random(&seed) % n_vocab);
        while (mask && id < n_vocab && !(mask[id / 32] >> (id % 32) & 1))
            id++;
        if (mask && id < n_vocab && !constraint_accept(c, (int32_t)id))
            abort(); /* the mask said that it may come */
    }
    return 0;
}

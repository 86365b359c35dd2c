/*
 * Encoder files that are not what they say: each is one of the golden files with a few bytes
 * changed, and is refused by name.
 */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/local/encoder.h"

struct change {
    const char *file;
    const char *find, *put; /* of equal length; put NULL: the u32 behind `find` becomes `value` */
    uint32_t value;
    const char *told; /* a part of the message */
};

static const struct change changes[] = {
    { "bert", "blk.1.ffn_up.weight", "blk.1.ffn_ux.weight", 0, "blk.1.ffn_up.weight is missing" },
    { "bert", "blk.0.attn_output_norm.bias", "blk.0.attn_output_norm.bixs", 0,
      "blk.0.attn_output_norm.bixs has no place in the bert graph" },
    { "bert", "token_types.weight", "token_typex.weight", 0, "token_typex.weight has no place" },
    { "bert", "bert.attention.layer_norm_epsilon", "bert.attention.layer_norm_epsilox", 0,
      "the key bert.attention.layer_norm_epsilon is missing" },
    { "bert", "bert.attention.head_count", NULL, 3, "3 attention heads of embedding_length 32" },
    { "bert", "bert.attention.head_count", NULL, 0, "bert.attention.head_count is 0" },
    { "bert", "bert.block_count", NULL, 1u << 30, "bert.block_count is 1073741824" },
    { "bert", "bert.block_count", NULL, 1, "tensor blk.1." },
    { "bert", "bert.feed_forward_length", NULL, 64, "blk.0.ffn_up.weight has shape" },
    { "bert", "bert.context_length", NULL, 65, "position_embd.weight has shape" },
    { "bert", "bert.pooling_type", NULL, 9, "bert.pooling_type is 9; known are" },
    { "bert-sequence", "cls.output.weight", "cls.outpux.weight", 0,
      "cls.output.weight is missing" },
    { "bert-sequence", "cls.output.bias", "cls.output.bixs", 0, "cls.output.bixs has no place" },
    { "bert-sequence", "bert.classifier.pooling_type", NULL, 7,
      "bert.classifier.pooling_type is 7" },
    { "nomic-bert", "blk.0.ffn_gate.weight", "blk.0.ffn_gatx.weight", 0,
      "blk.0.ffn_gate.weight is missing" },
    { "modern-bert", "modern-bert.attention.sliding_window_pattern", NULL, 0,
      "modern-bert.attention.sliding_window_pattern is 0" },
    { "modern-bert", "blk.2.attn_norm.weight", "blk.2.attn_norx.weight", 0,
      "blk.2.attn_norm.weight is missing" },
    { "modern-bert", "output_norm.weight", "output_norx.weight", 0,
      "output_norm.weight is missing" },
};

/* The first place of a key or name, as the file spells it: behind its length. */
static char *place_of(char *bytes, size_t n, const char *name)
{
    uint64_t length = strlen(name);
    CLEANUP(own_free) char *want = malloc(sizeof(length) + length);
    assert_non_null(want);
    memcpy(want, &length, sizeof(length));
    memcpy(want + sizeof(length), name, length);
    char *at = memmem(bytes, n, want, sizeof(length) + length);
    if (!at)
        fail_msg("no '%s' in the file", name);
    return at + sizeof(length);
}

static void refuses_files_that_are_not_what_they_say(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
        const struct change *c = &changes[i];
        char path[128];
        size_t n;
        (void)snprintf(path, sizeof(path), "tests/golden/encoders/%s.gguf", c->file);
        CLEANUP(own_free) char *bytes = test_read(test_path(path), &n);
        char *at = place_of(bytes, n, c->find);
        if (c->put)
            memcpy(at, c->put, strlen(c->find));
        else
            memcpy(at + strlen(c->find) + sizeof(uint32_t), &c->value, sizeof(c->value));
        CLEANUP(gguf_closep) struct gguf *g = NULL;
        CLEANUP(encoder_freep) struct encoder *e = NULL;
        struct fail f = { 0 };
        if (gguf_parse(&g, "changed.gguf", (struct str){ bytes, n }, &f) != 0)
            fail_msg("row %zu: %s", i, f.message);
        if (encoder_new(&e, &g, &f) != FAILED)
            fail_msg("row %zu, '%s': it was not refused", i, c->told);
        if (!strstr(f.message, c->told) || !strstr(f.message, "changed.gguf"))
            fail_msg("row %zu: '%s' does not say '%s'", i, f.message, c->told);
        assert_non_null(g); /* still the caller's */
    }
}

static void names_the_architectures_it_knows(void **state)
{
    char names[64];
    encoder_names(names, sizeof(names));
    assert_string_equal(names, "bert, nomic-bert, modern-bert");
    assert_true(encoder_knows(STR("nomic-bert")));
    assert_false(encoder_knows(STR("llama")));
    assert_false(encoder_knows(STR("")));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_files_that_are_not_what_they_say),
        cmocka_unit_test(names_the_architectures_it_knows),
    };
    return TEST_RUN(tests);
}

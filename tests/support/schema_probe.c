/*
 * Schemas, asked from Python: which texts the constraint takes, and what random tokens that it
 * allows amount to.
 *
 *     schema_probe MODEL.gguf < jobs.jsonl
 *
 * A job: {"schema": "text", "strict": bool, "texts": [..], "samples": n, "seed": n, "tokens": n}.
 * An answer: {"error", "param"} or {"accepts": [bool], "samples": [{"text", "finished"}], "us": n}.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/limits.h"
#include "engine/local/gguf.h"
#include "engine/local/grammar/constraint.h"
#include "engine/local/grammar/json_schema.h"
#include "tests/support/test.h"

struct probe {
    struct tokenizer *tokenizer;
    struct token_trie *trie;
};

/* Tokens that bring a text to its end: structure, and the end itself. */
static bool closes(const struct probe *p, int32_t id)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(KIB);
    tokenizer_decode(p->tokenizer, id, /* special= */ false, &b);
    if (tokenizer_is_eog(p->tokenizer, id))
        return true;
    for (size_t i = 0; i < b.n; i++)
        if (strchr("\"}]", b.p[i]))
            return true;
    return false;
}

/* A random token of the mask; one time of four one that closes, if there is any. */
static int32_t choose(const struct probe *p, const uint32_t *mask, uint64_t *seed)
{
    uint32_t n = tokenizer_vocab(p->tokenizer);
    bool close = test_random(seed) % 4 == 0;
    for (int pass = close ? 0 : 1; pass < 2; pass++) {
        int32_t chosen = -1;
        uint64_t seen = 0;
        for (uint32_t id = 0; id < n; id++) {
            if (!(mask[id / 32] >> (id % 32) & 1) || (pass == 0 && !closes(p, (int32_t)id)))
                continue;
            if (test_random(seed) % ++seen == 0)
                chosen = (int32_t)id;
        }
        if (chosen >= 0)
            return chosen;
    }
    return -1;
}

static json_t *sample(const struct probe *p, struct grammar *g, uint64_t seed, uint64_t tokens)
{
    CLEANUP(constraint_freep) struct constraint *c = NULL;
    CLEANUP(buf_done) struct buf text = BUF_INIT(MIB);
    bool finished = false;
    if (constraint_new(&c, g, p->trie) < 0)
        abort();
    for (uint64_t i = 0; i < tokens && !finished; i++) {
        const uint32_t *mask = constraint_mask(c);
        int32_t id = mask ? choose(p, mask, &seed) : -1;
        if (id < 0) {
            fprintf(stderr, "schema_probe: an empty mask\n");
            exit(1);
        }
        finished = tokenizer_is_eog(p->tokenizer, id);
        if (finished)
            break;
        tokenizer_decode(p->tokenizer, id, /* special= */ false, &text);
        if (!constraint_accept(c, id)) {
            fprintf(stderr, "schema_probe: token %d is in the mask and refused\n", id);
            exit(1);
        }
        finished = constraint_must_end(c);
    }
    json_t *s = json_stringn_nocheck(text.n ? text.p : "", str_utf8_whole(buf_str(&text)));
    return json_pack("{s:o, s:b}", "text", s, "finished", finished);
}

static bool accepts(const struct probe *p, struct grammar *g, struct str text)
{
    CLEANUP(constraint_freep) struct constraint *c = NULL;
    if (constraint_new(&c, g, p->trie) < 0)
        abort();
    return constraint_accept_bytes(c, text) && constraint_may_end(c);
}

static json_t *answer(const struct probe *p, const json_t *job)
{
    CLEANUP(grammar_builder_freep) struct grammar_builder *b = NULL;
    CLEANUP(grammar_unrefp) struct grammar *g = NULL;
    const json_t *schema = json_object_get(job, "schema");
    struct str text = { json_string_value(schema), json_string_length(schema) };
    const struct json_schema_options o = { "schema", json_is_true(json_object_get(job, "strict")) };
    struct fail f = { 0 };
    grammar_expr root;
    uint64_t start = clock_us();
    if (grammar_builder_new(&b) < 0)
        abort();
    int r = json_schema_expr(b, text, &o, &root, &f);
    if (r == 0)
        r = grammar_build(b, root, &g, &f);
    if (r != 0)
        return json_pack("{s:s, s:s, s:i}", "error", r < 0 ? "trouble of our own" : f.message,
                         "param", f.param, "r", r);
    uint64_t us = clock_us() - start;
    json_t *verdicts = json_array();
    json_t *samples = json_array();
    size_t i;
    json_t *v;
    json_array_foreach(json_object_get(job, "texts"), i, v)
    {
        struct str t = { json_string_value(v), json_string_length(v) };
        json_array_append_new(verdicts, json_boolean(accepts(p, g, t)));
    }
    uint64_t seed = (uint64_t)json_integer_value(json_object_get(job, "seed"));
    uint64_t tokens = (uint64_t)json_integer_value(json_object_get(job, "tokens"));
    for (json_int_t k = 0; k < json_integer_value(json_object_get(job, "samples")); k++)
        json_array_append_new(samples, sample(p, g, seed + (uint64_t)k * 7919, tokens));
    return json_pack("{s:o, s:o, s:I}", "accepts", verdicts, "samples", samples, "us",
                     (json_int_t)us);
}

int main(int argc, char **argv)
{
    CLEANUP(gguf_closep) struct gguf *file = NULL;
    CLEANUP(own_free) char *line = NULL;
    struct probe p = { 0 };
    struct fail f = { 0 };
    size_t cap = 0;
    ssize_t n;
    if (argc != 2 || gguf_open(&file, argv[1], &f) != 0 ||
        tokenizer_new(&p.tokenizer, file, &f) != 0 || token_trie_new(&p.trie, p.tokenizer) < 0) {
        fprintf(stderr, "schema_probe: needs a model: %s\n", f.message);
        return 2;
    }
    while ((n = getline(&line, &cap, stdin)) > 0) {
        json_auto_t *job = json_loadb(line, (size_t)n, JSON_ALLOW_NUL, NULL);
        json_auto_t *out = job ? answer(&p, job) : json_pack("{s:s}", "error", "not a job");
        json_dumpf(out, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
        putchar('\n');
        fflush(stdout);
    }
    (void)token_trie_free(p.trie);
    (void)tokenizer_free(p.tokenizer);
    return 0;
}

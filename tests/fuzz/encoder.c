/* Any bytes as an encoder: refused with a reason, or it reads a text, alike twice. */
#include "tests/fuzz/fuzz.h"

#include "engine/local/encoder.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_FLOATS = 1 << 16, TOKENS = 6 };

static void read_text(struct encoder_runner *r, const struct encoder_shape *s, uint32_t n)
{
    static const int32_t ids[TOKENS]; /* zeros: every vocabulary has such a token */
    static float out[3][MAX_FLOATS];
    uint32_t labels = s->labels ? s->labels : s->token_labels;
    if (s->embed > MAX_FLOATS || (uint64_t)labels * TOKENS > MAX_FLOATS)
        return;
    enum embed_output scores = s->labels ? EMBED_scores : EMBED_tokens;
    memset(out, 0, sizeof(out));
    struct embed_task tasks[3] = {
        { .ids = ids, .n = n, .output = EMBED_vector, .out = out[0] },
        { .ids = ids, .n = n, .output = EMBED_vector, .out = out[1] },
        { .ids = ids, .n = n, .output = scores, .out = out[2] },
    };
    struct embed_task *const step[] = { &tasks[0], &tasks[1], &tasks[2] };
    struct embed_backend b = encoder_backend(r);
    if (b.step(b.owner, step, labels ? 3 : 2) != 0 || memcmp(out[0], out[1], sizeof(out[0])) != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(gguf_closep) struct gguf *g = NULL;
    CLEANUP(encoder_freep) struct encoder *e = NULL;
    CLEANUP(encoder_runner_freep) struct encoder_runner *r = NULL;
    struct fail f = { 0 };
    if (gguf_parse(&g, "fuzz.gguf", (struct str){ (const char *)data, size }, &f) != 0)
        return 0;
    int error = encoder_new(&e, &g, &f);
    if (error != 0 && (error != FAILED || !f.message[0]))
        abort(); /* refused, yet nobody said why */
    if (!e)
        return 0;
    const struct encoder_shape *s = encoder_shape(e);
    for (size_t i = 0; i < 3; i++)
        (void)encoder_label(e, i);
    if (encoder_runner_new(&r, e, 3 * TOKENS, /* threads= */ 1) == 0)
        read_text(r, s, s->context < TOKENS ? s->context : TOKENS);
    return 0;
}

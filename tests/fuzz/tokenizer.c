/* Any bytes as a vocabulary: refused with a reason, or it encodes and decodes. */
#include "tests/fuzz/fuzz.h"

#include "base/limits.h"
#include "engine/engine.h"
#include "engine/local/tokenizer.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(gguf_closep) struct gguf *g = NULL;
    CLEANUP(tokenizer_freep) struct tokenizer *t = NULL;
    CLEANUP(token_list_done) struct token_list ids = { 0 };
    CLEANUP(buf_done) struct buf out = BUF_INIT(16 * MIB);
    struct str text = STR("<s>hello the  world<|im_end|>\n'LL \xf0\x9f\xa6\x99 12<tool>"),
               bytes = { (const char *)data, size };
    struct fail f = { 0 };
    if (gguf_parse(&g, "fuzz.gguf", bytes, &f) != 0)
        return 0;
    int r = tokenizer_new(&t, g, &f);
    if (r != 0 && (r != FAILED || !f.message[0]))
        abort(); /* refused, yet nobody said why */
    struct text_span spans[] = { { text, false },
                                 { str_sub(bytes, size / 2), true },
                                 { text, true } };
    if (t && tokenizer_encode_spans(t, spans, 3, TOKENIZE_bos, &ids) != 0)
        abort();
    CLEANUP(token_list_done) struct token_list ranged = { 0 };
    struct str tail = str_sub(bytes, size / 2);
    if (t && tokenizer_encode_ranges(t, tail, TOKENIZE_bos, &ranged) != 0)
        abort();
    for (size_t i = 0; i < ranged.n; i++)
        if (ranged.ranges[i].begin > ranged.ranges[i].end || ranged.ranges[i].end > tail.n)
            abort();
    for (size_t i = 0; i < ids.n; i++)
        tokenizer_decode(t, ids.ids[i], true, &out);
    return 0;
}

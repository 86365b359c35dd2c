#include "tests/fuzz/fuzz.h"

#include "engine/local/lora_impl.h"
#include "tests/unit/engine/tiny_model.h"

static int pack(void *ctx, const struct lora_draft *d, struct fail *reterr)
{
    return lora_pack_memory(ctx, d, reterr);
}

/* GGUF adapters for a small base; the reader itself has a target of its own. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tiny_model base;
    if (!base.model)
        (void)tiny_model_get(&base, (struct tiny_options){ .arch = "llama" });
    CLEANUP(gguf_closep) struct gguf *g = NULL;
    CLEANUP(lora_freep) struct lora *l = NULL;
    struct fail f = { 0 };
    if (gguf_parse(&g, "fuzz", (struct str){ (const char *)data, size }, &f) == 0)
        (void)!lora_from_gguf(base.model, g, 1, pack, &l, &f);
    return 0;
}

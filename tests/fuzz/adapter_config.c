#include "tests/fuzz/fuzz.h"

#include "engine/local/peft_config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(peft_config_freep) struct peft_config *c = NULL;
    struct fail f = { 0 };
    if (peft_config_parse(&c, "fuzz", (struct str){ (const char *)data, size }, &f))
        return 0;
    uint32_t rank;
    double scale;
    (void)!peft_config_module(c, STR("model.layers.0.self_attn.q_proj"), 0, &rank, &scale, &f);
    (void)!peft_config_module(c, STR("model.layers.1.mlp.down_proj"), 1, &rank, &scale, &f);
    return 0;
}

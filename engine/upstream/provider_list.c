#include "engine/upstream/provider_table.h"

const struct provider *provider_of(enum upstream_provider p)
{
    static const struct provider *const providers[] = {
        [UPSTREAM_openai] = &openai_provider, [UPSTREAM_vllm] = &vllm_provider,
        [UPSTREAM_sglang] = &sglang_provider, [UPSTREAM_llama_server] = &llama_server_provider,
        [UPSTREAM_ollama] = &ollama_provider, [UPSTREAM_anthropic] = &anthropic_provider,
        [UPSTREAM_azure] = &azure_provider,
    };
    return (unsigned)p < ARRAY_LEN(providers) && providers[p] ? providers[p] : &openai_provider;
}

#include "engine/upstream/provider_table.h"

const struct provider *provider_of(enum upstream_provider p)
{
    static const struct provider *const providers[] = {
        [UPSTREAM_openai] = &openai_provider, [UPSTREAM_vllm] = &vllm_provider,
        [UPSTREAM_sglang] = &sglang_provider, [UPSTREAM_llama_server] = &llama_server_provider,
        [UPSTREAM_ollama] = &ollama_provider, [UPSTREAM_anthropic] = &anthropic_provider,
        [UPSTREAM_azure] = &azure_provider,   [UPSTREAM_gemini] = &gemini_provider,
        [UPSTREAM_vertex] = &vertex_provider, [UPSTREAM_bedrock] = &bedrock_provider,
    };
    return (unsigned)p < ARRAY_LEN(providers) ? providers[p] : &openai_provider;
}

bool provider_speaks(const struct config_endpoint *e, enum wire wire)
{
    const struct provider *p = provider_of(e->provider);
    return p->speaks_at ? p->speaks_at(e, wire) : p->speaks(wire);
}

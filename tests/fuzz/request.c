/* JSON bytes → chat request, completion requests, a question of the router; kept without keys. */
#include "base/limits.h"
#include "gateway/api/chat.h"
#include "gateway/api/completions.h"
#include "gateway/api/decode.h"
#include "gateway/redact.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str body = { (const char *)data, size };
    struct arena *a = arena_new(16 * MIB);
    if (!a)
        return 0;
    struct chat_request chat = { 0 }, *chats = NULL;
    struct fail fail = { 0 };
    size_t n = 0;
    bool empty = false;
    if (chat_decode(&chat, body, a, &fail) == 0)
        assert(chat.n_messages > 0 && chat.n > 0 && chat.model.n > 0);
    else
        assert(fail.message[0]);
    if (completions_decode(&chats, &n, &empty, body, a, &fail) == 0)
        assert(n > 0 && chats[0].is_completion);
    if (decode_routable(&chat, body, a, &fail) == 0)
        assert(chat.n_messages > 0 && chat.model.n > 0);
    else
        assert(fail.message[0]);
    assert(redact_keys(body, a).p);
    (void)arena_free(a);
    return 0;
}

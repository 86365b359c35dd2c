/* JSON bytes → a request of Anthropic's Messages API. */
#include "gateway/api/messages.h"
#include "base/limits.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str body = { (const char *)data, size };
    struct arena *a = arena_new(16 * MIB);
    struct chat_request chat = { 0 };
    struct fail fail = { 0 };
    if (!a)
        return 0;
    if (messages_decode(&chat, body, /* counts= */ false, a, &fail) != 0) {
        assert(fail.message[0]);
    } else {
        assert(chat.n_messages > 0 && chat.n == 1 && chat.model.n > 0 && chat.source.n > 0);
        for (size_t i = 0; i < chat.n_messages; i++)
            assert(chat.messages[i].role.n && chat_is_as_sent(&chat.messages[i]));
    }
    (void)arena_free(a);
    return 0;
}

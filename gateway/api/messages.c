#include "gateway/api/messages.h"

#include "gateway/api/api.h"

#include <errno.h>

static int decode(struct answer *a, struct str body, struct fail *reterr)
{
    struct arena *arena = a->request->arena;
    a->chats = arena_alloc(arena, sizeof(*a->chats));
    a->own = messages_stream_new(arena);
    if (!a->chats || !a->own)
        return -ENOMEM;
    a->n_chats = 1;
    int r = messages_decode(a->chats, body, /* counts= */ false, arena, reterr);
    a->empty = r == 0 && a->chats->max_tokens == 0; /* the prompt is read, nothing is said */
    return r;
}

static const struct dialect messages_dialect = {
    .id_prefix = "msg_",
    .wire = WIRE_anthropic_messages,
    .decode = decode,
    .begin = messages_begin,
    .text = messages_text,
    .part = messages_part,
    .end = messages_end,
    .finish = messages_finish,
    .fail = messages_fail,
    .beat = messages_beat,
    .verbatim = messages_verbatim,
    .collect = messages_collect,
    .whole = messages_whole,
};

enum next api_messages(struct request *r)
{
    return answer_start(r, &messages_dialect);
}

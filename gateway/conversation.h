/*
 * Conversation: which turns belong together, by what the client says of them.
 */
#pragma once

#include "gateway/state.h"

struct conversation {
    bool known;
    struct sha256 key;
    struct str id; /* as the client names it; empty: it was told by its beginning */
    bool begins;   /* told by its beginning, and this is the first turn */
};

/*
 * In this order: the conversation header (of a policy that protects conversations), the session
 * header, x-session-id, x-claude-code-session-id, metadata.user_id, and the beginning of the
 * conversation: instructions and first user turn. Text is borrowed from the request. Pure.
 */
struct conversation conversation_of(const struct learning_settings *l,
                                    const struct chat_request *chat,
                                    const struct chat_pair *headers, size_t n_headers);
/* Its two halves: whether the client names it, and what is told by its beginning alone. */
bool conversation_named(struct conversation *ret, const struct learning_settings *l,
                        const struct chat_request *chat, const struct chat_pair *headers,
                        size_t n_headers);
struct conversation conversation_begun(const struct chat_request *chat);

/*
 * A client's body → the same body with some members replaced, every other byte kept.
 *
 * One pass over the text; the document is never built.
 */
#pragma once

#include "base/buf.h"
#include "engine/chat.h"

/* A member of the outermost object. */
struct splice {
    const char *key;
    struct str json; /* its new value; p NULL: it goes */
    bool keep;       /* only where the client has none */
    bool only_there; /* only where there is one to replace */
};

/* Appends `object` with the splices applied; those that replace nothing come first of all members.
 * 0, -EINVAL (no object), or the buffer's error. */
int splice_object(struct buf *out, struct str object, const struct splice *splices, size_t n);

/*
 * The body of a request as its engine must get it (request->source), in its own wire: the model's
 * name; what a route or a plugin changed (messages whose text was replaced keep their other
 * members, `chat_is_as_sent`; added ones are written); stream_options.include_usage where the wire
 * has it and it is streamed. 0, -EINVAL, -ENOMEM, -EMSGSIZE.
 */
int splice_request(struct buf *out, const struct chat_request *request, struct str model,
                   const struct splice *more, size_t n_more) MUST_USE;

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

enum { SPLICES_MAX = 64 }; /* at once */

/* Appends `object` with the splices applied; those that replace nothing come first of all members.
 * 0, -EINVAL (no object, more than SPLICES_MAX, or of the members that they are for), or the
 * buffer's error. */
int splice_object(struct buf *out, struct str object, const struct splice *splices, size_t n);

/* A member of an object that was found already. */
struct splice_place {
    struct str member; /* from its key's quote to the end of its value */
    struct str value;
    struct str json; /* its new value; p NULL: it goes */
};
/* Appends `object`, which begins with its brace, with the members at these places, in the order of
 * the text, replaced. The buffer keeps its error. */
void splice_places(struct buf *out, struct str object, const struct splice_place *places, size_t n);

/*
 * Of a wire, a message's source is the object that says it; what one object says as several
 * messages (results of tools beside text) has the same source, and what several items say as one
 * message has their run, commas included. The source of Anthropic's `system`, and of the Responses
 * API's `instructions` and of its `input` where that is a string, is that value.
 *
 * The body of a request as its engine must get it (request->source), in its own wire: the model's
 * name, unless empty; what a route or a plugin changed (messages whose text was replaced keep their
 * other members and the parts that are no text, `chat_is_as_sent`; added ones are written; and what
 * request->changed says, but for a format that wires do not have: choices, grammars and expressions
 * are the provider's to add); stream_options.include_usage where the wire has it and it is
 * streamed. `more` goes before all of it. 0, -EINVAL, -ENOMEM, -EMSGSIZE.
 */
int splice_request(struct buf *out, const struct chat_request *request, struct str model,
                   const struct splice *more, size_t n_more) MUST_USE;

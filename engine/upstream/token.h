/*
 * A credential that is fetched over HTTP, renewed before it ends, and fetched once at a time.
 *
 * Renewal runs on a loop of the transport: a minute or more before the end, by itself. What is sent
 * and what an answer means is its source's business.
 */
#pragma once

#include "base/buf.h"
#include "engine/chat.h"
#include "engine/upstream/transport.h"

/* One call to whoever gives it. Everything is wiped after it. */
struct token_ask {
    const char *method;
    struct buf url, body; /* never move (upstream/secret.h) */
    struct buf text;      /* room for what headers say; likewise */
    struct chat_pair headers[4];
    size_t n_headers;
};

/* On a loop's thread. A fetch has steps, 0 the first. */
struct token_source_ops {
    /* 0, negative errno: it cannot be asked for (a file is gone or holds no credentials). */
    int (*ask)(void *ctx, unsigned step, struct token_ask *ret);
    /* The answer of status 200 → the credential, appended (never moves), and how long it lives. 0;
     * 1: there is another step; -EBADMSG: it is none. */
    int (*read)(void *ctx, unsigned step, struct str body, struct buf *ret,
                uint64_t *ret_lifetime_s);
    void (*free)(void *ctx);
};
struct token_source {
    const struct token_source_ops *ops; /* NULL: none */
    void *ctx;
};

struct token;

/* Takes the source over, also where it fails; the first fetch begins. `name`: of the endpoint, for
 * the log; copied. The transport must live as long. 0 or -ENOMEM. */
int token_new(struct token **ret, struct transport *t, struct token_source source,
              struct str name) MUST_USE;
struct token *token_free(struct token *t); /* any thread, never waits; NULL is fine */
DEFINE_CLEANUP(struct token *, token_free);
/* Any thread. Appends the one that lives. -EAGAIN: there is none; it is being fetched. */
int token_get(struct token *t, struct buf *ret) MUST_USE;
/* Any thread. It was refused: it is not given any more, and another one is fetched. */
void token_refused(struct token *t);

#include "gateway/request.h"

#include "base/clock.h"
#include "engine/upstream/transport.h"
#include "gateway/answer.h"
#include "gateway/api/api.h"
#include "gateway/api/error.h"
#include "gateway/server.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/random.h>

enum { USUAL_BYTES = 5000 }; /* of a request that generates: itself, its answer, its headers */

/* "req_" and 24 characters: 120 random bits. */
static void make_id(char ret[static 32])
{
    enum { CHARACTERS = 24, AHEAD = 32 }; /* ids of one system call */
    static const char digits[] = "abcdefghijklmnopqrstuvwxyz234567";
    static _Thread_local unsigned char random[CHARACTERS * AHEAD];
    static _Thread_local size_t left;
    if (left == 0) {
        left = AHEAD;
        if (getrandom(random, sizeof(random), GRND_NONBLOCK) != (ssize_t)sizeof(random))
            left = 0;
    }
    if (left == 0) {
        uint64_t now = clock_us();
        for (size_t i = 0; i < CHARACTERS; i++) /* early boot: unique here is enough */
            random[i] = (unsigned char)(now >> (i % 8 * 5));
    }
    const unsigned char *mine = random + (left ? --left : 0) * CHARACTERS;
    memcpy(ret, "req_", 4);
    for (size_t i = 0; i < CHARACTERS; i++)
        ret[4 + i] = digits[mine[i] & 31];
    ret[4 + CHARACTERS] = '\0';
}

struct request *request_new(struct server *server, struct state *state)
{
    const struct transport_loop *here = transport_here();
    CLEANUP(arena_freep) struct arena *arena = arena_new_for(LIMIT_REQUEST_ARENA, USUAL_BYTES);
    struct request *r = arena ? arena_alloc(arena, sizeof(*r)) : NULL;
    if (!r || flow_init(&r->flow, /* connection= */ NULL) < 0)
        return NULL;
    r->arena = TAKE(arena);
    r->refs = 1;
    r->server = server;
    r->state = state;
    r->accepted_us = r->received_us = here ? transport_now_us(here) : clock_us();
    r->created_s = clock_wall_s();
    r->deadline_ms = CLOCK_NEVER;
    r->errors = &error_openai;
    r->reply.body = BUF_INIT(LIMIT_REQUEST_ARENA);
    make_id(r->made);
    memcpy(r->id, r->made, sizeof(r->made));
    return r;
}

struct request *request_ref(struct request *r)
{
    r->refs++;
    return r;
}

void request_settle(struct request *r)
{
    if (r->answer)
        answer_release_lease(r->answer);
}

void request_settle_here(struct request *r)
{
    if (!flow_take_settle(&r->flow))
        return;
    request_settle(r);
    request_unref(r); /* the connection holds another */
}

void request_unref(struct request *r)
{
    if (--r->refs > 0)
        return;
    struct server *server = r->server;
    if (r->answer)
        answer_done(r->answer);
    if (r->front_done)
        r->front_done(r->front);
    flow_done(&r->flow);
    buf_done(&r->body);
    buf_done(&r->reply.body);
    (void)state_unref(r->state);
    (void)arena_free(r->arena); /* it is in there itself */
    server_forget(server);
}

void request_cancel(struct request *r, enum flow_end why)
{
    if (flow_close(&r->flow, why) && r->answer)
        answer_cancel(r->answer);
}

/* ---- the reply ---- */

void reply_header(struct request *r, const char *name, struct str value)
{
    enum { FIRST = 12 };
    struct reply *p = &r->reply;
    if (value.n == 0 || p->n_headers == REPLY_HEADERS)
        return;
    struct str copy = arena_str(r->arena, value);
    struct chat_pair *headers =
        arena_room(r->arena, p->headers, p->n_headers, &p->cap_headers, FIRST, sizeof(*headers));
    if (!copy.p || !headers)
        return;
    p->headers = headers;
    p->headers[p->n_headers++] = (struct chat_pair){ str_of(name), copy };
}

void reply_header_u64(struct request *r, const char *name, uint64_t value)
{
    char text[32];
    struct buf b = BUF_ON(text);
    buf_add_u64(&b, value);
    reply_header(r, name, buf_str(&b));
}

void reply_headerf(struct request *r, const char *name, const char *fmt, ...)
{
    char text[1024];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    reply_header(r, name, str_of(text));
}

enum next reply_json(struct request *r)
{
    int err = buf_err(&r->reply.body);
    if (err < 0) {
        struct fail fail;
        (void)fail_errno(&fail, err, "rendering the answer");
        return reply_fail(r, &fail);
    }
    r->reply.status = 200;
    r->reply.type = "application/json";
    return NEXT_reply;
}

enum next reply_fail(struct request *r, const struct fail *fail)
{
    const struct error_dialect *d = r->errors;
    r->reply.status = d->status(fail);
    r->reply.type = "application/json";
    buf_clear(&r->reply.body);
    d->print(&r->reply.body, fail, r->id);
    if (fail->retry_after_s)
        reply_headerf(r, "Retry-After", "%u", fail->retry_after_s);
    if (fail->code == FAIL_invalid_api_key)
        reply_header(r, "WWW-Authenticate", STR("Bearer"));
    return NEXT_reply;
}

enum next reply_made(struct request *r)
{
    return r->reply.status ? NEXT_reply : reply_json(r);
}

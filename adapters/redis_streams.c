#include "adapters/redis_streams.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/clock.h"

#define LANE_TRIES 3 /* moves of its slot that a lane follows in one call */
#define ASKED_TEXT_MAX (64 * KIB)
#define EVERY_SLOT REDIS_CLUSTER_SLOTS

struct lane {
    unsigned slot;            /* EVERY_SLOT: without a Cluster */
    struct redis_node node;   /* its own connection to the server that has the slot */
    struct buf asked;         /* keys and ids that it waits for now; empty: it does not wait */
    uint64_t until_ms;        /* an answer must have come by then */
    unsigned tries;           /* in this call */
    size_t at[REDIS_STREAMS]; /* of this call: streams of its slot */
    size_t n;
};

struct redis_lanes {
    struct lane lane[REDIS_STREAMS];
    size_t n;
};

static void stop_waiting(struct lane *l)
{
    redis_node_hang_up(&l->node);
    buf_clear(&l->asked);
}

struct redis_lanes *redis_lanes_free(struct redis_lanes *l)
{
    for (size_t i = 0; l && i < l->n; i++) {
        redis_node_hang_up(&l->lane[i].node);
        buf_done(&l->lane[i].asked);
    }
    free(l);
    return NULL;
}

/* ---- which lane reads what ---- */

static struct lane *lane_of(struct redis_lanes *all, unsigned slot)
{
    struct lane *idle = NULL;
    for (size_t i = 0; i < all->n; i++) {
        if (all->lane[i].slot == slot)
            return &all->lane[i];
        if (all->lane[i].n == 0)
            idle = &all->lane[i];
    }
    if (all->n < REDIS_STREAMS)
        idle = &all->lane[all->n++];
    redis_node_hang_up(&idle->node); /* there is one: streams are no more than lanes */
    buf_done(&idle->asked);
    *idle = (struct lane){ .slot = slot, .asked = BUF_INIT(ASKED_TEXT_MAX) };
    return idle;
}

/* Two passes: a lane of no stream in this call may be taken by a slot that has none. */
static void deal(const struct redis_topology *t, struct redis_lanes *all,
                 const struct redis_wait *w)
{
    unsigned slot[REDIS_STREAMS] = { 0 };
    for (size_t i = 0; i < all->n; i++)
        all->lane[i].n = 0;
    for (size_t i = 0; i < w->n; i++) {
        slot[i] = t->slots ? redis_slot(w->keys[i]) : EVERY_SLOT;
        for (size_t k = 0; k < all->n; k++)
            if (all->lane[k].slot == slot[i])
                all->lane[k].at[all->lane[k].n++] = i;
    }
    for (size_t i = 0; i < w->n; i++) {
        struct lane *l = lane_of(all, slot[i]);
        bool has = false;
        for (size_t k = 0; k < l->n; k++)
            has = has || l->at[k] == i;
        if (!has)
            l->at[l->n++] = i;
    }
    for (size_t i = 0; i < all->n; i++) {
        all->lane[i].tries = 0;
        if (all->lane[i].n == 0)
            stop_waiting(&all->lane[i]);
    }
}

/* ---- one lane ---- */

static int say_asked(struct buf *b, const struct lane *l, const struct redis_wait *w)
{
    buf_clear(b);
    for (size_t i = 0; i < l->n; i++) {
        buf_add(b, w->keys[l->at[i]]);
        buf_addc(b, '\n');
        buf_add(b, w->ids[l->at[i]]);
        buf_addc(b, '\n');
    }
    return buf_err(b);
}

static int send_read(struct lane *l, const struct redis_wait *w, unsigned block_ms)
{
    struct str argv[6 + 2 * REDIS_STREAMS];
    char block[16], count[16];
    (void)snprintf(block, sizeof(block), "%u", block_ms);
    (void)snprintf(count, sizeof(count), "%u", w->count);
    struct str head[] = { STR("XREAD"), STR("COUNT"),  str_of(count),
                          STR("BLOCK"), str_of(block), STR("STREAMS") };
    memcpy(argv, head, sizeof(head));
    for (size_t i = 0; i < l->n; i++) {
        argv[ARRAY_LEN(head) + i] = w->keys[l->at[i]];
        argv[ARRAY_LEN(head) + l->n + i] = w->ids[l->at[i]];
    }
    return redis_wire_add(l->node.wire, argv, ARRAY_LEN(head) + 2 * l->n);
}

/* The lane waits at the right server for the right entries when it returns 0. */
static int set_out(struct redis_topology *t, struct lane *l, const struct redis_wait *w,
                   uint64_t deadline_ms, struct fail *reterr)
{
    CLEANUP(buf_done) struct buf asked = BUF_INIT(ASKED_TEXT_MAX);
    struct redis_node *server;
    uint64_t now = clock_ms();
    int r = redis_topology_route(t, w->keys[l->at[0]], &server, reterr);
    if (r == 0)
        r = say_asked(&asked, l, w);
    if (r != 0)
        return r;
    if (!redis_address_eq(&l->node.address, &server->address)) {
        buf_clear(&l->asked);
        redis_node_move(&l->node, &server->address);
    }
    if (l->asked.n > 0 && !str_eq(buf_str(&l->asked), buf_str(&asked)))
        stop_waiting(l);
    if (l->asked.n > 0)
        return 0;
    unsigned block_ms = deadline_ms > now ? (unsigned)(deadline_ms - now) : 1;
    r = redis_topology_connect(t, &l->node, reterr);
    if (r == 0)
        r = send_read(l, w, block_ms);
    if (r == 0)
        r = say_asked(&l->asked, l, w);
    l->until_ms = now + block_ms + t->login.timeout_ms;
    return r;
}

/* One [key, entries] of a reply to XREAD: the entries are moved to their stream. */
static bool take_entries(const struct lane *l, redisReply *stream, const struct redis_wait *w)
{
    if (stream->type != REDIS_REPLY_ARRAY || stream->elements != 2 ||
        stream->element[1]->type != REDIS_REPLY_ARRAY)
        return false;
    for (size_t i = 0; i < l->n; i++) {
        size_t at = l->at[i];
        if (w->ret[at] || !str_eq(redis_text(stream->element[0]), w->keys[at]))
            continue;
        w->ret[at] = stream->element[1];
        stream->element[1] = NULL;
        return true;
    }
    return false;
}

static int take_reply(struct redis_topology *t, struct lane *l, redisReply *reply,
                      const struct redis_wait *w, struct fail *reterr)
{
    struct redis_node *other;
    if (redis_topology_judge(t, &l->node, reply, &other) != REDIS_final) {
        stop_waiting(l);
        return ++l->tries > LANE_TRIES ? redis_error(reply, reterr) : 0;
    }
    buf_clear(&l->asked);
    if (reply->type == REDIS_REPLY_NIL)
        return 0;
    int r = redis_check(reply, REDIS_REPLY_ARRAY, reterr);
    for (size_t i = 0; r == 0 && i < reply->elements; i++)
        if (!take_entries(l, reply->element[i], w))
            r = redis_check(NULL, REDIS_REPLY_ARRAY, reterr);
    return r;
}

static int step(struct redis_topology *t, struct lane *l, const struct redis_wait *w,
                uint64_t deadline_ms, struct fail *reterr)
{
    CLEANUP(redis_reply_free) redisReply *reply = NULL;
    int r = set_out(t, l, w, deadline_ms, reterr);
    if (r == 0)
        r = redis_wire_pump(l->node.wire, &reply, reterr);
    if (r == 0 && reply)
        r = take_reply(t, l, reply, w, reterr);
    else if (r == 0 && clock_ms() >= l->until_ms)
        r = redis_unavailable(reterr, "no answer in time");
    if (r != 0) {
        stop_waiting(l);
        redis_topology_doubt(t);
    }
    return r;
}

/* ---- all of them ---- */

/* Sleeps until a lane can go on, a time passes, or the link is interrupted (FAILED). */
static int sleep_on(const struct redis_topology *t, const struct redis_lanes *all,
                    uint64_t deadline_ms, struct fail *reterr)
{
    struct pollfd fds[REDIS_STREAMS + 1] = { { .fd = t->login.wake_fd, .events = POLLIN } };
    nfds_t n = 1;
    for (size_t i = 0; i < all->n; i++) {
        const struct lane *l = &all->lane[i];
        if (l->n == 0)
            continue;
        if (l->asked.n == 0) /* its wait is over before ours: it sets out again */
            return 0;
        fds[n++] = (struct pollfd){ .fd = redis_wire_fd(l->node.wire),
                                    .events = redis_wire_events(l->node.wire) };
        if (l->until_ms < deadline_ms)
            deadline_ms = l->until_ms;
    }
    uint64_t now = clock_ms();
    int r = poll(fds, n, now >= deadline_ms ? 0 : (int)(deadline_ms - now));
    if (r < 0 && errno != EINTR)
        return -errno;
    return r > 0 && fds[0].revents ? redis_unavailable(reterr, "stopping") : 0;
}

static bool any_entries(const struct redis_wait *w)
{
    for (size_t i = 0; i < w->n; i++)
        if (w->ret[i])
            return true;
    return false;
}

/* One that fails does not keep back what others have read. */
static int step_all(struct redis_topology *t, struct redis_lanes *all, const struct redis_wait *w,
                    uint64_t deadline_ms, struct fail *reterr)
{
    int worst = 0;
    for (size_t i = 0; i < all->n; i++) {
        int r = all->lane[i].n ? step(t, &all->lane[i], w, deadline_ms, reterr) : 0;
        if (r < 0)
            return r;
        worst = r != 0 ? r : worst;
    }
    return any_entries(w) ? 0 : worst;
}

int redis_streams_wait(struct redis_topology *t, struct redis_lanes **lanes,
                       const struct redis_wait *w, struct fail *reterr)
{
    uint64_t deadline_ms = clock_ms() + w->block_ms;
    if (!*lanes && !(*lanes = calloc(1, sizeof(**lanes))))
        return -ENOMEM;
    deal(t, *lanes, w);
    for (;;) {
        int r = step_all(t, *lanes, w, deadline_ms, reterr);
        if (r != 0 || any_entries(w) || clock_ms() >= deadline_ms)
            return r;
        if ((r = sleep_on(t, *lanes, deadline_ms, reterr)) != 0)
            return r;
    }
}

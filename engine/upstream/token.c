#include "engine/upstream/token.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/thread.h"
#include "engine/upstream/inside.h"
#include "engine/upstream/secret.h"

enum {
    MS = 1000,
    CONNECT_MS = 5 * MS,
    FIRST_BYTE_MS = 10 * MS,
    TOTAL_MS = 15 * MS,
    EARLY_S = 180,
    EARLY_MIN_S = 60, /* renewed so long before its end, as its life allows */
    LAST_MS = 5 * MS, /* given out no longer: it would end on its way */
    RETRY_MIN_MS = 1 * MS,
    RETRY_MAX_MS = 10 * MS,
    FRESH_MS = 10 * MS, /* a refusal so soon after a fetch was of the one before */
    MAX_TEXT = 16 * KIB,
    MAX_ANSWER = 64 * KIB,
    LONG_S = 2 * EARLY_S,      /* who lives longer is renewed EARLY_S before the end */
    SHORT_S = 2 * EARLY_MIN_S, /* … EARLY_MIN_S before; others half-way */
    MAX_STEPS = 4,
};

struct token {
    atomic_uint refs; /* the owner's, and the loop's */
    struct transport_loop *loop;
    struct token_source source;
    char *name;
    struct transport_task kick, close;
    pthread_mutex_t lock;
    /* Under the lock. */
    struct buf value; /* never moves */
    uint64_t fetched_ms, renew_ms, end_ms;
    bool is_kicked; /* the task is under way */
    /* The loop's own. */
    struct transport_timer timer;
    struct call *call;
    struct token_ask ask;
    struct buf answer, next;
    unsigned status, step;
    uint64_t not_before_ms, wait_ms;
    bool is_closed;
};

static void start(struct token *t, unsigned step);

static void wipe_ask(struct token *t)
{
    secret_buf_done(&t->ask.url);
    secret_buf_done(&t->ask.body);
    secret_buf_done(&t->ask.text);
    t->ask = (struct token_ask){ 0 };
    secret_buf_done(&t->answer);
}

static void unref(struct token *t)
{
    if (atomic_fetch_sub(&t->refs, 1) != 1)
        return;
    if (t->source.ops)
        t->source.ops->free(t->source.ctx);
    wipe_ask(t);
    secret_buf_done(&t->next);
    secret_buf_done(&t->value);
    (void)pthread_mutex_destroy(&t->lock);
    free(t->name);
    free(t);
}

/* ---- on the loop ---- */

static void fire(struct transport_timer *timer)
{
    start(OF_MEMBER(struct token, timer, timer), 0);
}

/* Where there is no memory for it, the next one who asks begins it. */
static void later(struct token *t, uint64_t at_ms)
{
    if (transport_timer_set(t->loop, &t->timer, at_ms) != 0)
        transport_timer_clear(t->loop, &t->timer);
}

/* Tried again when the next one asks; before, as long as there is one that should be renewed. */
static void failed(struct token *t, const char *why)
{
    static struct log_rate rate;
    uint64_t now = clock_ms();
    t->wait_ms = t->wait_ms ? 2 * t->wait_ms : RETRY_MIN_MS;
    if (t->wait_ms > RETRY_MAX_MS)
        t->wait_ms = RETRY_MAX_MS;
    t->not_before_ms = now + t->wait_ms;
    log_rated(&rate, LOG_warn, "credentials_not_fetched",
              "endpoint=%s status=%u reason=\"%s\", continuing", t->name, t->status, why);
    (void)pthread_mutex_lock(&t->lock);
    bool lives = now < t->end_ms;
    (void)pthread_mutex_unlock(&t->lock);
    if (lives)
        later(t, t->not_before_ms);
}

static uint64_t early_s(uint64_t lifetime_s)
{
    if (lifetime_s > LONG_S)
        return EARLY_S;
    return lifetime_s > SHORT_S ? EARLY_MIN_S : lifetime_s / 2;
}

static void keep(struct token *t, uint64_t lifetime_s)
{
    uint64_t now = clock_ms();
    if (lifetime_s > UINT32_MAX)
        lifetime_s = UINT32_MAX;
    t->wait_ms = 0;
    t->not_before_ms = now + RETRY_MIN_MS;
    (void)pthread_mutex_lock(&t->lock);
    struct buf old = t->value;
    t->value = t->next;
    t->fetched_ms = now;
    t->renew_ms = now + (lifetime_s - early_s(lifetime_s)) * MS;
    t->end_ms = now + lifetime_s * MS;
    uint64_t renew_ms = t->renew_ms;
    (void)pthread_mutex_unlock(&t->lock);
    t->next = (struct buf){ 0 };
    secret_buf_done(&old);
    later(t, renew_ms);
}

static void on_head(void *owner, const struct call_head *head)
{
    ((struct token *)owner)->status = head->status;
}

static void on_body(void *owner, struct str bytes)
{
    buf_add(&((struct token *)owner)->answer, bytes);
}

static void on_end(void *owner, const struct call_end *end)
{
    struct token *t = owner;
    uint64_t lifetime_s = 0;
    t->call = call_unref(t->call);
    if (t->is_closed) {
        unref(t);
        return;
    }
    int r = -EBADMSG;
    const char *why = end->outcome == CALL_complete ? "it was refused" : end->message;
    if (end->outcome == CALL_complete && t->status == 200 && buf_err(&t->answer) == 0) {
        r = t->source.ops->read(t->source.ctx, t->step, buf_str(&t->answer), &t->next, &lifetime_s);
        why = "the answer holds none";
    }
    wipe_ask(t);
    if (r == 1 && t->step + 1 < MAX_STEPS)
        start(t, t->step + 1);
    else if (r == 0 && t->next.n && buf_err(&t->next) == 0)
        keep(t, lifetime_s);
    else
        failed(t, why);
}

static int prepare(struct token *t)
{
    int r = secret_buf(&t->ask.url, MAX_TEXT);
    if (r == 0)
        r = secret_buf(&t->ask.body, MAX_TEXT);
    if (r == 0)
        r = secret_buf(&t->ask.text, MAX_TEXT);
    if (r == 0)
        r = secret_buf(&t->answer, MAX_ANSWER);
    secret_buf_done(&t->next);
    if (r == 0)
        r = secret_buf(&t->next, MAX_TEXT);
    if (r == 0)
        r = t->source.ops->ask(t->source.ctx, t->step, &t->ask);
    if (r == 0)
        r = buf_err(&t->ask.url);
    if (r == 0)
        r = buf_err(&t->ask.body);
    return r != 0 ? r : buf_err(&t->ask.text);
}

static void start(struct token *t, unsigned step)
{
    static const struct call_handler handler = { on_head, on_body, on_end };
    transport_timer_clear(t->loop, &t->timer);
    t->status = 0;
    t->step = step;
    int r = prepare(t);
    if (r == 0) {
        struct call_spec spec = {
            .method = t->ask.method,
            .url = t->ask.url.p,
            .headers = t->ask.headers,
            .n_headers = t->ask.n_headers,
            .body = buf_str(&t->ask.body),
            .connect_ms = CONNECT_MS,
            .first_byte_ms = FIRST_BYTE_MS,
            .deadline_ms = clock_ms() + TOTAL_MS,
            .handler = &handler,
            .owner = t,
        };
        r = call_start(t->loop, &t->call, &spec);
    }
    if (r == 0)
        return;
    wipe_ask(t);
    failed(t, strerror(r < 0 ? -r : r));
}

static void run_kick(struct transport_task *task)
{
    struct token *t = OF_MEMBER(struct token, kick, task);
    (void)pthread_mutex_lock(&t->lock);
    t->is_kicked = false;
    (void)pthread_mutex_unlock(&t->lock);
    if (t->call || clock_ms() < t->not_before_ms)
        return;
    start(t, 0);
}

static void run_close(struct transport_task *task)
{
    struct token *t = OF_MEMBER(struct token, close, task);
    transport_timer_clear(t->loop, &t->timer);
    t->is_closed = true;
    if (t->call)
        call_cancel(t->call); /* its end drops the loop's reference, now or later */
    else
        unref(t);
}

/* ---- for everybody ---- */

/* Under the lock. true: the caller posts the task once it has let go of it. */
static bool take_kick(struct token *t)
{
    bool is_first = !t->is_kicked;
    t->is_kicked = true;
    return is_first;
}

int token_new(struct token **ret, struct transport *transport, struct token_source source,
              struct str name)
{
    struct token *t = calloc(1, sizeof(*t));
    if (!t) {
        source.ops->free(source.ctx);
        return -ENOMEM;
    }
    atomic_init(&t->refs, 1);
    (void)pthread_mutex_init(&t->lock, NULL);
    t->source = source;
    t->name = str_dup(name);
    if (!t->name) {
        unref(t);
        return -ENOMEM;
    }
    t->loop = transport_loop(transport, 0);
    t->kick.run = run_kick;
    t->close.run = run_close;
    t->timer.fire = fire;
    atomic_store(&t->refs, 2);
    t->is_kicked = true; /* nobody else knows it yet */
    transport_post(t->loop, &t->kick);
    *ret = t;
    return 0;
}

struct token *token_free(struct token *t)
{
    if (t) {
        transport_post(t->loop, &t->close);
        unref(t);
    }
    return NULL;
}

int token_get(struct token *t, struct buf *ret)
{
    uint64_t now = clock_ms();
    bool lives, is_due;
    {
        LOCKED(&t->lock);
        lives = now + LAST_MS < t->end_ms;
        is_due = (!lives || now >= t->renew_ms) && take_kick(t);
        if (lives)
            buf_add(ret, buf_str(&t->value));
    }
    if (is_due)
        transport_post(t->loop, &t->kick);
    return lives ? buf_err(ret) : -EAGAIN;
}

void token_refused(struct token *t)
{
    bool is_due = false;
    {
        LOCKED(&t->lock);
        if (clock_ms() >= t->fetched_ms + FRESH_MS) {
            t->end_ms = 0;
            is_due = take_kick(t);
        }
    }
    if (is_due)
        transport_post(t->loop, &t->kick);
}

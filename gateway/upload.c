#include "gateway/upload.h"

#include "base/clock.h"
#include "gateway/api/error.h"
#include "gateway/request.h"

#include <microhttpd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

enum {
    TICKS_OVER = 3,        /* what the library has taken by then, it has told us */
    ANSWER_MAX = 16 * 1024 /* bytes of an answer by hand */
};

void upload_begin(struct request *r)
{
    uint64_t now = r->accepted_us / 1000;
    r->upload = (struct upload){ .is_coming = true, .began_ms = now, .moved_ms = now };
}

void upload_move(struct request *r, size_t n)
{
    uint64_t now = flow_now_us(&r->flow) / 1000;
    LOCKED(&r->flow.lock);
    r->upload.moved_ms = now;
    r->upload.bytes += n;
}

bool upload_end(struct request *r)
{
    LOCKED(&r->flow.lock);
    r->upload.is_coming = false;
    return r->upload.has_left;
}

bool upload_leave(struct request *r)
{
    LOCKED(&r->flow.lock);
    r->upload.has_left = r->upload.is_coming;
    return r->upload.is_coming;
}

unsigned upload_reply(const struct request *r, int fd, const struct refusal *f)
{
    CLEANUP(buf_done) struct buf all = BUF_INIT(ANSWER_MAX);
    buf_addf(&all, "HTTP/1.1 %u %s\r\nConnection: close\r\nx-request-id: %s\r\n", f->status,
             MHD_get_reason_phrase_for(f->status), r->id);
    if (f->retry_after_s)
        buf_addf(&all, "Retry-After: %u\r\n", f->retry_after_s);
    buf_addf(&all, "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n", f->body.n);
    buf_add(&all, f->body);
    if (buf_err(&all) < 0)
        return 0;
    ssize_t n = send(fd, all.p, all.n, MSG_NOSIGNAL | MSG_DONTWAIT);
    return n == (ssize_t)all.n ? f->status : 0;
}

unsigned upload_answer(const struct request *r, int fd, const struct fail *fail)
{
    CLEANUP(buf_done) struct buf body = BUF_INIT(ANSWER_MAX);
    r->errors->print(&body, fail, r->id);
    struct refusal f = { r->errors->status(fail), fail->retry_after_s, buf_str(&body) };
    return buf_err(&body) < 0 ? 0 : upload_reply(r, fd, &f);
}

/* Under the lock. fail: NULL: nobody is there to be told. */
static void cut(struct request *r, int fd, const struct fail *fail)
{
    r->upload.is_coming = false; /* once */
    if (fail)
        r->upload.status = upload_answer(r, fd, fail);
    (void)shutdown(fd, SHUT_RDWR);
}

static bool is_drained(int fd)
{
    int unread = 0;
    return ioctl(fd, FIONREAD, &unread) < 0 || unread == 0;
}

/* How long a body may take of which so much came. */
static uint64_t time_of(const struct config_gateway *g, uint64_t bytes)
{
    enum { SECOND_MS = 1000 };
    return g->body_time_ms + (g->body_rate ? bytes / g->body_rate * SECOND_MS : 0);
}

void upload_look(struct request *r, int fd, uint64_t now_ms)
{
    const struct config_gateway *g = &r->state->config->gateway;
    struct upload *u = &r->upload;
    LOCKED(&r->flow.lock);
    if (!u->is_coming)
        return;
    if (u->has_left) {
        u->ticks_over = is_drained(fd) ? u->ticks_over + 1 : 0;
        if (u->ticks_over >= TICKS_OVER)
            cut(r, fd, /* fail= */ NULL);
    } else if (now_ms >= u->moved_ms + g->body_idle_ms) {
        struct fail fail = { 0 };
        (void)fail_set(&fail, FAIL_request_timeout,
                       "no byte of the body came for %llu ms (gateway.limits.body_idle)",
                       (unsigned long long)g->body_idle_ms);
        cut(r, fd, &fail);
    } else if (now_ms >= u->began_ms + time_of(g, u->bytes)) {
        struct fail fail = { 0 };
        (void)fail_set(&fail, FAIL_request_timeout,
                       "the body comes too slowly: %llu bytes in %llu ms "
                       "(gateway.limits.body_time, body_rate)",
                       (unsigned long long)u->bytes, (unsigned long long)(now_ms - u->began_ms));
        cut(r, fd, &fail);
    }
}

void upload_stop(struct request *r, int fd)
{
    struct fail fail = { 0 };
    (void)fail_set(&fail, FAIL_overloaded, "the gateway stops; ask again");
    fail.retry_after_s = 1;
    LOCKED(&r->flow.lock);
    if (r->upload.is_coming)
        cut(r, fd, &fail);
}

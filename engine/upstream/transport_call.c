/*
 * A call: its request as curl wants it, its answer as curl tells it.
 *
 * A call owns an easy handle for life and is used again, so that a request costs no handle, no
 * list of headers and few options.
 */
#include "engine/upstream/transport_inner.h"

#include <errno.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "base/clock.h"

/* of a transfer; curl adds one byte: what each stream holds while it waits */
#define BUFFER_BYTES 4095l
#define UPLOAD_BYTES 32768l  /* likewise, of a body that does not go out at once */
#define UPLOAD_AT_ONCE 65536 /* curl sends such a body with the head */
#define UPLOAD_LOOK_MS 200
#define KEEP_ALIVE_S 30l /* probes of the kernel on silent connections */
#define MAX_AGE_S 600l   /* balancers and names behind move on */
#define MAX_HEAD_DEFAULT (256 * KIB)
#define KEEP_IDLE_CALLS 256 /* of a loop, for the next ones */
#define KEEP_BYTES (16 * KIB)

struct str call_header(const struct call_head *head, const char *name)
{
    for (size_t i = 0; i < head->n; i++)
        if (str_is(head->headers[i].key, name))
            return head->headers[i].value;
    return STR_NULL;
}

/* ---- lists ---- */

static void link_in(struct call **list, struct call *c)
{
    c->next = *list;
    c->prev = list;
    if (c->next)
        c->next->prev = &c->next;
    *list = c;
}

static void link_out(struct call *c)
{
    *c->prev = c->next;
    if (c->next)
        c->next->prev = c->prev;
    c->next = NULL;
    c->prev = NULL;
}

void call_queue(struct call *c, enum call_work work)
{
    struct transport_loop *l = c->loop;
    if (!c->work) {
        c->todo_next = NULL;
        *l->todo_end = c;
        l->todo_end = &c->todo_next;
    }
    c->work |= (unsigned)work;
}

void call_stop(struct call *c, enum call_outcome outcome)
{
    if (!c->is_active || c->is_stopped)
        return;
    c->is_stopped = true;
    c->verdict = outcome;
    call_queue(c, WORK_stop);
}

/* ---- deadlines ---- */

/* When the phase that the call is in will have taken too long; CLOCK_NEVER: never. */
static uint64_t phase_end(const struct call *c, enum call_outcome *ret)
{
    uint64_t span = c->spec.idle_ms;
    *ret = CALL_timeout_idle;
    if (!c->connect_us) {
        *ret = CALL_timeout_connect;
        span = c->spec.connect_ms;
    } else if (!c->has_head) {
        *ret = CALL_timeout_first;
        span = c->spec.first_byte_ms;
    } else if (c->is_paused) {
        span = 0;
    }
    return span ? c->last_ms + span : CLOCK_NEVER;
}

/* The timer only ever needs to be moved forward when a phase begins: one that is early looks. */
static void arm_at(struct call *c, uint64_t at)
{
    if (at < c->timer.at_ms) /* moved, never added: it cannot fail */
        (void)!transport_timer_set(c->loop, &c->timer, at);
}

static void arm(struct call *c)
{
    enum call_outcome outcome;
    uint64_t at = phase_end(c, &outcome);
    arm_at(c, at < c->spec.deadline_ms ? at : c->spec.deadline_ms);
}

/* Bytes of the body that the other side has: what waits in the kernel has not got there. */
static uint64_t arrived(const struct call *c)
{
    curl_off_t sent = 0;
    curl_socket_t fd = CURL_SOCKET_BAD;
    int waiting = 0;
    (void)curl_easy_getinfo(c->easy, CURLINFO_SIZE_UPLOAD_T, &sent);
    (void)curl_easy_getinfo(c->easy, CURLINFO_ACTIVESOCKET, &fd);
    if (fd != CURL_SOCKET_BAD && ioctl(fd, SIOCOUTQ, &waiting) < 0)
        waiting = 0;
    return sent > waiting ? (uint64_t)(sent - waiting) : 0;
}

/* A body that does not go out at once is looked after: the wait for the first byte of the answer
 * begins when the last of it is there. Returns whether some of it is left. */
static bool look_after_upload(struct call *c, uint64_t now)
{
    bool is_large = c->spec.body.n > UPLOAD_AT_ONCE;
    if (!is_large || c->has_head || !c->connect_us || c->uploaded >= c->spec.body.n)
        return false;
    uint64_t n = arrived(c);
    if (n > c->uploaded)
        c->last_ms = now;
    c->uploaded = n;
    return n < c->spec.body.n;
}

static void on_timer(struct transport_timer *timer)
{
    struct call *c = (struct call *)((char *)timer - offsetof(struct call, timer));
    uint64_t now = c->loop->now_us / 1000;
    if (now >= c->spec.deadline_ms) {
        call_stop(c, CALL_timeout_total);
        return;
    }
    bool is_uploading = look_after_upload(c, now);
    enum call_outcome outcome;
    uint64_t at = phase_end(c, &outcome);
    if (now >= at) {
        call_stop(c, outcome);
        return;
    }
    timer->at_ms = CLOCK_NEVER;
    (void)!transport_timer_set(c->loop, timer, CLOCK_NEVER); /* there is room: it stood there */
    arm(c);
    if (is_uploading)
        arm_at(c, now + UPLOAD_LOOK_MS);
}

/* ---- the answer ---- */

static size_t malformed(struct call *c, const char *why)
{
    c->is_malformed = true;
    c->why = why;
    return 0;
}

static void begin_phase(struct call *c)
{
    c->last_ms = c->loop->now_us / 1000;
    arm(c);
}

/* "HTTP/1.1 200 OK"; 0: not that. */
static unsigned status_of(struct str line)
{
    struct str version, rest;
    if (!str_cut(line, ' ', &version, &rest))
        return 0;
    unsigned status = 0;
    for (size_t i = 0; i < rest.n && i < 3 && rest.p[i] >= '0' && rest.p[i] <= '9'; i++)
        status = status * 10 + (unsigned)(rest.p[i] - '0');
    return status;
}

static void add_lower(struct buf *b, struct str s)
{
    char *to = buf_space(b, s.n);
    if (!to)
        return;
    for (size_t i = 0; i < s.n; i++)
        to[i] = (char)(s.p[i] >= 'A' && s.p[i] <= 'Z' ? s.p[i] | 0x20 : s.p[i]);
    b->n += s.n;
}

static int add_pair(struct call *c, struct str name, struct str value)
{
    enum { FIRST = 8 };
    if (c->n_pairs == c->cap_pairs) {
        size_t cap = c->cap_pairs ? c->cap_pairs * 2 : FIRST;
        struct chat_pair *pairs = reallocarray(c->pairs, cap, sizeof(*pairs));
        if (!pairs)
            return -ENOMEM;
        c->pairs = pairs;
        c->cap_pairs = cap;
    }
    /* where they lie is filled in when the head is whole (tell_head) */
    c->pairs[c->n_pairs++] = (struct chat_pair){ { NULL, name.n }, { NULL, value.n } };
    add_lower(&c->head, name);
    buf_add(&c->head, value);
    return buf_err(&c->head);
}

/* obs-fold (RFC 9112, section 5.2): it goes on with the value before. */
static int add_fold(struct call *c, struct str line)
{
    if (!c->n_pairs)
        return 0;
    struct str more = str_trim(line);
    buf_addc(&c->head, ' ');
    buf_add(&c->head, more);
    c->pairs[c->n_pairs - 1].value.n += more.n + 1;
    return buf_err(&c->head);
}

static size_t tell_head(struct call *c, size_t n)
{
    const char *at = c->head.p;
    for (size_t i = 0; i < c->n_pairs; i++) {
        c->pairs[i].key.p = at;
        at += c->pairs[i].key.n;
        c->pairs[i].value.p = at;
        at += c->pairs[i].value.n;
    }
    struct call_head head = { c->status, c->pairs, c->n_pairs };
    int r = coding_new(&c->coding, call_header(&head, "content-encoding"));
    if (r == -EINVAL)
        return malformed(c, "the answer has a content coding that cannot be unpacked");
    if (r < 0)
        return 0;
    c->has_head = true;
    begin_phase(c);
    if (c->spec.handler->on_head)
        c->spec.handler->on_head(c->spec.owner, &head);
    return c->is_stopped ? 0 : n;
}

/* A line of a head, or a trailer; 0 has curl give up. */
static size_t on_header(const char *bytes, size_t size, size_t n, void *owner)
{
    struct call *c = owner;
    n *= size;
    if (c->is_stopped)
        return 0;
    if (!c->first_byte_us)
        c->first_byte_us = c->loop->now_us;
    if (c->has_head) /* trailers: what may be sent twice is not told twice */
        return n;
    struct str line = { bytes, n };
    if (str_starts(line, STR("HTTP/"))) {
        c->status = status_of(line);
        c->n_pairs = 0;
        c->head_bytes = 0;
        buf_clear(&c->head);
    }
    c->head_bytes += n;
    if (c->head_bytes > c->head.max)
        return malformed(c, "the head of the answer is larger than allowed");
    while (line.n && (line.p[line.n - 1] == '\n' || line.p[line.n - 1] == '\r'))
        line.n--;
    if (!line.n)
        return c->status >= 200 ? tell_head(c, n) : n;
    struct str name, value;
    int r = 0;
    if (line.p[0] == ' ' || line.p[0] == '\t')
        r = add_fold(c, line);
    else if (c->head_bytes > n && str_cut(line, ':', &name, &value))
        r = add_pair(c, str_trim(name), str_trim(value));
    return r < 0 ? 0 : n;
}

static bool tell_body(void *owner, struct str bytes)
{
    struct call *c = owner;
    c->received += bytes.n;
    if (c->spec.handler->on_body)
        c->spec.handler->on_body(c->spec.owner, bytes);
    return !c->is_paused && !c->is_stopped;
}

static size_t on_body(const char *bytes, size_t size, size_t n, void *owner)
{
    struct call *c = owner;
    n *= size;
    if (c->is_stopped)
        return 0;
    c->last_ms = c->loop->now_us / 1000;
    if (c->is_paused) {
        c->is_held = true;
        return CURL_WRITEFUNC_PAUSE;
    }
    if (!c->coding) {
        (void)tell_body(c, (struct str){ bytes, n });
        return c->is_stopped ? 0 : n;
    }
    int r = coding_push(c->coding, (struct str){ bytes, n }, (struct coding_out){ tell_body, c });
    if (c->is_stopped)
        return 0;
    if (r == -EAGAIN) {
        c->is_held = true;
        return CURL_WRITEFUNC_PAUSE;
    }
    if (r == -EINVAL)
        return malformed(c, "the answer's body cannot be unpacked");
    return r < 0 ? 0 : n;
}

/* The connection is there, new or used before; the request goes out next. */
static int on_connected(void *owner, char *remote, char *local, int remote_port, int local_port)
{
    struct call *c = owner;
    if (c->is_stopped)
        return CURL_PREREQFUNC_ABORT;
    if (!c->connect_us) {
        c->connect_us = c->loop->now_us;
        c->last_ms = c->connect_us / 1000;
        arm(c);
        if (c->spec.first_byte_ms && c->spec.body.n > UPLOAD_AT_ONCE)
            arm_at(c, c->last_ms + UPLOAD_LOOK_MS);
    }
    /* Should the pooled connection turn out to be dead, curl tries once more: not another one of
     * the pool then, for a request must not be sent many times. */
    (void)curl_easy_setopt(c->easy, CURLOPT_FRESH_CONNECT, 1l);
    return CURL_PREREQFUNC_OK;
}

/* ---- the request ---- */

/* What curl is told once, for the handle's life. */
static int set_up(struct call *c)
{
    struct transport_loop *l = c->loop;
    const struct transport_config *k = &l->owner->config;
    CURL *e = c->easy;
    (void)curl_easy_setopt(e, CURLOPT_PRIVATE, c);
    (void)curl_easy_setopt(e, CURLOPT_ERRORBUFFER, c->error);
    (void)curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1l);
    (void)curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0l);
    (void)curl_easy_setopt(e, CURLOPT_PATH_AS_IS, 1l);
    (void)curl_easy_setopt(e, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1l);
    (void)curl_easy_setopt(e, CURLOPT_BUFFERSIZE, BUFFER_BYTES);
    (void)curl_easy_setopt(e, CURLOPT_UPLOAD_BUFFERSIZE, UPLOAD_BYTES);
    (void)curl_easy_setopt(e, CURLOPT_TCP_NODELAY, 1l);
    (void)curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1l);
    (void)curl_easy_setopt(e, CURLOPT_TCP_KEEPIDLE, KEEP_ALIVE_S);
    (void)curl_easy_setopt(e, CURLOPT_TCP_KEEPINTVL, KEEP_ALIVE_S);
    (void)curl_easy_setopt(e, CURLOPT_MAXLIFETIME_CONN,
                           k->max_age_s ? (long)k->max_age_s : MAX_AGE_S);
    (void)curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
    (void)curl_easy_setopt(e, CURLOPT_HEADERDATA, c);
    (void)curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl_easy_setopt(e, CURLOPT_WRITEDATA, c);
    (void)curl_easy_setopt(e, CURLOPT_PREREQFUNCTION, on_connected);
    (void)curl_easy_setopt(e, CURLOPT_PREREQDATA, c);
    (void)curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, loop_open_socket);
    (void)curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, c);
    (void)curl_easy_setopt(e, CURLOPT_CLOSESOCKETFUNCTION, loop_close_socket);
    (void)curl_easy_setopt(e, CURLOPT_CLOSESOCKETDATA, l);
    (void)curl_easy_setopt(e, CURLOPT_SHARE, l->share);
    (void)curl_easy_setopt(e, CURLOPT_PIPEWAIT, 1l);
    /* a call that ends while its name is being looked up must not wait for the resolver */
    (void)curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1l);
    /* without a folder of CAs curl reads the file once, not for each connection */
    (void)curl_easy_setopt(e, CURLOPT_CAPATH, NULL);
    (void)curl_easy_setopt(e, CURLOPT_PROXY_CAINFO, NULL);
    (void)curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    /* the environment's proxies are not for us, nor is it asked for each call */
    return curl_easy_setopt(e, CURLOPT_NOPROXY, "*") ? -ENOMEM : 0;
}

static int call_new(struct call **ret, struct transport_loop *l)
{
    struct call *c = l->idle;
    if (c) {
        link_out(c);
        l->n_idle--;
        *ret = c;
        return 0;
    }
    c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    c->loop = l;
    c->text = BUF_INIT(LIMIT_HEADER * 4);
    c->parts = curl_url();
    c->easy = curl_easy_init();
    if (!c->parts || !c->easy || set_up(c) < 0) {
        call_destroy(c);
        return -ENOMEM;
    }
    *ret = c;
    return 0;
}

void call_destroy(struct call *c)
{
    if (c->easy)
        curl_easy_cleanup(c->easy);
    buf_done(&c->text);
    buf_done(&c->head);
    free(c->lines);
    free(c->url);
    curl_url_cleanup(c->parts);
    free(c->pairs);
    (void)coding_free(c->coding);
    free(c);
}

/* Everything of the call before, but what curl has set. */
static void forget(struct call *c)
{
    if (c->text.cap > KEEP_BYTES)
        buf_done(&c->text);
    if (c->head.cap > KEEP_BYTES)
        buf_done(&c->head);
    buf_clear(&c->head);
    c->coding = coding_free(c->coding);
    c->work = 0;
    c->connect_us = c->first_byte_us = c->uploaded = c->sent = c->received = 0;
    c->is_added = c->is_active = c->is_paused = c->is_held = c->is_stopped = false;
    c->was_retried = c->was_reused = c->was_sent = c->has_head = c->is_malformed = false;
    c->verdict = CALL_complete;
    c->why = NULL;
    c->status = 0;
    c->n_pairs = c->head_bytes = 0;
    c->error[0] = '\0';
}

static void give_back(struct call *c)
{
    struct transport_loop *l = c->loop;
    forget(c);
    if (l->n_idle >= KEEP_IDLE_CALLS) {
        call_destroy(c);
        return;
    }
    link_in(&l->idle, c);
    l->n_idle++;
}

int call_start(struct transport_loop *l, struct call **ret, const struct call_spec *spec)
{
    if (l->closed)
        return -ECANCELED;
    struct call *c = NULL;
    int r = call_new(&c, l);
    if (r < 0)
        return r;
    r = call_write(c, spec);
    if (!r)
        r = transport_timer_set(l, &c->timer, CLOCK_NEVER);
    if (r < 0) {
        give_back(c);
        return r;
    }
    c->timer.fire = on_timer;
    c->spec = *spec;
    c->spec.url = c->url;
    c->spec.headers = NULL;
    c->spec.n_headers = 0;
    c->head.max = spec->max_head ? spec->max_head : MAX_HEAD_DEFAULT;
    c->start_us = l->now_us;
    c->last_ms = c->start_us / 1000;
    c->refs = 2; /* the caller's and, until on_end, the loop's */
    c->is_active = true;
    link_in(&l->active, c);
    arm(c);
    call_queue(c, WORK_start);
    *ret = c;
    return 0;
}

void call_cancel(struct call *c)
{
    call_stop(c, CALL_cancelled);
}

void call_pause(struct call *c, bool paused)
{
    if (!c->is_active || c->is_stopped || c->is_paused == paused)
        return;
    c->is_paused = paused;
    if (paused)
        return;
    if (c->has_head)
        begin_phase(c);
    if (c->is_held) /* never from here: its bytes would be told inside of this call */
        call_queue(c, WORK_resume);
}

bool call_is_sent(const struct call *c)
{
    curl_off_t sent = 0;
    (void)curl_easy_getinfo(c->easy, CURLINFO_SIZE_UPLOAD_T, &sent);
    return c->has_head && (uint64_t)sent == c->spec.body.n;
}

struct call *call_unref(struct call *c)
{
    if (!c || --c->refs)
        return NULL;
    if (c->loop) {
        link_out(c);
        give_back(c);
    } else {
        call_destroy(c);
    }
    return NULL;
}

/* ---- its work, outside of curl ---- */

/* Work that was left for a call that ended by itself meanwhile. */
static void unqueue(struct call *c)
{
    struct transport_loop *l = c->loop;
    struct call **at = &l->todo;
    while (*at && *at != c)
        at = &(*at)->todo_next;
    if (!*at)
        return;
    *at = c->todo_next;
    if (!*at)
        l->todo_end = at;
    c->work = 0;
}

static void end(struct call *c, CURLcode result)
{
    struct transport_loop *l = c->loop;
    struct call_end told = { 0 };
    if (c->work)
        unqueue(c);
    call_judge(c, result, &told);
    transport_timer_clear(l, &c->timer);
    c->is_active = false;
    c->coding = coding_free(c->coding);
    link_out(c);
    link_in(&l->held, c);
    c->spec.handler->on_end(c->spec.owner, &told);
    (void)call_unref(c);
}

static void leave_curl(struct call *c)
{
    if (c->is_added)
        (void)curl_multi_remove_handle(c->loop->multi, c->easy);
    c->is_added = false;
}

static void enter_curl(struct call *c)
{
    CURLMcode r = curl_multi_add_handle(c->loop->multi, c->easy);
    if (r) {
        c->is_stopped = true;
        c->verdict = CALL_failed;
        end(c, CURLE_OUT_OF_MEMORY);
        return;
    }
    c->is_added = true;
}

/* A pooled connection that died under the request, in a way that curl itself does not try again:
 * while a large body was still going out. */
static bool may_retry(const struct call *c, CURLcode result)
{
    return (result == CURLE_SEND_ERROR || result == CURLE_RECV_ERROR ||
            result == CURLE_GOT_NOTHING) &&
           c->was_reused && !c->was_retried && !c->first_byte_us && !c->is_stopped;
}

void call_finished(struct call *c, CURLcode result)
{
    long made = 0, request = 0;
    curl_off_t sent = 0;
    (void)curl_easy_getinfo(c->easy, CURLINFO_REQUEST_SIZE, &request);
    (void)curl_easy_getinfo(c->easy, CURLINFO_NUM_CONNECTS, &made);
    (void)curl_easy_getinfo(c->easy, CURLINFO_SIZE_UPLOAD_T, &sent);
    c->was_reused = c->connect_us && !made;
    c->was_sent = c->was_sent || request > 0;
    c->sent = (uint64_t)sent;
    leave_curl(c);
    if (may_retry(c, result)) {
        c->was_retried = true;
        call_queue(c, WORK_start); /* on_connected asked for a fresh connection */
        return;
    }
    end(c, result);
}

static void resume(struct call *c)
{
    if (c->is_paused || !c->is_held || !c->is_added)
        return;
    c->is_held = false;
    CURLcode r = curl_easy_pause(c->easy, CURLPAUSE_CONT);
    if (r && !c->is_stopped)
        call_finished(c, r);
}

void call_work(struct call *c)
{
    unsigned work = c->work;
    c->work = 0;
    if (work & WORK_stop) {
        if (c->is_added)
            call_finished(c, CURLE_ABORTED_BY_CALLBACK);
        else
            end(c, CURLE_ABORTED_BY_CALLBACK);
    } else if (work & WORK_start) {
        enter_curl(c);
    } else {
        resume(c);
    }
}

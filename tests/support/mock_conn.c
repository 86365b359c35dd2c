#include "base/clock.h"
#include "base/num.h"
#include "tests/support/mock_loop.h"

#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    IN_ROOM = 4096,
    BATCH = 32768,        /* frames without a pace are sent in groups of so many bytes */
    OUT_KEPT = 256 << 10, /* larger buffers are given back */
    SPLIT_PAUSE_MS = 3,
    HOLD_POLL_MS = 1,
};
#define MOST_REQUEST ((size_t)1 << 30)

/* ---- life ---- */

struct mock_conn *mock_conn_new(struct mock_loop *l, int fd)
{
    struct mock_conn *c = calloc(1, sizeof(*c));
    char *in = malloc(IN_ROOM);

    if (!c || !in)
        goto failed;
    *c = (struct mock_conn){ .loop = l,
                             .fd = fd,
                             .in = in,
                             .in_room = IN_ROOM,
                             .number = ++l->next_number,
                             .connected_us = l->now_us,
                             .out = BUF_INIT(MOST_REQUEST),
                             .body = BUF_INIT(MOST_REQUEST),
                             .render = MOCK_RENDER_INIT,
                             .record = MOCK_NO_TRY };
    if (l->tls) {
        c->tls = SSL_new(l->tls);
        if (!c->tls || SSL_set_fd(c->tls, fd) != 1)
            goto failed;
        SSL_set_accept_state(c->tls);
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
    struct epoll_event e = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c };
    if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &e) < 0)
        goto failed;
    c->place = &l->conns;
    c->next = l->conns;
    if (c->next)
        c->next->place = &c->next;
    l->conns = c;
    mock_count(l->stats, MOCK_COUNT_connections, 1);
    mock_count(l->stats, MOCK_COUNT_open, 1);
    return c;
failed:
    if (c)
        SSL_free(c->tls);
    free(in);
    free(c);
    (void)close(fd);
    return NULL;
}

static void record(struct mock_conn *c)
{
    if (c->record != MOCK_NO_TRY)
        mock_try_set(c->loop->stats, c->record, &c->try);
}

void mock_conn_close(struct mock_conn *c)
{
    struct mock_loop *l = c->loop;

    if (c->dead)
        return;
    c->dead = true;
    if (c->phase != MOCK_PHASE_read)
        mock_count(l->stats, MOCK_COUNT_active, -1);
    record(c);
    mock_timer_clear(c);
    (void)close(c->fd);
    mock_count(l->stats, MOCK_COUNT_open, -1);
    *c->place = c->next;
    if (c->next)
        c->next->place = c->place;
    c->next = l->dead;
    l->dead = c;
}

void mock_conn_release(struct mock_conn *c)
{
    SSL_free(c->tls);
    mock_render_done(&c->render);
    buf_done(&c->out);
    buf_done(&c->body);
    free(c->in);
    free(c);
}

static void client_left(struct mock_conn *c)
{
    if (c->phase != MOCK_PHASE_read) {
        c->try.left_us = clock_us();
        mock_count(c->loop->stats, MOCK_COUNT_left, 1);
    }
    mock_conn_close(c);
}

/* ---- bytes out ---- */

static ssize_t socket_write(struct mock_conn *c, const void *p, size_t n)
{
    enum { TLS_MOST = 16384 };
    if (!c->tls)
        return send(c->fd, p, n, MSG_NOSIGNAL);
    int r = SSL_write(c->tls, p, (int)(n < TLS_MOST ? n : TLS_MOST));
    if (r > 0)
        return r;
    int e = SSL_get_error(c->tls, r);
    errno = e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE ? EAGAIN : EPIPE;
    return -1;
}

/* false: the socket takes no more, or the client left. */
static bool send_part(struct mock_conn *c, const char *p, size_t n, size_t *ret_sent)
{
    *ret_sent = 0;
    while (*ret_sent < n) {
        ssize_t r = socket_write(c, p + *ret_sent, n - *ret_sent);
        if (r >= 0) {
            *ret_sent += (size_t)r;
            c->try.bytes += (uint64_t)r;
            continue;
        }
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN) {
            client_left(c);
        } else if (!c->blocked_us) {
            c->blocked_us = c->loop->now_us;
            mock_count(c->loop->stats, MOCK_COUNT_blocked, 1);
        }
        return false;
    }
    return true;
}

static bool flush(struct mock_conn *c)
{
    size_t sent, before = c->try.bytes;
    bool all = true;

    if (c->view.n) {
        all = send_part(c, c->view.p, c->view.n, &sent);
        c->view = str_sub(c->view, sent);
    }
    if (all && c->out_sent < c->out.n) {
        all = send_part(c, c->out.p + c->out_sent, c->out.n - c->out_sent, &sent);
        c->out_sent += sent;
    }
    if (c->try.bytes != before) {
        mock_count(c->loop->stats, MOCK_COUNT_bytes, (int64_t)(c->try.bytes - before));
        if (!c->dead)
            record(c);
    }
    if (!all)
        return false;
    if (c->blocked_us) {
        c->try.blocked_us += c->loop->now_us - c->blocked_us;
        c->blocked_us = 0;
    }
    if (c->out.cap > OUT_KEPT)
        buf_done(&c->out);
    buf_clear(&c->out);
    c->out_sent = 0;
    return true;
}

/* ---- an answer ---- */

static void arm(struct mock_conn *c, enum mock_at at, uint32_t k)
{
    const struct mock_script *s = &c->script;
    bool counted = at == MOCK_AT_frame;

    if (s->action == MOCK_DO_go || c->acted || s->at != at || (counted && s->at_frame != k))
        return;
    c->acted = true;
    c->armed = s->action;
}

/* false: nothing goes on for now, or for ever. */
static bool act(struct mock_conn *c)
{
    static const struct linger abort = { .l_onoff = 1, .l_linger = 0 };

    switch ((enum mock_do)c->armed) {
    case MOCK_DO_go:
        return true;
    case MOCK_DO_hold:
        if (mock_released(c->loop->stats, str_of(c->script.id))) {
            c->armed = MOCK_DO_go;
            c->frame_ms = c->loop->now_us / 1000;
            return true;
        }
        mock_timer_set(c, c->loop->now_us / 1000 + HOLD_POLL_MS);
        return false;
    case MOCK_DO_stall:
        return false;
    case MOCK_DO_rst:
        (void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &abort, sizeof(abort));
        break;
    case MOCK_DO_fin:
        break;
    }
    c->try.end_us = clock_us();
    mock_count(c->loop->stats, MOCK_COUNT_cut, 1);
    mock_conn_close(c);
    return false;
}

/* Moves the next piece of c->body to c->out. */
static void emit(struct mock_conn *c)
{
    const struct mock_script *s = &c->script;
    size_t n = c->body.n - c->body_from;

    if (s->piece && n > s->piece)
        n = s->piece;
    if (c->body_bytes < s->split && n > s->split - c->body_bytes)
        n = (size_t)(s->split - c->body_bytes);
    if (c->body_from < c->stop_at && n > c->stop_at - c->body_from)
        n = c->stop_at - c->body_from;
    if (c->chunked)
        buf_addf(&c->out, "%zx\r\n", n);
    buf_add(&c->out, (struct str){ c->body.p + c->body_from, n });
    if (c->chunked)
        buf_add(&c->out, STR("\r\n"));
    c->body_from += n;
    c->body_bytes += n;
    if (s->piece && s->pace_ms)
        c->wait_ms = c->loop->now_us / 1000 + s->pace_ms;
    if (s->split && c->body_bytes == s->split)
        c->wait_ms = c->loop->now_us / 1000 + SPLIT_PAUSE_MS;
    if (c->stop_at && c->body_from == c->stop_at) {
        c->stop_at = 0;
        arm(c, MOCK_AT_mid, 0);
    }
    if (c->body_from < c->body.n)
        return;
    if (c->body.cap > OUT_KEPT)
        buf_done(&c->body);
    buf_clear(&c->body);
    c->body_from = 0;
}

/* The next event into c->body. false: it waits for its time or an action. */
static bool next_frame(struct mock_conn *c)
{
    uint32_t i;
    const struct mock_script *s = &c->script;
    enum mock_next next = mock_render_peek(&c->render, &i);

    if (next == MOCK_NEXT_over) {
        c->phase = MOCK_PHASE_end;
        return false;
    }
    if (next == MOCK_NEXT_text && s->gap_ms && i && c->frame_ms + s->gap_ms > c->wait_ms) {
        c->wait_ms = c->frame_ms + s->gap_ms;
        if (c->wait_ms > c->loop->now_us / 1000)
            return false;
    }
    if (next == MOCK_NEXT_text)
        arm(c, MOCK_AT_frame, i);
    else if (next == MOCK_NEXT_done)
        arm(c, MOCK_AT_done, 0);
    else if (i == 0 && s->at == MOCK_AT_frame && s->at_frame >= s->frames &&
             c->try.frames == s->frames)
        arm(c, MOCK_AT_frame, s->at_frame);
    if (c->armed)
        return false;
    size_t from = c->body.n;
    mock_render_next(&c->render, &c->body);
    if (next != MOCK_NEXT_text)
        return true;
    if (!c->try.frames++)
        c->try.first_us = c->loop->now_us;
    c->frame_ms = s->gap_ms && i ? c->frame_ms + s->gap_ms : c->loop->now_us / 1000;
    mock_count(c->loop->stats, MOCK_COUNT_frames, 1);
    if (s->at == MOCK_AT_mid && s->at_frame == i && !c->acted)
        c->stop_at = from + (c->body.n - from) / 2;
    return true;
}

static void body_step(struct mock_conn *c)
{
    const struct mock_script *s = &c->script;
    bool one = s->gap_ms || s->piece || s->split || s->action != MOCK_DO_go;

    do {
        if (c->body_from < c->body.n)
            emit(c);
        else if (c->whole)
            c->phase = MOCK_PHASE_end;
        else if (!next_frame(c))
            return;
        else if (c->body_from < c->body.n)
            emit(c);
    } while (!one && c->phase == MOCK_PHASE_body && c->out.n < BATCH);
}

static void head_step(struct mock_conn *c)
{
    const struct mock_script *s = &c->script;
    unsigned framing = s->framing;
    bool single = !c->ask.stream || s->status >= 300 || s->kind != MOCK_KIND_json;
    int64_t length = MOCK_CHUNKED;

    mock_render_start(&c->render, &c->ask, s);
    buf_clear(&c->body);
    c->body_from = c->body_bytes = 0;
    if (framing == MOCK_FRAMING_own)
        framing = single ? MOCK_FRAMING_length : c->old ? MOCK_FRAMING_close : MOCK_FRAMING_chunked;
    c->chunked = framing == MOCK_FRAMING_chunked;
    c->whole = single || framing == MOCK_FRAMING_length;
    if (single) {
        mock_render_whole(&c->render, &c->body);
        if (s->at == MOCK_AT_mid)
            c->stop_at = c->body.n / 2;
    } else if (c->whole) {
        while (mock_render_peek(&c->render, &(uint32_t){ 0 }) != MOCK_NEXT_over)
            mock_render_next(&c->render, &c->body);
    }
    if (framing == MOCK_FRAMING_length)
        length = (int64_t)c->body.n + s->lie;
    if (framing == MOCK_FRAMING_close)
        length = MOCK_CLOSE;
    if (length == MOCK_CLOSE || s->lie || s->nohttp)
        c->keep = false;
    mock_answer_head(&c->out, &c->ask, s, length);
    c->try.head_us = c->loop->now_us;
    c->phase = s->nohttp ? MOCK_PHASE_after : MOCK_PHASE_head;
    if (s->at == MOCK_AT_midhead && s->action != MOCK_DO_go) {
        c->out.n /= 2;
        arm(c, MOCK_AT_midhead, 0);
    }
    arm(c, MOCK_AT_head, 0);
    c->wait_ms = c->loop->now_us / 1000 + s->delay_ms;
    c->frame_ms = c->wait_ms;
}

static void answer_done(struct mock_conn *c)
{
    c->try.end_us = c->loop->now_us;
    mock_count(c->loop->stats, MOCK_COUNT_answered, 1);
    mock_count(c->loop->stats, MOCK_COUNT_active, -1);
    c->phase = MOCK_PHASE_read;
    c->requests++;
    c->stale = c->script.stale;
    record(c);
    if (!c->keep)
        mock_conn_close(c);
}

static void step(struct mock_conn *c)
{
    switch (c->phase) {
    case MOCK_PHASE_begin:
        head_step(c);
        return;
    case MOCK_PHASE_head:
        c->phase = MOCK_PHASE_body;
        return;
    case MOCK_PHASE_body:
        body_step(c);
        return;
    case MOCK_PHASE_end:
        arm(c, MOCK_AT_end, 0);
        if (c->armed)
            return;
        if (c->chunked)
            buf_add(&c->out, STR("0\r\n\r\n"));
        c->phase = MOCK_PHASE_after;
        return;
    case MOCK_PHASE_after:
        arm(c, MOCK_AT_after, 0);
        if (!c->armed)
            answer_done(c);
        return;
    case MOCK_PHASE_read:
        return;
    }
}

static void advance(struct mock_conn *c)
{
    while (flush(c) && !c->dead && c->phase != MOCK_PHASE_read && act(c)) {
        if (c->wait_ms > c->loop->now_us / 1000) {
            mock_timer_set(c, c->wait_ms);
            return;
        }
        step(c);
    }
}

/* ---- requests ---- */

static struct str header(struct str head, struct str name)
{
    for (size_t at = 0; at + name.n + 2 < head.n;) {
        struct str rest = str_sub(head, at);
        ptrdiff_t end = str_find(rest, STR("\r\n"));
        if (end < 0)
            break;
        struct str line = str_head(rest, (size_t)end);
        if (line.n > name.n && line.p[name.n] == ':' && str_eq_nocase(str_head(line, name.n), name))
            return str_trim(str_sub(line, name.n + 1));
        at += (size_t)end + 2;
    }
    return STR_NULL;
}

static void begin_scripted(struct mock_conn *c, struct str request, struct str script)
{
    struct mock_loop *l = c->loop;
    unsigned number = 0;
    struct str word, id = mock_script_id(script);

    c->try = (struct mock_try){ .connection = c->number,
                                .connected_us = c->connected_us,
                                .request_us = l->now_us,
                                .port = l->port,
                                .on_connection = c->requests };
    c->record = MOCK_NO_TRY;
    if (id.n)
        c->record = mock_try_begin(l->stats, id, &c->try, request, &number);
    if (mock_script_parse(&c->script, script, number, &word) < 0) {
        mock_count(l->stats, MOCK_COUNT_malformed, 1);
        c->script.status = 418;
        c->script.kind = MOCK_KIND_html;
    }
    c->acted = false;
    c->stop_at = 0;
    c->phase = MOCK_PHASE_begin;
    c->wait_ms = l->now_us / 1000 + c->script.first_ms;
    arm(c, MOCK_AT_request, 0);
}

/* The request is whole: c->in, c->need bytes. */
static void begin(struct mock_conn *c)
{
    enum { SCRIPT = 1024 };
    char usual[SCRIPT];
    struct mock_loop *l = c->loop;
    struct str request = { c->in, c->need }, head = str_head(request, c->head_bytes);
    struct str body = str_sub(request, c->head_bytes), method, target, rest;

    if (!str_cut(head, ' ', &method, &rest) || !str_cut(rest, ' ', &target, &rest)) {
        mock_count(l->stats, MOCK_COUNT_malformed, 1);
        mock_conn_close(c);
        return;
    }
    c->old = str_starts(rest, STR("HTTP/1.0"));
    struct str connection = header(head, STR("connection"));
    c->keep = c->old ? str_eq_nocase(connection, STR("keep-alive"))
                     : !str_eq_nocase(connection, STR("close"));
    if (str_starts(target, STR("/_mock"))) {
        mock_control(l, method, target, body, &c->out);
        return;
    }
    mock_count(l->stats, MOCK_COUNT_requests, 1);
    mock_count(l->stats, MOCK_COUNT_active, 1);
    mock_ask_read(&c->ask, target, body);
    struct str script = mock_script_find(request);
    mock_default_get(l->stats, usual, sizeof(usual));
    if (!script.n)
        script = str_of(usual);
    if (script.n || c->ask.n > 1 || c->ask.inputs > 1 || c->ask.array || c->old) {
        begin_scripted(c, request, script);
        return;
    }
    c->view = buf_str(&l->prebuilt[c->ask.wire][c->ask.stream][c->ask.usage]);
    c->record = MOCK_NO_TRY;
    mock_script_init(&c->script);
    c->armed = MOCK_DO_go;
    if (c->ask.stream)
        mock_count(l->stats, MOCK_COUNT_frames, c->script.frames);
    c->phase = MOCK_PHASE_after;
    c->wait_ms = 0;
}

/* Where the chunked body ends; 0: not yet; SIZE_MAX: it is malformed. */
static size_t chunked_end(struct mock_conn *c)
{
    for (;;) {
        struct str rest = { c->in + c->chunk_at, c->n_in - c->chunk_at };
        ptrdiff_t eol = str_find(rest, STR("\r\n"));
        size_t size = 0;
        if (eol < 0)
            return 0;
        for (size_t i = 0; i < (size_t)eol && isxdigit((unsigned char)rest.p[i]); i++) {
            int d = tolower((unsigned char)rest.p[i]);
            size = size * 16 + (size_t)(isdigit(d) ? d - '0' : d - 'a' + 10);
            if (size > MOST_REQUEST)
                return SIZE_MAX;
        }
        size_t whole = (size_t)eol + 2 + size + 2;
        if (rest.n < whole)
            return 0;
        c->chunk_at += whole;
        if (!size)
            return c->chunk_at;
    }
}

/* Whether a whole request is in c->in. Malformed: the connection is closed. */
static bool is_whole(struct mock_conn *c)
{
    struct str in = { c->in, c->n_in };

    if (!c->head_bytes) {
        ptrdiff_t end = str_find(in, STR("\r\n\r\n"));
        if (end < 0)
            return false;
        c->head_bytes = (size_t)end + 4;
        struct str head = str_head(in, c->head_bytes);
        struct str length = header(head, STR("content-length"));
        uint64_t n = 0;
        if (str_eq_nocase(header(head, STR("transfer-encoding")), STR("chunked")))
            c->chunk_at = c->head_bytes;
        else if (length.n && num_parse_u64(&n, length, 0, MOST_REQUEST) < 0)
            goto malformed;
        c->need = c->chunk_at ? 0 : c->head_bytes + (size_t)n;
        if (header(head, STR("expect")).n && c->n_in == c->head_bytes)
            buf_adds(&c->out, "HTTP/1.1 100 Continue\r\n\r\n");
    }
    if (c->chunk_at) {
        c->need = chunked_end(c);
        if (c->need == SIZE_MAX)
            goto malformed;
    }
    return c->need && c->n_in >= c->need;
malformed:
    mock_count(c->loop->stats, MOCK_COUNT_malformed, 1);
    mock_conn_close(c);
    return false;
}

static ssize_t socket_read(struct mock_conn *c, void *p, size_t n)
{
    if (!c->tls)
        return recv(c->fd, p, n, 0);
    int r = SSL_read(c->tls, p, (int)(n < INT32_MAX ? n : INT32_MAX));
    if (r > 0)
        return r;
    int e = SSL_get_error(c->tls, r);
    if (e == SSL_ERROR_ZERO_RETURN)
        return 0;
    errno = e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE ? EAGAIN : EPIPE;
    if (errno == EPIPE && !c->shaken)
        mock_count(c->loop->stats, MOCK_COUNT_handshakes_failed, 1);
    return -1;
}

static bool make_room(struct mock_conn *c)
{
    size_t want = c->need > c->in_room ? c->need : c->in_room * 2;

    if (c->n_in < c->in_room)
        return true;
    char *in = want <= MOST_REQUEST ? realloc(c->in, want) : NULL;
    if (!in) {
        mock_conn_close(c);
        return false;
    }
    c->in = in;
    c->in_room = want;
    return true;
}

/* Reads what is there. false: nothing more for now, or the client left. */
static bool fill(struct mock_conn *c)
{
    if (!make_room(c))
        return false;
    ssize_t r = socket_read(c, c->in + c->n_in, c->in_room - c->n_in);
    if (r > 0) {
        c->n_in += (size_t)r;
        c->shaken = true;
        return true;
    }
    if (r == 0 || (errno != EAGAIN && errno != EINTR))
        client_left(c);
    return r < 0 && errno == EINTR && !c->dead;
}

static void forget_request(struct mock_conn *c)
{
    size_t rest = c->n_in - c->need;

    memmove(c->in, c->in + c->need, rest);
    c->n_in = rest;
    c->head_bytes = c->need = c->chunk_at = 0;
    if (c->in_room > OUT_KEPT && rest < IN_ROOM) {
        char *in = realloc(c->in, IN_ROOM);
        if (in) {
            c->in = in;
            c->in_room = IN_ROOM;
        }
    }
}

static void serve(struct mock_conn *c)
{
    while (!c->dead && c->phase == MOCK_PHASE_read) {
        if (c->n_in && is_whole(c)) {
            begin(c);
            if (c->dead)
                return;
            forget_request(c);
            advance(c);
            continue;
        }
        if (!c->dead && c->out.n && !flush(c)) /* 100 Continue */
            return;
        if (c->dead || !fill(c))
            return;
        if (c->stale) {
            mock_count(c->loop->stats, MOCK_COUNT_cut, 1);
            mock_conn_close(c);
            return;
        }
    }
}

void mock_conn_event(struct mock_conn *c, uint32_t events)
{
    if (c->dead)
        return;
    bool gone = events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR);
    if (c->phase == MOCK_PHASE_read)
        serve(c);
    else if (events & EPOLLOUT)
        mock_conn_timer(c);
    if (gone && !c->dead)
        client_left(c);
}

void mock_conn_timer(struct mock_conn *c)
{
    if (c->phase != MOCK_PHASE_read)
        advance(c);
    if (!c->dead && c->phase == MOCK_PHASE_read)
        serve(c);
}

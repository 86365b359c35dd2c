/*
 * Transport: how every kind of answer is told, by a server that plays a script.
 */
#include "tests/support/test.h"

#include <errno.h>
#include <pthread.h>
#include <zlib.h>

#include "base/clock.h"
#include "base/limits.h"
#include "engine/upstream/transport.h"
#include "tests/unit/engine/upstream/script_fixture.h"

/* ---- scripts ---- */

static void say_hello(struct script_peer *peer)
{
    peer->keep = script_say(peer, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-One: 1\r\n\r\nhello");
}

static void say_request(struct script_peer *peer)
{
    char head[256];
    (void)snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n",
                   strlen(peer->head) + peer->body.n);
    peer->keep =
        script_say(peer, head) && script_say(peer, peer->head) && script_send(peer, peer->body);
}

/* An answer of a row below: what it says, byte for byte, and then closes. */
struct answer {
    const char *path, *says;
    bool resets; /* with RST rather than FIN */
    bool keeps;  /* the connection */
    const char *method;
    enum call_outcome outcome;
    unsigned status;
    const char *body;
    const char *headers[4]; /* lines of the head that was told */
};

#define HEAD "HTTP/1.1 200 OK\r\n"
#define CHUNKED HEAD "Transfer-Encoding: chunked\r\n\r\n"
static const struct answer answers[] = {
    { "/length", HEAD "Content-Length: 5\r\n\r\nhello", .keeps = true, .outcome = CALL_complete,
      .status = 200, .body = "hello" },
    { "/chunked", CHUNKED "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", .keeps = true,
      .outcome = CALL_complete, .status = 200, .body = "hello" },
    { "/extension", CHUNKED "5;a=\"b\"\r\nhello\r\n0\r\n\r\n", .keeps = true,
      .outcome = CALL_complete, .status = 200, .body = "hello" },
    { "/trailer", CHUNKED "5\r\nhello\r\n0\r\nX-One: 2\r\n\r\n", .keeps = true,
      .outcome = CALL_complete, .status = 200, .body = "hello" },
    { "/no-length", HEAD "Connection: close\r\n\r\nhello", .outcome = CALL_complete, .status = 200,
      .body = "hello" },
    { "/old", "HTTP/1.0 200 OK\r\n\r\nhello", .outcome = CALL_complete, .status = 200,
      .body = "hello" },
    { "/empty", "HTTP/1.1 204 No Content\r\n\r\n", .keeps = true, .outcome = CALL_complete,
      .status = 204, .body = "" },
    { "/head", HEAD "Content-Length: 5\r\n\r\n", .keeps = true, .method = "HEAD",
      .outcome = CALL_complete, .status = 200, .body = "" },
    { "/error", "HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\nno", .keeps = true,
      .outcome = CALL_complete, .status = 500, .body = "no" },
    { "/early-hints",
      "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nX-One: 0\r\n\r\n" HEAD
      "X-One: 1\r\nContent-Length: 2\r\n\r\nhi",
      .keeps = true, .outcome = CALL_complete, .status = 200, .body = "hi",
      .headers = { "x-one: 1" } },
    { "/redirect", "HTTP/1.1 302 Found\r\nLocation: /length\r\nContent-Length: 0\r\n\r\n",
      .keeps = true, .outcome = CALL_complete, .status = 302, .body = "",
      .headers = { "location: /length" } },
    { "/names", HEAD "X-ONE:1\r\nx-Two:   two  \r\nX-Empty:\r\nContent-Length: 0\r\n\r\n",
      .keeps = true, .outcome = CALL_complete, .status = 200, .body = "",
      .headers = { "x-one: 1", "x-two: two", "x-empty: " } },
    { "/twice", HEAD "X-A: 1\r\nX-A: 2\r\nContent-Length: 0\r\n\r\n", .keeps = true,
      .outcome = CALL_complete, .status = 200, .body = "", .headers = { "x-a: 1", "x-a: 2" } },
    { "/folded", HEAD "X-A: 1,\r\n   2,\r\n\t3\r\nContent-Length: 0\r\n\r\n", .keeps = true,
      .outcome = CALL_complete, .status = 200, .body = "", .headers = { "x-a: 1, 2, 3" } },
    { "/bare-lf", "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", .keeps = true,
      .outcome = CALL_complete, .status = 200, .body = "hello" },
    { "/short", HEAD "Content-Length: 100\r\n\r\nhello", .outcome = CALL_truncated, .status = 200,
      .body = "hello" },
    { "/short-reset", HEAD "Content-Length: 100\r\n\r\nhello", .resets = true,
      .outcome = CALL_truncated, .status = 200 },
    { "/unfinished", CHUNKED "5\r\nhello\r\n", .outcome = CALL_truncated, .status = 200,
      .body = "hello" },
    { "/half-chunk", CHUNKED "5\r\nhe", .outcome = CALL_truncated, .status = 200, .body = "he" },
    { "/chunk-reset", CHUNKED "5\r\nhello\r\n", .resets = true, .outcome = CALL_truncated,
      .status = 200 },
    { "/no-last-chunk", CHUNKED "5\r\nhello\r\n0\r\n", .outcome = CALL_truncated, .status = 200,
      .body = "hello" },
    { "/only-head", HEAD "Content-Length: 5\r\n\r\n", .outcome = CALL_truncated, .status = 200,
      .body = "" },
    { "/bad-chunk", CHUNKED "5\r\nhello\r\nzz\r\n", .outcome = CALL_malformed, .status = 200 },
    { "/nothing", "", .outcome = CALL_broken },
    { "/reset", "", .resets = true, .outcome = CALL_broken },
    { "/half-head", HEAD "Content-Len", .outcome = CALL_broken },
    { "/half-line", "HTTP/1.1 2", .outcome = CALL_broken },
    { "/head-reset", HEAD "Content-Len", .resets = true, .outcome = CALL_broken },
    { "/no-http", "SSH-2.0-OpenSSH_9.2\r\n\r\n", .outcome = CALL_malformed },
    { "/bad-length", HEAD "Content-Length: many\r\n\r\nhello", .outcome = CALL_malformed },
    { "/packed-with-br", HEAD "Content-Encoding: br\r\nContent-Length: 2\r\n\r\nhi",
      .outcome = CALL_malformed },
    { "/not-gzip", HEAD "Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\nhi",
      .outcome = CALL_malformed, .status = 200, .body = "" },
    { "/identity", HEAD "Content-Encoding: identity\r\nContent-Length: 2\r\n\r\nhi", .keeps = true,
      .outcome = CALL_complete, .status = 200, .body = "hi" },
};
#undef CHUNKED

static void say_answer(struct script_peer *peer)
{
    const struct answer *a = answers;
    while (strcmp(a->path, peer->target + strlen("/answers")) != 0)
        a++;
    peer->keep = script_say(peer, a->says) && a->keeps;
    if (a->resets) {
        script_nap(20); /* a reset must not overtake what was said */
        script_reset(peer);
    }
}

/* `n` header bytes in lines of `line` */
static void say_big_head(struct script_peer *peer, size_t n, size_t line)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(4 * MIB);
    buf_adds(&b, HEAD);
    for (size_t i = 0; b.n < n; i++) {
        buf_addf(&b, "X-%zu: ", i);
        for (size_t j = 0; j < line; j++)
            buf_addc(&b, 'v');
        buf_adds(&b, "\r\n");
    }
    buf_adds(&b, "Content-Length: 2\r\n\r\nhi");
    (void)script_send(peer, buf_str(&b));
}

static void say_many_headers(struct script_peer *peer)
{
    say_big_head(peer, 40000, 100);
}

static void say_huge_head(struct script_peer *peer)
{
    say_big_head(peer, 1000000, 1000);
}

static void say_long_header(struct script_peer *peer)
{
    say_big_head(peer, 300000, 300000);
}

/* ---- packed answers ---- */

static void pack(struct buf *b, struct str text, int window_bits, int flush)
{
    z_stream z = { 0 };
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY), Z_OK);
    unsigned char out[65536];
    z.next_in = (unsigned char *)(uintptr_t)text.p;
    z.avail_in = (unsigned)text.n;
    int r = Z_OK;
    do {
        z.next_out = out;
        z.avail_out = sizeof(out);
        r = deflate(&z, flush);
        buf_add(b, (struct str){ (char *)out, sizeof(out) - z.avail_out });
    } while (!z.avail_out || (flush == Z_FINISH && r != Z_STREAM_END));
    (void)deflateEnd(&z);
}

enum { GZIP_BITS = 15 + 16, ZLIB_BITS = 15, RAW_BITS = -15 };

/* /packed/CODING/HOW: "abcabc…" of 100,000 bytes; HOW: whole, cut, twice, bytes */
static void say_packed(struct script_peer *peer)
{
    CLEANUP(buf_done)
    struct buf text = BUF_INIT(MIB), packed = BUF_INIT(MIB), b = BUF_INIT(2 * MIB);
    for (size_t i = 0; i < 100000; i++)
        buf_addc(&text, (char)('a' + i * i % 23));
    bool is_gzip = strstr(peer->target, "gzip");
    int bits = is_gzip ? GZIP_BITS : strstr(peer->target, "raw") ? RAW_BITS : ZLIB_BITS;
    if (strstr(peer->target, "twice")) {
        pack(&packed, str_head(buf_str(&text), 1000), bits, Z_FINISH);
        pack(&packed, str_sub(buf_str(&text), 1000), bits, Z_FINISH);
    } else {
        pack(&packed, buf_str(&text), bits, Z_FINISH);
    }
    struct str s = buf_str(&packed);
    if (strstr(peer->target, "cut"))
        s.n -= 20;
    buf_addf(&b, HEAD "Content-Encoding: %s\r\nContent-Length: %zu\r\n\r\n",
             is_gzip ? "gzip" : "deflate", s.n);
    peer->keep = script_send(peer, buf_str(&b));
    size_t piece = strstr(peer->target, "bytes") ? 1 : s.n;
    for (size_t i = 0; i < s.n && peer->keep; i += piece)
        peer->keep = script_send(peer, str_head(str_sub(s, i), piece));
}

/* Events, each packed and flushed and then a wait until the last was read (the test lets it). */
static pthread_mutex_t step_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t step_changed = PTHREAD_COND_INITIALIZER;
static unsigned steps;

static void wait_step(unsigned n)
{
    (void)pthread_mutex_lock(&step_lock);
    while (steps < n)
        (void)pthread_cond_wait(&step_changed, &step_lock);
    (void)pthread_mutex_unlock(&step_lock);
}

static void step(struct probe *p, struct str bytes)
{
    (void)pthread_mutex_lock(&step_lock);
    steps++;
    (void)pthread_cond_broadcast(&step_changed);
    (void)pthread_mutex_unlock(&step_lock);
}

static void say_packed_events(struct script_peer *peer)
{
    (void)script_say(peer, HEAD "Content-Encoding: gzip\r\nConnection: close\r\n\r\n");
    z_stream z = { 0 };
    (void)deflateInit2(&z, 9, Z_DEFLATED, GZIP_BITS, 8, Z_DEFAULT_STRATEGY);
    for (unsigned i = 0; i <= 5; i++) {
        unsigned char out[1000];
        char text[100];
        wait_step(i);
        z.next_in = (unsigned char *)text;
        z.avail_in = (unsigned)snprintf(text, sizeof(text), "data: %u\n\n", i);
        z.next_out = out;
        z.avail_out = sizeof(out);
        (void)deflate(&z, i == 5 ? Z_FINISH : Z_SYNC_FLUSH);
        (void)script_send(peer, (struct str){ (char *)out, sizeof(out) - z.avail_out });
    }
    (void)deflateEnd(&z);
}

static void say_bomb(struct script_peer *peer)
{
    CLEANUP(buf_done) struct buf zeros = BUF_INIT(65 * MIB), b = BUF_INIT(MIB);
    char *to = buf_space(&zeros, 64 * MIB);
    assert_non_null(to);
    memset(to, 0, 64 * MIB);
    pack(&b, (struct str){ to, 64 * MIB }, GZIP_BITS, Z_FINISH);
    (void)script_say(peer, HEAD "Content-Encoding: gzip\r\nConnection: close\r\n\r\n");
    (void)script_send(peer, buf_str(&b));
}

static const struct script scripts[] = {
    { "/request", say_request },
    { "/answers/", say_answer },
    { "/many-headers", say_many_headers },
    { "/huge-head", say_huge_head },
    { "/long-header", say_long_header },
    { "/packed/events", say_packed_events },
    { "/packed/", say_packed },
    { "/bomb", say_bomb },
    { NULL, say_hello },
};

/* ---- tests ---- */

static void a_call_tells_head_body_and_end(void **state)
{
    struct probe p;
    probe_init(&p, fixture_loop(), script_server_port(server), "/hello", "{}");
    probe_run(&p);
    assert_int_equal(p.started, 0);
    assert_int_equal(p.end.outcome, CALL_complete);
    assert_int_equal(p.status, 200);
    assert_string_equal(p.body.p, "hello");
    assert_true(probe_has_header(&p, "x-one: 1"));
    assert_int_equal(p.n_ends, 1);
    assert_true(p.end.was_sent && p.end.has_head);
    assert_int_equal(p.end.sent, 2);
    assert_int_equal(p.end.received, 5);
    assert_true(p.end.connect_us > 0 && p.end.connect_us <= p.end.first_byte_us);
    assert_true(p.end.first_byte_us <= p.end.total_us);
    probe_done(&p);
}

static void a_request_has_only_what_it_was_given(void **state)
{
    static const struct {
        const char *method, *body, *want;
    } rows[] = {
        { "POST", "{\"x\":1}",
          "content-type: text/json\r\nx-empty:\r\nContent-Length: 7\r\n{\"x\":1}" },
        { "POST", "", "content-type: text/json\r\nx-empty:\r\nContent-Length: 0\r\n" },
        { "GET", NULL, "content-type: text/json\r\nx-empty:\r\n" },
        { "DELETE", NULL, "content-type: text/json\r\nx-empty:\r\n" },
        { "PUT", "abc", "content-type: text/json\r\nx-empty:\r\nContent-Length: 3\r\nabc" },
    };
    struct chat_pair headers[] = { { STR("content-type"), STR("text/json") },
                                   { STR("content-length"), STR("99") },
                                   { STR("Expect"), STR("100-continue") },
                                   { STR("x-empty"), STR("") } };
    for (size_t i = 0; i < 2 * ARRAY_LEN(rows); i++) { /* twice: handles are used again */
        struct probe p;
        probe_init(&p, fixture_loop(), script_server_port(server), "/request?a=1", NULL);
        p.spec.method = rows[i / 2].method;
        p.spec.body = str_of(rows[i / 2].body);
        p.spec.headers = headers;
        p.spec.n_headers = ARRAY_LEN(headers);
        probe_run(&p);
        assert_int_equal(p.end.outcome, CALL_complete);
        char want[512];
        (void)snprintf(want, sizeof(want), "%s /request?a=1 HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n%s",
                       rows[i / 2].method, script_server_port(server), rows[i / 2].want);
        assert_string_equal(p.body.p, want);
        probe_done(&p);
    }
}

static void a_header_that_would_smuggle_is_refused(void **state)
{
    static const struct chat_pair rows[] = {
        { STR("x"), STR("a\r\ny: b") }, { STR("x"), STR("a\nb") },  { STR("x"), STR("a\0b") },
        { STR("x:"), STR("a") },        { STR("x y"), STR("a") },   { STR(""), STR("a") },
        { STR("x\r\ny"), STR("a") },    { STR("x"), STR("a\x7f") },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct probe p;
        probe_init(&p, fixture_loop(), script_server_port(server), "/hello", "{}");
        p.spec.headers = &rows[i];
        p.spec.n_headers = 1;
        probe_run(&p);
        assert_int_equal(p.started, -EINVAL);
        assert_int_equal(p.n_ends, 0);
        probe_done(&p);
    }
}

static void every_answer_has_its_outcome(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
        const struct answer *a = &answers[i];
        char path[64];
        (void)snprintf(path, sizeof(path), "/answers%s", a->path);
        struct probe p;
        probe_init(&p, fixture_loop(), script_server_port(server), path, a->method ? NULL : "{}");
        if (a->method)
            p.spec.method = a->method;
        probe_run(&p);
        if (p.end.outcome != a->outcome || p.status != a->status)
            print_message("# %s: %s (%u)\n", a->path, p.end.message, p.status);
        assert_int_equal(p.end.outcome, a->outcome);
        assert_int_equal(p.status, a->status);
        assert_int_equal(p.end.has_head, a->status != 0);
        if (a->body)
            assert_string_equal(p.body.p ? p.body.p : "", a->body);
        for (size_t j = 0; j < ARRAY_LEN(a->headers) && a->headers[j]; j++)
            assert_true(probe_has_header(&p, a->headers[j]));
        assert_int_equal(p.n_ends, 1);
        assert_true(strlen(p.end.message) > 0);
        probe_done(&p);
    }
}

static void heads_are_bounded(void **state)
{
    static const struct {
        const char *path;
        uint64_t max;
        enum call_outcome outcome;
    } rows[] = {
        { "/many-headers", 0, CALL_complete },   { "/many-headers", 30000, CALL_malformed },
        { "/huge-head", 0, CALL_malformed },     { "/long-header", 0, CALL_malformed },
        { "/long-header", MIB, CALL_malformed },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct probe p;
        probe_init(&p, fixture_loop(), script_server_port(server), rows[i].path, "{}");
        p.spec.max_head = rows[i].max;
        probe_run(&p);
        if (p.end.outcome != rows[i].outcome)
            print_message("# %zu: %s\n", i, p.end.message);
        assert_int_equal(p.end.outcome, rows[i].outcome);
        probe_done(&p);
    }
}

static void packed_answers_are_unpacked(void **state)
{
    static const struct {
        const char *path;
        enum call_outcome outcome;
    } rows[] = {
        { "/packed/gzip/whole", CALL_complete }, { "/packed/gzip/bytes", CALL_complete },
        { "/packed/gzip/twice", CALL_complete }, { "/packed/deflate/whole", CALL_complete },
        { "/packed/raw/bytes", CALL_complete },  { "/packed/raw/whole", CALL_complete },
        { "/packed/gzip/cut", CALL_truncated },  { "/packed/deflate/cut", CALL_truncated },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct probe p;
        probe_init(&p, fixture_loop(), script_server_port(server), rows[i].path, "{}");
        probe_run(&p);
        assert_int_equal(p.end.outcome, rows[i].outcome);
        if (rows[i].outcome == CALL_complete)
            assert_int_equal(p.body.n, 100000);
        for (size_t j = 0; j < p.body.n; j++)
            assert_int_equal(p.body.p[j], 'a' + j * j % 23);
        probe_done(&p);
    }
}

static void packed_events_are_told_as_they_come(void **state)
{
    struct probe p;
    steps = 0;
    probe_init(&p, fixture_loop(), script_server_port(server), "/packed/events", "{}");
    p.on_body = step;
    probe_run(&p); /* would stand still if an event were held back */
    assert_int_equal(p.end.outcome, CALL_complete);
    assert_string_equal(p.body.p,
                        "data: 0\n\ndata: 1\n\ndata: 2\n\ndata: 3\n\ndata: 4\n\ndata: 5\n\n");
    assert_int_equal(p.n_bodies, 6);
    probe_done(&p);
}

static void a_bomb_is_refused(void **state)
{
    struct probe p;
    probe_init(&p, fixture_loop(), script_server_port(server), "/bomb", "{}");
    probe_run(&p);
    assert_int_equal(p.end.outcome, CALL_malformed);
    assert_true(p.body.n <= 9 * MIB);
    probe_done(&p);
}

static void messages_hold_no_query(void **state)
{
    static const char *const urls[] = {
        "http://127.0.0.1:1/path?key=secret", "http://no-such-host.invalid/?key=secret",
        "http://user:secret@127.0.0.1:1/",    "ftp://127.0.0.1/?key=secret",
        "http://127.0.0.1:99999/?key=secret", "nonsense?key=secret",
    };
    for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
        struct probe p;
        probe_init(&p, fixture_loop(), 1, "/", "{}");
        probe_url(&p, urls[i]);
        probe_run(&p);
        if (!p.started)
            assert_true(p.end.outcome == CALL_unreachable || p.end.outcome == CALL_failed);
        assert_null(strstr(p.end.message, "secret"));
        assert_false(p.end.was_sent);
        probe_done(&p);
    }
}

static int open_all(void **state)
{
    return fixture_open(scripts);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_tells_head_body_and_end),
        cmocka_unit_test(a_request_has_only_what_it_was_given),
        cmocka_unit_test(a_header_that_would_smuggle_is_refused),
        cmocka_unit_test(every_answer_has_its_outcome),
        cmocka_unit_test(heads_are_bounded),
        cmocka_unit_test(packed_answers_are_unpacked),
        cmocka_unit_test(packed_events_are_told_as_they_come),
        cmocka_unit_test(a_bomb_is_refused),
        cmocka_unit_test(messages_hold_no_query),
    };
    test_begin();
    return cmocka_run_group_tests(tests, open_all, fixture_close);
}

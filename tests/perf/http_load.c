/*
 * A load of HTTP requests on one thread, whole answers or event streams, every frame accounted for.
 *
 * usage: http_load PORT BODY [--path P] [--header "N: V"]... [--connections N] [--seconds S]
 *                  [--requests N] [--rate R] [--frames N]
 *
 * BODY is the request's, or "@FILE" that holds it. Each connection asks again as soon as its answer
 * is complete, or, with --rate, requests come at that rate a second whatever becomes of earlier
 * ones (what finds no free connection waits, and its latency counts from when it should have
 * begun). With --frames an answer is right only when text frames t0 … tN-1 came in order and none
 * beside (tests/support/mock_upstream.h says them so). Prints one JSON object: counts, and
 * microseconds at quantiles for the whole answer, the first frame and the gaps between frames.
 */
#include "base/buf.h"
#include "base/clock.h"
#include "base/num.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    EVENTS = 512,
    READ = 65536,
    HEAD = 8192,
    SUB = 32, /* buckets a power of two: values are known to 3% */
    BUCKETS = 40 * SUB,
};

struct histogram {
    uint64_t n[BUCKETS], total, most;
};

enum parse { PARSE_head, PARSE_size, PARSE_data, PARSE_data_end, PARSE_trailer, PARSE_whole };

struct conn {
    int fd;
    bool busy;
    uint64_t due_us, last_us; /* when it should have begun; the last frame */
    size_t sent;
    char head[HEAD];
    size_t n_head;
    enum parse parse;
    uint64_t left; /* of the chunk, or of the body */
    bool chunked, keep, size_read;
    unsigned status;
    /* of the frames */
    unsigned match; /* bytes of the mark that were seen */
    uint32_t number, frames;
    bool digits, disordered;
};

struct load {
    struct sockaddr_in address;
    struct buf request;
    struct conn *conns;
    size_t n_conns;
    int epoll;
    uint64_t requests, frames_wanted; /* 0: any */
    double rate, seconds;
    uint64_t begun, done, errors, wrong, frames, bytes, reconnects;
    uint64_t start_us, next_us;
    struct histogram whole, first, gap;
};

/* ---- histograms ---- */

static unsigned bucket_of(uint64_t us)
{
    if (us < SUB)
        return (unsigned)us;
    unsigned power = 63 - (unsigned)__builtin_clzll(us);
    unsigned b = (power - 4) * SUB + (unsigned)((us >> (power - 5)) & (SUB - 1));
    return b < BUCKETS ? b : BUCKETS - 1;
}

static double bucket_value(unsigned b)
{
    return b < SUB ? b : ldexp(SUB + b % SUB + 0.5, (int)(b / SUB) - 1);
}

static void observe(struct histogram *h, uint64_t us)
{
    h->n[bucket_of(us)]++;
    h->total++;
    if (us > h->most)
        h->most = us;
}

static double quantile(const struct histogram *h, double q)
{
    uint64_t want = (uint64_t)(q * (double)h->total), seen = 0;

    for (unsigned b = 0; b < BUCKETS; b++) {
        seen += h->n[b];
        if (seen > want)
            return bucket_value(b);
    }
    return (double)h->most;
}

static void print_histogram(const char *name, const struct histogram *h)
{
    (void)printf(",\"%s_us\":{\"p50\":%.0f,\"p99\":%.0f,\"p999\":%.0f,\"max\":%llu}", name,
                 quantile(h, 0.5), quantile(h, 0.99), quantile(h, 0.999),
                 (unsigned long long)h->most);
}

/* ---- frames ---- */

static void frame(struct load *l, struct conn *c, uint64_t now)
{
    if (c->number != c->frames)
        c->disordered = true;
    if (c->frames++)
        observe(&l->gap, now - c->last_us);
    else
        observe(&l->first, now - c->due_us);
    c->last_us = now;
    l->frames++;
}

/* Looks for `":"t<number> ` in bytes cut anywhere. */
static void find_frames(struct load *l, struct conn *c, struct str s, uint64_t now)
{
    static const char mark[] = "\":\"t";
    enum { MARK = sizeof(mark) - 1 };

    for (size_t i = 0; i < s.n; i++) {
        char b = s.p[i];
        if (c->match == MARK && isdigit((unsigned char)b)) {
            c->number = c->number * 10 + (uint32_t)(b - '0');
            c->digits = true;
            continue;
        }
        if (c->match == MARK && c->digits && b == ' ')
            frame(l, c, now);
        if (c->match == MARK || b != mark[c->match]) {
            c->match = b == mark[0];
            c->number = 0;
            c->digits = false;
        } else {
            c->match++;
        }
    }
}

/* ---- answers ---- */

static struct str header(struct str head, const char *name)
{
    struct str n = str_of(name);

    for (size_t i = 0; i + n.n < head.n; i++)
        if (head.p[i] == '\n' && str_eq_nocase(str_head(str_sub(head, i + 1), n.n), n)) {
            struct str value = str_sub(head, i + 1 + n.n);
            ptrdiff_t end = str_find(value, STR("\r\n"));
            return str_trim(str_head(value, end < 0 ? value.n : (size_t)end));
        }
    return STR_NULL;
}

/* 0, or -EPROTO. */
static int read_head(struct conn *c, struct str *bytes)
{
    size_t before = c->n_head, n = bytes->n < HEAD - before ? bytes->n : HEAD - before;
    uint64_t status = 0, length = 0;

    memcpy(c->head + before, bytes->p, n);
    c->n_head += n;
    ptrdiff_t end = str_find((struct str){ c->head, c->n_head }, STR("\r\n\r\n"));
    if (end < 0) {
        *bytes = STR_NULL;
        return c->n_head == HEAD ? -EPROTO : 0;
    }
    struct str head = { c->head, (size_t)end + 2 };
    *bytes = str_sub(*bytes, (size_t)end + 4 - before);
    if (head.n < 13 || num_parse_u64(&status, (struct str){ head.p + 9, 3 }, 100, 999) < 0)
        return -EPROTO;
    c->status = (unsigned)status;
    c->n_head = 0;
    if (status < 200)
        return 0; /* another head follows */
    c->chunked = str_eq_nocase(header(head, "transfer-encoding:"), STR("chunked"));
    c->keep = !str_eq_nocase(header(head, "connection:"), STR("close"));
    c->left = c->keep ? 0 : UINT64_MAX;
    struct str given = header(head, "content-length:");
    if (!c->chunked && given.n && num_parse_u64(&length, given, 0, UINT64_MAX) < 0)
        return -EPROTO;
    if (given.n)
        c->left = length;
    c->parse = c->chunked ? PARSE_size : c->left ? PARSE_data : PARSE_whole;
    c->size_read = false;
    if (c->chunked)
        c->left = 0;
    return 0;
}

static void read_size(struct conn *c, struct str *bytes)
{
    while (bytes->n) {
        int b = tolower((unsigned char)bytes->p[0]);
        *bytes = str_sub(*bytes, 1);
        if (b == '\n') {
            c->parse = c->left ? PARSE_data : PARSE_trailer;
            c->size_read = false;
            return;
        }
        if (isxdigit(b) && !c->size_read)
            c->left = c->left * 16 + (uint64_t)(isdigit(b) ? b - '0' : b - 'a' + 10);
        else
            c->size_read = true;
    }
}

/* 0; -EPROTO. The answer is complete when c->parse is PARSE_whole. */
static int take(struct load *l, struct conn *c, struct str bytes, uint64_t now)
{
    while (bytes.n && c->parse != PARSE_whole) {
        struct str part;
        switch (c->parse) {
        case PARSE_head:
            if (read_head(c, &bytes) < 0)
                return -EPROTO;
            break;
        case PARSE_size:
            read_size(c, &bytes);
            break;
        case PARSE_data:
            part = str_head(bytes, c->left < bytes.n ? (size_t)c->left : bytes.n);
            if (l->frames_wanted)
                find_frames(l, c, part, now);
            bytes = str_sub(bytes, part.n);
            if (c->left != UINT64_MAX)
                c->left -= part.n;
            if (!c->left)
                c->parse = c->chunked ? PARSE_data_end : PARSE_whole;
            break;
        case PARSE_data_end:
        case PARSE_trailer: /* an empty line */
            if (bytes.p[0] == '\n')
                c->parse = c->parse == PARSE_data_end ? PARSE_size : PARSE_whole;
            bytes = str_sub(bytes, 1);
            break;
        case PARSE_whole:
            break;
        }
    }
    return bytes.n ? -EPROTO : 0;
}

/* ---- connections ---- */

static void drop(struct conn *c)
{
    if (c->fd >= 0)
        (void)close(c->fd);
    c->fd = -1;
}

static int open_conn(struct load *l, struct conn *c)
{
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&l->address, sizeof(l->address)) < 0)
        return -errno;
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
    struct epoll_event e = { .events = EPOLLIN | EPOLLRDHUP, .data.ptr = c };
    l->reconnects++;
    return epoll_ctl(l->epoll, EPOLL_CTL_ADD, c->fd, &e) < 0 ? -errno : 0;
}

static void begin(struct load *l, struct conn *c, uint64_t due_us)
{
    int fd = c->fd;

    *c = (struct conn){ .fd = fd, .busy = true, .due_us = due_us };
    l->begun++;
    if ((fd < 0 && open_conn(l, c) < 0) ||
        send(c->fd, l->request.p, l->request.n, MSG_NOSIGNAL) != (ssize_t)l->request.n) {
        l->errors++;
        l->done++;
        c->busy = false;
        drop(c);
    }
}

static void ended(struct load *l, struct conn *c, bool failed, uint64_t now)
{
    bool right = c->status == 200 &&
                 (!l->frames_wanted || (c->frames == l->frames_wanted && !c->disordered));

    c->busy = false;
    if (failed)
        l->errors++;
    else if (!right)
        l->wrong++;
    else
        observe(&l->whole, now - c->due_us);
    l->done++;
    if (failed || !c->keep)
        drop(c);
}

static void on_event(struct load *l, struct conn *c)
{
    static char bytes[READ];
    ssize_t n = recv(c->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    uint64_t now = clock_us();

    if (n < 0 && errno == EAGAIN)
        return;
    if (!c->busy) { /* the other side closed a connection that waits */
        drop(c);
        return;
    }
    if (n <= 0) {
        bool whole = n == 0 && c->parse == PARSE_data && c->left == UINT64_MAX;
        c->keep = false;
        ended(l, c, !whole, now);
        return;
    }
    l->bytes += (uint64_t)n;
    int r = take(l, c, (struct str){ bytes, (size_t)n }, now);
    if (r < 0 || c->parse == PARSE_whole)
        ended(l, c, r < 0, now);
}

/* ---- the run ---- */

static bool may_begin(const struct load *l, uint64_t now)
{
    if (l->requests)
        return l->begun < l->requests;
    return (double)(now - l->start_us) < l->seconds * 1e6;
}

static void begin_all(struct load *l, uint64_t now)
{
    for (size_t i = 0; i < l->n_conns && may_begin(l, now); i++) {
        if (l->conns[i].busy)
            continue;
        if (l->rate > 0 && l->next_us > now)
            return;
        begin(l, &l->conns[i], l->rate > 0 ? l->next_us : now);
        if (l->rate > 0)
            l->next_us += (uint64_t)(1e6 / l->rate);
    }
}

static void run(struct load *l)
{
    enum { GRACE_US = 60000000 }; /* for answers that never end */
    struct epoll_event events[EVENTS];

    l->start_us = l->next_us = clock_us();
    for (;;) {
        uint64_t now = clock_us();
        if (l->rate > 0 || l->begun - l->done < l->n_conns)
            begin_all(l, now);
        bool over = !may_begin(l, now);
        if (over && l->done >= l->begun)
            return;
        if ((double)(now - l->start_us) > l->seconds * 1e6 + GRACE_US)
            return;
        int n = epoll_wait(l->epoll, events, EVENTS, l->rate > 0 ? 1 : 100);
        for (int i = 0; i < n; i++)
            on_event(l, events[i].data.ptr);
    }
}

static void report(const struct load *l)
{
    double seconds = (double)(clock_us() - l->start_us) / 1e6;

    (void)printf("{\"requests\":%llu,\"errors\":%llu,\"wrong\":%llu,\"unfinished\":%llu,"
                 "\"frames\":%llu,\"bytes\":%llu,\"connects\":%llu,\"seconds\":%.3f,"
                 "\"requests_per_s\":%.1f,\"frames_per_s\":%.1f",
                 (unsigned long long)l->done, (unsigned long long)l->errors,
                 (unsigned long long)l->wrong, (unsigned long long)(l->begun - l->done),
                 (unsigned long long)l->frames, (unsigned long long)l->bytes,
                 (unsigned long long)l->reconnects, seconds, (double)l->done / seconds,
                 (double)l->frames / seconds);
    print_histogram("whole", &l->whole);
    if (l->frames_wanted) {
        print_histogram("first", &l->first);
        print_histogram("gap", &l->gap);
    }
    (void)printf("}\n");
}

static int usage(void)
{
    (void)fprintf(stderr,
                  "usage: http_load PORT BODY [--path P] [--header \"N: V\"]... [--connections N]\n"
                  "                 [--seconds S] [--requests N] [--rate R] [--frames N]\n");
    return 2;
}

static int read_options(struct load *l, int argc, char **argv, struct buf *head, const char **path)
{
    for (int i = 3; i + 1 < argc; i += 2) {
        struct str name = str_of(argv[i]), value = str_of(argv[i + 1]);
        uint64_t n = 0;
        int r = 0;
        if (str_is(name, "--path")) {
            *path = argv[i + 1];
        } else if (str_is(name, "--header")) {
            buf_addf(head, "%s\r\n", argv[i + 1]);
        } else if (str_is(name, "--seconds")) {
            r = num_parse_double(&l->seconds, value, 0, 1e6);
        } else if (str_is(name, "--rate")) {
            r = num_parse_double(&l->rate, value, 0, 1e7);
        } else {
            r = num_parse_u64(&n, value, 1, 1u << 30);
            if (str_is(name, "--connections"))
                l->n_conns = (size_t)n;
            else if (str_is(name, "--requests"))
                l->requests = n;
            else if (str_is(name, "--frames"))
                l->frames_wanted = n;
            else
                return -EINVAL;
        }
        if (r < 0)
            return r;
    }
    return argc % 2 ? 0 : -EINVAL;
}

/* The text itself, or what the file behind an '@' holds. 0 or negative errno. */
static int read_body(struct buf *ret, const char *text)
{
    char block[READ];
    if (text[0] != '@') {
        buf_adds(ret, text);
        return buf_err(ret);
    }
    CLEANUP(own_fclose) FILE *f = fopen(text + 1, "re");
    if (!f)
        return -errno;
    for (size_t n; (n = fread(block, 1, sizeof(block), f)) > 0;)
        buf_add(ret, (struct str){ block, n });
    return ferror(f) ? -EIO : buf_err(ret);
}

int main(int argc, char **argv)
{
    static struct load l = { .seconds = 5, .n_conns = 1 };
    CLEANUP(buf_done) struct buf head = BUF_INIT(HEAD);
    CLEANUP(buf_done) struct buf body = BUF_INIT(1u << 30);
    const char *path = "/v1/chat/completions";
    uint64_t port = 0;

    if (argc < 3 || num_parse_u64(&port, str_of(argv[1]), 1, UINT16_MAX) < 0 ||
        read_options(&l, argc, argv, &head, &path) < 0 || read_body(&body, argv[2]) < 0)
        return usage();
    l.address = (struct sockaddr_in){ .sin_family = AF_INET,
                                      .sin_port = htons((uint16_t)port),
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    l.request = BUF_INIT(1u << 30);
    buf_addf(&l.request,
             "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
             "%.*sContent-Length: %zu\r\n\r\n",
             path, (int)head.n, head.n ? head.p : "", body.n);
    buf_add(&l.request, buf_str(&body));
    l.conns = calloc(l.n_conns, sizeof(*l.conns));
    l.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!l.conns || l.epoll < 0 || buf_err(&l.request) < 0)
        return 1;
    for (size_t i = 0; i < l.n_conns; i++)
        l.conns[i].fd = -1;
    run(&l);
    report(&l);
    for (size_t i = 0; i < l.n_conns; i++)
        drop(&l.conns[i]);
    free(l.conns);
    buf_done(&l.request);
    (void)close(l.epoll);
    return l.errors || l.wrong ? 1 : 0;
}

/*
 * What the transport costs: CPU time of its loop for a small call on a kept connection, for a frame
 * of a stream, and memory for a stream that stands still.
 *
 * usage: transport [CALLS [STREAMS]]. The server is a process of its own: one thread, epoll, canned
 * answers. Prints a line each; nothing is judged. The loop's CPU time is its thread's, the kernel's
 * share included.
 */
#include "tests/support/test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <malloc.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/upstream/transport.h"

#define REQUEST_BYTES 1024
#define MAX_FDS 20000
#define FRAME_MS 10

/* ---- the server ---- */

static const char answer[] =
    "HTTP/1.1 200 OK\r\nDate: Sat, 01 Jan 2000 00:00:00 GMT\r\nContent-Type: application/json\r\n"
    "Content-Length: 256\r\nx-request-id: 0123456789abcdef\r\n\r\n";
static const char stream_head[] =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
static const char frame[] =
    "9b\r\ndata: {\"id\":\"chatcmpl-0123456789\",\"object\":\"chat.completion."
    "chunk\",\"created\":1700000000,\"model\":\"m\",\"choices\":[{\"index\""
    ":0,\"delta\":{\"content\":\" word\"}}]} \n\n\r\n";

struct streams {
    int fds[MAX_FDS];
    size_t n;
};

static void answer_one(int epoll, int fd, struct streams *s)
{
    char in[65536];
    ssize_t n = recv(fd, in, sizeof(in), 0);
    if (n <= 0) {
        (void)epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL);
        (void)close(fd);
        for (size_t i = 0; i < s->n; i++)
            if (s->fds[i] == fd)
                s->fds[i] = s->fds[--s->n];
        return;
    }
    if (memmem(in, (size_t)n, " /stream", 8)) {
        (void)!write(fd, stream_head, sizeof(stream_head) - 1);
        s->fds[s->n++] = fd;
        return;
    }
    char out[sizeof(answer) - 1 + 256];
    memcpy(out, answer, sizeof(answer) - 1);
    memset(out + sizeof(answer) - 1, 'x', 256);
    (void)!write(fd, out, sizeof(out));
}

static void serve(int listener)
{
    static struct streams streams;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    int epoll = epoll_create1(0);
    struct epoll_event e = { .events = EPOLLIN, .data.fd = listener }, events[256];
    (void)epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &e);
    uint64_t next = clock_ms() + FRAME_MS;
    for (;;) {
        uint64_t now = clock_ms();
        int wait = streams.n ? (next > now ? (int)(next - now) : 0) : -1;
        int n = epoll_wait(epoll, events, 256, wait);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd != listener) {
                answer_one(epoll, fd, &streams);
                continue;
            }
            fd = accept(listener, NULL, NULL);
            int one = 1;
            (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
            e = (struct epoll_event){ .events = EPOLLIN, .data.fd = fd };
            (void)epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e);
        }
        if (clock_ms() < next)
            continue;
        next += FRAME_MS;
        for (size_t i = 0; i < streams.n; i++)
            (void)!send(streams.fds[i], frame, sizeof(frame) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
}

static pid_t start_server(unsigned *ret_port)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof(a);
    if (bind(fd, (struct sockaddr *)&a, n) || listen(fd, 4096) ||
        getsockname(fd, (struct sockaddr *)&a, &n))
        exit(1);
    *ret_port = ntohs(a.sin_port);
    pid_t pid = fork();
    if (!pid)
        serve(fd);
    (void)close(fd);
    return pid;
}

/* ---- calls ---- */

struct bench {
    struct transport_loop *loop;
    struct call_spec spec;
    struct transport_task task;
    uint64_t left, under_way, done, frames, bytes, failed;
    uint64_t began_us, cpu_us; /* at the start */
    bool pauses;
    struct call **calls;
    size_t n_calls;
    sem_t over;
};

static uint64_t cpu_us(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void start_one(struct bench *b)
{
    struct call *c = NULL;
    b->left--;
    if (call_start(b->loop, &c, &b->spec) < 0)
        abort();
    b->under_way++;
    if (b->calls)
        b->calls[b->n_calls++] = c;
    else
        (void)call_unref(c);
}

static void on_body(void *owner, struct str bytes)
{
    struct bench *b = owner;
    b->frames++;
    b->bytes += bytes.n;
}

static void on_end(void *owner, const struct call_end *end)
{
    struct bench *b = owner;
    b->under_way--;
    b->done++;
    if (end->outcome != CALL_complete && end->outcome != CALL_cancelled && !b->failed++)
        (void)printf("# %s\n", end->message);
    if (b->left)
        start_one(b);
    else if (!b->under_way)
        (void)sem_post(&b->over);
}

static const struct call_handler handler = { NULL, on_body, on_end };

static struct bench *bench_of(struct transport_task *task)
{
    return (struct bench *)((char *)task - offsetof(struct bench, task));
}

static uint64_t wanted_at_once;

static void begin(struct transport_task *task)
{
    struct bench *b = bench_of(task);
    b->cpu_us = cpu_us();
    b->began_us = clock_us();
    for (uint64_t i = 0; i < wanted_at_once && b->left; i++)
        start_one(b);
}

static void stamp(struct transport_task *task)
{
    struct bench *b = bench_of(task);
    b->cpu_us = cpu_us() - b->cpu_us;
    b->began_us = clock_us() - b->began_us;
    (void)sem_post(&b->over);
}

static void run(struct bench *b, void (*fn)(struct transport_task *))
{
    b->task.run = fn;
    transport_post(b->loop, &b->task);
    while (sem_wait(&b->over))
        ;
}

static void calls(struct bench *b, uint64_t n, uint64_t at_once)
{
    b->left = n;
    b->done = b->failed = 0;
    wanted_at_once = at_once;
    run(b, begin);
    run(b, stamp);
    (void)printf(
        "calls: %lu at once %lu: %.1f us CPU of the loop a call, %.1f us each, %lu failed\n",
        (unsigned long)n, (unsigned long)at_once, (double)b->cpu_us / (double)n,
        (double)b->began_us / (double)n, (unsigned long)b->failed);
}

/* ---- streams ---- */

static size_t resident(void)
{
    (void)malloc_trim(0);
    size_t total = 0, pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f || fscanf(f, "%zu %zu", &total, &pages) != 2)
        exit(1);
    (void)fclose(f);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static void reset(struct transport_task *task)
{
    struct bench *b = bench_of(task);
    b->cpu_us = cpu_us();
    b->began_us = clock_us();
    b->frames = b->bytes = 0;
    (void)sem_post(&b->over);
}

static void begin_streams(struct transport_task *task)
{
    begin(task);
    (void)sem_post(&bench_of(task)->over);
}

static void pause_all(struct transport_task *task)
{
    struct bench *b = bench_of(task);
    for (size_t i = 0; i < b->n_calls; i++)
        call_pause(b->calls[i], true);
    (void)sem_post(&b->over);
}

static void end_all(struct transport_task *task)
{
    struct bench *b = bench_of(task);
    for (size_t i = 0; i < b->n_calls; i++) {
        call_cancel(b->calls[i]);
        (void)call_unref(b->calls[i]);
    }
}

static void streams(struct bench *b, uint64_t n)
{
    size_t before = resident();
    b->calls = calloc(n, sizeof(*b->calls));
    b->left = n;
    wanted_at_once = n;
    run(b, begin_streams);
    (void)usleep(1000000);
    run(b, reset);
    (void)usleep(2000000);
    run(b, stamp);
    uint64_t frames = b->frames;
    (void)printf("streams: %lu, %lu frames: %.2f us CPU of the loop a frame, %lu bytes each\n",
                 (unsigned long)n, (unsigned long)frames, (double)b->cpu_us / (double)frames,
                 (unsigned long)(b->bytes / frames));
    size_t open = resident();
    run(b, pause_all);
    (void)usleep(1000000);
    size_t paused = resident();
    (void)printf("memory: %.1f KB a stream that runs, %.1f KB a paused one\n",
                 (double)(open - before) / (double)n / 1024,
                 (double)(paused - before) / (double)n / 1024);
    run(b, end_all);
    free(b->calls);
    b->calls = NULL;
}

int main(int argc, char **argv)
{
    uint64_t n = argc > 1 ? strtoull(argv[1], NULL, 10) : 50000;
    uint64_t n_streams = argc > 2 ? strtoull(argv[2], NULL, 10) : 500;
    static char body[REQUEST_BYTES];
    memset(body, ' ', sizeof(body));
    unsigned port = 0;
    pid_t server = start_server(&port);
    struct transport *t = NULL;
    if (transport_new(&t, &(struct transport_config){ .loops = 1 }) < 0)
        return 1;
    char url[64];
    (void)snprintf(url, sizeof(url), "http://127.0.0.1:%u/v1/chat/completions", port);
    struct chat_pair headers[] = {
        { STR("content-type"), STR("application/json") },
        { STR("authorization"), STR("Bearer sk-0123456789012345678901234567890") },
        { STR("x-request-id"), STR("req_0123456789abcdef") },
        { STR("user-agent"), STR("rootstock") },
        { STR("accept"), STR("*/*") },
    };
    struct bench b = { .loop = transport_loop(t, 0) };
    (void)sem_init(&b.over, 0, 0);
    b.spec = (struct call_spec){ .method = "POST",
                                 .url = url,
                                 .headers = headers,
                                 .n_headers = ARRAY_LEN(headers),
                                 .body = { body, sizeof(body) },
                                 .connect_ms = 5000,
                                 .first_byte_ms = 60000,
                                 .idle_ms = 60000,
                                 .deadline_ms = CLOCK_NEVER,
                                 .handler = &handler,
                                 .owner = &b };
    calls(&b, n / 10, 1);
    calls(&b, n, 1);
    calls(&b, n, 16);
    calls(&b, n, 64);
    (void)snprintf(url, sizeof(url), "http://127.0.0.1:%u/stream", port);
    streams(&b, n_streams);
    t = transport_free(t);
    (void)kill(server, SIGKILL);
    return 0;
}

#include "base/log.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/metrics.h"
#include "base/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char *const level_words[] = { "debug", "info", "warn", "error" };
static _Atomic int least_level = LOG_info;

void log_set_level(enum log_level least)
{
    atomic_store(&least_level, (int)least);
}

int log_parse_level(enum log_level *ret, const char *word)
{
    for (size_t i = 0; i < ARRAY_LEN(level_words); i++)
        if (strcmp(word, level_words[i]) == 0) {
            *ret = (enum log_level)i;
            return 0;
        }
    return -EINVAL;
}

static void escape_controls(char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        text[i] = (char)(c < 0x20 || c == 0x7f ? ' ' : c); /* nothing from outside begins a line */
    }
}

/* ---- out, without a wait for who should read ---- */

enum way {
    WAY_unknown,
    WAY_write, /* it never waits: a file, or opened not to */
    WAY_send,  /* a socket */
    WAY_ask,   /* it might: only where poll says that there is room */
};

static enum way way_of(int fd)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return WAY_ask;
    return S_ISREG(st.st_mode) ? WAY_write : S_ISSOCK(st.st_mode) ? WAY_send : WAY_ask;
}

/*
 * A pipe has room for PIPE_BUF bytes when poll says so, unless another thread takes it meanwhile:
 * hence the lock.
 */
static ssize_t put(int fd, enum way way, struct str bytes)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    struct pollfd p = { .fd = fd, .events = POLLOUT };

    if (way == WAY_write)
        return write(fd, bytes.p, bytes.n);
    if (way == WAY_send)
        return send(fd, bytes.p, bytes.n, MSG_DONTWAIT | MSG_NOSIGNAL);
    LOCKED(&lock);
    if (poll(&p, 1, /* timeout= */ 0) == 1 && (p.revents & POLLOUT))
        return write(fd, bytes.p, bytes.n);
    return -1;
}

void log_text(int fd, struct str text)
{
    enum way way = way_of(fd);
    while (text.n) {
        ssize_t n = put(fd, way, str_head(text, PIPE_BUF));
        if (n <= 0)
            return;
        text = str_sub(text, (size_t)n);
    }
}

/* Where lines go, found with the first of them. */
static struct {
    pthread_mutex_t lock; /* of finding it */
    _Atomic int way, fd;
} out = { .lock = PTHREAD_MUTEX_INITIALIZER };

/*
 * Nothing may switch stderr itself to not waiting, for others who have it would be switched too. A
 * pipe or a terminal is opened anew where that may be: it then takes a line or refuses it, in one
 * call.
 */
static void find_out(void)
{
    LOCKED(&out.lock);
    if (out.way != WAY_unknown)
        return;
    enum way way = way_of(STDERR_FILENO);
    int own =
        way == WAY_ask ? open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC) : -1;
    out.fd = own < 0 ? STDERR_FILENO : own;
    out.way = own < 0 ? way : WAY_write;
}

void log_moved(void)
{
    LOCKED(&out.lock);
    if (out.way != WAY_unknown && out.fd != STDERR_FILENO)
        (void)close(out.fd);
    out.way = WAY_unknown;
}

/* ---- lines ---- */

enum { LINE = 1024 };

/* Time, level and event. */
static void put_head(struct buf *line, enum log_level level, const char *event)
{
    static _Thread_local struct {
        uint64_t s; /* of this second */
        char text[32];
    } date;
    uint64_t now = clock_wall_ms(), s = now / 1000;
    if (s != date.s) {
        time_t t = (time_t)s;
        struct tm tm;
        (void)gmtime_r(&t, &tm);
        (void)strftime(date.text, sizeof(date.text), "%Y-%m-%dT%H:%M:%S", &tm);
        date.s = s;
    }
    buf_adds(line, date.text);
    char ms[] = {
        '.', (char)('0' + now / 100 % 10), (char)('0' + now / 10 % 10), (char)('0' + now % 10), 'Z',
        ' '
    };
    buf_add(line, (struct str){ ms, sizeof(ms) });
    buf_adds(line, level_words[level]);
    buf_add(line, STR(" event="));
    buf_adds(line, event);
    buf_addc(line, ' ');
}

/* One write, so that lines never interleave; what finds no room is lost. */
static void put_lines(struct str text)
{
    if (out.way == WAY_unknown)
        find_out();
    ssize_t n = put(out.fd, (enum way)out.way, text);
    unsigned lost = 0;
    for (size_t i = n < 0 ? 0 : (size_t)n; i < text.n; i++)
        lost += text.p[i] == '\n';
    if (lost)
        metrics_add(METRIC_log_lines_lost_total, lost);
}

/* Of a thread: lines that go out together. */
static _Thread_local struct {
    bool on;
    size_t n;
    char text[PIPE_BUF]; /* what one write puts into a pipe as a whole */
} gathered;

void log_gather(void)
{
    gathered.on = true;
}

void log_flush(void)
{
    if (gathered.n == 0)
        return;
    put_lines((struct str){ gathered.text, gathered.n });
    gathered.n = 0;
}

static void put_line(char *text, size_t n)
{
    escape_controls(text, n);
    text[n++] = '\n';
    log_flush(); /* the thread's lines keep their order */
    put_lines((struct str){ text, n });
}

/* `text` has room for a byte more. */
static void gather_line(char *text, size_t n)
{
    escape_controls(text, n);
    text[n++] = '\n';
    if (gathered.n + n > sizeof(gathered.text))
        log_flush();
    memcpy(gathered.text + gathered.n, text, n);
    gathered.n += n;
}

static void vline(enum log_level level, const char *event, const char *fmt, va_list args)
    PRINTF_LIKE(3, 0);

static void vline(enum log_level level, const char *event, const char *fmt, va_list args)
{
    char text[LINE];
    struct buf line = BUF_ON(text);
    put_head(&line, level, event);
    size_t room = sizeof(text) - line.n;
    int n = vsnprintf(text + line.n, room, fmt, args);
    if (n >= 0) /* cut where it is too long */
        put_line(text, line.n + ((size_t)n < room ? (size_t)n : room - 1));
}

void log_pairs(enum log_level level, const char *event, struct str pairs)
{
    if ((int)level < atomic_load(&least_level))
        return;
    char text[LINE];
    struct buf line = BUF_ON(text);
    put_head(&line, level, event);
    buf_add(&line, str_head(pairs, sizeof(text) - 1 - line.n));
    if (gathered.on)
        gather_line(text, line.n);
    else
        put_line(text, line.n);
}

void log_line(enum log_level level, const char *event, const char *fmt, ...)
{
    if ((int)level < atomic_load(&least_level))
        return;
    va_list args;
    va_start(args, fmt);
    vline(level, event, fmt, args);
    va_end(args);
}

void log_rated(struct log_rate *rate, enum log_level level, const char *event, const char *fmt, ...)
{
    if ((int)level < atomic_load(&least_level))
        return;
    unsigned long long now = clock_ms(), until = atomic_load(&rate->until_ms);
    if (now < until || !atomic_compare_exchange_strong(&rate->until_ms, &until, now + 1000)) {
        atomic_fetch_add(&rate->skipped, 1);
        return;
    }
    unsigned skipped = atomic_exchange(&rate->skipped, 0);
    va_list args;
    va_start(args, fmt);
    vline(level, event, fmt, args);
    va_end(args);
    if (skipped)
        log_line(level, event, "repeated=%u", skipped);
}

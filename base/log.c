#include "base/log.h"

#include "base/clock.h"
#include "base/metrics.h"
#include "base/thread.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
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

static void escape_controls(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = ' '; /* nothing from outside may start a line of its own */
}

/*
 * Never a wait for who should read. A pipe has room for PIPE_BUF bytes when poll says so, unless
 * another thread takes it meanwhile: hence the lock.
 */
static ssize_t put(int fd, struct str bytes)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    struct pollfd p = { .fd = fd, .events = POLLOUT };
    ssize_t n = send(fd, bytes.p, bytes.n, MSG_DONTWAIT | MSG_NOSIGNAL);

    if (n >= 0 || errno != ENOTSOCK)
        return n;
    LOCKED(&lock);
    if (poll(&p, 1, /* timeout= */ 0) == 1 && (p.revents & POLLOUT))
        n = write(fd, bytes.p, bytes.n);
    return n;
}

void log_text(int fd, struct str text)
{
    while (text.n) {
        ssize_t n = put(fd, str_head(text, PIPE_BUF));
        if (n <= 0)
            return;
        text = str_sub(text, (size_t)n);
    }
}

static void vline(enum log_level level, const char *event, const char *fmt, va_list args)
    PRINTF_LIKE(3, 0);

static void vline(enum log_level level, const char *event, const char *fmt, va_list args)
{
    char line[1024], when[32];
    uint64_t now = clock_wall_ms();
    time_t s = (time_t)(now / 1000);
    struct tm tm;
    (void)gmtime_r(&s, &tm);
    (void)strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
    int n = snprintf(line, sizeof(line), "%s.%03uZ %s event=%s ", when, (unsigned)(now % 1000),
                     level_words[level], event);
    if (n < 0)
        return;
    int m = vsnprintf(line + n, sizeof(line) - (size_t)n - 1, fmt, args);
    if (m < 0)
        return;
    escape_controls(line);
    size_t len = strlen(line);
    line[len++] = '\n';
    /* One write, so that lines never interleave; what finds no room is lost. */
    if (put(STDERR_FILENO, (struct str){ line, len }) < 0)
        metrics_add(METRIC_log_lines_lost_total, 1);
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

#include "base/log.h"

#include "base/metrics.h"
#include "tests/support/test.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LINES = 4000 }; /* more than a pipe or a socket holds */

/* Logs into fd instead of stderr. */
static void log_into(int fd, unsigned lines)
{
    int saved = dup(STDERR_FILENO);

    assert_true(saved >= 0 && dup2(fd, STDERR_FILENO) >= 0);
    log_moved();
    for (unsigned i = 0; i < lines; i++)
        log_line(LOG_info, "test", "n=%u", i);
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    log_moved();
    (void)close(saved);
}

static void nobody_waits_for_a_reader_that_does_not_read(void **state)
{
    int ends[2][2];

    assert_int_equal(pipe(ends[0]), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends[1]), 0);
    for (unsigned i = 0; i < 2; i++) {
        char text[65536];
        int64_t lost = metrics_get(METRIC_log_lines_lost_total, 0);
        log_into(ends[i][1], LINES);
        assert_true(metrics_get(METRIC_log_lines_lost_total, 0) > lost);
        ssize_t n = read(ends[i][0], text, sizeof(text) - 1);
        assert_true(n > 0);
        text[n] = '\0';
        assert_non_null(strstr(text, "info event=test n=0\n"));
        assert_non_null(strstr(text, "info event=test n=9\n"));
        lost = metrics_get(METRIC_log_lines_lost_total, 0);
        log_into(ends[i][1], 1); /* there is room again */
        assert_int_equal(metrics_get(METRIC_log_lines_lost_total, 0), lost);
        (void)close(ends[i][0]);
        (void)close(ends[i][1]);
    }
}

/* What one line is, in a pipe, in a socket and in a file, through both ways to write one. */
static void a_line_has_its_time_and_nothing_that_could_begin_another(void **state)
{
    char name[] = "/tmp/rootstock_log_XXXXXX", longer[3000];
    int ends[2], sockets[2], file = mkstemp(name);

    assert_true(file >= 0 && unlink(name) == 0);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
    memset(longer, 'x', sizeof(longer));
    const int into[] = { ends[1], sockets[1], file }, from[] = { ends[0], sockets[0], file };
    for (unsigned i = 0; i < 3; i++) {
        int saved = dup(STDERR_FILENO);
        assert_true(saved >= 0 && dup2(into[i], STDERR_FILENO) >= 0);
        log_moved();
        log_line(LOG_info, "a", "x=%d y=%s", 1, "b\nc\x7f");
        log_pairs(LOG_warn, "a", STR("x=1 y=b\nc\x7f"));
        log_pairs(LOG_debug, "unseen", STR("x=1"));
        log_line(LOG_error, "longer", "%.*s", (int)sizeof(longer), longer);
        log_pairs(LOG_error, "longer", (struct str){ longer, sizeof(longer) });
        assert_true(dup2(saved, STDERR_FILENO) >= 0);
        log_moved();
        (void)close(saved);

        char text[8192], *line = text, *end;
        ssize_t n = from[i] == file ? pread(file, text, sizeof(text) - 1, 0)
                                    : read(from[i], text, sizeof(text) - 1);
        assert_true(n > 0);
        text[n] = '\0';
        static const char *const want[] = { "info event=a x=1 y=b c ", "warn event=a x=1 y=b c " };
        for (unsigned k = 0; k < 4; k++, line = end + 1) {
            int at = 0;
            assert_non_null(end = strchr(line, '\n'));
            *end = '\0';
            assert_int_equal(sscanf(line, "20%*2u-%*2u-%*2uT%*2u:%*2u:%*2u.%*3uZ %n", &at), 0);
            assert_int_equal(at, 25);
            if (k < 2)
                assert_string_equal(line + at, want[k]);
            else
                assert_int_equal(end - line, 1023); /* cut, whole lines */
        }
        assert_true(*line == '\0');
        (void)close(into[i]);
        if (from[i] != file)
            (void)close(from[i]);
    }
}

static void a_full_disk_loses_lines_and_nothing_else(void **state)
{
    int64_t lost = metrics_get(METRIC_log_lines_lost_total, 0);
    int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    log_into(fd, 3);
    assert_int_equal(metrics_get(METRIC_log_lines_lost_total, 0), lost + 3);
    (void)close(fd);
}

static void a_reader_that_left_loses_lines_and_nothing_else(void **state)
{
    int64_t lost = metrics_get(METRIC_log_lines_lost_total, 0);
    int ends[2];

    assert_int_equal(pipe(ends), 0);
    (void)close(ends[0]);
    (void)signal(SIGPIPE, SIG_IGN);
    log_into(ends[1], 3);
    assert_int_equal(metrics_get(METRIC_log_lines_lost_total, 0), lost + 3);
    (void)close(ends[1]);
}

/* Everything that is in the pipe. */
static struct str read_all(int fd, char *text, size_t max)
{
    ssize_t n = read(fd, text, max);
    return (struct str){ text, n < 0 ? 0 : (size_t)n };
}

static size_t count_lines(struct str text)
{
    size_t n = 0;
    for (size_t i = 0; i < text.n; i++)
        n += text.p[i] == '\n';
    return n;
}

static void *gather(void *arg)
{
    static char text[65536];
    int fd = *(int *)arg;
    log_gather();
    log_pairs(LOG_info, "one", STR("n=1"));
    log_pairs(LOG_info, "two", STR("n=2"));
    assert_int_equal(read_all(fd, text, sizeof(text)).n, 0); /* nothing leaves by itself … */
    log_line(LOG_info, "three", "n=%d", 3); /* … and another line is not told before them */
    struct str all = read_all(fd, text, sizeof(text));
    assert_int_equal(count_lines(all), 3);
    assert_true(str_find(all, STR("one")) < str_find(all, STR("two")));
    assert_true(str_find(all, STR("two")) < str_find(all, STR("three")));
    size_t seen = 0;
    for (unsigned i = 0; i < 100; i++) {
        log_pairs(LOG_info, "many", STR("text=as much as a line of an access log may well hold"));
        all = read_all(fd, text, sizeof(text));
        assert_true(all.n <= 4096 && (all.n == 0 || all.p[all.n - 1] == '\n'));
        seen += count_lines(all);
    }
    assert_in_range(seen, 1, 99);
    log_flush();
    assert_int_equal(seen + count_lines(read_all(fd, text, sizeof(text))), 100);
    log_flush();
    assert_int_equal(read_all(fd, text, sizeof(text)).n, 0);
    return NULL;
}

static void *gather_for_nobody(void *arg)
{
    int64_t lost = metrics_get(METRIC_log_lines_lost_total, 0);
    (void)arg;
    log_gather();
    for (unsigned i = 0; i < 3; i++)
        log_pairs(LOG_info, "one", STR("n=1"));
    assert_int_equal(metrics_get(METRIC_log_lines_lost_total, 0), lost);
    log_flush();
    assert_int_equal(metrics_get(METRIC_log_lines_lost_total, 0), lost + 3);
    return NULL;
}

/* `run` in a thread whose lines go to fd. */
static void run_logging_into(int fd, void *(*run)(void *), void *arg)
{
    pthread_t thread;
    int saved = dup(STDERR_FILENO);
    assert_true(saved >= 0 && dup2(fd, STDERR_FILENO) >= 0);
    log_moved();
    assert_int_equal(pthread_create(&thread, NULL, run, arg), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    log_moved();
    (void)close(saved);
}

static void gathered_lines_go_out_together_and_in_order(void **state)
{
    int ends[2], full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_true(full >= 0);
    assert_int_equal(pipe2(ends, O_NONBLOCK), 0);
    run_logging_into(ends[1], gather, &ends[0]);
    run_logging_into(full, gather_for_nobody, NULL);
    (void)close(full);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_waits_for_a_reader_that_does_not_read),
        cmocka_unit_test(a_line_has_its_time_and_nothing_that_could_begin_another),
        cmocka_unit_test(gathered_lines_go_out_together_and_in_order),
        cmocka_unit_test(a_full_disk_loses_lines_and_nothing_else),
        cmocka_unit_test(a_reader_that_left_loses_lines_and_nothing_else),
    };
    return TEST_RUN(tests);
}

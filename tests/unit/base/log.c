#include "base/log.h"

#include "base/metrics.h"
#include "tests/support/test.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LINES = 4000 }; /* more than a pipe or a socket holds */

/* Logs into fd instead of stderr. */
static void log_into(int fd, unsigned lines)
{
    int saved = dup(STDERR_FILENO);

    assert_true(saved >= 0 && dup2(fd, STDERR_FILENO) >= 0);
    for (unsigned i = 0; i < lines; i++)
        log_line(LOG_info, "test", "n=%u", i);
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
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

static void a_full_disk_loses_lines_and_nothing_else(void **state)
{
    int64_t lost = metrics_get(METRIC_log_lines_lost_total, 0);
    int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    log_into(fd, 3);
    assert_int_equal(metrics_get(METRIC_log_lines_lost_total, 0), lost + 3);
    (void)close(fd);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_waits_for_a_reader_that_does_not_read),
        cmocka_unit_test(a_full_disk_loses_lines_and_nothing_else),
    };
    return TEST_RUN(tests);
}

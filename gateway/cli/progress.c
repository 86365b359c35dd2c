#include "gateway/cli/progress.h"

#include "base/clock.h"
#include "base/limits.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool on_terminal(void)
{
    static int known = -1;
    if (known < 0)
        known = isatty(STDERR_FILENO);
    return known > 0;
}

/* Ten times a second is enough, and the last one. */
static bool is_due(uint64_t done, uint64_t total)
{
    static uint64_t last_ms;
    enum { EVERY_MS = 100 };
    uint64_t now = clock_ms();
    bool last = total && done >= total;
    if (!on_terminal() || (!last && now - last_ms < EVERY_MS))
        return false;
    last_ms = now;
    return true;
}

static void draw(const char *label, const char *rate, uint64_t done, uint64_t total)
{
    enum { WIDTH = 30, TURN_MS = 100 };
    char bar[WIDTH + 1];
    if (total == 0) {
        (void)fprintf(stderr, "\r%c  %s%s\033[K", "|/-\\"[clock_ms() / TURN_MS % 4], rate, label);
        return;
    }
    size_t filled = (size_t)(done >= total ? WIDTH : done * WIDTH / total);
    memset(bar, ' ', WIDTH);
    memset(bar, '=', filled);
    bar[WIDTH] = '\0';
    (void)fprintf(stderr, "\r[%s] %3u %%  %s%s\033[K", bar,
                  (unsigned)(done >= total ? 100 : done * 100 / total), rate, label);
}

void cli_progress(const char *label, uint64_t done, uint64_t total)
{
    if (is_due(done, total))
        draw(label, "", done, total);
}

void cli_progress_rate(const char *label, const char *unit, uint64_t done, uint64_t total)
{
    static const char *of;
    static uint64_t since_ms, from;
    char rate[64] = "";
    if (of != label) {
        of = label;
        since_ms = clock_ms();
        from = done;
    }
    if (!is_due(done, total))
        return;
    double seconds = (double)(clock_ms() - since_ms) / 1e3;
    double speed = seconds > 0 ? (double)(done - from) / seconds : 0;
    if (seconds > 0 && strcmp(unit, "B") == 0)
        (void)snprintf(rate, sizeof(rate), "%.1f MiB/s  ", speed / (double)MIB);
    else if (seconds > 0)
        (void)snprintf(rate, sizeof(rate), "%.0f %s/s  ", speed, unit);
    draw(label, rate, done, total);
}

void cli_progress_done(void)
{
    if (on_terminal())
        (void)fputs("\r\033[K", stderr);
}

void cli_progress_input(uint64_t used)
{
    static int64_t total = -1;
    struct stat st;
    if (total < 0) {
        bool is_file = fstat(STDIN_FILENO, &st) == 0 && S_ISREG(st.st_mode);
        total = is_file ? st.st_size : 0;
    }
    if (on_terminal() && !isatty(STDIN_FILENO) && !isatty(STDOUT_FILENO))
        cli_progress("bytes of text", used, (uint64_t)total);
}

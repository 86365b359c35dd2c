/*
 * One line an event on stderr: time, level, event=word, then key=value pairs.
 *
 * Only edges log (main, request end, thread loops); libraries return errors. Never prompt text,
 * never keys. Any thread. Never waits for who reads: lines that find no room are lost and counted.
 */
#pragma once

#include "base/own.h"
#include "base/str.h"

enum log_level { LOG_debug, LOG_info, LOG_warn, LOG_error };

void log_set_level(enum log_level least);
int log_parse_level(enum log_level *ret, const char *word) MUST_USE; /* -EINVAL: unknown */

/* log_line(LOG_info, "model_loaded", "path=%s tensors=%u", path, n). Control bytes are escaped. */
void log_line(enum log_level level, const char *event, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* The same for pairs that are text already, where a line is written for every request. */
void log_pairs(enum log_level level, const char *event, struct str pairs);

/*
 * The pairs' lines of this thread are gathered from now on, and go out together: by log_flush, when
 * there are 4 KiB of them, or before another line of the thread. For a loop that calls log_flush
 * before it sleeps.
 */
void log_gather(void);
void log_flush(void); /* nothing gathered: nothing */

/* The same, at most once a second for one call site; the next line tells how many were left out. */
struct log_rate {
    _Atomic unsigned long long until_ms;
    _Atomic unsigned skipped;
};
void log_rated(struct log_rate *rate, enum log_level level, const char *event, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

/* stderr is another file from now on. For whoever changed it, while no other thread logs: what kind
 * of file it is was looked up with the first line. */
void log_moved(void);

/* Text for people as it is, at most as much as there is room for: it waits for nobody either. */
void log_text(int fd, struct str text);

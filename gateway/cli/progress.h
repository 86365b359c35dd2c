/*
 * What a person sees of long work: a bar on stderr, where that is a terminal.
 */
#pragma once

#include <stdint.h>

/* "[=====>    ] 42 %  label"; total 0: a spinner. cli_progress_done clears it. */
void cli_progress(const char *label, uint64_t done, uint64_t total);
/* The same with how fast it goes: "[=====>    ] 42 %  12.3 MiB/s  label". `unit` is "B" for bytes,
 * else a word such as "adapters". The clock begins with the first call of a label. */
void cli_progress_rate(const char *label, const char *unit, uint64_t done, uint64_t total);
/* Of a command that answers each line of stdin: `used` of its bytes are answered. Nothing where a
 * person types them, or where the answers are what the terminal shows. */
void cli_progress_input(uint64_t used);
void cli_progress_done(void);

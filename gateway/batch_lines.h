/*
 * Batch lines: the JSONL of OpenAI's Batch API, checked and found again.
 *
 * Pure functions of texts; nothing is allocated but the table itself.
 */
#pragma once

#include "base/buf.h"

#include <stdint.h>

enum {
    BATCH_LINES_MAX = 50000, /* OpenAI's own */
    BATCH_PROBLEMS = 100,    /* that are told of one file */
    BATCH_CUSTOM_ID = 512,   /* bytes of one, as JSON */
};

/* What is wrong with a line, in the words of the errors of a batch. All static. */
struct batch_problem {
    const char *code, *message;
    const char *param; /* NULL: none */
    size_t line;       /* from 1; 0: of the whole file */
};

/* One request of a file: views of its line. */
struct batch_line {
    struct str custom_id; /* JSON, with its quotes */
    struct str body;      /* a JSON object */
};

/* Reads {"custom_id", "method": "POST", "url": endpoint, "body": {…}}. false: *ret_problem says
 * why, without its line. */
bool batch_line_read(struct batch_line *ret, struct str line, struct str endpoint,
                     struct batch_problem *ret_problem) MUST_USE;

enum batch_entry_state { ENTRY_todo, ENTRY_running, ENTRY_done };

struct batch_entry {
    uint64_t id; /* of the custom_id: 64 bits of its SHA-256 */
    size_t at;   /* bytes from the beginning of the file */
    uint32_t n;
    uint8_t state; /* enum batch_entry_state */
    uint8_t tries;
};

struct batch_table {
    struct batch_entry *entries; /* owned */
    size_t n, n_done;
    struct batch_problem problems[BATCH_PROBLEMS];
    size_t n_problems;
};
void batch_table_done(struct batch_table *t);

/* All lines of a file, empty ones left out; without problems the table is whole. 0 or -ENOMEM. */
int batch_table_read(struct batch_table *ret, struct str text, struct str endpoint) MUST_USE;
struct str batch_table_line(const struct batch_table *t, size_t i, struct str text);
/*
 * Marks what a file of answers holds as done. *ret_whole: its bytes up to the last whole line: a
 * process that died may have left half of one behind it. 0 or -ENOMEM.
 */
int batch_table_mark(struct batch_table *t, struct str answers, size_t *ret_marked,
                     size_t *ret_whole) MUST_USE;

/* {"id":…,"custom_id":…,"response":{"status_code":…,"request_id":…,"body":…},"error":null}, and the
 * end of the line. The body is JSON; breaks between its tokens become blanks. */
struct batch_answer {
    struct str custom_id; /* JSON */
    const char *request_id;
    unsigned status; /* 0: there is no response, but an error of the batch */
    struct str body;
    const char *code, *message; /* of that error */
};
void batch_answer_print(struct buf *b, const struct batch_answer *a);

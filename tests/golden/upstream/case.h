/*
 * A case of translation: what a client asks, what a provider must be sent, what it answers, what
 * must come of it. README.md tells the form of the files.
 */
#pragma once

#include "base/arena.h"
#include "engine/upstream/provider.h"

enum { CASE_SECTIONS = 64, CASE_HEADERS = 16 };

struct case_section {
    struct str name, options, text;
};

struct upstream_case {
    struct arena *arena;
    struct case_section sections[CASE_SECTIONS];
    size_t n_sections;
    struct config_upstream upstream;
    struct config_endpoint endpoint;
    struct chat_request request;
    struct provider_job job;
    struct chat_pair client_headers[CASE_HEADERS], answer_headers[CASE_HEADERS], adapter;
    struct config_pair endpoint_headers[CASE_HEADERS];
    struct call_head head;
    uint64_t changed; /* of the request: what a policy did */
    bool no_source;   /* the request is written from its fields, whatever its wire */
};

/* Reads and decodes; fails the test where the file is not what README.md says. `provider`: of
 * enum upstream_provider. */
void case_read(struct upstream_case *c, const char *path, unsigned provider);
void case_done(struct upstream_case *c);
const struct case_section *case_section(const struct upstream_case *c, const char *name);
/* The bytes of the answer, with the options of its section applied. */
struct str case_answer(const struct upstream_case *c);

/* Events as JSON lines, the form of the section `events`. */
void case_event_line(struct buf *out, const struct engine_event *e);
/* Of the answer handed over in pieces that begin at `cuts` (ascending): lines, appended. `ends`:
 * whether the body ends after it. Returns how often done or failed came. */
struct case_reading {
    struct str bytes;
    const size_t *cuts;
    size_t n_cuts;
};
unsigned case_read_answer(const struct upstream_case *c, const struct case_reading *how,
                          struct buf *lines);

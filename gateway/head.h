/*
 * The head of a request: framing, size, route, key, media type; everything that can be refused
 * before a byte of the body is read.
 */
#pragma once

#include "gateway/request.h"

/* A value of the query string, in the arena; p NULL: it is not there. http thread. */
struct str head_query(struct request *r, const char *name);

/* What the head says about the body. */
struct framing {
    uint64_t length; /* of Content-Length; 0: none */
    bool is_chunked;
    bool has_body;
    bool expects_100; /* the client waits for our word before it sends */
};

/*
 * Reads the head of r->connection. Fills endpoint, params, headers. 0, or NEXT: refused, and
 * r->reply is complete (also for OPTIONS, which is answered here).
 */
bool head_accept(struct request *r, const char *url, const char *method,
                 struct framing *ret_framing);

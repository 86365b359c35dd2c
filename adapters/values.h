/*
 * Values: named texts in the catalog's Redis, for a time; for other folders.
 *
 * They share the catalog's servers, login and namespace. Calls block up to their time limit: never
 * from an http or engine thread. Otherwise any thread; calls take turns.
 */
#pragma once

#include "base/buf.h"
#include "base/fail.h"
#include "config/config.h"

struct values;

/* Connects later. `timeout_ms`: without progress of an answer. FAILED: the URL is not understood.
 */
int values_open(struct values **ret, const struct config_adapters *c, unsigned timeout_ms,
                struct fail *reterr) MUST_USE;
struct values *values_free(struct values *v); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct values *, values_free);

/* All: FAILED, catalog_unavailable, where Redis does not answer or refuses. A value lives ttl_s
 * seconds from when it was last read or written. */
/* Appends it to `ret`; -ENOENT: there is none. */
int values_get(struct values *v, struct str key, uint64_t ttl_s, struct buf *ret,
               struct fail *reterr) MUST_USE;
int values_set(struct values *v, struct str key, struct str value, uint64_t ttl_s,
               struct fail *reterr) MUST_USE;
/* At the end of what is there. */
int values_append(struct values *v, struct str key, struct str text, uint64_t ttl_s,
                  struct fail *reterr) MUST_USE;
int values_remove(struct values *v, struct str key, struct fail *reterr) MUST_USE; /* -ENOENT */

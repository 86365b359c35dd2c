/*
 * Heads of adapters as Redis holds them: keys, and reading them into the page.
 *
 * Internal to the Redis catalog; any thread, on the link it brings.
 */
#pragma once

#include "adapters/page.h"
#include "adapters/redis_link.h"

#define REDIS_NAMESPACE_MAX 64
#define REDIS_KEY_MAX (REDIS_NAMESPACE_MAX + 2 * LIMIT_NAME + 16)

struct redis_keys { /* of a namespace */
    char prefix[REDIS_NAMESPACE_MAX + 2];
};

struct adapter_keys {
    char member[2 * LIMIT_NAME + 2]; /* base:adapter */
    char adapter[REDIS_KEY_MAX], revisions[REDIS_KEY_MAX], aliases[REDIS_KEY_MAX],
        history[REDIS_KEY_MAX], bases[REDIS_KEY_MAX];
};

void redis_key(const struct redis_keys *k, char ret[static REDIS_KEY_MAX], const char *what,
               struct str name);
void adapter_keys(const struct redis_keys *k, struct adapter_keys *ret, struct str base,
                  struct str adapter);

/* Reads one adapter into the page. 0 also when Redis does not have it. FAILED: catalog_unavailable.
 * A damaged head is logged and leaves the page as it is. */
int redis_head_read(struct redis_link *l, const struct redis_keys *k, struct page *page,
                    struct str base, struct str adapter, struct fail *reterr) MUST_USE;
/* The same for n members "base:adapter", in one round trip. */
int redis_heads_read(struct redis_link *l, const struct redis_keys *k, struct page *page,
                     const struct str *members, size_t n, struct fail *reterr) MUST_USE;
/* All of them, page by page, at most `max`; *ret_all: none was left out. */
int redis_heads_read_all(struct redis_link *l, const struct redis_keys *k, struct page *page,
                         size_t max, bool *ret_all, struct fail *reterr) MUST_USE;

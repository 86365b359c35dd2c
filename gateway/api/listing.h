/*
 * A page of the adapters that a caller may see, in order of their names.
 *
 * Adapters of one name for several bases are never parted, so that "after the last name" goes on
 * where a page ended.
 */
#pragma once

#include "gateway/request.h"

struct listing {
    struct str after;  /* names behind this one; empty: from the first */
    struct str prefix; /* of names; may be empty */
    struct str tenant; /* sees the shared ones and its own; p NULL: all */
    size_t limit;      /* at least 1; a page may have a few more where one name has several bases */
};

enum { LISTING_DEFAULT = 100, LISTING_MAX = 10000 };

/* Reads limit, after and prefix of the query. http thread. FAILED: invalid_request. */
int listing_read(struct request *r, size_t usual, struct listing *ret,
                 struct fail *reterr) MUST_USE;

/* Worker: the folder may have to be read. The infos are in the arena. 0 or a negative errno. */
int listing_page(struct adapters *a, struct arena *arena, const struct listing *what,
                 struct adapter_info **ret, size_t *ret_n, bool *ret_more) MUST_USE;

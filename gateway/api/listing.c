#include "gateway/api/listing.h"

#include "base/num.h"
#include "gateway/head.h"

#include <errno.h>

enum { SAME_NAME = 256 }; /* bases that one gateway serves: engine.models */

int listing_read(struct request *r, size_t usual, struct listing *ret, struct fail *reterr)
{
    struct str limit = head_query(r, "limit");
    uint64_t n = usual;
    if (limit.p && num_parse_u64(&n, limit, 1, LISTING_MAX) < 0)
        return fail_param(reterr, FAIL_invalid_request, "limit",
                          "'limit' must be an integer between 1 and %d", LISTING_MAX);
    *ret = (struct listing){ .after = head_query(r, "after"),
                             .prefix = head_query(r, "prefix"),
                             .tenant = r->caller.tenant,
                             .limit = (size_t)n };
    if (ret->after.n > (size_t)2 * LIMIT_NAME || ret->prefix.n > LIMIT_NAME)
        return fail_param(reterr, FAIL_invalid_request,
                          ret->prefix.n > LIMIT_NAME ? "prefix" : "after",
                          "no name is as long as that");
    return 0;
}

int listing_page(struct adapters *a, struct arena *arena, const struct listing *what,
                 struct adapter_info **ret, size_t *ret_n, bool *ret_more)
{
    const struct adapter_listing l = { .after = what->after,
                                       .prefix = what->prefix,
                                       .viewer = what->tenant,
                                       .max = what->limit + SAME_NAME + 1 };
    struct adapter_info *infos = NULL;
    size_t all = 0;
    int r = adapters_query(a, arena, &l, &infos, &all);
    if (r < 0)
        return r;
    size_t n = all < what->limit ? all : what->limit;
    while (n && n < all && str_eq(infos[n].name, infos[n - 1].name))
        n++; /* the other bases of its last name */
    *ret = infos;
    *ret_n = n;
    *ret_more = n < all;
    return 0;
}

/* Bytes → checked, walked, decoded. What was checked has a value to its end and every member. */
#include "base/json_view.h"
#include "base/limits.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>

static void walk(struct str value, struct arena *a, unsigned depth)
{
    struct json_view_walk w = json_view_walk(value);
    uint64_t whole;
    double real;
    (void)json_view_text(value, a);
    (void)(json_view_u64(value, &whole) + json_view_double(value, &real));
    for (struct str v; depth > 0 && json_view_next(&w, NULL, &v);)
        walk(v, a, depth - 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = { (const char *)data, size }, value = json_view_value(text);
    struct arena *a = arena_new(16 * MIB);
    size_t at = 0;
    if (json_view_check(text, LIMIT_JSON_DEPTH, &at) == JSON_VIEW_ok)
        assert(value.p && json_view_value(value).n == value.n);
    assert(at <= size);
    if (a)
        walk(value, a, LIMIT_JSON_DEPTH);
    (void)arena_free(a);
    return 0;
}

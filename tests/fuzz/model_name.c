/* Bytes → model name → target → name again; and the same bytes as a path. */
#include "base/limits.h"
#include "gateway/api/api.h"
#include "gateway/target.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct core_model models[] = { { .name = { "demo", 4 } }, { .name = { "a:b", 3 } } };
    static const struct core core = { .models = models, .n_models = 2 };
    struct str name = { (const char *)data, size };
    struct arena *a = arena_new(4 * MIB);
    struct target t;
    struct fail fail = { 0 };
    if (a && target_parse(&core, name, &t, &fail) == 0) {
        assert(t.model || t.adapter.adapter.n);
        assert(str_eq(target_name(&t, a), name));
    }
    struct api_match m;
    if (a && api_find(&m, name, "GET", a, &fail) == 0)
        assert(m.endpoint && (!m.params[0].p || str_utf8_valid(m.params[0])));
    (void)arena_free(a);
    return 0;
}

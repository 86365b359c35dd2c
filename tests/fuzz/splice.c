/* A body → the same with members replaced, added and taken out: still whole, with what was put. */
#include "engine/upstream/splice.h"
#include "base/json_view.h"
#include "base/limits.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct splice splices[] = { { "model", STR("\"x\""), false },
                                             { "user", { NULL, 0 }, false },
                                             { "n", STR("1"), true } };
    struct str body = { (const char *)data, size }, value = str_trim(body);
    struct buf out = BUF_INIT(16 * MIB);
    size_t at;
    if (json_view_check(body, LIMIT_JSON_DEPTH, &at) == JSON_VIEW_ok &&
        json_view_kind(value) == JSON_VIEW_object) {
        assert(splice_object(&out, body, splices, 3) == 0);
        assert(json_view_check(buf_str(&out), LIMIT_JSON_DEPTH, &at) == JSON_VIEW_ok);
        struct str now = str_trim(buf_str(&out));
        assert(json_view_is(json_view_get(now, "model"), "x") && !json_view_get(now, "user").p);
        assert(json_view_get(now, "n").p);
    }
    buf_clear(&out);
    (void)splice_object(&out, body, splices, 3);
    buf_done(&out);
    return 0;
}

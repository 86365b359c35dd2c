/* A body of POST /v1/responses → chat request, and the items as they are kept, decoded again. */
#include "gateway/api/responses.h"
#include "base/json_view.h"
#include "base/limits.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>

static struct responses new_responses(struct arena *arena)
{
    const struct buf empty = BUF_INIT(64 * MIB);
    struct responses x = { .arena = arena, .base = STR("abcdefghijklmnopqrstuvwx") };
    x.own = x.echo = x.output = x.final = x.record = x.item.text = x.item.logprobs = empty;
    return x;
}

static bool is_json(struct str text)
{
    size_t at = 0;
    return json_view_check(text, LIMIT_JSON_DEPTH + 8, &at) == JSON_VIEW_ok;
}

/* What is kept reads as what it was made from, and is listed. */
static void check_kept(struct responses *x, struct arena *arena, const struct chat_request *chat)
{
    struct fail fail = { 0 };
    CLEANUP(buf_done) struct buf list = BUF_INIT(64 * MIB);
    responses_record(x, STR("null"));
    assert(is_json(buf_str(&x->record)));
    struct str kept = json_view_get(buf_str(&x->record), "input");
    struct items again = { .arena = arena, .param = "input", .reterr = &fail };
    assert(items_decode(&again, kept) == 0);
    assert(again.n <= chat->n_messages); /* instructions are not kept */
    const struct item_page page = { .limit = 3 };
    assert(items_list(&list, kept, &page, &fail) == 0 && is_json(buf_str(&list)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str body = { (const char *)data, size };
    struct arena *a = arena_new(64 * MIB);
    if (!a)
        return 0;
    struct responses x = new_responses(a);
    struct chat_request chat = { 0 };
    struct fail fail = { 0 };
    int r = responses_read(&x, body, &fail);
    if (r == 0)
        r = responses_decode(&x, &chat, a, &fail);
    if (r == 0) {
        assert(chat.n_messages > 0 && chat.model.n > 0);
        const struct response_head head = { .id = "resp_x",
                                            .status = "queued",
                                            .model = chat.model };
        responses_print(&x, &x.final, &head);
        assert(is_json(buf_str(&x.final)));
        check_kept(&x, a, &chat);
    } else {
        assert(r < 0 || fail.message[0]);
    }
    buf_done(&x.own);
    buf_done(&x.echo);
    buf_done(&x.final);
    buf_done(&x.record);
    (void)arena_free(a);
    return 0;
}

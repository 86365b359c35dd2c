#include "gateway/relay.h"

#include "base/clock.h"
#include "base/json_view.h"
#include "base/metrics.h"
#include "engine/upstream/splice.h"

#include <errno.h>

/* In the engine's own words. */
static int refused(struct request *r, const struct engine_relayed *got, const struct fail *fail)
{
    (void)reply_fail(r, fail);
    r->reply.status = got->status;
    buf_clear(&r->reply.body);
    buf_add(&r->reply.body, buf_str(&got->body));
    return 0;
}

static void note_usage(struct request *r, struct str body)
{
    uint64_t tokens = 0;
    if (json_view_u64(json_view_at(body, "usage.total_tokens"), &tokens) == 0)
        r->log_tokens = tokens;
}

static int relay(struct request *r, struct engine *e, struct str model, struct engine_relay *what,
                 struct fail *reterr)
{
    CLEANUP(buf_done) struct buf name = BUF_INIT(LIMIT_HEADER);
    struct engine_relayed got = { 0 };
    what->body = buf_str(&r->body);
    what->tenant_name = r->caller.tenant;
    what->request_id = str_of(r->id);
    what->headers = r->headers;
    what->n_headers = r->n_headers;
    bool is_its_wire = !what->chat || engine_speaks(e, what->chat->wire);
    uint64_t since = clock_us();
    int err = engine_relay(e, what, &got, reterr);
    uint64_t engine_us = clock_us() - since;
    struct str body = str_trim(buf_str(&got.body));
    bool is_object = json_view_kind(body) == JSON_VIEW_object &&
                     json_view_check(body, LIMIT_JSON_DEPTH, &(size_t){ 0 }) == JSON_VIEW_ok;
    if (err == 0 && !is_object)
        err = fail_set(reterr, FAIL_upstream_error, "the engine behind answered with no JSON");
    if (err == 0) {
        buf_add_json(&name, model);
        struct splice splice = { .key = "model", .json = buf_str(&name), .only_there = true };
        err = splice_object(&r->reply.body, body, &splice, 1);
        note_usage(r, body);
        reply_headerf(r, "x-rootstock-overhead-us", "%llu",
                      (unsigned long long)(clock_us() - r->received_us - engine_us));
    } else if (err == FAILED && got.status && is_object && is_its_wire) {
        err = refused(r, &got, reterr);
    }
    buf_done(&got.body);
    return err < 0 ? fail_errno(reterr, err, "passing the answer on") : err;
}

int relay_body(struct request *r, struct engine *e, struct str model, const char *path,
               struct fail *reterr)
{
    struct engine_relay what = { .path = path };
    return relay(r, e, model, &what, reterr);
}

int relay_chat(struct request *r, struct engine *e, const struct chat_request *chat,
               const char *path, struct fail *reterr)
{
    struct engine_relay what = { .path = path, .chat = chat };
    return relay(r, e, chat->model, &what, reterr);
}

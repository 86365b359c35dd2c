/* /v1/batches: many requests of one file, answered in idle time. */
#include "base/clock.h"
#include "base/json_view.h"
#include "gateway/api/api.h"
#include "gateway/api/body.h"
#include "gateway/api/files.h"
#include "gateway/api/responses.h"
#include "gateway/server.h"

#include <errno.h>
#include <stdlib.h>

enum { WINDOW_S = 24 * 3600, SHOWN = 64 };

static const char what[] = "batch";

static const char *const endpoints[] = { "/v1/chat/completions", "/v1/completions",
                                         "/v1/embeddings", "/v1/responses" };

struct ask {
    struct str input, endpoint, window;
};
#define AT(member) offsetof(struct ask, member)
static const struct field fields[] = {
    { "input_file_id", FIELD_text, AT(input), 0, 0, -1 },
    { "endpoint", FIELD_text, AT(endpoint), 0, 0, -1 },
    { "completion_window", FIELD_text, AT(window), 0, 0, -1 },
    { 0 },
};

static int check_ask(const struct ask *a, struct fail *reterr)
{
    bool is_served = false;
    for (size_t i = 0; i < ARRAY_LEN(endpoints); i++)
        is_served = is_served || str_is(a->endpoint, endpoints[i]);
    if (a->input.n == 0)
        return fail_param(reterr, FAIL_invalid_request, "input_file_id",
                          "'input_file_id' must be given: the id of an uploaded file");
    if (!is_served)
        return fail_param(reterr, FAIL_invalid_request, "endpoint",
                          "'endpoint' must be /v1/chat/completions, /v1/completions, "
                          "/v1/embeddings or /v1/responses");
    if (!str_is(a->window, "24h"))
        return fail_param(reterr, FAIL_invalid_request, "completion_window",
                          "'completion_window' must be \"24h\"");
    return 0;
}

static int find_input(struct batch_store *s, struct str id, const char *owner, struct fail *reterr)
{
    LOCKED(&s->lock);
    const struct stored_file *f = batch_find_file(s, id, owner);
    if (!f)
        return fail_param(reterr, FAIL_not_found, "input_file_id", "No such File object: " STR_FMT,
                          STR_ARG(str_head(id, SHOWN)));
    if (strcmp(f->purpose, "batch") == 0)
        return 0;
    return fail_param(reterr, FAIL_invalid_request, "input_file_id",
                      "the file must have the purpose 'batch'");
}

static int make(const struct request *r, const struct ask *a, struct str metadata,
                struct batch **ret)
{
    const struct files_ask *who = r->work_about;
    CLEANUP(batch_freep) struct batch *b = calloc(1, sizeof(*b));
    if (!b)
        return -ENOMEM;
    batch_make_id(b->id, "batch_");
    memcpy(b->owner, who->owner, sizeof(b->owner));
    memcpy(b->input, a->input.p, a->input.n); /* it was found: it fits */
    b->endpoint = str_dup(a->endpoint);
    bool has_metadata = json_view_kind(metadata) == JSON_VIEW_object;
    b->metadata = has_metadata ? str_dup(metadata) : NULL;
    b->tenant = r->caller.tenant.p ? str_dup(r->caller.tenant) : NULL;
    b->key = r->caller.key;
    b->at[BATCH_validating] = r->created_s;
    b->expires_s = r->created_s + WINDOW_S;
    if (!b->endpoint || (has_metadata && !b->metadata) || (r->caller.tenant.p && !b->tenant))
        return -ENOMEM;
    *ret = TAKE(b);
    return 0;
}

static int create_batch(struct request *r, struct fail *reterr)
{
    const struct files_ask *who = r->work_about;
    struct batch_store *s = batches_store(server_batches(r->server));
    struct ask a = { 0 };
    struct body body;
    struct batch *b = NULL;
    int err = body_read(&body, buf_str(&r->body), r->arena, reterr);
    if (err == 0)
        err = body_fields(&a, fields, &body, r->arena, reterr);
    if (err == 0)
        err = check_ask(&a, reterr);
    if (err == 0)
        err = responses_check_metadata(body.text, reterr);
    if (err == 0)
        err = find_input(s, a.input, who->owner, reterr);
    if (err == 0)
        err = make(r, &a, body_get(&body, "metadata"), &b);
    if (err != 0)
        return err;
    char id[BATCH_ID];
    memcpy(id, b->id, sizeof(id));
    {
        LOCKED(&s->lock);
        batch_print(&r->reply.body, b);
    }
    err = batch_keep(s, b, reterr);
    if (err == 0)
        batches_wake(server_batches(r->server));
    return err;
}

static void create(struct request *r)
{
    struct fail fail = { 0 };
    int err = create_batch(r, &fail);
    if (err != 0)
        files_fault(r, err, &fail, what);
}

static void list(struct request *r)
{
    const struct files_ask *ask = r->work_about;
    struct batch_store *s = batches_store(server_batches(r->server));
    struct files_page page;
    files_page_begin(&page, r, ask);
    LOCKED(&s->lock);
    for (const struct batch *b = TAILQ_LAST(&s->batches, batch_list); b && !page.has_more;
         b = TAILQ_PREV(b, batch_list, next))
        if (strcmp(b->owner, ask->owner) == 0 && files_page_has(&page, ask, b->id))
            batch_print(page.out, b);
    files_page_end(&page);
}

enum next api_batches(struct request *r)
{
    struct fail fail = { 0 };
    bool creates = strcmp(r->endpoint->method, "POST") == 0;
    if (files_ask(r, BATCHES_USUAL, BATCHES_LIMIT, &fail) != 0)
        return reply_fail(r, &fail);
    return server_work(r, creates ? create : list, reply_made);
}

static int find(struct request *r, bool cancels, struct batch **ret, struct fail *reterr)
{
    const struct files_ask *ask = r->work_about;
    struct batch_store *s = batches_store(server_batches(r->server));
    LOCKED(&s->lock);
    struct batch *b = batch_find(s, r->params[0], ask->owner);
    if (!b)
        return -ENOENT;
    if (cancels && (batch_has_ended(b) || b->status == BATCH_finalizing))
        return fail_set(reterr, FAIL_conflict, "Cannot cancel a batch with status '%s'.",
                        batch_status_word(b->status));
    if (cancels && b->status != BATCH_cancelling) {
        b->status = BATCH_cancelling;
        b->at[BATCH_cancelling] = clock_wall_s();
    }
    batch_print(&r->reply.body, b);
    *ret = b;
    return 0;
}

static void show(struct request *r)
{
    struct fail fail = { 0 };
    struct batch *b = NULL;
    int err = find(r, /* cancels= */ false, &b, &fail);
    if (err != 0)
        files_fault(r, err, &fail, what);
}

static void cancel(struct request *r)
{
    struct fail fail = { 0 };
    struct batch *b = NULL;
    int err = find(r, /* cancels= */ true, &b, &fail);
    if (err == 0)
        err = batch_save(batches_store(server_batches(r->server)), b); /* it stays for a while */
    if (err != 0)
        files_fault(r, err, &fail, what);
    else
        batches_wake(server_batches(r->server));
}

enum next api_batch(struct request *r)
{
    struct fail fail = { 0 };
    if (files_ask(r, BATCHES_USUAL, BATCHES_LIMIT, &fail) != 0)
        return reply_fail(r, &fail);
    return server_work(r, show, reply_made);
}

enum next api_batch_cancel(struct request *r)
{
    struct fail fail = { 0 };
    if (files_ask(r, BATCHES_USUAL, BATCHES_LIMIT, &fail) != 0)
        return reply_fail(r, &fail);
    return server_work(r, cancel, reply_made);
}

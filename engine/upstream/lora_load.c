#include "engine/upstream/lora_inside.h"

#include "base/buf.h"
#include "base/clock.h"
#include "engine/upstream/lora_call.h"
#include "engine/upstream/lora_name.h"

static void on_loaded(void *ctx, enum lora_answer answer, struct str text)
{
    struct lora_entry *e = ctx;
    struct lora_fleet *f = e->fleet;
    CLEANUP(buf_done) struct buf said = BUF_INIT(4096);
    lora_name_hide(&said, str_head(text, 1024), f->lora->path, e->name, &e->adapter);
    LOCKED(&f->lock);
    e->is_loaded = answer == LORA_loaded;
    e->is_doubtful = answer == LORA_doubtful;
    bool refused = answer == LORA_unservable;
    if (!e->is_loaded)
        (void)fail_set(&e->fail, refused ? FAIL_unprocessable_adapter : FAIL_upstream_error,
                       "the engine behind %s the adapter '%s': " STR_FMT,
                       refused ? "cannot load" : "did not load", e->full,
                       STR_ARG(str_head(buf_str(&said), 200)));
    e->state = LORA_STATE_settled;
    lora_end_call(f);
}

static void call_failed(struct lora_entry *e, int err, const struct fail *fail)
{
    LOCKED(&e->fleet->lock);
    e->is_loaded = e->is_doubtful = false;
    e->fail = *fail;
    if (err < 0)
        (void)fail_errno(&e->fail, err, "loading the adapter");
    e->state = LORA_STATE_settled;
    lora_end_call(e->fleet);
}

static void load(struct lora_entry *e)
{
    struct lora_fleet *f = e->fleet;
    struct fail fail = { 0 };
    CLEANUP(buf_done) struct buf path = BUF_INIT(4096);
    lora_name_path(&path, f->lora->path, e->name, &e->adapter.digest);
    struct lora_call_spec spec = { .config = &f->config,
                                   .endpoint = e->endpoint,
                                   .verb = LORA_load,
                                   .name = e->name,
                                   .path = path.p ? path.p : "",
                                   .told = on_loaded,
                                   .ctx = e };
    int err = buf_err(&path);
    if (err == 0)
        err = lora_call_start(&spec, &fail);
    if (err != 0)
        call_failed(e, err, &fail);
}

/* What an engine says to unloading is advice: the ledger counts, not the answer. */
static void on_unloaded(void *ctx, enum lora_answer answer, struct str text)
{
    (void)answer;
    (void)text;
    load(ctx);
}

static int put_files(const struct lora_files *files, const struct engine_adapter *adapter,
                     struct fail *reterr)
{
    return files ? files->put(files->ctx, adapter, reterr) : 0;
}

static void begin(struct lora_entry *e)
{
    struct lora_fleet *f = e->fleet;
    struct fail fail = { 0 };
    int err = put_files(f->config.files, &e->adapter, &fail);
    if (err != 0) {
        call_failed(e, err, &fail);
        return;
    }
    if (!e->victim[0]) {
        load(e);
        return;
    }
    struct lora_call_spec spec = { .config = &f->config,
                                   .endpoint = e->endpoint,
                                   .verb = LORA_unload,
                                   .name = e->victim,
                                   .told = on_unloaded,
                                   .ctx = e };
    if (lora_call_start(&spec, &fail) != 0)
        load(e);
}

void lora_load_queue(struct lora_entry *e)
{
    e->state = LORA_STATE_placing;
    e->is_queued = true;
    e->at_ms = clock_ms();
    e->fleet->calls++;
    (void)pthread_cond_signal(&e->fleet->queued);
}

/* Under the lock. */
static struct lora_entry *next_queued(const struct lora_fleet *f)
{
    struct lora_entry *first = NULL;
    for (struct lora_entry *e = f->entries; e; e = e->next)
        if (e->is_queued && (!first || e->at_ms < first->at_ms))
            first = e;
    return first;
}

void *lora_loader(void *fleet)
{
    struct lora_fleet *f = fleet;
    for (;;) {
        struct lora_entry *e = NULL;
        {
            LOCKED(&f->lock);
            while (!f->helpers_stopping && !(e = next_queued(f)))
                (void)pthread_cond_wait(&f->queued, &f->lock);
            if (!e)
                return NULL;
            e->is_queued = false;
        }
        begin(e);
    }
}

#include "gateway/fleet_ledger.h"

#include "adapters/shared_ledger.h"

enum { WAIT_MS = 50 };

static struct shared_slot slot_of(const struct ledger_slot *s)
{
    return (struct shared_slot){ .endpoint = s->endpoint,
                                 .name = s->name,
                                 .max_loaded = s->max_loaded,
                                 .max_held = s->max_held,
                                 .holder = s->holder,
                                 .is_missing = s->is_missing,
                                 .waited_ms = s->waited_ms,
                                 .patience_ms = s->patience_ms };
}

static int hold(void *ctx, const struct ledger_slot *s, struct ledger_answer *ret,
                struct fail *reterr)
{
    static const enum ledger_word words[] = {
        [SHARED_ready] = LEDGER_ready, [SHARED_load] = LEDGER_load, [SHARED_wait] = LEDGER_wait
    };
    struct shared_slot slot = slot_of(s);
    enum shared_word word = SHARED_wait;
    *ret = (struct ledger_answer){ .wait_ms = WAIT_MS };
    int r = shared_ledger_hold(ctx, &slot, &word, ret->victim, sizeof(ret->victim), reterr);
    ret->word = words[word];
    return r;
}

static int settle(void *ctx, const struct ledger_slot *s, bool loaded)
{
    struct shared_slot slot = slot_of(s);
    struct fail why;
    return shared_ledger_settle(ctx, &slot, loaded, &why);
}

static int drop(void *ctx, const struct ledger_slot *s)
{
    struct shared_slot slot = slot_of(s);
    struct fail why;
    return shared_ledger_drop(ctx, &slot, &why);
}

static int found(void *ctx, const struct ledger_slot *s)
{
    struct shared_slot slot = slot_of(s);
    struct fail why;
    return shared_ledger_found(ctx, &slot, &why);
}

static int asked_back(void *ctx, const struct ledger_slot *s, ledger_name_fn told, void *told_ctx)
{
    struct shared_slot slot = slot_of(s);
    struct fail why;
    return shared_ledger_asked_back(ctx, &slot, told, told_ctx, &why);
}

static int names(void *ctx, const struct ledger_slot *s, ledger_name_fn told, void *told_ctx)
{
    struct shared_slot slot = slot_of(s);
    struct fail why;
    return shared_ledger_names(ctx, &slot, told, told_ctx, &why);
}

/* What is held is renewed by the ledger's own thread. */
const struct ledger_ops fleet_ledger_ops = { hold, settle, drop, found, asked_back, names };

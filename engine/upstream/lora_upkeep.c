#include "engine/upstream/lora_inside.h"

#include "base/clock.h"
#include "base/log.h"
#include "engine/upstream/lora_name.h"

enum {
    TIMES = 4, /* within what is kept, so that one that fails or is late costs nothing */
    LONGEST_MS = 60 * 1000,
};

struct telling {
    const struct lora_files *files;
    int err;
};

static void on_name(void *ctx, const char *name)
{
    struct telling *t = ctx;
    struct str digits = lora_name_digits(name);
    int err = digits.n ? t->files->keep(t->files->ctx, digits) : 0;
    if (err != 0)
        t->err = err;
}

/* What an engine had when we came must be known first. */
static bool all_listed(struct lora_fleet *f)
{
    LOCKED(&f->lock);
    for (unsigned i = 0; i < f->n_sites; i++)
        if (!f->sites[i].is_listed)
            return false;
    return true;
}

/* Whether all that engines have was told. */
static bool tell_all(struct lora_fleet *f)
{
    struct telling t = { f->config.files, 0 };
    for (unsigned i = 0; i < f->n_sites; i++) {
        struct ledger_slot slot = { .endpoint = f->sites[i].url,
                                    .holder = f->config.holder,
                                    .patience_ms = f->lora->patience_ms };
        int err = f->ledger.ops->names(f->ledger.ctx, &slot, on_name, &t);
        if (err != 0)
            t.err = err;
    }
    return t.err == 0;
}

/* false: it is over. */
static bool nap(struct lora_fleet *f, uint64_t until_ms)
{
    LOCKED(&f->lock);
    while (!f->helpers_stopping && clock_ms() < until_ms)
        (void)thread_cond_wait_until(&f->over, &f->lock, until_ms);
    return !f->helpers_stopping;
}

void *lora_upkeep(void *fleet)
{
    static struct log_rate rate;
    struct lora_fleet *f = fleet;
    uint64_t every_ms = f->lora->folder_keep_ms / TIMES;
    /* An endpoint that cannot be asked for so long holds nothing back any more. */
    uint64_t begun_ms = clock_ms();
    thread_background();
    if (every_ms > LONGEST_MS)
        every_ms = LONGEST_MS;
    while (nap(f, clock_ms() + every_ms)) {
        if (!tell_all(f))
            log_rated(&rate, LOG_warn, "upstream_adapter",
                      "why=\"what engines have loaded is not known\", continuing without "
                      "removing files");
        else if (all_listed(f) || clock_ms() - begun_ms > f->lora->folder_keep_ms)
            f->config.files->trim(f->config.files->ctx);
    }
    return NULL;
}

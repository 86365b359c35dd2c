#include "gateway/cli/adapters.h"

#include "gateway/import.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

/*
 * push: a folder or file becomes a revision.
 */

static void show_progress(void *ctx, uint64_t done, uint64_t total)
{
    cli_progress_rate(ctx, "B", done, total);
}

static bool moves_apart(const struct adapters_call *c, uint64_t fleet_ms)
{
    return c->if_match || c->key || (c->wait && fleet_ms);
}

/* What is asked of the alias beyond moving it: then it moves by itself, after the files are there.
 */
static int move(struct adapters_call *c, const struct adapter_push *p, uint64_t fleet_ms,
                struct adapter_revision *io, struct fail *f)
{
    struct adapter_changed changed = { 0 };
    char selector[SHA256_HEX + 8] = "sha256:";
    sha256_hex(selector + strlen("sha256:"), &io->digest);
    bool first = io->ordinal == 1 && !c->alias; /* prod already */
    struct adapter_change change = { .op = ADAPTER_OP_promote,
                                     .base = p->base,
                                     .adapter = p->adapter,
                                     .alias = str_of(c->alias ? c->alias : "prod"),
                                     .selector = str_of(selector),
                                     .if_match = c->if_match ? io->epoch : 0,
                                     .key = str_of(c->key),
                                     .who = p->who,
                                     .fleet_ms = fleet_ms };
    if (!c->alias && !first)
        return 0;
    int r = adapters_change(c->adapters, &change, c->arena, &changed, f);
    if (r != 0)
        return r;
    uint64_t bytes = io->bytes;
    *io = changed.revision;
    io->bytes = bytes;
    io->epoch = changed.epoch;
    if (changed.behind && c->wait)
        return fail_set(f, FAIL_timeout, "published, but %u gateways have not applied it: %.*s",
                        changed.behind, STR_ARG(str_head(changed.laggards, 160)));
    return 0;
}

int adapters_push_one(struct adapters_call *c, const struct adapter_push *like,
                      struct adapter_revision *ret, struct fail *f)
{
    struct adapter_push p = *like;
    uint64_t fleet_ms = 0;
    int r = adapters_wait_ms(c, &fleet_ms, f);
    bool apart = moves_apart(c, fleet_ms);
    if (r == 0 && c->if_match) {
        struct adapter_name name = { .base = p.base, .adapter = p.adapter };
        r = adapters_resolve(c->adapters, &name, ret, f);
        if (r == 0 && ret->epoch != c->if_match)
            r = fail_set(f, FAIL_precondition_failed, "its epoch is %" PRIu64 ", not %" PRIu64,
                         ret->epoch, c->if_match);
    }
    p.alias = apart ? STR_NULL : p.alias;
    bool checked = true;
    if (r == 0)
        r = import_check(c->config, p.base, p.path, &checked, f);
    if (!checked && !c->told_unchecked)
        (void)fprintf(stderr,
                      "rootstock: the base model '" STR_FMT "' is not on this machine: what is "
                      "pushed is not compared with it\n",
                      STR_ARG(p.base));
    c->told_unchecked = c->told_unchecked || !checked;
    p.progress = show_progress;
    p.progress_ctx = (void *)(uintptr_t)p.path;
    if (r == 0)
        r = adapters_push(c->adapters, &p, ret, f);
    cli_progress_done();
    return r == 0 && apart ? move(c, &p, fleet_ms, ret, f) : r;
}

int adapters_cli_push(struct adapters_call *c, struct fail *f)
{
    struct str examples[ARRAY_LEN(c->examples.items)];
    struct adapter_revision done = { 0 };
    struct adapter_name name;
    struct adapter_push p = { .description = str_of(c->description),
                              .who = str_of(c->who),
                              .path = c->operands[1],
                              .alias = str_of(c->alias),
                              .examples = examples,
                              .n_examples = c->examples.n };
    for (size_t i = 0; i < c->examples.n; i++)
        examples[i] = str_of(c->examples.items[i]);
    int r = adapters_name(c, c->operands[0], &name, f);
    p.adapter = name.adapter;
    if (r == 0)
        r = adapters_base(c, &name, &p.base, f);
    if (r == 0)
        r = adapters_push_one(c, &p, &done, f);
    if (r == 0)
        adapters_print_revision(c, &done);
    return r;
}

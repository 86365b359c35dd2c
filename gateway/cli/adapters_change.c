#include "gateway/cli/adapters.h"

#include "base/clock.h"
#include "base/num.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/*
 * alias, promote, rollback, canary, shadow, retire: of one adapter, or of many at once.
 */

enum {
    BATCH = 2048,     /* changes sent together */
    COMPLAINTS = 100, /* told one by one */
};

/* Names that are changed alike. */
struct bulk {
    struct adapters_call *call;
    struct adapter_change like;
    struct adapter_change *changes; /* of BATCH */
    struct adapter_changed *changed;
    struct fail *fails;
    char (*words)[2 * LIMIT_NAME + 2]; /* of BATCH: "base", NUL, "adapter" */
    size_t n;                          /* gathered */
    size_t done, failed, told;
    struct fail *reterr;
};

static void print_changed(struct adapters_call *c, const struct adapter_change *of,
                          const struct adapter_changed *done, bool first)
{
    struct buf *b = &c->out;
    const struct adapter_revision *v = &done->revision;
    struct str alias = of->op == ADAPTER_OP_promote || of->op == ADAPTER_OP_rollback
                           ? of->alias.n ? of->alias : STR("prod")
                           : STR_NULL;
    if (!c->json) {
        buf_addf(b, STR_FMT ":" STR_FMT, STR_ARG(of->base), STR_ARG(of->adapter));
        if (alias.n) {
            buf_addf(b, " revision %" PRIu64 " ", v->ordinal);
            adapters_print_short(b, &v->digest);
            buf_addf(b, " is " STR_FMT, STR_ARG(alias));
        } else {
            buf_addf(b, " %s", adapter_op_word(of->op));
            if (of->selector.n)
                buf_addf(b, " " STR_FMT, STR_ARG(of->selector));
            if (of->weight)
                buf_addf(b, " %g %%", (double)of->weight * 100 / CANARY_WHOLE);
        }
        buf_addf(b, "%s\n", done->repeated ? " (repeated)" : "");
        return;
    }
    buf_adds(b, first ? "{\"name\":" : ",\n {\"name\":");
    buf_add_json(b, of->adapter);
    buf_adds(b, ",\"base\":");
    buf_add_json(b, of->base);
    buf_addf(b, ",\"change\":\"%s\"", adapter_op_word(of->op));
    if (alias.n) {
        buf_adds(b, ",\"alias\":");
        buf_add_json(b, alias);
    }
    if (v->ordinal) {
        buf_addf(b, ",\"ordinal\":%" PRIu64 ",", v->ordinal);
        adapters_print_digest(b, "digest", &v->digest);
        buf_addf(b, ",\"bytes\":%" PRIu64, v->bytes);
    }
    buf_addf(b, ",\"epoch\":%" PRIu64 ",\"repeated\":%s,\"durable\":%s", done->epoch,
             done->repeated ? "true" : "false", done->durable ? "true" : "false");
    if (of->fleet_ms)
        buf_addf(b, ",\"applied_by_all\":%s", done->behind ? "false" : "true");
    buf_addc(b, '}');
}

/* ---- one ---- */

static int change_one(struct adapters_call *c, const char *word, const struct adapter_change *like,
                      struct fail *f)
{
    struct adapter_change change = *like;
    struct adapter_changed done = { 0 };
    struct adapter_name name;
    int r = adapters_name(c, word, &name, f);
    struct adapter_info there;
    if (r == 0) /* the base of a bare name */
        r = adapters_show(c->adapters, c->arena, name.base, name.adapter, &there, f);
    if (r != 0)
        return r;
    change.base = there.base;
    change.adapter = there.name;
    r = adapters_change(c->adapters, &change, c->arena, &done, f);
    if (r != 0)
        return r;
    print_changed(c, &change, &done, /* first= */ true);
    buf_adds(&c->out, c->json ? "\n" : "");
    r = adapters_flush(c);
    if (r == 0 && done.behind && !c->wait)
        (void)fprintf(stderr, "rootstock: %u gateways have not applied it yet: " STR_FMT "\n",
                      done.behind, STR_ARG(str_head(done.laggards, 160)));
    if (r == 0 && done.behind && c->wait)
        return fail_set(f, FAIL_timeout, "changed, but %u gateways have not applied it: %.*s",
                        done.behind, STR_ARG(str_head(done.laggards, 160)));
    return r;
}

/* ---- many ---- */

static void complain(struct bulk *b, const char *about, const struct fail *f)
{
    if (b->told++ < COMPLAINTS)
        adapters_complain(about, FAILED, f);
    else if (b->told == COMPLAINTS + 1)
        (void)fprintf(stderr, "rootstock: what else fails is only counted\n");
}

static int send_batch(struct bulk *b)
{
    if (b->n == 0)
        return 0;
    struct adapters_call *c = b->call;
    CLEANUP(arena_freep) struct arena *arena = arena_new(GIB);
    if (!arena)
        return -ENOMEM;
    memset(b->changed, 0, b->n * sizeof(*b->changed));
    for (size_t i = 0; i < b->n; i++)
        b->fails[i].message[0] = 0;
    int r =
        adapters_change_many(c->adapters, b->changes, b->n, arena, b->changed, b->fails, b->reterr);
    for (size_t i = 0; r == 0 && i < b->n; i++) {
        char about[2 * LIMIT_NAME + 2];
        (void)snprintf(about, sizeof(about), STR_FMT ":" STR_FMT, STR_ARG(b->changes[i].base),
                       STR_ARG(b->changes[i].adapter));
        bool failed = b->fails[i].message[0] != 0;
        if (failed)
            complain(b, about, &b->fails[i]);
        else if (b->changed[i].behind)
            (void)fprintf(stderr, "rootstock: %s: %u gateways have not applied it\n", about,
                          b->changed[i].behind);
        else
            print_changed(c, &b->changes[i], &b->changed[i], b->done == 0);
        b->done += !failed;
        b->failed += failed || (b->changed[i].behind && c->wait);
    }
    b->n = 0;
    cli_progress_rate(adapter_op_word(b->like.op), "adapters", b->done + b->failed, /* total= */ 0);
    return r == 0 ? adapters_flush(c) : r;
}

static int add(struct bulk *b, struct str base, struct str adapter)
{
    char *word = b->words[b->n];
    if (base.n + adapter.n + 2 > sizeof(b->words[0]))
        return fail_set(b->reterr, FAIL_invalid_request, "a name is too long: %.*s",
                        STR_ARG(str_head(adapter, 80)));
    memcpy(word, base.p, base.n);
    memcpy(word + base.n + 1, adapter.p, adapter.n);
    struct adapter_change *change = &b->changes[b->n++];
    *change = b->like;
    change->base = (struct str){ word, base.n };
    change->adapter = (struct str){ word + base.n + 1, adapter.n };
    return b->n == BATCH ? send_batch(b) : 0;
}

static int add_page(void *ctx, const struct adapter_info *infos, size_t n)
{
    struct bulk *b = ctx;
    int r = 0;
    for (size_t i = 0; r == 0 && i < n; i++)
        if (!b->call->base || str_is(infos[i].base, b->call->base))
            r = add(b, infos[i].base, infos[i].name);
    return r;
}

/* A name as a person writes it: its base is looked up where it is not said. */
static int add_word(struct bulk *b, const char *word)
{
    struct adapters_call *c = b->call;
    CLEANUP(arena_freep) struct arena *arena = arena_new(GIB);
    struct adapter_name name;
    struct adapter_info there;
    struct fail f = { 0 };
    int r = arena ? adapters_name(c, word, &name, &f) : -ENOMEM;
    if (r == 0 && name.base.n)
        return add(b, name.base, name.adapter);
    if (r == 0)
        r = adapters_show(c->adapters, arena, name.base, name.adapter, &there, &f);
    if (r == 0)
        return add(b, there.base, there.name);
    if (r != FAILED || f.code == FAIL_catalog_unavailable) {
        *b->reterr = f;
        return r;
    }
    complain(b, word, &f);
    b->failed++;
    return 0;
}

static int add_file(struct bulk *b, const char *path)
{
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    char *line = NULL;
    size_t size = 0;
    ssize_t n;
    int r = 0;
    if (!file)
        return fail_set(b->reterr, FAIL_invalid_request, "%s: %s", path, strerror(errno));
    while (r == 0 && (n = getline(&line, &size, file)) >= 0) {
        struct str word = str_trim((struct str){ line, (size_t)n });
        ((char *)(uintptr_t)word.p)[word.n] = '\0';
        if (word.n)
            r = add_word(b, word.p);
    }
    free(line);
    if (file != stdin)
        (void)fclose(file);
    return r;
}

static int gather(struct bulk *b, char **names, int n)
{
    struct adapters_call *c = b->call;
    int r = 0;
    for (int i = 0; r == 0 && i < n; i++)
        r = add_word(b, names[i]);
    if (r == 0 && c->names)
        r = add_file(b, c->names);
    if (r == 0 && (c->prefix || c->tenant || c->all))
        r = adapters_pages(c, add_page, b, b->reterr);
    return r == 0 ? send_batch(b) : r;
}

static int change_all(struct adapters_call *c, char **names, int n,
                      const struct adapter_change *like, struct fail *f)
{
    struct bulk b = { .call = c, .like = *like, .reterr = f };
    uint64_t from = clock_ms();
    b.changes = arena_array(c->arena, BATCH, sizeof(*b.changes));
    b.changed = arena_array(c->arena, BATCH, sizeof(*b.changed));
    b.fails = arena_array(c->arena, BATCH, sizeof(*b.fails));
    b.words = arena_array(c->arena, BATCH, sizeof(*b.words));
    if (!b.changes || !b.changed || !b.fails || !b.words)
        return -ENOMEM;
    buf_adds(&c->out, c->json ? "[" : "");
    int r = gather(&b, names, n);
    cli_progress_done();
    buf_adds(&c->out, c->json ? "]\n" : "");
    if (r != 0)
        return r;
    r = adapters_flush(c);
    double seconds = (double)(clock_ms() - from) / 1e3;
    (void)fprintf(stderr, "rootstock: %zu changed, %zu failed, %.2f s\n", b.done, b.failed,
                  seconds);
    return r == 0 && b.failed ? EXIT_SAID : r;
}

static bool selects(const struct adapters_call *c)
{
    return c->names || c->prefix || c->tenant || c->all;
}

/* Of `n` names among the operands, and those that options select. */
static int change(struct adapters_call *c, char **names, int n, struct adapter_change *like,
                  struct fail *f)
{
    like->who = str_of(c->who);
    like->key = str_of(c->key);
    like->if_match = c->if_match;
    like->expected = str_of(c->expected);
    int r = adapters_wait_ms(c, &like->fleet_ms, f);
    if (r != 0)
        return r;
    if (n == 1 && !selects(c))
        return change_one(c, names[0], like, f);
    if (c->if_match || c->expected || c->key)
        return adapters_misuse(f, "--if-match, --expected and --key are of one adapter");
    if (n == 0 && !selects(c))
        return adapters_misuse(
            f, "name an adapter, or choose with --names, --prefix, --tenant or --all");
    return change_all(c, names, n, like, f);
}

/* ---- verbs ---- */

int adapters_cli_alias(struct adapters_call *c, struct fail *f)
{
    int n = c->n_operands - 2;
    struct adapter_change like = { .op = ADAPTER_OP_promote,
                                   .alias = str_of(c->operands[n]),
                                   .selector = str_of(c->operands[n + 1]) };
    return change(c, c->operands, n, &like, f);
}

int adapters_cli_promote(struct adapters_call *c, struct fail *f)
{
    int n = c->n_operands - 1;
    struct adapter_change like = { .op = ADAPTER_OP_promote,
                                   .alias = str_of(c->alias ? c->alias : "prod"),
                                   .selector = str_of(c->operands[n]) };
    return change(c, c->operands, n, &like, f);
}

int adapters_cli_rollback(struct adapters_call *c, struct fail *f)
{
    int n = c->n_operands;
    struct adapter_change like = { .op = ADAPTER_OP_rollback,
                                   .alias = str_of(c->alias ? c->alias : "prod") };
    if (n == 2 && !c->alias && !selects(c)) { /* NAME ALIAS */
        like.alias = str_of(c->operands[1]);
        n = 1;
    } else if (n > 1 && !c->alias) {
        return adapters_misuse(f, "of several adapters say which alias goes back: --alias prod");
    }
    return change(c, c->operands, n, &like, f);
}

/* "5%", "5", "0.25 %" as hundredths of a percent. */
static int read_weight(const char *word, uint32_t least, uint32_t *ret, struct fail *f)
{
    struct str text = str_trim(str_of(word));
    double percent = 0;
    if (text.n && text.p[text.n - 1] == '%')
        text = str_trim(str_head(text, text.n - 1));
    if (num_parse_double(&percent, text, 0, 100) == 0) {
        *ret = (uint32_t)(percent * CANARY_WHOLE / 100 + 0.5);
        if (*ret >= least)
            return 0;
    }
    return adapters_misuse(f, "'%s' is no weight: a percentage from 0.01%% to 100%%", word);
}

static int share(struct adapters_call *c, struct adapter_change *like, struct fail *f)
{
    if (c->n_operands != 3)
        return adapters_misuse(f, "say NAME REVISION WEIGHT%%, or NAME --abort");
    like->selector = str_of(c->operands[1]);
    int r = read_weight(c->operands[2], 1, &like->weight, f);
    return r == 0 ? change(c, c->operands, 1, like, f) : r;
}

int adapters_cli_canary(struct adapters_call *c, struct fail *f)
{
    struct adapter_change like = { .op = c->abort ? ADAPTER_OP_abort : ADAPTER_OP_canary };
    return c->abort ? change(c, c->operands, c->n_operands, &like, f) : share(c, &like, f);
}

int adapters_cli_shadow(struct adapters_call *c, struct fail *f)
{
    struct adapter_change like = { .op = ADAPTER_OP_shadow };
    return c->abort ? change(c, c->operands, c->n_operands, &like, f) : share(c, &like, f);
}

int adapters_cli_retire(struct adapters_call *c, struct fail *f)
{
    struct adapter_change like = { .op = ADAPTER_OP_retire,
                                   .selector = str_of(c->n_operands > 1 ? c->operands[1] : NULL) };
    return change(c, c->operands, 1, &like, f);
}

#include "gateway/cli/adapters.h"

#include "base/clock.h"
#include "base/thread.h"
#include "gateway/state.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

/*
 * pull, gc, verify, pack: the files behind the names.
 */

static void show_bytes(void *ctx, uint64_t done, uint64_t total)
{
    cli_progress_rate(ctx, "B", done, total);
}

static void show_files(void *ctx, uint64_t done, uint64_t total)
{
    cli_progress_rate(ctx, "files", done, total);
}

/* ---- pull ---- */

/* "NAME[@SELECTOR]" */
static struct adapter_name selected(const struct adapters_call *c, const char *word)
{
    struct adapter_name name = adapter_name_split(str_of(word));
    if (c->base)
        name.base = str_of(c->base);
    return name;
}

int adapters_cli_pull(struct adapters_call *c, struct fail *f)
{
    struct adapter_revision done = { 0 };
    struct adapter_pull pull = { .name = selected(c, c->operands[0]),
                                 .folder = c->n_operands > 1 ? c->operands[1] : NULL,
                                 .progress = show_bytes,
                                 .progress_ctx = c->operands[0] };
    int r = adapters_pull(c->adapters, &pull, &done, f);
    cli_progress_done();
    if (r == 0)
        adapters_print_revision(c, &done);
    return r;
}

/* ---- gc ---- */

static void print_part(struct buf *b, bool json, const char *name, const struct adapter_gc_part *p)
{
    if (json)
        buf_addf(b,
                 ",\"%s\":{\"kept\":%" PRIu64 ",\"kept_bytes\":%" PRIu64 ",\"removed\":%" PRIu64
                 ",\"removed_bytes\":%" PRIu64 "}",
                 name, p->kept, p->kept_bytes, p->removed, p->removed_bytes);
    else
        buf_addf(b,
                 "%s: %" PRIu64 " files (%" PRIu64 " bytes) removed, %" PRIu64 " (%" PRIu64
                 " bytes) kept\n",
                 name, p->removed, p->removed_bytes, p->kept, p->kept_bytes);
}

int adapters_cli_gc(struct adapters_call *c, struct fail *f)
{
    struct adapter_gc_report report = { 0 };
    struct adapter_gc gc = { .dry_run = c->dry_run,
                             .grace_s = c->grace == UINT64_MAX ? ADAPTERS_GC_GRACE_S : c->grace,
                             .progress = show_files,
                             .progress_ctx = (void *)(uintptr_t) "collecting garbage" };
    int r = adapters_gc(c->adapters, &gc, &report, f);
    cli_progress_done();
    if (r != 0)
        return r;
    if (c->json)
        buf_addf(&c->out, "{\"dry_run\":%s,\"revisions\":%" PRIu64 ",\"missing\":%" PRIu64,
                 c->dry_run ? "true" : "false", report.revisions, report.missing);
    else
        buf_addf(&c->out, "%s%" PRIu64 " revisions, of which %" PRIu64 " have no manifest\n",
                 c->dry_run ? "dry run: nothing is removed\n" : "", report.revisions,
                 report.missing);
    print_part(&c->out, c->json, "stores", &report.stores);
    print_part(&c->out, c->json, "cache", &report.cache);
    buf_adds(&c->out, c->json ? "}\n" : "");
    return 0;
}

/* ---- verify ---- */

static void print_fault(void *ctx, const struct adapter_fault *f)
{
    struct adapters_call *c = ctx;
    struct buf *b = &c->out;
    const struct adapter_revision *v = f->revision;
    if (!c->json) {
        buf_addf(b, "%s:%s revision %" PRIu64 " %s ", v->base, v->adapter, v->ordinal, f->file);
        adapters_print_short(b, &f->digest);
        buf_addf(b, ": %s in %s%s%s\n", adapter_fault_word(f->kind), f->where,
                 f->why[0] ? ": " : "", f->why);
        return;
    }
    buf_addf(b, "%s{\"name\":", c->n_faults++ ? ",\n " : "");
    buf_add_json(b, str_of(v->adapter));
    buf_adds(b, ",\"base\":");
    buf_add_json(b, str_of(v->base));
    buf_addf(b, ",\"ordinal\":%" PRIu64 ",\"file\":", v->ordinal);
    buf_add_json(b, str_of(f->file));
    buf_addc(b, ',');
    adapters_print_digest(b, "digest", &f->digest);
    buf_adds(b, ",\"where\":");
    buf_add_json(b, str_of(f->where));
    buf_addf(b, ",\"fault\":\"%s\",\"why\":", adapter_fault_word(f->kind));
    buf_add_json(b, str_of(f->why));
    buf_addc(b, '}');
}

static void show_verified(void *ctx, uint64_t done, uint64_t total)
{
    (void)ctx;
    cli_progress_rate("verifying", "B", done, total);
}

/* Faults are what it found, so they are results; the exit status is 1 then. */
int adapters_cli_verify(struct adapters_call *c, struct fail *f)
{
    struct adapter_verify_report report = { 0 };
    struct adapter_verify v = { .fault = print_fault, .progress = show_verified, .ctx = c };
    if (c->n_operands) {
        struct adapter_name name = selected(c, c->operands[0]);
        v.base = name.base;
        v.adapter = name.adapter;
        v.selector = name.selector;
    } else {
        v.base = str_of(c->base);
    }
    buf_adds(&c->out, c->json ? "{\"faults\":[" : "");
    int r = adapters_verify(c->adapters, &v, &report, f);
    cli_progress_done();
    if (r != 0) {
        buf_clear(&c->out);
        return r;
    }
    uint64_t bad = report.missing + report.damaged + report.unreadable;
    buf_addf(&c->out,
             c->json ? "],\"revisions\":%" PRIu64 ",\"files\":%" PRIu64 ",\"bytes\":%" PRIu64
                       ",\"missing\":%" PRIu64 ",\"damaged\":%" PRIu64 ",\"unreadable\":%" PRIu64
                       "}\n"
                     : "%" PRIu64 " revisions, %" PRIu64 " files, %" PRIu64 " bytes: %" PRIu64
                       " missing, %" PRIu64 " damaged, %" PRIu64 " unreadable\n",
             report.revisions, report.files, report.bytes, report.missing, report.damaged,
             report.unreadable);
    return bad ? EXIT_SAID : 0;
}

/* ---- pack ---- */

/* One load, waited for. */
struct packing {
    pthread_mutex_t lock;
    pthread_cond_t done;
    bool called;
    struct lease *lease;
    struct fail fail;
};

static void on_packed(void *owner, struct lease *lease, const struct fail *fail)
{
    struct packing *p = owner;
    LOCKED(&p->lock);
    p->lease = lease;
    if (!lease && fail)
        p->fail = *fail;
    p->called = true;
    (void)pthread_cond_signal(&p->done);
}

static int acquire(struct adapters *a, const struct adapter_name *name, struct packing *p,
                   struct fail *f)
{
    struct lease_wait *wait = NULL;
    int r = adapters_acquire(a, name, CLOCK_NEVER, on_packed, p, &p->lease, &wait, f);
    if (r != ADAPTERS_PENDING)
        return r;
    {
        LOCKED(&p->lock);
        while (!p->called)
            (void)pthread_cond_wait(&p->done, &p->lock);
    }
    (void)lease_wait_free(wait);
    if (!p->lease)
        *f = p->fail;
    return p->lease ? 0 : FAILED;
}

/* Loads the adapter as a gateway does, which leaves its packed form in the cache. */
static int pack_one(struct adapters_call *c, struct adapters *a, const char *word, struct fail *f)
{
    struct packing p = { .lock = PTHREAD_MUTEX_INITIALIZER };
    struct adapter_name name = selected(c, word);
    int r = thread_cond_init(&p.done);
    if (r == 0)
        r = acquire(a, &name, &p, f);
    if (r == 0)
        adapters_print_revision(c, lease_revision(p.lease));
    (void)lease_release(p.lease);
    (void)pthread_cond_destroy(&p.done);
    (void)pthread_mutex_destroy(&p.lock);
    return r;
}

int adapters_cli_pack(struct adapters_call *c, struct fail *f)
{
    CLEANUP(core_freep) struct core *core = NULL;
    bool failed = false;
    int r = core_new(&core, c->snapshot, f);
    for (int i = 0; r == 0 && i < c->n_operands; i++) {
        cli_progress("packing", (uint64_t)i, (uint64_t)c->n_operands);
        r = pack_one(c, core->adapters, c->operands[i], f);
        if (r == FAILED && f->code != FAIL_catalog_unavailable) {
            adapters_complain(c->operands[i], r, f);
            failed = true;
            r = 0;
        }
    }
    cli_progress_done();
    return r == 0 && failed ? EXIT_SAID : r;
}

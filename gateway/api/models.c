/*
 * What is served: bases first, then adapters by name. As OpenAI lists it, or, where the client
 * speaks Anthropic's API, as that does.
 */
#include "base/limits.h"
#include "base/num.h"
#include "gateway/api/api.h"
#include "gateway/api/error.h"
#include "gateway/api/listing.h"
#include "gateway/head.h"
#include "gateway/server.h"
#include "gateway/target.h"

#include <errno.h>
#include <time.h>

enum {
    MODELS_DEFAULT = 1000, /* adapters of an answer: some 200 bytes each */
    PAGE_DEFAULT = 20,     /* models of a page, as Anthropic has it, … */
    PAGE_MAX = 1000,       /* … and at most */
};

struct model_line {
    struct str id;
    struct str parent; /* of an adapter: its base */
    struct str root;   /* of a base: itself */
    struct str description;
    uint64_t created_s;
    const struct adapter_revision *revision; /* NULL: a base, or an auto name */
    uint32_t context;                        /* tokens; 0: not known here */
};

static void print_openai(struct buf *b, const struct model_line *m)
{
    buf_adds(b, "{\"id\":");
    buf_add_json(b, m->id);
    buf_addf(b, ",\"object\":\"model\",\"created\":%llu,\"owned_by\":\"rootstock\",\"parent\":",
             (unsigned long long)m->created_s);
    if (m->parent.n)
        buf_add_json(b, m->parent);
    else
        buf_adds(b, "null");
    buf_adds(b, ",\"root\":");
    if (m->revision) { /* what it is made of: its revision */
        char hex[SHA256_HEX + 1];
        sha256_hex(hex, &m->revision->digest);
        buf_addf(b, "\"sha256:%s\",\"revision\":\"%s\"", hex, hex);
    } else {
        buf_add_json(b, m->root.n ? m->root : m->id);
    }
    if (m->description.n) {
        buf_adds(b, ",\"description\":");
        buf_add_json(b, m->description);
    }
    buf_addc(b, '}');
}

static void print_anthropic(struct buf *b, const struct model_line *m)
{
    char when[32] = "1970-01-01T00:00:00Z"; /* which stands for "unknown" there */
    time_t t = (time_t)m->created_s;
    struct tm tm;
    if (gmtime_r(&t, &tm))
        (void)strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm);
    buf_adds(b, "{\"type\":\"model\",\"id\":");
    buf_add_json(b, m->id);
    buf_adds(b, ",\"display_name\":");
    buf_add_json(b, m->description.n ? m->description : m->id);
    buf_addf(b, ",\"created_at\":\"%s\",\"lifecycle\":\"active\"", when);
    if (m->context)
        buf_addf(b, ",\"max_input_tokens\":%u,\"max_tokens\":%u", m->context, m->context);
    buf_addc(b, '}');
}

static bool is_anthropic(const struct request *r)
{
    return r->errors == &error_anthropic;
}

static void print_model(struct request *r, const struct model_line *m)
{
    (is_anthropic(r) ? print_anthropic : print_openai)(&r->reply.body, m);
}

static struct model_line line_of_base(const struct core_model *m)
{
    return (struct model_line){ .id = m->name,
                                .created_s = m->created_s,
                                .context = engine_context(m->engine) };
}

static struct model_line line_of_auto(struct str name)
{
    return (struct model_line){ .id = name, .description = STR("the routing policy chooses") };
}

/* Those before all adapters: at most one more than there are bases. */
static size_t list_bases(const struct request *r, struct model_line *lines)
{
    const struct core *c = r->state->core;
    size_t n = 0;
    if (router_decisions(r->state->router) && router_is_auto(r->state->router, STR("auto")))
        lines[n++] = line_of_auto(STR("auto"));
    for (size_t i = 0; i < c->n_models; i++)
        lines[n++] = line_of_base(&c->models[i]);
    return n;
}

/* What the bare name means: `prod`, else the newest. */
static const struct adapter_revision *default_of(const struct adapter_info *info)
{
    for (size_t i = 0; i < info->n_aliases; i++)
        for (size_t k = 0; strcmp(info->aliases[i].name, "prod") == 0 && k < info->n_revisions; k++)
            if (sha256_eq(&info->revisions[k].digest, &info->aliases[i].digest))
                return &info->revisions[k];
    return info->n_revisions ? &info->revisions[info->n_revisions - 1] : NULL;
}

static struct str id_of(struct arena *arena, const struct adapter_info *info)
{
    return str_of(
        arena_printf(arena, STR_FMT ":" STR_FMT, STR_ARG(info->base), STR_ARG(info->name)));
}

static struct model_line line_of_adapter(struct arena *arena, const struct adapter_info *info)
{
    struct model_line line = { .id = id_of(arena, info),
                               .parent = info->base,
                               .root = info->base,
                               .description = info->description,
                               .revision = default_of(info) };
    if (info->n_revisions)
        line.created_s = info->revisions[info->n_revisions - 1].created_s;
    return line;
}

/* Pages go on behind an id as it was listed, or behind an adapter's name. */
static struct str name_in(const struct core *c, struct str after)
{
    for (size_t i = 0; i < c->n_models; i++) {
        struct str base = c->models[i].name;
        if (str_eq(after, base))
            return STR("");
        if (after.n > base.n && after.p[base.n] == ':' && str_starts(after, base))
            return str_sub(after, base.n + 1);
    }
    return after;
}

/* A part of the list; its text is in the arena it was made with. */
struct page {
    struct model_line *lines;
    size_t n;
    struct str next; /* more follow behind this adapter; empty: it was the last */
};

/* Worker. The bases where `after` is empty, and adapters behind that name. */
static int read_page(struct request *r, struct arena *arena, const struct listing *what,
                     struct page *ret)
{
    const struct core *c = r->state->core;
    struct adapter_info *list = NULL;
    size_t n = 0;
    bool more = false;
    int err = c->adapters ? listing_page(c->adapters, arena, what, &list, &n, &more) : 0;
    if (err < 0)
        return err;
    *ret = (struct page){ .lines = arena_array(arena, c->n_models + 1 + n, sizeof(*ret->lines)) };
    if (!ret->lines)
        return -ENOMEM;
    if (what->after.n == 0)
        ret->n = list_bases(r, ret->lines);
    for (size_t i = 0; i < n; i++)
        if (core_model(c, list[i].base)) /* else of a base that this gateway does not serve */
            ret->lines[ret->n++] = line_of_adapter(arena, &list[i]);
    if (more && n)
        ret->next = core_model(c, list[n - 1].base) ? id_of(arena, &list[n - 1]) : list[n - 1].name;
    return 0;
}

/* Worker: the catalog's folder may have to be read. */
static void list_models(struct request *r)
{
    struct fail fail = { 0 };
    struct listing what = *(const struct listing *)r->work_about;
    struct buf *b = &r->reply.body;
    struct page page = { 0 };
    what.after = name_in(r->state->core, what.after);
    int err = read_page(r, r->arena, &what, &page);
    if (err < 0) {
        (void)fail_errno(&fail, err, "listing the adapters");
        (void)reply_fail(r, &fail);
        return;
    }
    buf_adds(b, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; i < page.n; i++) {
        buf_adds(b, i ? "," : "");
        print_openai(b, &page.lines[i]);
    }
    buf_addf(b, "],\"has_more\":%s", page.next.n ? "true" : "false");
    if (page.next.n) {
        buf_adds(b, ",\"last_id\":");
        buf_add_json(b, page.next);
    }
    buf_addc(b, '}');
}

/* ---- pages as Anthropic has them ---- */

struct paging {
    struct str after, before; /* ids; empty: none */
    size_t limit;
};

static int paging_read(struct request *r, struct paging *ret, struct fail *reterr)
{
    struct str limit = head_query(r, "limit");
    uint64_t n = PAGE_DEFAULT;
    if (limit.p && num_parse_u64(&n, limit, 1, PAGE_MAX) < 0)
        return fail_param(reterr, FAIL_invalid_request, "limit",
                          "limit: must be an integer between 1 and %d", PAGE_MAX);
    *ret = (struct paging){ head_query(r, "after_id"), head_query(r, "before_id"), (size_t)n };
    if (ret->after.n && ret->before.n)
        return fail_param(reterr, FAIL_invalid_request, "before_id",
                          "before_id: may not be given together with after_id");
    if (ret->after.n > (size_t)2 * LIMIT_NAME || ret->before.n > (size_t)2 * LIMIT_NAME)
        return fail_param(reterr, FAIL_invalid_request, "after_id", "no name is as long as that");
    return 0;
}

static void print_page(struct buf *b, const struct model_line *lines, size_t n, bool more)
{
    buf_adds(b, "{\"data\":[");
    for (size_t i = 0; i < n; i++) {
        buf_adds(b, i ? "," : "");
        print_anthropic(b, &lines[i]);
    }
    buf_addf(b, "],\"has_more\":%s,\"first_id\":", more ? "true" : "false");
    if (n)
        buf_add_json(b, lines[0].id);
    else
        buf_adds(b, "null");
    buf_adds(b, ",\"last_id\":");
    if (n)
        buf_add_json(b, lines[n - 1].id);
    else
        buf_adds(b, "null");
    buf_addc(b, '}');
}

static size_t index_of(const struct page *p, struct str id)
{
    size_t i = 0;
    while (i < p->n && !str_eq(p->lines[i].id, id))
        i++;
    return i;
}

/* Adapters of one name, for several bases: a page goes on behind a name. */
static bool same_name(const struct model_line *a, const struct model_line *b)
{
    return a->parent.n && b->parent.n &&
           str_eq(str_sub(a->id, a->parent.n), str_sub(b->id, b->parent.n));
}

static int page_after(struct request *r, const struct paging *q)
{
    struct listing what = { .tenant = r->caller.tenant, .limit = q->limit };
    struct page page = { 0 };
    what.after = name_in(r->state->core, q->after); /* empty for a base */
    if (str_eq(q->after, STR("auto")))
        what.after = STR_NULL;
    int err = read_page(r, r->arena, &what, &page);
    if (err < 0)
        return err;
    size_t from = q->after.n ? index_of(&page, q->after) + 1 : 0;
    if (from > page.n)
        from = 0; /* it stands before this page */
    const struct model_line *lines = page.lines + from;
    size_t left = page.n - from, n = left < q->limit ? left : q->limit;
    while (n && n < left && same_name(&lines[n - 1], &lines[n]))
        n++;
    print_page(&r->reply.body, lines, n, n < left || page.next.n > 0);
    return 0;
}

/* The last `limit` of what stands in `last` and, behind it, the first n of `page`. */
static int print_before(struct request *r, const struct page *last, const struct page *page,
                        size_t n, size_t limit)
{
    size_t all = last->n + n, shown = all < limit ? all : limit;
    struct model_line *lines = arena_array(r->arena, shown + 1, sizeof(*lines));
    if (!lines)
        return -ENOMEM;
    for (size_t i = 0; i < shown; i++) {
        size_t at = all - shown + i;
        lines[i] = at < last->n ? last->lines[at] : page->lines[at - last->n];
    }
    print_page(&r->reply.body, lines, shown, all > shown || last->next.n > 0);
    return 0;
}

/* From the first page on, two of them in memory. One that is not there is behind all. */
static int page_before(struct request *r, const struct paging *q)
{
    struct listing what = { .tenant = r->caller.tenant, .limit = PAGE_MAX };
    CLEANUP(arena_freep) struct arena *old = NULL;
    CLEANUP(arena_freep) struct arena *now = NULL;
    struct page last = { 0 }, page = { 0 };
    bool skipped = false;
    for (;;) {
        now = arena_new(LIMIT_REQUEST_ARENA);
        int err = now ? read_page(r, now, &what, &page) : -ENOMEM;
        if (err < 0)
            return err;
        size_t at = index_of(&page, q->before);
        last.next = skipped ? STR("more") : STR_NULL;
        if (at < page.n || page.next.n == 0)
            return print_before(r, &last, &page, at, q->limit);
        what.after = arena_str(r->arena, name_in(r->state->core, page.next));
        skipped = skipped || last.n > 0;
        (void)arena_free(old);
        old = TAKE(now);
        last = page;
    }
}

/* Worker. */
static void list_pages(struct request *r)
{
    const struct paging *q = r->work_about;
    int err = q->before.n ? page_before(r, q) : page_after(r, q);
    if (err == 0)
        return;
    struct fail fail;
    (void)fail_errno(&fail, err, "listing the models");
    (void)reply_fail(r, &fail);
}

static enum next no_memory(struct request *r)
{
    struct fail fail;
    (void)fail_errno(&fail, -ENOMEM, "listing the models");
    return reply_fail(r, &fail);
}

/* ?after_id=&before_id=&limit= */
static enum next anthropic_models(struct request *r)
{
    struct fail fail = { 0 };
    struct paging *q = arena_alloc(r->arena, sizeof(*q));
    if (!q)
        return no_memory(r);
    if (paging_read(r, q, &fail) != 0)
        return reply_fail(r, &fail);
    r->work_about = q;
    return server_work(r, list_pages, reply_made);
}

/* ?after=&limit=&prefix= */
enum next api_models(struct request *r)
{
    struct fail fail = { 0 };
    if (is_anthropic(r))
        return anthropic_models(r);
    struct listing *what = arena_alloc(r->arena, sizeof(*what));
    if (!what)
        return no_memory(r);
    if (listing_read(r, MODELS_DEFAULT, what, &fail) != 0)
        return reply_fail(r, &fail);
    r->work_about = what;
    return server_work(r, list_models, reply_made);
}

/* ---- one ---- */

/* Worker: a look-up that misses the local page asks the catalog. */
static void resolve(struct request *r)
{
    struct fail fail = { 0 };
    struct target t;
    struct adapter_revision revision;
    int err = target_parse(r->state->core, r->params[0], &t, &fail);
    t.adapter.viewer = r->caller.tenant;
    if (err == 0)
        err = target_find(r->state->core, &t.adapter, r->min_epoch, &revision, &fail);
    if (err < 0)
        err = fail_errno(&fail, err, "looking the adapter up");
    if (err == 0 && !core_model(r->state->core, str_of(revision.base)))
        err = fail_set(&fail, FAIL_model_not_found,
                       "adapter '%s' is for base model '%s', which is "
                       "not served here",
                       revision.adapter, revision.base);
    if (err != 0) {
        (void)reply_fail(r, &fail);
        return;
    }
    print_model(r, &(struct model_line){ .id = r->params[0],
                                         .parent = str_of(revision.base),
                                         .created_s = revision.created_s,
                                         .revision = &revision });
}

enum next api_model(struct request *r)
{
    struct fail fail = { 0 };
    struct target t = { 0 };
    if (router_is_auto(r->state->router, r->params[0])) {
        struct model_line line = line_of_auto(r->params[0]);
        print_model(r, &line);
        return reply_json(r);
    }
    if (target_parse(r->state->core, r->params[0], &t, &fail) != 0)
        return reply_fail(r, &fail);
    if (t.adapter.adapter.n)
        return server_work(r, resolve, reply_made);
    struct model_line line = line_of_base(t.model);
    print_model(r, &line);
    return reply_json(r);
}

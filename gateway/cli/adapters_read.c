#include "gateway/cli/adapters.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "gateway/api/listing.h"

enum { PAGE = 32768 }; /* adapters of a list held at once: some 2 KiB each */

#define PAGE_ARENA (1 * GIB)

/* ---- printing ---- */

void adapters_print_short(struct buf *b, const struct sha256 *d)
{
    char hex[SHA256_HEX + 1];
    sha256_hex(hex, d);
    buf_addf(b, "sha256:%.12s", hex);
}

static void add_time(struct buf *b, uint64_t s)
{
    char text[32] = "-";
    time_t t = (time_t)s;
    struct tm tm;
    if (s && gmtime_r(&t, &tm))
        (void)strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
    buf_adds(b, text);
}

static const struct adapter_revision *revision_of(const struct adapter_info *i,
                                                  const struct sha256 *digest)
{
    for (size_t k = 0; k < i->n_revisions; k++)
        if (sha256_eq(&i->revisions[k].digest, digest))
            return &i->revisions[k];
    return NULL;
}

static const struct sha256 *alias_of(const struct adapter_info *i, const char *alias)
{
    for (size_t k = 0; k < i->n_aliases; k++)
        if (strcmp(i->aliases[k].name, alias) == 0)
            return &i->aliases[k].digest;
    return NULL;
}

void adapters_print_digest(struct buf *b, const char *key, const struct sha256 *d)
{
    char hex[SHA256_HEX + 1];
    sha256_hex(hex, d);
    buf_addf(b, "\"%s\":\"%s\"", key, hex);
}

static double percent(uint32_t weight)
{
    return (double)weight * 100 / CANARY_WHOLE;
}

static void add_share_json(struct buf *b, const struct adapter_info *i, const char *alias,
                           uint32_t weight)
{
    const struct sha256 *digest = weight ? alias_of(i, alias) : NULL;
    if (!digest)
        return;
    buf_addf(b, ",\"%s\":{", alias);
    adapters_print_digest(b, "digest", digest);
    buf_addf(b, ",\"weight\":%g}", percent(weight));
}

static void add_info_json(struct buf *b, const struct adapter_info *i)
{
    buf_adds(b, "{\"name\":");
    buf_add_json(b, i->name);
    buf_adds(b, ",\"base\":");
    buf_add_json(b, i->base);
    buf_adds(b, ",\"description\":");
    buf_add_json(b, i->description);
    buf_adds(b, ",\"examples\":[");
    for (size_t k = 0; k < i->n_examples; k++) {
        buf_adds(b, k ? "," : "");
        buf_add_json(b, i->examples[k]);
    }
    buf_adds(b, "],\"revisions\":[");
    for (size_t k = 0; k < i->n_revisions; k++) {
        const struct adapter_revision *r = &i->revisions[k];
        buf_addf(b, "%s{\"ordinal\":%" PRIu64 ",", k ? "," : "", r->ordinal);
        adapters_print_digest(b, "digest", &r->digest);
        buf_addf(b, ",\"bytes\":%" PRIu64 ",\"created\":%" PRIu64 "}", r->bytes, r->created_s);
    }
    buf_adds(b, "],\"aliases\":{");
    for (size_t k = 0; k < i->n_aliases; k++) {
        buf_adds(b, k ? "," : "");
        buf_add_json(b, str_of(i->aliases[k].name));
        buf_addc(b, ':');
        char hex[SHA256_HEX + 1];
        sha256_hex(hex, &i->aliases[k].digest);
        buf_addf(b, "\"%s\"", hex);
    }
    buf_addc(b, '}');
    add_share_json(b, i, "canary", i->canary_weight);
    add_share_json(b, i, "shadow", i->shadow_weight);
    buf_addf(b, ",\"epoch\":%" PRIu64 "}", i->epoch);
}

void adapters_print_revision(struct adapters_call *c, const struct adapter_revision *r)
{
    struct buf *b = &c->out;
    if (!c->json) {
        buf_addf(b, "%s:%s revision %" PRIu64 " ", r->base, r->adapter, r->ordinal);
        adapters_print_short(b, &r->digest);
        if (r->alias[0])
            buf_addf(b, " is %s", r->alias);
        buf_addc(b, '\n');
        return;
    }
    buf_adds(b, "{\"name\":");
    buf_add_json(b, str_of(r->adapter));
    buf_adds(b, ",\"base\":");
    buf_add_json(b, str_of(r->base));
    buf_adds(b, ",\"alias\":");
    buf_add_json(b, str_of(r->alias));
    buf_addf(b, ",\"ordinal\":%" PRIu64 ",", r->ordinal);
    adapters_print_digest(b, "digest", &r->digest);
    buf_addf(b, ",\"bytes\":%" PRIu64 ",\"epoch\":%" PRIu64 "}\n", r->bytes, r->epoch);
}

/* ---- list ---- */

static void add_list_line(struct buf *b, const struct adapter_info *i)
{
    buf_addf(b, "%s:%s", i->base.p, i->name.p);
    buf_addf(b, "\t%zu revision%s", i->n_revisions, i->n_revisions == 1 ? "" : "s");
    for (size_t k = 0; k < i->n_aliases; k++) {
        const struct adapter_revision *r = revision_of(i, &i->aliases[k].digest);
        buf_addf(b, "%s%s=%" PRIu64, k ? " " : "\t", i->aliases[k].name, r ? r->ordinal : 0);
    }
    buf_addf(b, "%s\t%s\n", i->n_aliases ? "" : "\t-", i->description.p);
}

static int print_page(struct adapters_call *c, const struct adapter_info *infos, size_t n,
                      size_t before)
{
    for (size_t i = 0; i < n; i++) {
        if (!c->json) {
            add_list_line(&c->out, &infos[i]);
            continue;
        }
        buf_adds(&c->out, before + i ? ",\n " : "");
        add_info_json(&c->out, &infos[i]);
    }
    return adapters_flush(c);
}

int adapters_pages(struct adapters_call *c, adapters_page_fn fn, void *ctx, struct fail *f)
{
    struct adapters_state state;
    char *tenant = arena_printf(c->arena, "%s/", c->tenant ? c->tenant : "");
    struct str prefix = c->prefix ? str_of(c->prefix) : c->tenant ? str_of(tenant) : STR("");
    char after[2 * LIMIT_NAME + 1];
    size_t left = c->limit ? (size_t)c->limit : SIZE_MAX;
    (void)snprintf(after, sizeof(after), "%s", c->after ? c->after : "");
    if (!tenant)
        return -ENOMEM;
    for (bool more = true; more && left;) {
        CLEANUP(arena_freep) struct arena *arena = arena_new(PAGE_ARENA);
        struct listing what = { .after = str_of(after), .prefix = prefix };
        struct adapter_info *infos = NULL;
        size_t n = 0;
        what.limit = left < PAGE ? left : PAGE;
        int r = arena ? listing_page(c->adapters, arena, &what, &infos, &n, &more) : -ENOMEM;
        adapters_state(c->adapters, &state);
        if (r == 0 && !state.connected)
            r = fail_set(f, FAIL_catalog_unavailable, "the adapter catalog does not answer");
        if (r == 0 && n)
            r = fn(ctx, infos, n);
        if (r != 0)
            return r;
        if (n)
            (void)snprintf(after, sizeof(after), "%s", infos[n - 1].name.p);
        left -= n < left ? n : left;
    }
    return 0;
}

struct list_state {
    struct adapters_call *call;
    size_t n;
};

static int list_page(void *ctx, const struct adapter_info *infos, size_t n)
{
    struct list_state *s = ctx;
    int r = print_page(s->call, infos, n, s->n);
    s->n += n;
    return r;
}

int adapters_cli_list(struct adapters_call *c, struct fail *f)
{
    struct list_state s = { c, 0 };
    buf_adds(&c->out, c->json ? "[" : "");
    int r = adapters_pages(c, list_page, &s, f);
    buf_adds(&c->out, c->json ? "]\n" : "");
    if (r != 0)
        buf_clear(&c->out);
    return r;
}

/* ---- one ---- */

static void add_shown(struct buf *b, const struct adapter_info *i)
{
    buf_addf(b, "%s:%s\n", i->base.p, i->name.p);
    if (i->description.n)
        buf_addf(b, "  %s\n", i->description.p);
    if (i->epoch)
        buf_addf(b, "  epoch %" PRIu64 "\n", i->epoch);
    for (size_t k = 0; k < i->n_revisions; k++) {
        const struct adapter_revision *v = &i->revisions[k];
        buf_addf(b, "  revision %" PRIu64 "  ", v->ordinal);
        adapters_print_short(b, &v->digest);
        buf_addf(b, "  %" PRIu64 " bytes  ", v->bytes);
        add_time(b, v->created_s);
        for (size_t m = 0; m < i->n_aliases; m++)
            if (sha256_eq(&i->aliases[m].digest, &v->digest))
                buf_addf(b, "  %s", i->aliases[m].name);
        buf_addc(b, '\n');
    }
    if (i->canary_weight)
        buf_addf(b, "  canary gets %g %%\n", percent(i->canary_weight));
    if (i->shadow_weight)
        buf_addf(b, "  shadow gets copies of %g %%\n", percent(i->shadow_weight));
    for (size_t k = 0; k < i->n_examples; k++)
        buf_addf(b, "  example: %s\n", i->examples[k].p);
}

int adapters_cli_show(struct adapters_call *c, struct fail *f)
{
    struct adapter_info i;
    struct adapter_name name;
    int r = adapters_name(c, c->operands[0], &name, f);
    if (r == 0)
        r = adapters_show(c->adapters, c->arena, name.base, name.adapter, &i, f);
    if (r != 0)
        return r;
    if (!c->json) {
        add_shown(&c->out, &i);
        return 0;
    }
    add_info_json(&c->out, &i);
    buf_addc(&c->out, '\n');
    return 0;
}

static void add_audit_json(struct buf *b, const struct adapter_audit *a)
{
    const struct {
        const char *key;
        struct str value;
    } texts[] = { { "what", a->what },
                  { "alias", a->alias },
                  { "from", a->from },
                  { "to", a->to },
                  { "who", a->who } };
    buf_addf(b, "{\"epoch\":%" PRIu64 ",\"when\":%" PRIu64, a->epoch, a->when_s);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        buf_addf(b, ",\"%s\":", texts[i].key);
        buf_add_json(b, texts[i].value);
    }
    buf_addc(b, '}');
}

int adapters_cli_history(struct adapters_call *c, struct fail *f)
{
    struct adapter_audit *lines;
    struct adapter_name name;
    size_t n;
    int r = adapters_name(c, c->operands[0], &name, f);
    if (r == 0)
        r = adapters_history(c->adapters, c->arena, name.base, name.adapter, &lines, &n, f);
    if (r != 0)
        return r;
    size_t first = c->limit && c->limit < n ? n - (size_t)c->limit : 0;
    buf_adds(&c->out, c->json ? "[" : "");
    for (size_t i = first; i < n; i++) {
        const struct adapter_audit *a = &lines[i];
        if (c->json) {
            buf_adds(&c->out, i > first ? ",\n " : "");
            add_audit_json(&c->out, a);
            continue;
        }
        buf_addf(&c->out, "%" PRIu64 "\t", a->epoch);
        add_time(&c->out, a->when_s);
        buf_addf(&c->out, "\t%s\t%s\t%.12s -> %.12s\t%s\n", a->what.p,
                 a->alias.n ? a->alias.p : "-", a->from.n ? a->from.p : "-",
                 a->to.n ? a->to.p : "-", a->who.p);
    }
    buf_adds(&c->out, c->json ? "]\n" : "");
    return 0;
}

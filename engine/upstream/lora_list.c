#include "engine/upstream/lora_inside.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/json_view.h"
#include "base/limits.h"
#include "base/log.h"
#include "engine/upstream/lora_call.h"

#include <stdlib.h>

enum { LIST_RETRY_MS = 2000, KNOWN_MAX = 16 * MIB /* bytes of names */ };

struct listing {
    struct lora_fleet *fleet;
    unsigned endpoint;
};

static void on_listed(void *ctx, enum lora_answer answer, struct str text)
{
    struct listing *l = ctx;
    struct lora_fleet *f = l->fleet;
    struct lora_site *s = &f->sites[l->endpoint];
    LOCKED(&f->lock);
    if (answer == LORA_loaded)
        s->listed = str_dup(text);
    else
        s->is_listed = answer == LORA_unservable; /* it has no such list */
    s->is_listing = false;
    s->list_at_ms = clock_ms() + LIST_RETRY_MS;
    lora_end_call(f);
    free(l);
}

/* llama-server: an id passes over those that it does not have, and the base would answer. */
static void count_listed(struct lora_fleet *f, struct lora_site *s)
{
    struct str all = json_view_value(str_of(s->listed));
    if (json_view_kind(all) != JSON_VIEW_array)
        return;
    size_t n = json_view_count(all);
    if (n != f->lora->fixed.n)
        log_line(
            LOG_warn, "upstream_adapter",
            "endpoint=%s why=\"it was started with %zu adapters, and upstream.lora.fixed names "
            "%zu\"",
            s->url, n, (size_t)f->lora->fixed.n);
    LOCKED(&f->lock);
    s->n_there = n;
    s->is_counted = true;
}

static void add_known(void *ctx, const char *name)
{
    struct buf *known = ctx;
    buf_adds(known, name);
    buf_addc(known, '\n');
}

/* Others may load and unload while an engine lists: what was known before it was asked, and is gone
 * now, was unloaded since. */
static bool was_known(const struct lora_site *s, struct str name)
{
    CLEANUP(buf_done) struct buf line = BUF_INIT(LORA_NAME + 2);
    buf_addc(&line, '\n');
    buf_add(&line, name);
    buf_addc(&line, '\n');
    return str_find(buf_str(&s->known), buf_str(&line)) >= 0;
}

static int note_known(struct lora_fleet *f, struct lora_site *s)
{
    struct ledger_slot slot = { .endpoint = s->url, .holder = f->config.holder };
    buf_done(&s->known);
    s->known = BUF_INIT(KNOWN_MAX);
    buf_addc(&s->known, '\n');
    int err = f->ledger.ops->names(f->ledger.ctx, &slot, add_known, &s->known);
    return err == 0 ? buf_err(&s->known) : err;
}

/* vLLM names the base of each adapter in `parent`. */
static void add_listed(struct lora_fleet *f, const struct lora_site *s)
{
    struct str item, name;
    struct json_view_walk w = json_view_walk(json_view_get(str_of(s->listed), "data"));
    while (json_view_next(&w, NULL, &item)) {
        char copy[LORA_NAME];
        if (json_view_kind(json_view_get(item, "parent")) != JSON_VIEW_string ||
            !json_view_plain(json_view_get(item, "id"), &name) || name.n >= LORA_NAME)
            continue;
        memcpy(copy, name.p, name.n);
        copy[name.n] = '\0';
        struct ledger_slot slot = { .endpoint = s->url, .name = copy };
        if (!was_known(s, name) && f->ledger.ops->found(f->ledger.ctx, &slot) != 0)
            log_line(LOG_warn, "upstream_adapter", "name=%s why=\"the ledger was not told\"", copy);
    }
}

static void read_listed(struct lora_fleet *f, unsigned i)
{
    struct lora_site *s = &f->sites[i];
    if (lora_is_fixed(f, i))
        count_listed(f, s);
    else
        add_listed(f, s);
    LOCKED(&f->lock);
    free(s->listed);
    s->listed = NULL;
    s->is_listed = true;
}

static void ask(struct lora_fleet *f, unsigned i)
{
    struct listing *l = malloc(sizeof(*l));
    struct fail fail;
    struct lora_call_spec spec = {
        .config = &f->config, .endpoint = i, .verb = LORA_list, .told = on_listed, .ctx = l
    };
    if (l)
        *l = (struct listing){ f, i };
    if (l && (lora_is_fixed(f, i) || note_known(f, &f->sites[i]) == 0) &&
        lora_call_start(&spec, &fail) == 0)
        return;
    free(l);
    LOCKED(&f->lock);
    f->sites[i].is_listing = false;
    f->sites[i].list_at_ms = clock_ms() + LIST_RETRY_MS;
    lora_end_call(f);
}

/* Under the lock. The next endpoint that is to be listed, or n_sites. */
unsigned lora_list_due(struct lora_fleet *f, uint64_t now_ms, uint64_t *next_ms)
{
    for (unsigned i = 0; i < f->n_sites; i++) {
        struct lora_site *s = &f->sites[i];
        if (s->is_listed || s->is_listing)
            continue;
        if (s->listed)
            return i;
        if (s->list_at_ms <= now_ms) {
            s->is_listing = true;
            f->calls++;
            return i;
        }
        if (s->list_at_ms < *next_ms)
            *next_ms = s->list_at_ms;
    }
    return f->n_sites;
}

void lora_list(struct lora_fleet *f, unsigned i)
{
    if (f->sites[i].listed)
        read_listed(f, i);
    else
        ask(f, i);
}

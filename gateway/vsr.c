#include "gateway/vsr.h"

#include "gateway/answer.h"
#include "gateway/caller.h"
#include "gateway/record.h"

#include <math.h>

enum { VALUE_BYTES = 1024 }; /* of one header; proxies refuse heads of a few of them */

/* A value as a header may hold it: printable ASCII; other bytes as %XX, cut where it gets long. */
struct value {
    char text[VALUE_BYTES + 1];
    size_t n;
    bool full;
};

static void begin(struct value *v) /* its text stays as it is */
{
    v->n = 0;
    v->full = false;
}

static void put(struct value *v, struct str s)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t before = v->n;
    for (size_t i = 0; i < s.n && !v->full; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bool plain = c >= 0x20 && c < 0x7f;
        if (v->n + (plain ? 1 : 3) > VALUE_BYTES) {
            v->full = true;
        } else if (plain) {
            v->text[v->n++] = (char)c;
        } else {
            v->text[v->n++] = '%';
            v->text[v->n++] = digits[c >> 4];
            v->text[v->n++] = digits[c & 15];
        }
    }
    if (v->full)
        v->n = before; /* whole names only */
}

static void add(struct request *r, const char *name, struct str text)
{
    struct value v;
    begin(&v);
    put(&v, str_head(text, VALUE_BYTES / 3));
    reply_header(r, name, (struct str){ v.text, v.n });
}

/* ---- with x-vsr-debug ---- */

bool vsr_debug(const struct request *r)
{
    struct str v = caller_header(r, STR("x-vsr-debug"));
    return str_eq_nocase(v, STR("true")) || str_is(v, "1");
}

static void add_matched(struct request *r, const struct route *route, const char *type,
                        const char *name)
{
    struct value v;
    begin(&v);
    for (size_t i = 0; i < route->n_signals && !v.full; i++) {
        const struct route_signal *s = &route->signals[i];
        if (s->value != TRUTH_true || !str_is(s->type, type))
            continue;
        size_t before = v.n;
        put(&v, v.n ? STR(",") : STR_NULL);
        put(&v, s->name);
        if (v.full)
            v.n = before;
    }
    reply_header(r, name, (struct str){ v.text, v.n });
}

static void add_families(struct request *r, const struct route *route)
{
    static const struct {
        const char *type, *header;
    } rows[] = {
        { "keyword", "x-vsr-matched-keywords" },
        { "embedding", "x-vsr-matched-embeddings" },
        { "domain", "x-vsr-matched-domains" },
        { "fact_check", "x-vsr-matched-fact-check" },
        { "user_feedback", "x-vsr-matched-user-feedback" },
        { "reask", "x-vsr-matched-reask" },
        { "preference", "x-vsr-matched-preference" },
        { "language", "x-vsr-matched-language" },
        { "context", "x-vsr-matched-context" },
        { "structure", "x-vsr-matched-structure" },
        { "complexity", "x-vsr-matched-complexity" },
        { "modality", "x-vsr-matched-modality" },
        { "authz", "x-vsr-matched-authz" },
        { "jailbreak", "x-vsr-matched-jailbreak" },
        { "pii", "x-vsr-matched-pii" },
        { "kb", "x-vsr-matched-kb" },
        { "conversation", "x-vsr-matched-conversation" },
        { "event", "x-vsr-matched-event" },
        { "projection", "x-vsr-matched-projections" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        add_matched(r, route, rows[i].type, rows[i].header);
}

/* What the context signals have counted. */
static void add_tokens(struct request *r, const struct route *route)
{
    for (size_t i = 0; i < route->n_signals; i++)
        if (str_is(route->signals[i].type, "context") && isfinite(route->signals[i].raw)) {
            reply_headerf(r, "x-vsr-context-token-count", "%.0f", route->signals[i].raw);
            return;
        }
}

static void add_modality(struct request *r, const struct route *route)
{
    for (size_t i = 0; i < route->n_signals; i++)
        if (str_is(route->signals[i].type, "modality") && route->signals[i].value == TRUTH_true) {
            add(r, "x-vsr-selected-modality", route->signals[i].name);
            return;
        }
}

static void add_truth(struct request *r, const char *name, enum truth value)
{
    if (value != TRUTH_unknown)
        reply_header(r, name, value == TRUTH_true ? STR("true") : STR("false"));
}

/* What the decision emits for the session's next turns. */
static void add_retention(struct request *r, const struct retention *k)
{
    add_truth(r, "x-vsr-retention-drop", k->drop);
    add_truth(r, "x-vsr-retention-keep-current-model", k->keep_current_model);
    add_truth(r, "x-vsr-retention-prefer-prefix", k->prefer_prefix_retention);
    if (k->ttl_turns >= 0)
        reply_headerf(r, "x-vsr-retention-ttl-turns", "%lld", (long long)k->ttl_turns);
}

static void add_debug(struct request *r, const struct answer *a)
{
    const struct route *route = &a->target.route;
    add(r, "x-vsr-selected-category", route->category);
    reply_header(r, "x-vsr-selected-reasoning", route->use_reasoning ? STR("on") : STR("off"));
    add_modality(r, route);
    reply_header(r, "x-vsr-injected-system-prompt",
                 a->has_injected_prompt ? STR("true") : STR("false"));
    add_tokens(r, route);
    add_families(r, route);
    add(r, "x-vsr-learning-methods", route->learning.methods);
    add(r, "x-vsr-learning-actions", route->learning.actions);
    add(r, "x-vsr-learning-scopes", route->learning.scopes);
    add(r, "x-vsr-learning-reasons", route->learning.reasons);
    if (route->retention)
        add_retention(r, route->retention);
}

/* ---- always ---- */

struct str vsr_path(const struct request *r)
{
    const struct answer *a = r->answer;
    if (a->is_blocked)
        return STR("blocked");
    if (r->reply.status == 429)
        return STR("rate_limited");
    if (r->reply.status >= 400)
        return STR("error");
    return a->is_canned ? STR("fast_response") : STR("upstream");
}

static void add_route(struct request *r, const struct route *route)
{
    add(r, "x-vsr-selected-recipe", route->recipe);
    add(r, "x-vsr-selected-decision", route->decision);
    add(r, "x-vsr-selected-algorithm", route->algorithm);
    if (route->decision.n)
        reply_headerf(r, "x-vsr-selected-confidence", "%.4f", route->confidence);
}

void vsr_headers(struct request *r)
{
    const struct answer *a = r->answer;
    char id[RECORD_ID];
    if (!a)
        return;
    reply_header(r, "x-vsr-schema-version", STR("2"));
    reply_header(r, "x-vsr-response-path", vsr_path(r));
    bool anthropic = a->dialect->wire == WIRE_anthropic_messages;
    reply_header(r, "x-vsr-client-protocol", anthropic ? STR("anthropic") : STR("openai"));
    const struct core_model *m = a->target.model;
    anthropic =
        m && engine_is_upstream(m->engine) && engine_speaks(m->engine, WIRE_anthropic_messages);
    reply_header(r, "x-vsr-upstream-protocol", anthropic ? STR("anthropic") : STR("openai"));
    if (a->is_canned && r->reply.status < 400)
        reply_header(r, "x-vsr-fast-response", STR("true"));
    add(r, "x-vsr-selected-model", a->model);
    if (!a->target.is_auto)
        return;
    add_route(r, &a->target.route);
    if (record_id(r, id))
        reply_header(r, "x-vsr-replay-id", str_of(id));
    if (vsr_debug(r))
        add_debug(r, a);
}

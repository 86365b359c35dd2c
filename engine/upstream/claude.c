#include "engine/upstream/claude.h"

#include "base/num.h"

/* ---- what the model can ---- */

/* The number at *at, past it; none, or a date: UINT64_MAX. */
static uint64_t next_number(struct str name, size_t *at)
{
    size_t from = *at;
    uint64_t n = 0;
    while (*at < name.n && name.p[*at] >= '0' && name.p[*at] <= '9')
        (*at)++;
    struct str digits = { name.p + from, *at - from };
    return num_parse_u64(&n, digits, 0, 99) == 0 ? n : UINT64_MAX;
}

struct claude claude_of(struct str model)
{
    struct claude ret = { .is_opus = str_find(model, STR("opus")) >= 0 };
    ptrdiff_t begin = str_find(model, STR("claude-"));
    if (begin < 0)
        return ret;
    struct str name = str_sub(model, (size_t)begin);
    size_t at = 0;
    while (at < name.n && !(name.p[at] >= '0' && name.p[at] <= '9'))
        at++;
    uint64_t major = next_number(name, &at), minor = UINT64_MAX;
    if (at < name.n && (name.p[at] == '-' || name.p[at] == '.')) {
        at++;
        minor = next_number(name, &at);
    }
    if (major != UINT64_MAX)
        ret.version = (unsigned)(major * 100 + (minor != UINT64_MAX ? minor : 0));
    return ret;
}

bool claude_is(struct str model)
{
    return str_find(model, STR("claude")) >= 0;
}

bool claude_speaks_at(const struct config_endpoint *e, enum wire wire)
{
    return wire == WIRE_anthropic_messages && claude_is(e->model);
}

enum {
    CLAUDE_THINKS = 307,      /* takes a budget of thinking */
    CLAUDE_OPUS_FORMAT = 401, /* structured answers, and temperature or top_p, not both … */
    CLAUDE_FORMAT = 405,
    CLAUDE_ADAPTIVE = 406, /* thinks by effort, and no longer by budget */
    CLAUDE_FIXED = 407,    /* no temperature, top_p, top_k; thoughts are shown where asked for */
    CLAUDE_ALWAYS = 500,   /* thinks unless told not to */
};

bool claude_has_format(struct claude m)
{
    return m.version >= (m.is_opus ? CLAUDE_OPUS_FORMAT : CLAUDE_FORMAT);
}

/* ---- thinking ---- */

enum {
    THINKING_MIN = 1024, /* the least budget that it takes */
    DEFAULT_MAX_TOKENS = 4096,
};

static uint32_t effort_budget(struct str effort)
{
    static const struct {
        const char *word;
        uint32_t tokens;
    } rows[] = {
        { "minimal", THINKING_MIN }, { "low", 2048 },    { "medium", 8192 },
        { "high", 16384 },           { "xhigh", 32768 }, { "max", 32768 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (str_is(effort, rows[i].word))
            return rows[i].tokens;
    return 0;
}

static bool is_result(const struct chat_message *m)
{
    return str_is(m->role, "tool") || str_is(m->role, "function");
}

/* A turn that ended in calls must begin with its thinking, or nothing may be thought now. */
static bool lacks_thinking(const struct chat_request *c)
{
    size_t i = c->n_messages;
    while (i > 0 && is_result(&c->messages[i - 1]))
        i--;
    if (i == 0 || i == c->n_messages || !str_is(c->messages[i - 1].role, "assistant"))
        return false;
    const struct chat_message *m = &c->messages[i - 1];
    struct thought_walk walk = provider_thoughts(m);
    for (struct chat_thought t; provider_next_thought(&walk, &t);)
        if (t.signature.n || t.redacted.n)
            return false;
    return m->n_tool_calls > 0;
}

static void plan_budget(struct claude_plan *p, const struct chat_request *c, uint32_t budget)
{
    budget = budget < THINKING_MIN ? THINKING_MIN : budget;
    if (!c->max_tokens) {
        p->max_tokens += budget; /* as much for the answer as without */
    } else if (budget > c->max_tokens - c->max_tokens / 4) {
        budget = c->max_tokens - c->max_tokens / 4; /* something must be left to answer with */
        budget = budget < THINKING_MIN ? THINKING_MIN : budget;
    }
    p->thinks = true;
    p->budget = budget;
}

static int plan_thinking(struct claude_plan *p, const struct provider_job *job, struct claude m,
                         bool is_forced, struct fail *reterr)
{
    const struct chat_request *c = job->request;
    struct str effort = provider_effort(c);
    uint32_t given = c->has_thinking ? c->thinking_budget : 0;
    uint32_t budget = given ? given : effort_budget(effort);
    p->max_tokens = c->max_tokens               ? c->max_tokens
                    : job->upstream->max_tokens ? (uint32_t)job->upstream->max_tokens
                                                : DEFAULT_MAX_TOKENS;
    p->is_adaptive = m.version >= CLAUDE_ADAPTIVE;
    p->is_off = m.version >= CLAUDE_ALWAYS &&
                (is_forced || str_is(effort, "none") || (c->has_thinking && !given && !effort.n));
    if (budget == 0)
        return 0;
    if (m.version && m.version < CLAUDE_THINKS)
        return provider_cannot(job, reterr, "reasoning_effort", "the model does not think");
    if (p->is_adaptive) {
        p->thinks = !is_forced;
        p->effort = str_is(effort, "minimal") ? STR("low") : effort;
        if (str_is(effort, "xhigh") && m.version < CLAUDE_FIXED)
            p->effort = STR("max");
        return 0;
    }
    bool has_room = !c->max_tokens || c->max_tokens > THINKING_MIN;
    if (!is_forced && !lacks_thinking(c) && has_room)
        plan_budget(p, c, budget);
    return 0;
}

void claude_add_thinking(struct buf *b, const struct claude_plan *p, struct claude m)
{
    if (p->is_off)
        buf_adds(b, "{\"type\":\"disabled\"}");
    else if (p->is_adaptive && m.version >= CLAUDE_FIXED)
        buf_adds(b, "{\"type\":\"adaptive\",\"display\":\"summarized\"}");
    else if (p->is_adaptive)
        buf_adds(b, "{\"type\":\"adaptive\"}");
    else
        buf_addf(b, "{\"type\":\"enabled\",\"budget_tokens\":%u}", p->budget);
}

/* ---- sampling ---- */

/* Why a model does not take the value of a field; NULL: it does. */
struct knob_row {
    const char *param, *why;
    bool *has;
};

int claude_plan(struct claude_plan *ret, const struct provider_job *job, bool is_forced,
                struct fail *reterr)
{
    static const float least_top_p = 0.95f; /* where it thinks */
    static const char fixed[] = "the model chooses that itself";
    const struct sampling *s = &job->request->sampling;
    struct claude m = claude_of(job->model);
    *ret = (struct claude_plan){ .has_temperature = s->temperature != 1,
                                 .has_top_p = s->top_p != 1,
                                 .has_top_k = s->top_k > 0 };
    int r = plan_thinking(ret, job, m, is_forced, reterr);
    bool is_fixed = m.version >= CLAUDE_FIXED, thinks = ret->thinks;
    /* Beside temperature the provider itself refuses top_p, in its own words. */
    bool is_single = claude_has_format(m) && job->upstream->drop_params;
    const struct knob_row rows[] = {
        { "temperature",
          is_fixed             ? fixed
          : s->temperature > 1 ? "it takes 0 to 1"
          : thinks             ? "it is 1 where the model thinks"
                               : NULL,
          &ret->has_temperature },
        { "top_p",
          is_fixed                           ? fixed
          : thinks && s->top_p < least_top_p ? "it is 0.95 to 1 where the model thinks"
          : is_single && ret->has_temperature && s->top_p != 1
              ? "the model takes it or 'temperature'"
              : NULL,
          &ret->has_top_p },
        { "top_k",
          is_fixed ? fixed
          : thinks ? "not where the model thinks"
                   : NULL,
          &ret->has_top_k },
    };
    for (size_t i = 0; r == 0 && i < ARRAY_LEN(rows); i++) {
        if (!*rows[i].has || !rows[i].why)
            continue;
        *rows[i].has = false;
        r = provider_cannot(job, reterr, rows[i].param, rows[i].why);
    }
    return r;
}

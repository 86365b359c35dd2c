#include "engine/local/job.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/metrics.h"
#include "engine/local/lora.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>

static void drop_parts(struct job *j)
{
    free(TAKE(j->prompt));
    free((void *)TAKE(j->sampling.bias));
    free(TAKE(j->ends));
    j->sampler = sampler_free(j->sampler);
    j->stream = stream_free(j->stream);
    j->echo = stream_free(j->echo);
    j->constraint = constraint_free(j->constraint);
    j->grammar = grammar_unref(j->grammar);
}

struct job *job_ref(struct job *j)
{
    (void)atomic_fetch_add_explicit(&j->refs, 1, memory_order_relaxed);
    return j;
}

struct job *job_unref(struct job *j)
{
    if (j && atomic_fetch_sub_explicit(&j->refs, 1, memory_order_acq_rel) == 1) {
        drop_parts(j);
        free(j);
    }
    return NULL;
}

static int check_bias(const struct job_context *c, const struct sampling *s, struct fail *reterr)
{
    for (size_t i = 0; i < s->n_bias; i++)
        if (s->bias[i].token < 0 || (uint32_t)s->bias[i].token >= c->vocab)
            return fail_param(reterr, FAIL_invalid_request, "logit_bias",
                              "logit_bias names token %" PRId32
                              "; token ids of this model are 0 to %" PRIu32,
                              s->bias[i].token, c->vocab - 1);
    return 0;
}

static int check_stop_ids(const struct job_context *c, const struct chat_request *request,
                          struct fail *reterr)
{
    for (size_t i = 0; i < request->n_stop_ids; i++)
        if (request->stop_ids[i] < 0 || (uint32_t)request->stop_ids[i] >= c->vocab)
            return fail_param(reterr, FAIL_invalid_request, "stop_token_ids",
                              "stop_token_ids[%zu] is %" PRId32
                              "; token ids of this model are 0 to %" PRIu32,
                              i, request->stop_ids[i], c->vocab - 1);
    return 0;
}

static int check_length(const struct job_context *c, const struct chat_request *request, size_t n,
                        struct fail *reterr)
{
    if (n < c->context)
        return 0;
    return fail_param(
        reterr, FAIL_context_length_exceeded, request->is_completion ? "prompt" : "messages",
        "this model's context is %" PRIu32 " tokens, the prompt has %zu and the answer "
        "needs at least 1; shorten the prompt",
        c->context, n);
}

static int check_scale(const struct engine_spec *spec, struct fail *reterr)
{
    float scale = spec->lora && spec->lora_scale ? *spec->lora_scale : 1;
    if (!isfinite(scale))
        return fail_param(reterr, FAIL_invalid_request, "scale",
                          "the adapter's scale is not a finite number");
    if (scale != 0 && scale != 1 && !lora_scales(spec->lora))
        return fail_param(reterr, FAIL_invalid_request, "scale",
                          "the adapter has magnitudes (DoRA) or biases of its own, which a scale "
                          "does not change in proportion; use 1, or 0 for the base");
    return 0;
}

/* A scale of 0, or an adapter that nothing in the prompt switches on, is the base: its rows are
 * computed as the base's are, so they may share its key. */
static struct cache_key key_of(const struct job_context *c, const struct engine_spec *spec,
                               const struct token_list *ids)
{
    struct cache_key key = { .type = c->cache, .base = c->base, .from = CACHE_NEVER };
    float scale = spec->lora_scale ? *spec->lora_scale : 1;
    uint32_t from = spec->lora && scale != 0 ? lora_from(spec->lora, ids->ids, ids->n) : LORA_NEVER;
    if (from == LORA_NEVER)
        return key;
    key.kind = spec->lora_digest ? CACHE_KEY_adapter : CACHE_KEY_private;
    key.from = from;
    key.scale = scale;
    if (spec->lora_digest)
        key.digest = *spec->lora_digest;
    return key;
}

static bool begins_text(const struct tokenizer *t, const int32_t *ids, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!tokenizer_is_control(t, ids[i]))
            return false;
    return true;
}

static int copy_bias(struct job *j, const struct sampling *s)
{
    if (s->n_bias == 0)
        return 0;
    struct chat_logit_bias *bias = calloc(s->n_bias, sizeof(*bias));
    if (!bias)
        return -ENOMEM;
    memcpy(bias, s->bias, s->n_bias * sizeof(*bias));
    j->sampling.bias = bias;
    return 0;
}

static int copy_ends(struct job *j, const struct job_context *c, const struct chat_request *request)
{
    j->n_eog = c->n_eog;
    j->n_ends = c->n_eog + request->n_stop_ids;
    j->ends = calloc(j->n_ends + 1, sizeof(*j->ends));
    if (!j->ends)
        return -ENOMEM;
    if (c->n_eog)
        memcpy(j->ends, c->eog, c->n_eog * sizeof(*j->ends));
    if (request->n_stop_ids)
        memcpy(j->ends + c->n_eog, request->stop_ids, request->n_stop_ids * sizeof(*j->ends));
    return 0;
}

static int make_streams(struct job *j, const struct job_context *c,
                        const struct chat_request *request)
{
    struct stream_options echo = {
        .tokenizer = j->tokenizer,
        .at_start = true,
        .keep_special = request->keep_special,
        .keep_tokens = true,
    };
    int r = request->prompt_logprobs ? stream_new(&j->echo, &echo) : 0;
    if (r < 0)
        return r;
    bool calls = request->tool_choice != TOOL_CHOICE_none;
    struct stream_options o = {
        .tokenizer = j->tokenizer,
        .at_start = begins_text(j->tokenizer, j->prompt, j->n_prompt),
        .stops = request->stops,
        .n_stops = request->n_stops,
        .min_tokens = request->min_tokens,
        .keep_stop = request->keep_stop,
        .keep_special = request->keep_special,
        .keep_tokens = j->want_tokens || j->logprobs,
        .format = c->format,
        .tools = request->tools,
        .n_tools = calls ? request->n_tools : 0,
        .opened = c->opened,
        .whole_calls = !request->stream,
        .single_call = request->single_tool_call || request->tool_choice == TOOL_CHOICE_function,
        .forced_calls = request->tool_choice == TOOL_CHOICE_required ||
                        request->tool_choice == TOOL_CHOICE_function,
    };
    return stream_new(&j->stream, &o);
}

int job_new(struct job **ret, const struct job_context *c, const struct engine_spec *spec,
            struct token_list *ids, struct fail *reterr)
{
    const struct chat_request *request = spec->request;
    int r = check_length(c, request, ids->n, reterr);
    if (r == 0)
        r = check_scale(spec, reterr);
    if (r == 0)
        r = check_bias(c, &request->sampling, reterr);
    if (r == 0)
        r = check_stop_ids(c, request, reterr);
    if (r != 0)
        return r;
    CLEANUP(job_unrefp) struct job *j = calloc(1, sizeof(*j));
    if (!j)
        return -ENOMEM;
    uint32_t room = c->context - (uint32_t)ids->n, asked = request->max_tokens;
    uint32_t n_top = request->top_logprobs;
    if (n_top > LIMIT_TOP_LOGPROBS)
        n_top = LIMIT_TOP_LOGPROBS;
    *j = (struct job){
        .base.ops = c->ops,
        .tokenizer = c->tokenizer,
        .n_prompt = (uint32_t)ids->n,
        .n_max = asked && asked < room ? asked : room,
        .vocab = c->vocab,
        .lora = spec->lora,
        .key = key_of(c, spec, ids),
        .sampling = request->sampling,
        .choice = spec->choice,
        .ignore_eos = request->ignore_eos,
        .names_call = request->tool_choice == TOOL_CHOICE_function,
        .logprobs = request->logprobs,
        .want_tokens = spec->want_tokens,
        .keep_stop = request->keep_stop,
        .prompt_only = request->prompt_only,
        .scores = request->best_of > request->n,
        .min_tokens = request->min_tokens,
        .trie = c->trie,
        .n_top = n_top < c->vocab ? n_top : c->vocab,
        .deadline_ms = spec->deadline_ms,
        .on_event = spec->on_event,
        .owner = spec->owner,
        .submitted_us = clock_us(),
        .tenant = spec->tenant,
        .weight = spec->weight,
    };
    atomic_init(&j->refs, 1);
    j->prompt = TAKE(ids->ids);
    ids->n = ids->cap = 0;
    j->sampling.bias = NULL;
    if (c->grammar)
        j->grammar = grammar_share(c->grammar);
    r = copy_bias(j, &request->sampling);
    if (r == 0)
        r = copy_ends(j, c, request);
    if (r == 0)
        r = make_streams(j, c, request);
    if (r < 0)
        return r;
    *ret = TAKE(j);
    return 0;
}

/* ---- events ---- */

static void send(struct job *j, struct engine_event *event)
{
    event->usage = (struct engine_usage){
        .prompt_tokens = j->n_prompt,
        .cached_tokens = j->n_cached,
        .completion_tokens = j->n_generated,
        .reasoning_tokens = j->stream ? stream_reasoning(j->stream) : 0,
    };
    event->queue_us = j->queue_us;
    j->on_event(j->owner, event);
}

static void send_text(struct job *j)
{
    struct engine_event event = { 0 };
    while (stream_take(j->stream, &event))
        send(j, &event);
}

int job_admit(struct job *j, uint64_t now_us)
{
    int r = sampler_new(&j->sampler, &j->sampling, j->choice, j->vocab, j->prompt, j->n_prompt);
    if (r == 0 && j->grammar)
        r = constraint_new(&j->constraint, j->grammar, j->trie);
    if (r < 0)
        return r;
    j->queue_us = now_us > j->submitted_us ? now_us - j->submitted_us : 0;
    j->admitted_ms = now_us / 1000;
    metrics_observe_us(METRIC_queue_seconds, j->queue_us);
    struct engine_event event = { .kind = ENGINE_EVENT_admitted };
    send(j, &event);
    return 0;
}

/* Log-probability of id where somebody wants it; `top` has room for n_top. */
static struct engine_token appraise(const struct job *j, const float *logits, int32_t id,
                                    struct token_logprob *top)
{
    struct engine_token token = { .chosen.id = id };
    if (j->logprobs || j->scores)
        token.chosen.logprob =
            sampler_logprobs(j->sampler, logits, id, top, j->logprobs ? j->n_top : 0);
    if (j->logprobs) {
        token.top = top;
        token.n_top = j->n_top;
    }
    return token;
}

enum { PROMPT_PIECE = 256 }; /* tokens of one event: a reader's backlog is bounded */

int job_note_prompt(struct job *j, uint32_t at, const float *logits)
{
    struct token_logprob top[LIMIT_TOP_LOGPROBS];
    struct engine_token token = { .chosen = { .id = j->prompt[at], .logprob = NAN } };
    if (logits)
        token = appraise(j, logits, j->prompt[at], top);
    int r = stream_push(j->echo, &token, /* with_bytes= */ true);
    bool is_last = at + 1 == j->n_prompt;
    if (r < 0 || (!is_last && (at + 1) % PROMPT_PIECE != 0))
        return r;
    r = is_last ? stream_end(j->echo, /* cut= */ false) : 0;
    if (r < 0)
        return r;
    struct engine_event event = { .is_prompt = true };
    if (stream_take(j->echo, &event))
        send(j, &event);
    if (is_last)
        j->echo = stream_free(j->echo);
    return 0;
}

static int ends_with(struct job *j, enum finish_reason finish)
{
    j->finish = finish;
    return JOB_ENDS;
}

static bool is_end(const struct job *j, int32_t id)
{
    for (size_t i = j->ignore_eos ? j->n_eog : 0; i < j->n_ends; i++)
        if (j->ends[i] == id)
            return true;
    return false;
}

/* The next token within what grammar, min_tokens and ignore_eos allow; -1: there is none. */
static int pick(struct job *j, const float *logits, int32_t *ret_id)
{
    const uint32_t *allowed = j->constraint ? constraint_mask(j->constraint) : NULL;
    if (j->constraint && !allowed)
        return -ENOMEM;
    bool is_early = j->n_generated < j->min_tokens;
    size_t n_banned = is_early ? j->n_ends : j->ignore_eos ? j->n_eog : 0;
    *ret_id = sampler_pick(j->sampler, logits, allowed, j->ends, n_banned);
    return 0;
}

int job_advance(struct job *j, const float *logits)
{
    if (j->prompt_only)
        return ends_with(j, FINISH_length);
    if (j->constraint && constraint_must_end(j->constraint)) /* of nothing at all */
        return ends_with(j, FINISH_stop);
    int32_t id = -1;
    int r = pick(j, logits, &id);
    if (r < 0)
        return r;
    if (id < 0) /* the text is whole, and its end may not be said */
        return ends_with(j, FINISH_stop);
    struct token_logprob top[LIMIT_TOP_LOGPROBS];
    struct engine_token token = appraise(j, logits, id, top);
    j->last = id;
    j->n_generated++;
    j->logprob_sum += (double)token.chosen.logprob;
    metrics_add(METRIC_completion_tokens_total, 1);
    bool ends = is_end(j, id);
    if (ends && !j->keep_stop)
        return ends_with(j, FINISH_stop);
    if (!ends && j->constraint && !constraint_accept(j->constraint, id))
        return -EPROTO; /* the mask and the automaton disagree: a bug */
    r = stream_push(j->stream, &token, j->logprobs);
    if (r < 0)
        return r;
    if (ends || r == STREAM_STOPPED || (j->constraint && constraint_must_end(j->constraint)))
        return ends_with(j, FINISH_stop);
    if (j->n_generated == j->n_max)
        return ends_with(j, FINISH_length);
    send_text(j);
    return 0;
}

static void end(struct job *j, struct engine_event *event)
{
    assert(!j->over);
    j->over = true;
    j->lora = NULL;
    send(j, event);
    drop_parts(j);
}

void job_done(struct job *j, enum finish_reason finish)
{
    struct engine_event event = { .kind = ENGINE_EVENT_done, .finish = finish };
    struct fail fail = { 0 };
    if (j->n_generated)
        event.mean_logprob = (float)(j->logprob_sum / j->n_generated);
    if (finish != FINISH_cancelled) { /* nobody reads on after a cancel */
        int r = stream_end(j->stream, finish == FINISH_length);
        if (r < 0) {
            event.kind = ENGINE_EVENT_failed;
            event.fail = &fail;
            (void)fail_errno(&fail, r, "ending the text");
        } else {
            send_text(j);
            event.stop = stream_stop(j->stream);
            if (finish == FINISH_stop && stream_calls(j->stream) && !j->names_call)
                event.finish = FINISH_tool_calls;
        }
    }
    end(j, &event);
}

void job_fail(struct job *j, const struct fail *f)
{
    struct engine_event event = { .kind = ENGINE_EVENT_failed, .fail = f };
    end(j, &event);
}

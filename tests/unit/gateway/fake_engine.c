#include "tests/unit/gateway/fake_engine.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/num.h"
#include "base/thread.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct fake {
    struct engine base;
    _Atomic unsigned running, cancelled, embedded;
    _Atomic bool held;
    char bytes[256]; /* each its own number */
};

struct fake_job {
    struct engine_job base;
    struct fake *engine;
    _Atomic unsigned refs;
    _Atomic bool cancel;
    char text[1024];
    uint32_t choice;
    bool logprobs, prompt_logprobs, prompt_only;
    engine_event_fn on_event;
    void *owner;
};

static void job_unref(struct engine_job *base)
{
    struct fake_job *j = (struct fake_job *)base;
    if (--j->refs == 0)
        free(j);
}

static void job_cancel(struct engine_job *base)
{
    struct fake_job *j = (struct fake_job *)base;
    if (!j->cancel)
        j->engine->cancelled++;
    j->cancel = true;
}

static void send_text(struct fake_job *j, struct str text, uint32_t n)
{
    struct token_logprob top[2] = { { 1, -0.5f, text }, { 2, -1.5f, STR("\xe2\x82") } };
    struct engine_token token = { top[0], top, 2 };
    struct engine_event e = { .kind = ENGINE_EVENT_text, .text = text };
    if (j->logprobs) {
        e.tokens = &token;
        e.n_tokens = 1;
    }
    e.usage = (struct engine_usage){ 5, 2, n };
    j->on_event(j->owner, &e);
}

static float mean_logprob(const struct fake_job *j)
{
    static const float means[] = { -3, -1, -2, -0.5f, -4 };
    return means[j->choice % ARRAY_LEN(means)];
}

static void send_end(struct fake_job *j, bool failed, enum finish_reason finish, uint32_t n)
{
    struct fail fail = { 0 };
    struct engine_event e = { .kind = failed ? ENGINE_EVENT_failed : ENGINE_EVENT_done,
                              .finish = finish,
                              .mean_logprob = mean_logprob(j),
                              .usage = { 5, 2, n, .reasoning_tokens = n / 4 } };
    e.fail = failed ? &fail : NULL;
    if (failed)
        (void)fail_set(&fail, FAIL_internal_error, "the fake engine broke");
    j->engine->running--;
    j->on_event(j->owner, &e);
}

/* A control token, then the text as one token. */
static void send_prompt(struct fake_job *j)
{
    struct token_logprob top = { 4, -0.25f, STR("x") };
    struct engine_token tokens[] = {
        { .chosen = { 1, NAN, STR("<s>") }, .hidden = true },
        { .chosen = { 3, -2.5f, str_of(j->text) }, .top = &top, .n_top = 1 },
    };
    struct engine_event e = { .kind = ENGINE_EVENT_text,
                              .is_prompt = true,
                              .text = str_of(j->text),
                              .tokens = tokens,
                              .n_tokens = 2 };
    j->on_event(j->owner, &e);
}

static uint32_t say(struct fake_job *j, struct str words)
{
    uint32_t n = 0;
    while (words.n && !j->cancel) {
        size_t at = 1;
        while (at < words.n && words.p[at] != ' ')
            at++;
        send_text(j, str_head(words, at), ++n);
        words = str_sub(words, at);
    }
    return n;
}

/* "r…": reasoning, "s…": its signature, "x…": unreadable reasoning, "t…": text, "c…": a call of
 * that name, "a…": more of its arguments; '|' ends. */
static enum finish_reason act(struct fake_job *j, struct str parts, uint32_t *n)
{
    uint32_t calls = 0;
    struct str rest = parts, part;
    while (rest.n) {
        if (!str_cut(rest, '|', &part, &rest)) {
            part = rest;
            rest = STR_NULL;
        }
        char kind = part.n ? part.p[0] : 't';
        struct engine_event e = { .usage = { 5, 2, ++*n, .reasoning_tokens = 1 } };
        struct str text = str_sub(part, 1);
        e.kind = strchr("rsx", kind) ? ENGINE_EVENT_reasoning
                 : kind == 't'       ? ENGINE_EVENT_text
                                     : ENGINE_EVENT_tool_call;
        if (kind == 'r' || kind == 't')
            e.text = text;
        else if (kind == 's')
            e.signature = text;
        else if (kind == 'x')
            e.redacted = text;
        else if (kind == 'c')
            e.call = (struct engine_call){ .index = calls++, .id = STR("call_x"), .name = text };
        else
            e.call = (struct engine_call){ .index = calls - 1, .arguments = text };
        j->on_event(j->owner, &e);
    }
    return calls ? FINISH_tool_calls : FINISH_stop;
}

static void play(struct fake_job *j)
{
    struct str text = str_of(j->text);
    struct engine_event admitted = { .kind = ENGINE_EVENT_admitted, .queue_us = 7 };
    char block[16384];
    uint32_t n = 0;
    uint64_t ms = 0;
    if (str_starts(text, STR("fail"))) {
        send_end(j, /* failed= */ true, FINISH_stop, 0);
        return;
    }
    if (str_starts(text, STR("wait ")) && num_parse_u64(&ms, str_sub(text, 5), 0, 60000) == 0) {
        for (uint64_t end = clock_ms() + ms; clock_ms() < end && !j->cancel;)
            (void)usleep(1000);
        text = STR("say ok");
    }
    j->on_event(j->owner, &admitted);
    if (j->prompt_logprobs)
        send_prompt(j);
    if (j->prompt_only) {
        send_end(j, /* failed= */ false, FINISH_length, 0);
        return;
    }
    if (str_is(text, "who")) {
        (void)snprintf(block, sizeof(block), "choice %u", j->choice);
        n = say(j, str_of(block));
    }
    if (str_starts(text, STR("say ")))
        n = say(j, str_sub(text, 4));
    if (str_starts(text, STR("cut "))) {
        struct engine_event e = { .kind = ENGINE_EVENT_done,
                                  .stop = str_sub(text, 4),
                                  .usage = { 9, 2, 3, .cache_write_tokens = 4 } };
        send_text(j, STR("ok"), ++n);
        j->engine->running--;
        j->on_event(j->owner, &e);
        return;
    }
    if (str_starts(text, STR("act "))) {
        enum finish_reason finish = act(j, str_sub(text, 4), &n);
        send_end(j, /* failed= */ false, finish, n);
        return;
    }
    if (str_is(text, "break"))
        send_text(j, STR("half"), ++n);
    memset(block, 'x', sizeof(block));
    while (!j->cancel && str_is(text, "flood"))
        send_text(j, (struct str){ block, sizeof(block) }, ++n);
    while (!j->cancel && (str_is(text, "slow") || str_is(text, "hang"))) {
        if (str_is(text, "slow"))
            send_text(j, STR("tick "), ++n);
        (void)usleep(5000);
    }
    send_end(j, str_is(text, "break"), j->cancel ? FINISH_cancelled : FINISH_stop, n);
}

static void *job_run(void *arg)
{
    struct fake_job *j = arg;
    play(j);
    job_unref(&j->base);
    return NULL;
}

static struct str script(const struct chat_request *r)
{
    return r->is_completion ? r->prompt : r->messages[r->n_messages - 1].content;
}

/* Everything it was asked, as one word: "say user=…;assistant=…(id name arguments);tool[id]=…;". */
static void recall(const struct chat_request *r, struct buf *b)
{
    buf_adds(b, "say ");
    for (size_t i = 0; i < r->n_messages; i++) {
        const struct chat_message *m = &r->messages[i];
        buf_add(b, m->role);
        if (m->tool_call_id.n)
            buf_addf(b, "[" STR_FMT "]", STR_ARG(m->tool_call_id));
        if (m->reasoning.n || m->n_thoughts)
            buf_addf(b, "<" STR_FMT "|", STR_ARG(m->reasoning));
        for (size_t k = 0; k < m->n_thoughts; k++)
            buf_addf(b, STR_FMT STR_FMT, STR_ARG(m->thoughts[k].signature),
                     STR_ARG(m->thoughts[k].redacted));
        if (m->reasoning.n || m->n_thoughts)
            buf_addc(b, '>');
        buf_addf(b, "=" STR_FMT, STR_ARG(m->content));
        for (size_t k = 0; k < m->n_tool_calls; k++)
            buf_addf(b, "(" STR_FMT "," STR_FMT "," STR_FMT ")", STR_ARG(m->tool_calls[k].id),
                     STR_ARG(m->tool_calls[k].name), STR_ARG(m->tool_calls[k].arguments));
        for (size_t k = 0; k < m->n_parts; k++)
            buf_addf(b, "{%d " STR_FMT STR_FMT STR_FMT "}", (int)m->parts[k].kind,
                     STR_ARG(m->parts[k].media_type), STR_ARG(m->parts[k].url),
                     STR_ARG(m->parts[k].data));
        buf_addc(b, ';');
    }
}

static const struct engine_ops ops;

static int submit(struct engine *base, struct engine_job **ret, const struct engine_spec *spec,
                  struct fail *reterr)
{
    struct fake *f = (struct fake *)base;
    struct str text = script(spec->request);
    if (str_is(text, "long"))
        return fail_param(reterr, FAIL_context_length_exceeded, "messages", "too long");
    if (spec->request->n_messages > FAKE_MESSAGES)
        return fail_param(reterr, FAIL_context_length_exceeded, "messages", "too many");
    if (str_is(text, "full")) {
        (void)fail_set(reterr, FAIL_queue_full, "the queue is full");
        reterr->retry_after_s = 3;
        return FAILED;
    }
    struct fake_job *j = calloc(1, sizeof(*j));
    if (!j)
        return -ENOMEM;
    j->base.ops = &ops;
    j->engine = f;
    j->refs = 2;
    j->choice = spec->choice;
    j->logprobs = spec->request->logprobs;
    j->prompt_logprobs = spec->request->prompt_logprobs;
    j->prompt_only = spec->request->prompt_only;
    j->on_event = spec->on_event;
    j->owner = spec->owner;
    CLEANUP(buf_done) struct buf all = BUF_INIT(sizeof(j->text));
    if (str_is(text, "recall") || str_ends(text, STR("recall")))
        recall(spec->request, &all);
    (void)snprintf(j->text, sizeof(j->text), STR_FMT, STR_ARG(all.n ? buf_str(&all) : text));
    f->running++;
    pthread_t thread;
    int r = thread_start(&thread, THREAD_engine, job_run, j);
    if (r < 0) {
        f->running--;
        free(j);
        return r;
    }
    (void)pthread_detach(thread);
    *ret = &j->base;
    return 0;
}

static int tokenize(struct engine *e, int32_t **ret_ids, size_t *ret_n,
                    const struct chat_request *request, struct fail *reterr)
{
    (void)e;
    (void)reterr;
    *ret_n = script(request).n;
    *ret_ids = calloc(*ret_n + 1, sizeof(int32_t));
    return *ret_ids ? 0 : -ENOMEM;
}

static ptrdiff_t count_tokens(struct engine *e, struct str text)
{
    (void)e;
    return (ptrdiff_t)text.n;
}

/* An id is the byte of that value. */
static void detokenize(struct engine *e, const int32_t *ids, size_t n, struct buf *out)
{
    (void)e;
    for (size_t i = 0; i < n; i++)
        buf_addc(out, (char)ids[i]);
}

/* An id is a byte; 1 is the beginning, 2 the end, and 0 does not exist. */
static int encode(struct engine *e, const struct engine_encoding *what, int32_t **ret_ids,
                  size_t *ret_n, struct fail *reterr)
{
    (void)e;
    size_t n = 0, max = what->max ? what->max : LIMIT_CONTEXT;
    if (what->text.n + (what->ends ? 2 : 0) > max)
        return fail_set(reterr, FAIL_context_length_exceeded, "more than %zu", max);
    int32_t *ids = calloc(what->text.n + 2, sizeof(*ids));
    if (!ids)
        return -ENOMEM;
    if (what->ends)
        ids[n++] = 1;
    for (size_t i = 0; i < what->text.n; i++)
        ids[n++] = what->specials && what->text.p[i] == '$' ? 2 : (unsigned char)what->text.p[i];
    if (what->ends)
        ids[n++] = 2;
    *ret_ids = ids;
    *ret_n = n;
    return 0;
}

static struct str token(const struct engine *e, int32_t id, struct buf *bytes)
{
    const struct fake *f = (const struct fake *)e;
    if (id < 1 || id > 255)
        return STR_NULL;
    struct str text = id == 1 ? STR("<s>") : id == 2 ? STR("$") : (struct str){ &f->bytes[id], 1 };
    if (bytes)
        buf_add(bytes, text);
    return text;
}

static int spell(struct engine *e, const int32_t *ids, size_t n, struct buf *out,
                 struct fail *reterr)
{
    for (size_t i = 0; i < n; i++)
        if (!token(e, ids[i], out).p)
            return fail_param(reterr, FAIL_invalid_request, "tokens", "tokens[%zu] is unknown", i);
    return 0;
}

/* (n/8, -1, 0.5) of an input of n ids; one with '!' in its middle takes a while. */
static int embed(struct engine *e, const struct embed_input *inputs, size_t n,
                 struct embed_result *ret, struct fail *reterr)
{
    struct fake *f = (struct fake *)e;
    *ret = (struct embed_result){ calloc(n * 3, sizeof(float)), n, 3, 0 };
    if (!ret->values)
        return -ENOMEM;
    f->running++;
    for (size_t i = 0; i < n; i++) {
        bool slow = inputs[i].ids[inputs[i].n_ids / 2] == '!';
        if (slow)
            (void)usleep(20000);
        while (slow && f->held)
            (void)usleep(1000);
        f->embedded++;
        ret->tokens += inputs[i].n_ids;
        ret->values[i * 3] = (float)inputs[i].n_ids / 8;
        ret->values[i * 3 + 1] = -1;
        ret->values[i * 3 + 2] = 0.5f;
    }
    f->running--;
    if (inputs[0].ids[inputs[0].n_ids / 2] != '?')
        return 0;
    embed_result_done(ret);
    return fail_set(reterr, FAIL_internal_error, "the fake engine broke");
}

static uint32_t context(const struct engine *e)
{
    (void)e;
    return 4096;
}

static size_t load(const struct engine *e, size_t *ret_running, size_t *ret_waiting)
{
    *ret_running = fake_engine_running(e);
    *ret_waiting = 0;
    return *ret_running;
}

static void drain(struct engine *e)
{
    (void)e;
}

static void fake_free(struct engine *e)
{
    while (fake_engine_running(e))
        (void)usleep(1000);
    (void)usleep(20000); /* the detached threads' last steps */
    free(e);
}

static const struct engine_ops ops = {
    .submit = submit,
    .cancel = job_cancel,
    .unref = job_unref,
    .tokenize = tokenize,
    .count_tokens = count_tokens,
    .detokenize = detokenize,
    .encode = encode,
    .spell = spell,
    .token = token,
    .embed = embed,
    .context = context,
    .load = load,
    .drain = drain,
    .free = fake_free,
};

struct engine *fake_engine_new(void)
{
    struct fake *f = calloc(1, sizeof(*f));
    if (!f)
        abort();
    f->base.ops = &ops;
    for (size_t i = 0; i < sizeof(f->bytes); i++)
        f->bytes[i] = (char)i;
    return &f->base;
}

unsigned fake_engine_running(const struct engine *e)
{
    return ((const struct fake *)e)->running;
}

unsigned fake_engine_cancelled(const struct engine *e)
{
    return ((const struct fake *)e)->cancelled;
}

unsigned fake_engine_embedded(const struct engine *e)
{
    return ((const struct fake *)e)->embedded;
}

void fake_engine_hold(struct engine *e, bool held)
{
    ((struct fake *)e)->held = held;
}

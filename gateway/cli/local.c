#include "gateway/cli/local.h"

#include "base/limits.h"
#include "base/log.h"
#include "base/num.h"
#include "gateway/cli/cli.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- models ---- */

void local_complain(int result, const char *about, const struct fail *f)
{
    if (result == FAILED)
        (void)fprintf(stderr, "rootstock: %s\n", f->message);
    else
        (void)fprintf(stderr, "rootstock: %s: %s\n", about, strerror(-result));
}

bool local_open(struct local_model *ret, const char *path)
{
    struct fail f = { 0 };
    CLEANUP(gguf_closep) struct gguf *g = NULL;
    struct local_model m = { 0 };
    log_set_level(LOG_warn); /* stderr is the user's */
    int r = gguf_open(&g, path, &f);
    if (!r)
        r = model_supported(g, &f);
    if (!r)
        r = tokenizer_new(&m.tokenizer, g, &f);
    if (!r)
        r = model_new(&m.model, &g, &f);
    if (!r)
        r = prompter_new(&m.prompter, model_gguf(m.model), m.tokenizer,
                         model_shape(m.model)->vocab);
    if (!r)
        r = structure_new(&m.structure, m.tokenizer);
    if (r) {
        local_complain(r, path, &f);
        local_close(&m);
        return false;
    }
    *ret = m;
    return true;
}

void local_close(struct local_model *m)
{
    structure_free(m->structure);
    prompter_free(m->prompter);
    model_free(m->model);
    tokenizer_free(m->tokenizer);
    *m = (struct local_model){ 0 };
}

/* ---- adapters ---- */

bool lora_choice_parse(struct lora_choice *ret, const char *text)
{
    const char *equals = strrchr(text, '=');
    ret->scale = 1;
    size_t n = strlen(text);
    if (equals && num_parse_double(&ret->scale, str_of(equals + 1), -1e6, 1e6) == 0)
        n = (size_t)(equals - text);
    ret->path = str_dup((struct str){ text, n });
    return ret->path != NULL;
}

struct shelf_entry {
    char *name; /* path and scale of each part; owned */
    struct lora *lora;
};

struct lora_shelf {
    const struct model *model;
    struct shelf_entry *entries;
    size_t n;
};

struct lora_shelf *lora_shelf_new(const struct model *m)
{
    struct lora_shelf *s = calloc(1, sizeof(*s));
    if (s)
        s->model = m;
    return s;
}

struct lora_shelf *lora_shelf_free(struct lora_shelf *s)
{
    if (!s)
        return NULL;
    for (size_t i = 0; i < s->n; i++) {
        free(s->entries[i].name);
        lora_free(s->entries[i].lora);
    }
    free(s->entries);
    free(s);
    return NULL;
}

static const struct lora *shelf_find(const struct lora_shelf *s, const char *name)
{
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->entries[i].name, name) == 0)
            return s->entries[i].lora;
    return NULL;
}

static int shelf_put(struct lora_shelf *s, char **name, struct lora **l)
{
    struct shelf_entry *more = realloc(s->entries, (s->n + 1) * sizeof(*more));
    if (!more)
        return -ENOMEM;
    s->entries = more;
    s->entries[s->n].name = TAKE(*name);
    s->entries[s->n++].lora = TAKE(*l);
    return 0;
}

/* "path=scale" of every choice: an address of the sum. */
static char *shelf_name(const struct lora_choice *choices, size_t n)
{
    struct buf b = BUF_INIT(1 * MIB);
    for (size_t i = 0; i < n; i++)
        buf_addf(&b, "%s%s=%.17g", i ? "\n" : "", choices[i].path, choices[i].scale);
    return buf_take(&b, NULL);
}

static int load_one(struct lora_shelf *s, const struct lora_choice *c, const struct lora **ret,
                    struct fail *reterr)
{
    CLEANUP(own_free) char *name = shelf_name(c, 1);
    if (!name)
        return -ENOMEM;
    *ret = shelf_find(s, name);
    if (*ret)
        return 0;
    CLEANUP(lora_freep) struct lora *l = NULL;
    int r = lora_load(&l, s->model, c->path, (float)c->scale, reterr);
    if (r < 0)
        return fail_set(reterr, FAIL_invalid_request, "%s: %s", c->path, strerror(-r));
    if (r)
        return r;
    *ret = l;
    return shelf_put(s, &name, &l);
}

int lora_shelf_get(struct lora_shelf *s, const struct lora_choice *choices, size_t n,
                   const struct lora **ret, struct fail *reterr)
{
    const struct lora *parts[64];
    *ret = NULL;
    if (n > ARRAY_LEN(parts))
        return fail_set(reterr, FAIL_invalid_request, "%zu adapters on one job; at most 64", n);
    for (size_t i = 0; i < n; i++) {
        int r = load_one(s, &choices[i], &parts[i], reterr);
        if (r)
            return r;
    }
    if (n <= 1) {
        *ret = n ? parts[0] : NULL;
        return 0;
    }
    CLEANUP(own_free) char *name = shelf_name(choices, n);
    if (!name)
        return -ENOMEM;
    *ret = shelf_find(s, name);
    if (*ret)
        return 0;
    CLEANUP(lora_freep) struct lora *sum = NULL;
    int r = lora_sum(&sum, s->model, parts, n, reterr);
    if (r)
        return r;
    *ret = sum;
    return shelf_put(s, &name, &sum);
}

/* ---- a batch of jobs ---- */

void local_job_done(struct local_job *j)
{
    token_list_done(&j->prompt);
    token_list_done(&j->ids);
    free(j->top);
    j->top = NULL;
    free((void *)TAKE(j->sampling.bias));
    j->grammar = grammar_unref(j->grammar);
}

struct seat {              /* a slot of the stepper and who sits there */
    struct local_job *job; /* NULL: empty */
    struct sampler *sampler;
    struct constraint *constraint; /* NULL: free text */
    size_t done;                   /* positions in the cache */
    size_t rows;                   /* of the running step */
    size_t adapted;                /* first position that the job's adapter has a part in */
};

struct batch {
    const struct local_run *run;
    struct stepper *stepper;
    struct seat *seats;
    struct step_row *rows;
    size_t next, total, finished;
    uint64_t steps, all_steps; /* tokens read and to be generated, for progress */
    struct local_job *jobs;
    uint32_t context;
};

/* The largest first; equal ones by id. */
static int by_logit(const void *a, const void *b)
{
    const struct local_top *x = a, *y = b;
    if (x->logit != y->logit)
        return x->logit < y->logit ? 1 : -1;
    return (x->id > y->id) - (x->id < y->id);
}

static int keep_top(struct local_job *j, const float *logits, uint32_t vocab, size_t n)
{
    if (n > vocab)
        n = vocab;
    if (!n)
        return 0;
    struct local_top *all = calloc(vocab, sizeof(*all));
    if (!all)
        return -ENOMEM;
    for (uint32_t i = 0; i < vocab; i++)
        all[i] = (struct local_top){ (int32_t)i, logits[i] };
    qsort(all, vocab, sizeof(*all), by_logit);
    j->top = all;
    j->n_top = n;
    return 0;
}

static size_t tokens_of(const struct local_job *j)
{
    return j->prompt.n + j->ids.n;
}

static int32_t token_at(const struct local_job *j, size_t position)
{
    return position < j->prompt.n ? j->prompt.ids[position] : j->ids.ids[position - j->prompt.n];
}

/* Ids that can be chosen: an embedding table may be padded past the tokenizer's. */
static uint32_t choosable(const struct local_model *m)
{
    uint32_t vocab = model_shape(m->model)->vocab, ids = tokenizer_vocab(m->tokenizer);
    return ids > 0 && ids < vocab ? ids : vocab;
}

/* Gives empty seats to waiting jobs. */
static int seat_jobs(struct batch *b)
{
    for (uint32_t i = 0; i < b->run->slots; i++) {
        while (b->next < b->total && b->jobs[b->next].failed) {
            b->next++;
            b->finished++;
        }
        struct seat *s = &b->seats[i];
        if (s->job || b->next == b->total)
            continue;
        struct local_job *j = &b->jobs[b->next++];
        int r = sampler_new(&s->sampler, j->has_sampling ? &j->sampling : &b->run->sampling,
                            /* choice= */ 0, choosable(b->run->m), j->prompt.ids, j->prompt.n);
        if (r == 0 && j->grammar)
            r = constraint_new(&s->constraint, j->grammar, structure_trie(b->run->m->structure));
        if (r < 0)
            return r;
        s->job = j;
        s->done = 0;
        s->adapted = j->lora ? lora_from(j->lora, j->prompt.ids, j->prompt.n) : 0;
    }
    return 0;
}

/* Sequences that decode come first, one row each; prompts share what room is left. */
static size_t plan_rows(struct batch *b)
{
    size_t n = 0, free_rows = b->run->rows;
    for (int prompts = 0; prompts < 2; prompts++)
        for (uint32_t i = 0; i < b->run->slots; i++) {
            struct seat *s = &b->seats[i];
            bool in_prompt = s->job && s->done + 1 < tokens_of(s->job);
            if (!s->job || in_prompt != (prompts == 1))
                continue;
            size_t want = tokens_of(s->job) - s->done;
            s->rows = want < free_rows ? want : free_rows;
            free_rows -= s->rows;
            for (size_t k = 0; k < s->rows; k++, n++) {
                size_t at = s->done + k;
                b->rows[n] = (struct step_row){ token_at(s->job, at), (uint32_t)at, i,
                                                at + 1 == tokens_of(s->job),
                                                at >= s->adapted ? s->job->lora : NULL };
            }
        }
    return n;
}

static void leave_seat(struct batch *b, struct seat *s)
{
    b->steps += s->job->wanted - s->job->ids.n; /* those it did not want after all */
    s->sampler = sampler_free(s->sampler);
    s->constraint = constraint_free(s->constraint);
    s->job = NULL;
    b->finished++;
}

/* The next token, or *ret_ends: an end token, or nothing may follow. */
static int choose(struct batch *b, struct seat *s, const float *logits, int32_t *ret_id,
                  bool *ret_ends)
{
    const uint32_t *allowed = NULL;
    *ret_ends = s->constraint && constraint_must_end(s->constraint);
    if (*ret_ends)
        return 0;
    if (s->constraint && !(allowed = constraint_mask(s->constraint)))
        return -ENOMEM;
    int32_t id = sampler_pick(s->sampler, logits, allowed, NULL, 0);
    *ret_id = id;
    *ret_ends = id < 0 || tokenizer_is_eog(b->run->m->tokenizer, id);
    if (!*ret_ends && s->constraint && !constraint_accept(s->constraint, id))
        return -EPROTO; /* the mask and the automaton disagree: a bug */
    return 0;
}

static int take_token(struct batch *b, struct seat *s, const float *logits)
{
    struct local_job *j = s->job;
    int r = 0;
    if (j->ids.n == 0 && !j->top)
        r = keep_top(j, logits, model_shape(b->run->m->model)->vocab, b->run->n_top);
    if (r < 0)
        return r;
    if (j->ids.n < j->wanted) {
        int32_t id = -1;
        r = choose(b, s, logits, &id, &j->stopped);
        if (r < 0)
            return r;
        if (j->stopped) {
            leave_seat(b, s);
            return 0;
        }
        r = token_list_add(&j->ids, id);
        if (r < 0)
            return r;
        if (b->run->on_token)
            b->run->on_token(b->run->arg, j, id);
        j->stopped = s->constraint && constraint_must_end(s->constraint);
    }
    if (j->stopped || j->ids.n >= j->wanted || tokens_of(j) >= b->context)
        leave_seat(b, s);
    return 0;
}

static int one_step(struct batch *b)
{
    for (uint32_t i = 0; i < b->run->slots; i++)
        b->seats[i].rows = 0;
    size_t n = plan_rows(b);
    const float *logits;
    int r = stepper_run(b->stepper, b->rows, n, &logits);
    uint32_t vocab = model_shape(b->run->m->model)->vocab;
    for (size_t row = 0; !r && row < n;) {
        struct seat *s = &b->seats[b->rows[row].slot];
        row += s->rows;
        s->done += s->rows;
        b->steps += s->rows;
        if (b->rows[row - 1].logits) {
            r = take_token(b, s, logits);
            logits += vocab;
        }
    }
    cli_progress("tokens", b->steps, b->all_steps);
    return r;
}

/* Positions that the longest job needs, within the model's own context. */
static uint32_t context_for(const struct local_run *r, struct local_job *jobs, size_t n)
{
    uint32_t most = model_shape(r->m->model)->context;
    if (most > LIMIT_CONTEXT)
        most = LIMIT_CONTEXT;
    uint64_t need = 1;
    for (size_t i = 0; i < n; i++) {
        if (!jobs[i].failed && jobs[i].prompt.n > most) {
            jobs[i].failed = true;
            (void)fail_set(&jobs[i].fail, FAIL_context_length_exceeded,
                           "the prompt has %zu tokens, the model's context %u", jobs[i].prompt.n,
                           most);
        }
        if (!jobs[i].failed && jobs[i].prompt.n + jobs[i].wanted > need)
            need = jobs[i].prompt.n + jobs[i].wanted;
    }
    return need < most ? (uint32_t)need : most;
}

bool local_run(const struct local_run *run, struct local_job *jobs, size_t n)
{
    struct fail f = { 0 };
    struct batch b = { .run = run, .jobs = jobs, .total = n };
    b.context = context_for(run, jobs, n);
    struct stepper_options o = { .slots = run->slots,
                                 .context = b.context,
                                 .rows = run->rows,
                                 .threads = run->threads,
                                 .cache = CACHE_f32 };
    b.seats = calloc(run->slots, sizeof(*b.seats));
    b.rows = calloc(run->rows, sizeof(*b.rows));
    for (size_t i = 0; i < n; i++)
        b.all_steps += jobs[i].failed ? 0 : jobs[i].prompt.n + (uint64_t)jobs[i].wanted;
    int r = b.seats && b.rows ? stepper_new(&b.stepper, run->m->model, &o, &f) : -ENOMEM;
    while (!r) {
        r = seat_jobs(&b);
        if (r || b.finished == n)
            break;
        r = one_step(&b);
    }
    cli_progress_done();
    if (r)
        local_complain(r, "generate", &f);
    for (uint32_t i = 0; b.seats && i < run->slots; i++) {
        sampler_free(b.seats[i].sampler);
        constraint_free(b.seats[i].constraint);
    }
    stepper_free(b.stepper);
    free(b.rows);
    free(b.seats);
    return r == 0;
}

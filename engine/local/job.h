/*
 * One sequence of the embedded engine: what was asked for, how far it is, and its events.
 *
 * Counted: the caller's reference and the engine's. All but `refs` and `cancelled` belongs to the
 * submitting thread until the job is queued, and to the coordinator afterwards.
 */
#pragma once

#include "engine/engine.h"
#include "engine/local/grammar/constraint.h"
#include "engine/local/sampler.h"
#include "engine/local/slots.h"
#include "engine/local/stream.h"

struct job {
    struct engine_job base;
    _Atomic unsigned refs;
    _Atomic bool cancelled;
    struct job *next, *previous; /* in a list of the coordinator */

    /* what was asked for */
    const struct tokenizer *tokenizer; /* borrowed until the end */
    int32_t *prompt;                   /* owned until the end */
    uint32_t n_prompt, n_max;          /* tokens; at least 1 */
    uint32_t vocab;
    const struct lora
        *lora; /* borrowed; NULL from the final event on. Of positions from key.from */
    struct cache_key key;
    struct sampling sampling; /* `bias` is our own copy, owned until the end */
    uint32_t choice;
    struct sampler *sampler; /* owned from admission to the end: it is large, and many may wait */
    struct stream *stream;   /* owned until the end */
    struct stream *echo;     /* likewise: the prompt's text and tokens; NULL: not asked for */
    struct grammar *grammar; /* a reference until the end; NULL: free text */
    const struct token_trie *trie; /* borrowed, with a grammar */
    struct constraint *constraint; /* owned from admission to the end */
    int32_t *ends;                 /* owned: tokens that end the text; n_eog of the model … */
    size_t n_eog, n_ends;          /* … then those of the request */
    bool ignore_eos, logprobs, want_tokens, keep_stop, prompt_only;
    bool names_call; /* tool_choice names the function: its call is a usual end */
    bool scores;     /* logprob_sum is wanted */
    uint32_t n_top, min_tokens;
    uint64_t deadline_ms;
    engine_event_fn on_event;
    void *owner;
    uint64_t submitted_us, queue_us;
    uint64_t tenant;
    uint32_t weight;

    /* how far it is */
    uint64_t admitted_ms;
    uint32_t slot;
    uint32_t n_computed; /* positions in the slot's cache */
    uint32_t n_step;     /* rows in the step under way */
    uint32_t n_cached;   /* prompt tokens that were not computed for it */
    uint32_t n_generated;
    double logprob_sum; /* of all that was chosen */
    int32_t last;       /* newest token; not computed yet */
    bool begun;         /* its first prompt row is, or was, in a step */
    uint32_t turn;      /* of its tenant in the coordinator's turns, with the next two */
    uint64_t order;
    uint32_t n_charged; /* of n_generated */
    bool yields;        /* to a tenant that asks for less than its turn */
    enum finish_reason finish;
    bool over; /* the final event was sent */
};

struct job_context {
    const struct engine_ops *ops;
    const struct tokenizer *tokenizer;
    uint32_t vocab, context;
    uint64_t base;         /* identity of the model's weights … */
    enum cache_type cache; /* … and how their keys and values are kept: parts of the cache's key */
    const int32_t *eog;    /* the model's end tokens; copied */
    size_t n_eog;
    const struct tool_format *format; /* of a chat answer; borrowed; NULL: all is text */
    bool opened;                      /* the prompt ends inside a reasoning block */
    struct grammar *grammar;       /* of this request; NULL: free text. The job takes a reference */
    const struct token_trie *trie; /* with a grammar; outlives the job's decoding */
};

/* Moves the prompt out of ids. FAILED: the prompt does not fit, a bias or stop names no token. */
int job_new(struct job **ret, const struct job_context *c, const struct engine_spec *spec,
            struct token_list *ids, struct fail *reterr) MUST_USE;
struct job *job_ref(struct job *j);
struct job *job_unref(struct job *j); /* any thread; NULL is fine; returns NULL */
DEFINE_CLEANUP(struct job *, job_unref);

/* ---- coordinator only; these call the job's handler: hold no lock ---- */

int job_admit(struct job *j, uint64_t now_us) MUST_USE; /* 0 or -ENOMEM */

enum { JOB_ENDS = 1 }; /* j->finish says how; job_done is due */
/* Chooses the next token and sends what text it completes. 0, JOB_ENDS or negative errno. */
int job_advance(struct job *j, const float *logits) MUST_USE;
/* Notes what the model thought of prompt token `at`: logits of the position before it, NULL for the
 * first one. In order; sends the prompt in pieces. 0 or negative errno. */
int job_note_prompt(struct job *j, uint32_t at, const float *logits) MUST_USE;

/* The final event; what the job borrowed is not touched afterwards. */
void job_done(struct job *j, enum finish_reason finish);
void job_fail(struct job *j, const struct fail *f);

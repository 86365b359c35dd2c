/*
 * What generate, perplexity and bench share: a model file with its tokenizer, adapters by path and
 * scale, and a batch of jobs that are decoded together.
 *
 * One thread. Messages go to stderr; functions return false when they printed one.
 */
#pragma once

#include "engine/local/lora.h"
#include "engine/local/prompt.h"
#include "engine/local/sampler.h"
#include "engine/local/structure.h"

struct local_model {
    struct model *model;
    struct tokenizer *tokenizer;
    struct prompter *prompter;
    struct structure *structure;
};

bool local_open(struct local_model *ret, const char *path);
void local_close(struct local_model *m);
void local_complain(int result, const char *about, const struct fail *f);

struct lora_choice {
    const char *path; /* owned by the caller of local_lora */
    double scale;
};

/* "FILE=SCALE" or "FILE" (scale 1): what follows the last '=' counts where it is a number. The path
 * is the caller's. */
bool lora_choice_parse(struct lora_choice *ret, const char *text);

struct lora_shelf;                                        /* every adapter is loaded once */
struct lora_shelf *lora_shelf_new(const struct model *m); /* NULL: no memory */
struct lora_shelf *lora_shelf_free(struct lora_shelf *s);
DEFINE_CLEANUP(struct lora_shelf *, lora_shelf_free);
/* The sum of the choices, owned by the shelf; NULL with result 0 for none. */
int lora_shelf_get(struct lora_shelf *s, const struct lora_choice *choices, size_t n,
                   const struct lora **ret, struct fail *reterr) MUST_USE;

struct local_top {
    int32_t id;
    float logit;
};

struct local_job {
    struct token_list prompt;
    const struct lora *lora;  /* owned by the shelf */
    uint32_t wanted;          /* tokens, at most */
    struct sampling sampling; /* its own; `bias` is owned */
    bool has_sampling;        /* else the run's */
    struct grammar *grammar;  /* a reference; NULL: free text */
    struct token_list ids;    /* generated, without the end token */
    bool stopped;             /* by an end token, or where nothing may follow */
    struct local_top *top;    /* n_top largest logits at the prompt's end */
    size_t n_top;
    struct fail fail; /* with failed: why there is no result */
    bool failed;
};
void local_job_done(struct local_job *j);

struct local_run {
    const struct local_model *m;
    struct sampling sampling;
    uint32_t threads, slots, rows; /* rows of a step */
    size_t n_top;
    /* Called for every token as it comes; may be NULL. */
    void (*on_token)(void *arg, const struct local_job *j, int32_t id);
    void *arg;
};

/* Decodes all jobs, `slots` at a time; results do not depend on their order. */
bool local_run(const struct local_run *r, struct local_job *jobs, size_t n);

/*
 * Encoders: models that read a whole text at once and give states, not next tokens: bert,
 * nomic-bert, modern-bert, with their classification heads.
 *
 * The encoder is immutable; any thread. A runner holds memory and compute threads; one thread at a
 * time drives it (embed_queue.h).
 */
#pragma once

#include "engine/local/embed_queue.h"
#include "engine/local/gguf.h"

struct encoder;
struct encoder_runner;

struct encoder_shape {
    const char *arch; /* "bert" */
    uint32_t layers, embed, heads, head_size, ff, vocab;
    uint32_t context;     /* positions */
    enum pooling pooling; /* of vectors */
    uint32_t labels;      /* scores of the sequence head; 0: there is none */
    uint32_t token_labels;
};

bool encoder_knows(struct str arch); /* whether general.architecture names an encoder */
/* "bert, nomic-bert, …", for messages. */
void encoder_names(char *ret, size_t size);

/* Takes the gguf over on success (weights are views into it). FAILED: names file and key or
 * tensor. */
int encoder_new(struct encoder **ret, struct gguf **gguf, struct fail *reterr) MUST_USE;
struct encoder *encoder_free(struct encoder *e); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct encoder *, encoder_free);
const struct encoder_shape *encoder_shape(const struct encoder *e);
const struct gguf *encoder_gguf(const struct encoder *e);
/* The head's label i, "LABEL_i" where the file has no names; empty past the last. */
struct str encoder_label(const struct encoder *e, size_t i);

/* `rows`: tokens of one step, at least those of the longest task; `threads` with the caller, 0:
 * one a core. 0 or negative errno. */
int encoder_runner_new(struct encoder_runner **ret, const struct encoder *e, uint32_t rows,
                       uint32_t threads) MUST_USE;
struct encoder_runner *encoder_runner_free(struct encoder_runner *r);
DEFINE_CLEANUP(struct encoder_runner *, encoder_runner_free);
/*
 * Tasks stand behind each other in one step, without padding; each attends within itself. A task's
 * result does not depend on the others: every sum runs in one fixed order.
 */
struct embed_backend encoder_backend(struct encoder_runner *r);

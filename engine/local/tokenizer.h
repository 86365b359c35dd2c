/*
 * Tokenizers of GGUF models: SentencePiece (`llama`), byte-level BPE (`gpt2`) and WordPiece
 * (`bert`).
 *
 * Immutable once built; any thread.
 */
#pragma once

#include "base/buf.h"
#include "base/fail.h"
#include "engine/local/gguf.h"

#include <stdint.h>

struct token_range; /* engine/engine.h */
struct tokenizer;

/* Copies what it needs; the gguf may be closed. FAILED: unknown model or pre-tokenizer (named), bad
 * vocabulary. */
int tokenizer_new(struct tokenizer **ret, const struct gguf *g, struct fail *reterr) MUST_USE;
struct tokenizer *tokenizer_free(struct tokenizer *t);
DEFINE_CLEANUP(struct tokenizer *, tokenizer_free);

uint32_t tokenizer_vocab(const struct tokenizer *t);
int32_t tokenizer_bos(const struct tokenizer *t); /* -1: none */
int32_t tokenizer_eos(const struct tokenizer *t); /* -1: none */
bool tokenizer_adds_bos(const struct tokenizer *t);
bool tokenizer_is_eog(const struct tokenizer *t, int32_t id); /* eos, eot, <|im_end|>, … */
bool tokenizer_is_control(const struct tokenizer *t, int32_t id);
bool tokenizer_is_special(const struct tokenizer *t, int32_t id); /* control, or unknown */
struct str tokenizer_token_text(const struct tokenizer *t,
                                int32_t id); /* as stored: "▁the", "Ġthe", "<s>"; borrowed */

struct token_list {
    int32_t *ids; /* owned: token_list_done */
    size_t n, cap;
    size_t max;                 /* ids it may hold; 0: any number */
    bool ranged;                /* set before the first token: ranges are kept */
    struct token_range *ranges; /* owned; bytes of the text; NULL unless ranged */
};
void token_list_done(struct token_list *l);
/* 0, -ENOMEM, -E2BIG: past max. The first with an empty range. */
int token_list_add(struct token_list *l, int32_t id) MUST_USE;
int token_list_add_range(struct token_list *l, int32_t id, size_t begin, size_t end) MUST_USE;
/* Bytes of the longest token: a text of more than n times as many has more than n tokens. SIZE_MAX
 * where that does not hold, since text may vanish. */
size_t tokenizer_longest(const struct tokenizer *t);

enum {
    TOKENIZE_bos = 1, /* begin with BOS (and end with EOS) where the model says so */
    TOKENIZE_special =
        2, /* control tokens spelt in the text become those tokens (user-defined ones always do) */
};

/* Appends the ids of text. 0, -ENOMEM, or -E2BIG as soon as the list is full. */
int tokenizer_encode(const struct tokenizer *t, struct str text, unsigned flags,
                     struct token_list *l) MUST_USE;
/* The same into an empty list, with the bytes of the text that each token stands for: whole
 * characters, without blanks in front; equal ends for BOS, EOS and the like. */
int tokenizer_encode_ranges(const struct tokenizer *t, struct str text, unsigned flags,
                            struct token_list *l) MUST_USE;

/* A chat rendering: text of the template (special tokens count) and text of users (they stay text).
 */
struct text_span {
    struct str text;
    bool literal; /* of a user: control tokens are not parsed */
};
/* Control tokens of the template's spans are parsed whatever the flags; with TOKENIZE_bos, a BOS
 * that the template wrote at its beginning is not doubled. */
int tokenizer_encode_spans(const struct tokenizer *t, const struct text_span *spans, size_t n,
                           unsigned flags, struct token_list *l) MUST_USE;

/* Bytes of one token, appended; control tokens give nothing unless `special`. */
void tokenizer_decode(const struct tokenizer *t, int32_t id, bool special, struct buf *out);

/* Incremental detokeniser: strips SPM's first space once; whole UTF-8 only, the rest is held back.
 */
struct detokenizer {
    const struct tokenizer *t;
    bool first; /* nothing was produced yet and the sequence began with text */
    unsigned n_held;
    char held[8]; /* incomplete UTF-8 */
};
void detokenizer_init(struct detokenizer *d, const struct tokenizer *t, bool at_start);
/* Appends the new whole characters to out; malformed bytes become U+FFFD once they cannot become
 * whole. */
void detokenizer_push(struct detokenizer *d, int32_t id, struct buf *out);
void detokenizer_end(struct detokenizer *d, struct buf *out); /* flushes what is held as U+FFFD */

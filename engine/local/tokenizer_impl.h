/*
 * Inside of a tokenizer: vocabulary, pre-tokenizer and merge engine, shared by tokenizer*.c.
 */
#pragma once

#include "engine/local/tokenizer.h"

struct pre_split; /* compiled regular expressions, tokenizer_pre.c */

enum token_kind { /* the file's own numbering */
                  TOKEN_undefined,
                  TOKEN_normal,
                  TOKEN_unknown,
                  TOKEN_control,
                  TOKEN_user,
                  TOKEN_unused,
                  TOKEN_byte
};

struct token {
    struct str text;  /* as stored; in the pool */
    struct str bytes; /* what it decodes to; in the pool */
    float score;      /* of SPM */
    uint8_t kind;     /* enum token_kind */
    bool control;     /* matched only where the template wrote it */
    bool eog;
    bool rstrip; /* takes the white space behind it along */
};

struct merge_rule { /* one slot of an open hash table */
    int32_t left, right;
    uint32_t rank;
    int32_t id; /* the result; -1: empty slot */
};

struct tokenizer {
    bool spm;                      /* else WordPiece or byte-level BPE */
    bool wordpiece;                /* else SPM or byte-level BPE */
    bool lowercase, strip_accents; /* of WordPiece */
    bool add_space_prefix, add_bos, add_eos, ignore_merges;
    bool cut_words; /* SPM: no token has a blank behind another character */
    int32_t bos, eos, unknown;
    uint32_t n;
    struct token *tokens;
    char *pool;            /* texts and bytes of all tokens */
    int32_t *index;        /* hash of texts → id; -1: empty slot */
    size_t index_mask;     /* slots - 1 */
    size_t longest;        /* bytes of the longest text */
    int32_t byte_ids[256]; /* token of a lone byte; -1: none */
    struct merge_rule *rules;
    size_t rules_mask;
    int32_t *special;         /* tokens matched in text before anything else, longest first */
    uint32_t *special_sorted; /* positions in `special`, in order of their texts */
    size_t n_special;
    uint8_t special_heads[256]; /* 1: some special token begins with this byte */
    struct pre_split *pre;
};

/* tokenizer_vocab.c */
int vocab_load(struct tokenizer *t, const struct gguf *g, struct fail *reterr) MUST_USE;
int32_t vocab_find(const struct tokenizer *t, struct str text); /* -1: no such token */
/* The printable stand-in of a byte in byte-level vocabularies (a code point), and its inverse (-1:
 * stands for no byte). */
unsigned byte_to_rune(uint8_t byte);
int rune_to_byte(unsigned rune);

/* tokenizer_pre.c */
/* FAILED: an unknown pre-tokenizer, named with the known ones. */
int pre_split_new(struct tokenizer *t, struct str name, struct fail *reterr) MUST_USE;
struct pre_split *pre_split_free(struct pre_split *p);
/* Calls `word` with each piece of text in order, and stops at its first result that is not 0. */
int pre_split_run(const struct pre_split *p, struct str text, int (*word)(void *, struct str),
                  void *arg) MUST_USE;

/* tokenizer_wordpiece.c */
/* Appends the ids of one stretch of text, which begins `base` bytes into the input. */
int wordpiece_text(const struct tokenizer *t, struct str text, size_t base,
                   struct token_list *out) MUST_USE;

/* tokenizer_merge.c */
/* Slot of the rule for a pair, or the empty one where it would stand. */
size_t merge_slot(const struct tokenizer *t, int32_t left, int32_t right);
struct merger; /* scratch memory of one encoding */
int merger_new(struct merger **ret, const struct tokenizer *t, struct token_list *out) MUST_USE;
struct merger *merger_free(struct merger *m);
DEFINE_CLEANUP(struct merger *, merger_free);
int merger_bpe_word(void *merger, struct str word) MUST_USE; /* bytes of one pre-token */
int merger_spm_text(struct merger *m, struct str text, bool space_prefix) MUST_USE;

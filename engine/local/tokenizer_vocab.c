/*
 * Vocabularies: tokens, merges and the special ids out of a GGUF's tokenizer.ggml.* keys.
 */
#include "engine/local/tokenizer_impl.h"

#include <errno.h>
#include <stdlib.h>

#include "base/limits.h"
#include "base/num.h"

/* Names that end a generation wherever they stand in a vocabulary, whatever its type column says.
 */
static const char *const eog_names[] = {
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<｜end▁of▁sentence｜>",
    /* of fill-in-the-middle */
    "<|fim_pad|>",
    "<fim-pad>",
    "<fim_pad>",
    "<|fim_repo|>",
    "<|repo_name|>",
    "<fim-repo>",
    "<|file_sep|>",
};

/* Control tokens although some files type them as text. */
static const char *const control_names[] = {
    "<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<｜fim▁begin｜>",
    "<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<｜fim▁hole｜>",
    "<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<｜fim▁end｜>",
};

unsigned byte_to_rune(uint8_t b)
{
    if ((b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b != 0xad))
        return b;
    if (b <= 0x20)
        return 0x100u + b;
    return b == 0xad ? 0x143 : 0x121u + (b - 0x7fu); /* 0x7f … 0xa0 */
}

int rune_to_byte(unsigned rune)
{
    if (rune < 0x100)
        return byte_to_rune((uint8_t)rune) == rune ? (int)rune : -1;
    if (rune <= 0x120)
        return (int)(rune - 0x100);
    if (rune <= 0x142)
        return (int)(rune - 0x121 + 0x7f);
    return rune == 0x143 ? 0xad : -1;
}

static size_t text_hash(struct str s)
{
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */
    for (size_t i = 0; i < s.n; i++)
        h = (h ^ (uint8_t)s.p[i]) * 0x100000001b3u;
    return (size_t)(h ^ (h >> 32));
}

static size_t text_slot(const struct tokenizer *t, struct str text)
{
    size_t i = text_hash(text) & t->index_mask;
    while (t->index[i] >= 0 && !str_eq(t->tokens[t->index[i]].text, text))
        i = (i + 1) & t->index_mask;
    return i;
}

int32_t vocab_find(const struct tokenizer *t, struct str text)
{
    return text.n > t->longest ? -1 : t->index[text_slot(t, text)];
}

static size_t table_size(size_t n) /* a power of two, at most two thirds full */
{
    size_t size = 16;
    while (size < n + n / 2)
        size *= 2;
    return size;
}

#define BAD(g, fmt, ...)                                                                           \
    fail_set(reterr, FAIL_invalid_request, "%s: " fmt, gguf_name(g), ##__VA_ARGS__)

static int index_tokens(struct tokenizer *t, const struct gguf *g, struct fail *reterr)
{
    size_t slots = table_size(t->n);
    t->index = malloc(slots * sizeof(*t->index));
    if (!t->index)
        return -ENOMEM;
    memset(t->index, 0xff, slots * sizeof(*t->index));
    t->index_mask = slots - 1;
    for (uint32_t id = 0; id < t->n; id++) {
        struct str text = t->tokens[id].text;
        if (!text.n)
            continue; /* a hole: it can be produced, never matched */
        size_t slot = text_slot(t, text);
        if (t->index[slot] >= 0 &&
            !t->wordpiece) /* there "x" and "##x" may meet: the last counts */
            return BAD(g, "tokens %d and %u of the vocabulary are spelt alike", t->index[slot], id);
        t->index[slot] = (int32_t)id;
        t->longest = text.n > t->longest ? text.n : t->longest;
    }
    return 0;
}

static int load_texts(struct tokenizer *t, const struct gguf *g, struct fail *reterr)
{
    struct gguf_array texts;
    if (!gguf_array(g, "tokenizer.ggml.tokens", &texts) || texts.kind != GGUF_string)
        return BAD(g, "tokenizer.ggml.tokens is missing or no array of strings");
    if (texts.n == 0 || texts.n > LIMIT_VOCAB)
        return BAD(g, "a vocabulary of %llu tokens is empty or over the limit of %lu",
                   (unsigned long long)texts.n, LIMIT_VOCAB);
    size_t bytes = 1;
    for (uint64_t i = 0; i < texts.n; i++)
        if (!add_ok(bytes, 2 * texts.strings[i].n, &bytes)) /* its text and what it decodes to */
            return -ENOMEM;
    t->n = (uint32_t)texts.n;
    t->tokens = calloc(t->n, sizeof(*t->tokens));
    t->pool = malloc(bytes);
    if (!t->tokens || !t->pool)
        return -ENOMEM;
    char *to = t->pool;
    for (uint32_t i = 0; i < t->n; i++) {
        struct str s = texts.strings[i];
        if (s.n)
            memcpy(to, s.p, s.n);
        t->tokens[i].text = (struct str){ to, s.n };
        t->tokens[i].bytes = (struct str){ to + s.n, 0 }; /* filled by decode_tokens */
        t->tokens[i].kind = TOKEN_normal;
        to += 2 * s.n;
    }
    return index_tokens(t, g, reterr);
}

static bool is_number(enum gguf_kind k)
{
    return k != GGUF_string && k != GGUF_array && k != GGUF_bool;
}

static int load_columns(struct tokenizer *t, const struct gguf *g, struct fail *reterr)
{
    struct gguf_array types, scores;
    if (gguf_array(g, "tokenizer.ggml.token_type", &types)) {
        if (!is_number(types.kind) || types.kind == GGUF_f32 || types.kind == GGUF_f64 ||
            types.n != t->n)
            return BAD(g, "tokenizer.ggml.token_type has not one integer a token");
        for (uint32_t i = 0; i < t->n; i++) {
            int64_t kind = gguf_array_i64(&types, i);
            t->tokens[i].kind = kind > 0 && kind <= TOKEN_byte ? (uint8_t)kind : TOKEN_undefined;
        }
    }
    if (!gguf_array(g, "tokenizer.ggml.scores", &scores))
        return t->spm ? BAD(g, "tokenizer.ggml.scores is missing") : 0;
    if (!is_number(scores.kind) || scores.n != t->n)
        return BAD(g, "tokenizer.ggml.scores has not one number a token");
    for (uint32_t i = 0; i < t->n; i++)
        t->tokens[i].score = gguf_array_f32(&scores, i);
    return 0;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int byte_of(struct str text) /* "<0x0A>" → 10; -1: not of that form */
{
    if (text.n != 6 || memcmp(text.p, "<0x", 3) != 0 || text.p[5] != '>')
        return -1;
    int high = hex_digit(text.p[3]), low = hex_digit(text.p[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

static size_t unescape_spm(char *to, struct str text)
{
    size_t n = 0;
    for (size_t i = 0; i < text.n;) {
        if (text.n - i >= 3 && memcmp(text.p + i, "\xe2\x96\x81", 3) == 0) {
            to[n++] = ' ';
            i += 3;
        } else {
            to[n++] = text.p[i++];
        }
    }
    return n;
}

static size_t unescape_bpe(char *to, struct str text)
{
    size_t n = 0;
    for (size_t at = 0; at < text.n;) {
        size_t from = at;
        int rune = str_utf8_next(text, &at);
        int byte = rune == 0xfffd ? -1 : rune_to_byte((unsigned)rune);
        if (byte >= 0) {
            to[n++] = (char)byte;
        } else { /* stands for itself */
            memcpy(to + n, text.p + from, at - from);
            n += at - from;
        }
    }
    return n;
}

/* What each token decodes to, in the second half of its share of the pool. */
static void decode_tokens(struct tokenizer *t)
{
    for (uint32_t i = 0; i < t->n; i++) {
        struct token *k = &t->tokens[i];
        char *to = (char *)k->bytes.p;
        int byte = k->kind == TOKEN_byte ? byte_of(k->text) : -1;
        if (byte >= 0) {
            to[0] = (char)byte;
            k->bytes.n = 1;
        } else if (k->kind == TOKEN_normal && !k->control) {
            k->bytes.n =
                t->spm || t->wordpiece ? unescape_spm(to, k->text) : unescape_bpe(to, k->text);
        } else if (k->kind != TOKEN_unused && k->kind != TOKEN_undefined) {
            k->bytes = k->text;
        }
    }
}

static void find_bytes(struct tokenizer *t)
{
    for (int b = 0; b < 256; b++) {
        char text[8];
        int n = snprintf(text, sizeof(text), "<0x%02X>", (unsigned)b);
        int32_t id = t->spm ? vocab_find(t, (struct str){ text, (size_t)n }) : -1;
        if (id < 0) {
            n = t->spm ? 1 : (int)str_utf8_put(text, byte_to_rune((uint8_t)b));
            text[0] = t->spm ? (char)b : text[0];
            id = vocab_find(t, (struct str){ text, (size_t)n });
        }
        t->byte_ids[b] = id;
    }
}

/* A special id by its key; `fallback` where the key is absent or out of range. */
static int32_t special_id(const struct tokenizer *t, const struct gguf *g, const char *key,
                          int32_t fallback)
{
    uint64_t id = 0;
    if (gguf_u64(g, key, &id) && id < t->n)
        return (int32_t)id;
    return fallback >= 0 && (uint32_t)fallback < t->n ? fallback : -1;
}

static void mark_eog(struct tokenizer *t, int32_t id)
{
    if (id >= 0)
        t->tokens[id].eog = true;
}

/* Harmony: <|end|> ends a message, not the turn, and its marks are read by the client. */
static void adjust_harmony(struct tokenizer *t)
{
    static const char *const marks[] = { "<|channel|>", "<|message|>", "<|start|>", "<|constrain|>",
                                         "<|end|>" };
    if (vocab_find(t, STR("<|return|>")) < 0 || vocab_find(t, STR("<|call|>")) < 0)
        return;
    for (size_t i = 0; i < ARRAY_LEN(marks); i++) {
        int32_t id = vocab_find(t, str_of(marks[i]));
        if (id >= 0)
            t->tokens[id].eog = false;
    }
}

static void mark_special(struct tokenizer *t, const struct gguf *g)
{
    for (uint32_t i = 0; i < t->n; i++)
        t->tokens[i].control = t->tokens[i].kind == TOKEN_control;
    for (size_t i = 0; i < ARRAY_LEN(eog_names) + ARRAY_LEN(control_names); i++) {
        bool eog = i < ARRAY_LEN(eog_names);
        int32_t id =
            vocab_find(t, str_of(eog ? eog_names[i] : control_names[i - ARRAY_LEN(eog_names)]));
        if (id >= 0) {
            t->tokens[id].eog = eog;
            t->tokens[id].control = true;
        }
    }
    adjust_harmony(t);
    mark_eog(t, t->eos);
    mark_eog(t, special_id(t, g, "tokenizer.ggml.eot_token_id", -1));
    mark_eog(t, special_id(t, g, "tokenizer.ggml.eom_token_id", -1));
}

static const char separator_key[] = "tokenizer.ggml.seperator_token_id"; /* spelt so in the files */

/* [CLS] text [SEP]: BOS and EOS of encoders. */
static int load_wordpiece(struct tokenizer *t, const struct gguf *g, struct fail *reterr)
{
    t->lowercase = true;
    (void)gguf_bool(g, "tokenizer.ggml.normalizer.lowercase", &t->lowercase);
    t->strip_accents = t->lowercase;
    (void)gguf_bool(g, "tokenizer.ggml.normalizer.strip_accents", &t->strip_accents);
    int32_t cls = special_id(t, g, "tokenizer.ggml.cls_token_id", vocab_find(t, STR("[CLS]")));
    t->bos = special_id(t, g, "tokenizer.ggml.bos_token_id", cls);
    t->eos = special_id(t, g, separator_key, vocab_find(t, STR("[SEP]")));
    t->unknown = special_id(t, g, "tokenizer.ggml.unknown_token_id", vocab_find(t, STR("[UNK]")));
    if (t->bos < 0 || t->eos < 0 || t->unknown < 0)
        return BAD(g, "a WordPiece vocabulary needs [CLS], [SEP] and [UNK]");
    t->add_bos = t->add_eos = true;
    mark_special(t, g);
    return 0;
}

static int load_special(struct tokenizer *t, const struct gguf *g, struct fail *reterr)
{
    if (t->wordpiece)
        return load_wordpiece(t, g, reterr);
    int32_t cls = special_id(t, g, "tokenizer.ggml.cls_token_id", t->spm ? 1 : -1);
    int32_t sep = special_id(t, g, separator_key, t->spm ? 2 : -1);
    t->bos = special_id(t, g, "tokenizer.ggml.bos_token_id", cls);
    t->eos = special_id(t, g, "tokenizer.ggml.eos_token_id", sep);
    /* What a byte-level vocabulary cannot spell is left out, as Hugging Face and llama.cpp do: its
     * unknown token is often the end of text, which no user may write. */
    t->unknown = t->spm ? special_id(t, g, "tokenizer.ggml.unknown_token_id", 0) : -1;
    (void)gguf_bool(g, "tokenizer.ggml.add_space_prefix", &t->add_space_prefix);
    bool asked_bos = gguf_bool(g, "tokenizer.ggml.add_bos_token", &t->add_bos);
    (void)gguf_bool(g, "tokenizer.ggml.add_eos_token", &t->add_eos);
    if (t->add_bos && t->bos < 0 && asked_bos)
        return BAD(g, "tokenizer.ggml.add_bos_token is true, but there is no bos_token_id");
    if (t->add_eos && t->eos < 0)
        return BAD(g, "tokenizer.ggml.add_eos_token is true, but there is no eos_token_id");
    t->add_bos = t->add_bos && t->bos >= 0;
    mark_special(t, g);
    return 0;
}

/* Phi-3's special tokens swallow the white space behind them. */
static void adjust_phi3(struct tokenizer *t, const struct gguf *g)
{
    struct str name;
    if (!gguf_str(g, "general.name", &name))
        return;
    bool phi3 = false;
    for (size_t i = 0; i + 4 <= name.n; i++)
        phi3 = phi3 || str_eq_nocase(str_head(str_sub(name, i), 4), STR("phi3")) ||
               str_eq_nocase(str_head(str_sub(name, i), 5), STR("phi-3"));
    for (size_t i = 0; phi3 && i < t->n_special; i++) {
        struct token *k = &t->tokens[t->special[i]];
        k->rstrip = !str_is(k->text, "<unk>") && !str_is(k->text, "<s>") &&
                    !str_is(k->text, "<|endoftext|>");
    }
}

static int longest_first(const void *a, const void *b, void *tokenizer)
{
    const struct tokenizer *t = tokenizer;
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    size_t m = t->tokens[x].text.n, n = t->tokens[y].text.n;
    return m != n ? (m > n ? -1 : 1) : (x > y) - (x < y);
}

static int by_text(const void *a, const void *b, void *tokenizer)
{
    const struct tokenizer *t = tokenizer;
    return str_cmp(t->tokens[t->special[*(const uint32_t *)a]].text,
                   t->tokens[t->special[*(const uint32_t *)b]].text);
}

static int list_special(struct tokenizer *t)
{
    t->special = malloc(t->n * sizeof(*t->special));
    if (!t->special)
        return -ENOMEM;
    for (uint32_t i = 0; i < t->n; i++) {
        const struct token *k = &t->tokens[i];
        if (!k->text.n || (!k->control && k->kind != TOKEN_user && k->kind != TOKEN_unknown))
            continue;
        t->special[t->n_special++] = (int32_t)i;
        t->special_heads[(uint8_t)k->text.p[0]] = 1;
    }
    qsort_r(t->special, t->n_special, sizeof(*t->special), longest_first, t);
    t->special_sorted = malloc((t->n_special + 1) * sizeof(*t->special_sorted));
    if (!t->special_sorted)
        return -ENOMEM;
    for (uint32_t i = 0; i < t->n_special; i++)
        t->special_sorted[i] = i;
    qsort_r(t->special_sorted, t->n_special, sizeof(*t->special_sorted), by_text, t);
    return 0;
}

/* "a b": the first blank after the first byte divides. */
static void add_rule(struct tokenizer *t, struct str s, uint32_t rank, char *joined)
{
    struct str left, right;
    if (s.n < 3 || s.n > 2 * t->longest + 1)
        return;
    const char *blank = memchr(s.p + 1, ' ', s.n - 1);
    if (!blank)
        return;
    left = (struct str){ s.p, (size_t)(blank - s.p) };
    right = str_sub(s, left.n + 1);
    memcpy(joined, left.p, left.n);
    memcpy(joined + left.n, right.p, right.n);
    int32_t a = vocab_find(t, left), b = vocab_find(t, right);
    int32_t both = vocab_find(t, (struct str){ joined, s.n - 1 });
    if (a < 0 || b < 0 || both < 0 || t->tokens[both].control)
        return;
    struct merge_rule *rule = &t->rules[merge_slot(t, a, b)];
    if (rule->id < 0) /* the first of equal ones counts */
        *rule = (struct merge_rule){ a, b, rank, both };
}

static int load_merges(struct tokenizer *t, const struct gguf *g, struct fail *reterr)
{
    struct gguf_array merges;
    if (!gguf_array(g, "tokenizer.ggml.merges", &merges) || merges.kind != GGUF_string)
        return BAD(g, "tokenizer.ggml.merges is missing or no array of strings");
    size_t slots = table_size(merges.n);
    t->rules = malloc(slots * sizeof(*t->rules));
    CLEANUP(own_free) char *joined = malloc(2 * t->longest + 1);
    if (!t->rules || !joined)
        return -ENOMEM;
    memset(t->rules, 0xff, slots * sizeof(*t->rules));
    t->rules_mask = slots - 1;
    for (uint64_t i = 0; i < merges.n; i++)
        add_rule(t, merges.strings[i], (uint32_t)i, joined);
    return 0;
}

static int load_kind(struct tokenizer *t, const struct gguf *g, struct fail *reterr)
{
    struct str model, pre = STR("default");
    if (!gguf_str(g, "tokenizer.ggml.model", &model))
        return BAD(g, "tokenizer.ggml.model is missing");
    t->spm = str_is(model, "llama");
    if (t->spm) {
        t->add_space_prefix = true;
        t->add_bos = true;
        return 0;
    }
    t->wordpiece = str_is(model, "bert");
    if (t->wordpiece)
        return 0;
    if (!str_is(model, "gpt2"))
        return BAD(g,
                   "the tokenizer model '" STR_FMT "'%s is not served; llama (SentencePiece), "
                   "gpt2 (byte-level BPE) and bert (WordPiece) are",
                   STR_ARG(str_head(model, 40)),
                   str_is(model, "t5") ? " (SentencePiece unigram)" : "");
    (void)gguf_str(g, "tokenizer.ggml.pre", &pre);
    struct fail f = { 0 };
    int r = pre_split_new(t, pre, &f);
    return r == FAILED ? BAD(g, "%s", f.message) : r;
}

static bool holds_word_start(struct str text) /* a blank behind another character */
{
    for (size_t i = 1; i + 3 <= text.n; i++)
        if (memcmp(text.p + i, "\xe2\x96\x81", 3) == 0 &&
            (i < 3 || memcmp(text.p + i - 3, "\xe2\x96\x81", 3) != 0))
            return true;
    return false;
}

static void find_word_cuts(struct tokenizer *t)
{
    t->cut_words = t->spm;
    for (uint32_t i = 0; i < t->n && t->cut_words; i++)
        t->cut_words = t->tokens[i].control || !holds_word_start(t->tokens[i].text);
}

int vocab_load(struct tokenizer *t, const struct gguf *g, struct fail *reterr)
{
    int r = load_kind(t, g, reterr);
    if (r == 0)
        r = load_texts(t, g, reterr);
    if (r == 0)
        r = load_columns(t, g, reterr);
    if (r == 0)
        r = load_special(t, g, reterr);
    if (r == 0 && !t->spm && !t->wordpiece)
        r = load_merges(t, g, reterr);
    if (r != 0)
        return r;
    decode_tokens(t);
    find_bytes(t);
    find_word_cuts(t);
    r = list_special(t);
    if (r == 0)
        adjust_phi3(t, g);
    return r;
}

/*
 * Pre-tokenizers: the regular expressions that cut text into words before byte-level BPE merges
 * within each. They are those of the models' own tokenizer.json files.
 */
#include "engine/local/tokenizer_impl.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <errno.h>

#include "base/buf.h"

enum { MAX_STEPS = 6 };

struct pre_split {
    unsigned n;
    pcre2_code *steps[MAX_STEPS]; /* each cuts the pieces that the one before left */
};

/* White_Space, spelt out: PCRE2's own \s counts U+180E too, which Unicode no longer does. */
#define SP "\\x{9}-\\x{d}\\x{85}\\p{Z}"
#define TAIL "|[" SP "]*[\\r\\n]+|[" SP "]+(?![^" SP "])|[" SP "]+"
#define CLITICS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define GPT2                                                                                       \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" SP "\\p{L}\\p{N}]+|[" SP "]+(?![^" SP "])"
#define WORDS(numbers)                                                                             \
    CLITICS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" numbers "| ?[^" SP "\\p{L}\\p{N}]+[\\r\\n]*" TAIL
/* Case-aware words: a capitalised head and a lower-case tail. */
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define CASED(upper, lower, after)                                                                 \
    "[^\\r\\n\\p{L}\\p{N}]?" upper "*" lower "+" after "|[^\\r\\n\\p{L}\\p{N}]?" upper "+" lower   \
    "*" after
/* The same without Han, as complements of all other categories. */
#define UPPER_NOT_HAN "[^\\p{Ll}\\p{N}\\p{P}\\p{S}\\p{Z}\\p{C}\\p{Han}]"
#define LOWER_NOT_HAN "[^\\p{Lu}\\p{Lt}\\p{N}\\p{P}\\p{S}\\p{Z}\\p{C}\\p{Han}]"
#define CJK_RANGES "[\\x{4e00}-\\x{9fa5}\\x{800}-\\x{4e00}\\x{ac00}-\\x{d7ff}]+"
#define LATIN_PUNCTUATION                                                                          \
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?"           \
    "[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*" TAIL
/* Letters of scripts that have case, as that model's file lists them. */
#define CASED_LETTERS                                                                              \
    "A-Za-z\\x{b5}\\x{c0}-\\x{d6}\\x{d8}-\\x{f6}\\x{f8}-\\x{1ba}\\x{1bc}-\\x{1bf}"                 \
    "\\x{1c4}-\\x{293}\\x{295}-\\x{2af}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37b}-\\x{37d}"         \
    "\\x{37f}\\x{386}\\x{388}-\\x{38a}\\x{38c}\\x{38e}-\\x{3a1}\\x{3a3}-\\x{3f5}"                  \
    "\\x{3f7}-\\x{481}\\x{48a}-\\x{52f}\\x{531}-\\x{556}\\x{10a0}-\\x{10c5}"                       \
    "\\x{13a0}-\\x{13f5}\\x{13f8}-\\x{13fd}\\x{1c90}-\\x{1cba}\\x{1cbd}-\\x{1cbf}"                 \
    "\\x{1d00}-\\x{1d2b}\\x{1d6b}-\\x{1d77}\\x{1d79}-\\x{1d9a}\\x{1e00}-\\x{1f15}"                 \
    "\\x{1f18}-\\x{1f1d}\\x{1f20}-\\x{1f45}\\x{1f48}-\\x{1f4d}\\x{1f50}-\\x{1f57}\\x{1f59}"        \
    "\\x{1f5b}\\x{1f5d}\\x{1f5f}-\\x{1f7d}\\x{1f80}-\\x{1fb4}\\x{1fb6}-\\x{1fbc}\\x{1fbe}"         \
    "\\x{1fc2}-\\x{1fc4}\\x{1fc6}-\\x{1fcc}\\x{1fd0}-\\x{1fd3}\\x{1fd6}-\\x{1fdb}\\x{1fe0}-\\x{"   \
    "1fec}"                                                                                        \
    "\\x{1ff2}-\\x{1ff4}\\x{1ff6}-\\x{1ffc}\\x{2102}\\x{2107}\\x{210a}-\\x{2113}\\x{2115}"         \
    "\\x{2119}-\\x{211d}\\x{2124}\\x{2126}\\x{2128}\\x{212a}-\\x{212d}\\x{212f}-\\x{2134}"         \
    "\\x{2139}\\x{213c}-\\x{213f}\\x{2145}-\\x{2149}\\x{214e}\\x{2183}\\x{2184}"                   \
    "\\x{2c00}-\\x{2c7b}\\x{2c7e}-\\x{2ce4}\\x{2ceb}-\\x{2cee}\\x{2cf2}\\x{2cf3}"                  \
    "\\x{a640}-\\x{a66d}\\x{a680}-\\x{a69b}\\x{a722}-\\x{a76f}\\x{a771}-\\x{a787}"                 \
    "\\x{a78b}-\\x{a78e}\\x{ab70}-\\x{abbf}\\x{fb00}-\\x{fb06}\\x{fb13}-\\x{fb17}"                 \
    "\\x{ff21}-\\x{ff3a}\\x{ff41}-\\x{ff5a}\\x{10400}-\\x{1044f}\\x{104b0}-\\x{104d3}"             \
    "\\x{104d8}-\\x{104fb}\\x{10c80}-\\x{10cb2}\\x{10cc0}-\\x{10cf2}\\x{118a0}-\\x{118df}"         \
    "\\x{1e900}-\\x{1e943}"

enum { IGNORE_MERGES = 1, ADD_BOS = 2 };

static const struct pre_row {
    const char *names; /* separated by blanks */
    unsigned flags;
    const char *steps[MAX_STEPS];
} rows[] = {
    { "llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2",
      IGNORE_MERGES | ADD_BOS,
      { WORDS("\\p{N}{1,3}") } },
    { "dbrx smaug-bpe glm4 chatglm-bpe", 0, { WORDS("\\p{N}{1,3}") } },
    { "qwen2 deepseek-r1-qwen stablelm2 hunyuan megrez grok-2 solar-open kormo",
      0,
      { WORDS("\\p{N}") } },
    { "qwen35",
      0,
      { CLITICS "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^" SP
                "\\p{L}\\p{M}\\p{N}]+[\\r\\n]*" TAIL } },
    { "gpt-2 phi-2 mpt olmo jais trillion granite-docling gigachat mellum exaone4 a.x-4.0 "
      "jina-es jina-de jina-v1-en jina-v2-es jina-v2-de jina-v2-code roberta-bpe modern-bert",
      0,
      { GPT2 } },
    { "starcoder refact command-r smollm codeshell exaone minerva-7b mellum2",
      0,
      { "\\p{N}", GPT2 } },
    { "falcon", 0, { "[\\p{P}\\$\\+<=>\\^~\\|`]+", GPT2, "[0-9][0-9][0-9]" } },
    { "default", 0, { "[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]" } },
    { "deepseek-llm",
      0,
      { "[\\r\\n]", "[" SP "]?[" CASED_LETTERS "]+",
        "[" SP
        "]?[!-/:-~\\x{ff01}-\\x{ff0f}\\x{ff1a}-\\x{ff5e}\\x{2018}-\\x{201f}\\x{3000}-\\x{3002}]+",
        "[" SP "]+$", CJK_RANGES, "\\p{N}+" } },
    { "deepseek-coder",
      0,
      { "[\\r\\n]", "[" SP "]?\\p{L}+", "[" SP "]?\\p{P}+", CJK_RANGES, "\\p{N}" } },
    { "deepseek-v3 hunyuan-dense joyai-llm",
      0,
      { "\\p{N}{1,3}", "[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}]+",
        LATIN_PUNCTUATION } },
    { "tekken",
      IGNORE_MERGES | ADD_BOS,
      { CASED(UPPER, LOWER, "") "|\\p{N}| ?[^" SP "\\p{L}\\p{N}]+[\\r\\n/]*" TAIL } },
    { "gpt-4o llama4 kanana2 minimax-m2",
      0,
      { CASED(UPPER, LOWER, CLITICS "?") "|\\p{N}{1,3}| ?[^" SP "\\p{L}\\p{N}]+[\\r\\n/]*" TAIL } },
    { "kimi-k2",
      0,
      { "\\p{Han}+|" CASED(UPPER_NOT_HAN, LOWER_NOT_HAN,
                           CLITICS "?") "|\\p{N}{1,3}| ?[^" SP "\\p{L}\\p{N}]+[\\r\\n]*" TAIL } },
    { "bloom poro-chat gpt3-finnish",
      0,
      { " ?[^(" SP "|.,!?\\x{2026}\\x{3002}\\x{ff0c}\\x{3001}\\x{964}\\x{6d4}\\x{60c})]+" } },
    { "viking",
      0,
      { " ?[^(" SP "|.,!?\\x{2026}\\x{3002}\\x{ff0c}\\x{3001}\\x{964}\\x{6d4}\\x{60c})]+",
        "\\p{N}" } },
    { "bailingmoe bailingmoe2 llada-moe",
      0,
      { "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| ?[^" SP
        "\\p{L}\\p{N}]++[\\r\\n]*|[" SP "]*[\\r\\n]|[" SP "]+(?![^" SP "])|[" SP "]+" } },
    { "seed-coder",
      0,
      { CLITICS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^" SP "\\p{L}\\p{N}\\r\\n]+" TAIL } },
};

static bool row_has(const struct pre_row *row, struct str name)
{
    struct str names = str_of(row->names), word;
    while (str_cut(names, ' ', &word, &names))
        if (str_eq(word, name))
            return true;
    return str_eq(names, name);
}

static int refuse(struct str name, struct fail *reterr)
{
    char known[224];
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(rows) && n < sizeof(known); i++) {
        struct str names = str_of(rows[i].names), first = names, rest;
        (void)str_cut(names, ' ', &first, &rest);
        n += (size_t)snprintf(known + n, sizeof(known) - n, "%s" STR_FMT, i ? ", " : "",
                              STR_ARG(first));
    }
    return fail_set(reterr, FAIL_invalid_request,
                    "tokenizer.ggml.pre is '" STR_FMT "', which is not known; known are %s",
                    STR_ARG(str_head(name, 40)), known);
}

static int compile(struct pre_split *p, const struct pre_row *row)
{
    for (unsigned i = 0; i < MAX_STEPS && row->steps[i]; i++) {
        int error = 0;
        PCRE2_SIZE at = 0;
        pcre2_code *code =
            pcre2_compile((PCRE2_SPTR)row->steps[i], PCRE2_ZERO_TERMINATED,
                          PCRE2_UTF | PCRE2_UCP | PCRE2_DOLLAR_ENDONLY, &error, &at, NULL);
        if (!code)
            return error == PCRE2_ERROR_HEAP_FAILED ? -ENOMEM : -EINVAL;
        (void)pcre2_jit_compile(code, PCRE2_JIT_COMPLETE); /* where there is none, it interprets */
        p->steps[p->n++] = code;
    }
    return 0;
}

int pre_split_new(struct tokenizer *t, struct str name, struct fail *reterr)
{
    const struct pre_row *row = rows;
    while (row < rows + ARRAY_LEN(rows) && !row_has(row, name))
        row++;
    if (row == rows + ARRAY_LEN(rows))
        return refuse(name, reterr);
    t->pre = calloc(1, sizeof(*t->pre));
    if (!t->pre)
        return -ENOMEM;
    t->ignore_merges = (row->flags & IGNORE_MERGES) != 0;
    t->add_bos = (row->flags & ADD_BOS) != 0;
    return compile(t->pre, row);
}

struct pre_split *pre_split_free(struct pre_split *p)
{
    for (unsigned i = 0; p && i < p->n; i++)
        pcre2_code_free(p->steps[i]);
    free(p);
    return NULL;
}

struct run {
    const struct pre_split *p;
    pcre2_match_data *match;
    int (*word)(void *, struct str);
    void *arg;
};

/* Cuts text by the step'th expression; matches and what lies between them go to the next one. */
static int split(const struct run *run, unsigned step, struct str text)
{
    if (step == run->p->n)
        return run->word(run->arg, text);
    size_t from = 0, at = 0;
    while (at < text.n) {
        int hits = pcre2_match(run->p->steps[step], (PCRE2_SPTR)text.p, text.n, at,
                               PCRE2_NO_UTF_CHECK, run->match, NULL);
        if (hits < 1)
            break; /* none is left, or a limit was hit: the rest is one piece */
        const PCRE2_SIZE *span = pcre2_get_ovector_pointer(run->match);
        size_t begin = span[0], end = span[1];
        int r =
            begin > from ? split(run, step + 1, (struct str){ text.p + from, begin - from }) : 0;
        if (r == 0 && end > begin)
            r = split(run, step + 1, (struct str){ text.p + begin, end - begin });
        if (r != 0)
            return r;
        from = end;
        at = end > begin ? end : end + 1;
    }
    return from < text.n ? split(run, step + 1, str_sub(text, from)) : 0;
}

/* Bytes of the longest well-formed prefix. */
static size_t whole_prefix(struct str s)
{
    size_t good = 0;
    for (size_t at = 0; at < s.n;) {
        size_t before = at;
        int rune = str_utf8_next(s, &at);
        if (rune == 0xfffd && at - before == 1)
            break;
        good = at;
    }
    return good;
}

int pre_split_run(const struct pre_split *p, struct str text, int (*word)(void *, struct str),
                  void *arg)
{
    struct run run = { p, pcre2_match_data_create(1, NULL), word, arg };
    if (!run.match)
        return -ENOMEM;
    int r = 0;
    while (text.n && r == 0) {
        /* Malformed bytes stand alone: the expressions see well-formed text only. */
        size_t good = whole_prefix(text);
        if (good)
            r = split(&run, 0, str_head(text, good));
        else
            r = word(arg, str_head(text, good = 1));
        text = str_sub(text, good);
    }
    pcre2_match_data_free(run.match);
    return r;
}

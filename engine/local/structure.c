#include "engine/local/structure.h"

#include "base/limits.h"
#include "base/sha256.h"
#include "base/thread.h"
#include "engine/local/grammar/json_schema.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>

enum { KEPT = 32 }; /* compiled grammars a model; the one that was not used for longest leaves */

struct kept {
    struct sha256 digest;    /* of what was asked */
    struct grammar *grammar; /* a reference; NULL: free */
    uint64_t used;           /* order of use */
};

struct structure {
    const struct tokenizer *tokenizer;
    pthread_mutex_t lock;
    /* under the lock */
    struct token_trie *trie; /* owned; made with the first grammar */
    struct kept kept[KEPT];
    uint64_t clock;
};

int structure_new(struct structure **ret, const struct tokenizer *t)
{
    struct structure *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    s->tokenizer = t;
    (void)pthread_mutex_init(&s->lock, NULL);
    *ret = s;
    return 0;
}

struct structure *structure_free(struct structure *s)
{
    if (!s)
        return NULL;
    for (size_t i = 0; i < KEPT; i++)
        grammar_unref(s->kept[i].grammar);
    token_trie_free(s->trie);
    (void)pthread_mutex_destroy(&s->lock);
    free(s);
    return NULL;
}

/* ---- expressions ---- */

static grammar_expr choice_expr(struct grammar_builder *b, const json_t *list)
{
    size_t n = json_array_size(list);
    grammar_expr all = grammar_never(b);
    for (size_t i = 0; i < n; i++) {
        const json_t *text = json_array_get(list, i);
        grammar_expr parts[] = {
            all,
            grammar_bytes(b, (struct str){ json_string_value(text), json_string_length(text) }),
        };
        all = grammar_alt(b, parts, ARRAY_LEN(parts));
    }
    return all;
}

static int choices(struct grammar_builder *b, struct str text, grammar_expr *ret)
{
    json_auto_t *list = json_loadb(text.p, text.n, 0, NULL);
    if (!list)
        return -ENOMEM; /* the decoder wrote it */
    *ret = choice_expr(b, list);
    return 0;
}

/* JSON Schema looks for the pattern anywhere; here it is the whole text. */
static int whole_regex(struct grammar_builder *b, struct str pattern, grammar_expr *ret,
                       struct fail *reterr)
{
    int r = regex_expr(b, pattern, ret, reterr); /* "a)(b" is wrong, whatever stands around it */
    if (r != 0)
        return r;
    CLEANUP(buf_done) struct buf whole = BUF_INIT(LIMIT_FORMAT_BYTES + KIB);
    buf_adds(&whole, "^(?:");
    buf_add(&whole, pattern);
    buf_adds(&whole, ")$");
    return buf_err(&whole) < 0 ? buf_err(&whole) : regex_expr(b, buf_str(&whole), ret, reterr);
}

static int format_expr(struct grammar_builder *b, const struct chat_request *request,
                       grammar_expr *ret, struct fail *reterr)
{
    const struct json_schema_options options = {
        .param = request->format_param,
        .strict = request->format_strict,
    };
    switch (request->format) {
    case CHAT_FORMAT_json_schema:
        return json_schema_expr(b, request->format_text, &options, ret, reterr);
    case CHAT_FORMAT_grammar:
        return grammar_parse_gbnf(b, request->format_text, ret, reterr);
    case CHAT_FORMAT_regex:
        return whole_regex(b, request->format_text, ret, reterr);
    case CHAT_FORMAT_choice:
        return choices(b, request->format_text, ret);
    case CHAT_FORMAT_json_object:
    case CHAT_FORMAT_text:
        break;
    }
    *ret = json_object_expr(b);
    return 0;
}

static bool holds_calls(const struct chat_request *request, struct structure_manner manner)
{
    return manner.format && tool_format_constrains(manner.format, request);
}

static int calls_expr(struct grammar_builder *b, const struct chat_request *request,
                      struct structure_manner manner, grammar_expr *ret, struct fail *reterr)
{
    return tool_format_expr(b, manner.format, request, manner.opened, ret, reterr);
}

/* What the whole answer must be: calls where they are forced, else text in its format. Where tools
 * may be called, calls may stand instead of the text. */
static int constraint_expr(struct grammar_builder *b, const struct chat_request *request,
                           struct structure_manner manner, grammar_expr *ret, struct fail *reterr)
{
    bool is_forced = request->tool_choice >= TOOL_CHOICE_required;
    if (holds_calls(request, manner) && (is_forced || request->format == CHAT_FORMAT_text))
        return calls_expr(b, request, manner, ret, reterr);
    int r = format_expr(b, request, ret, reterr);
    if (r != 0 || !manner.format)
        return r;
    *ret = tool_format_answer(b, manner.format, manner.opened, *ret);
    if (request->n_tools == 0)
        return 0;
    struct chat_request calling = *request;
    calling.tool_choice = TOOL_CHOICE_required;
    grammar_expr either[] = { *ret, { 0 } };
    struct fail unheld = { 0 }; /* nobody asked for the call: without one the text is still right */
    r = calls_expr(b, &calling, manner, &either[1], &unheld);
    if (r == 0)
        *ret = grammar_alt(b, either, ARRAY_LEN(either));
    return r < 0 ? r : 0;
}

/* ---- compiling once ---- */

static bool is_free(const struct chat_request *request, struct structure_manner manner)
{
    return request->format == CHAT_FORMAT_text && !holds_calls(request, manner);
}

static void add_text(struct sha256_stream *s, struct str text)
{
    uint64_t n = text.n; /* so that texts cannot run into each other */
    sha256_add(s, &n, sizeof(n));
    sha256_add(s, text.p, text.n);
}

static int digest_of(struct sha256 *ret, const struct chat_request *request,
                     struct structure_manner manner)
{
    CLEANUP(sha256_freep) struct sha256_stream *s = NULL;
    int r = sha256_new(&s);
    if (r < 0)
        return r;
    const uint8_t marks[] = {
        (uint8_t)request->format,  (uint8_t)request->tool_choice, request->format_strict,
        request->single_tool_call, manner.format != NULL,         manner.opened,
    };
    sha256_add(s, marks, sizeof(marks));
    add_text(s, request->format_text);
    add_text(s, request->tool_choice_name);
    add_text(s, request->tools_json);
    *ret = sha256_end(s);
    return 0;
}

/* A new reference, or NULL. */
static struct grammar *find(struct structure *s, const struct sha256 *digest)
{
    LOCKED(&s->lock);
    for (size_t i = 0; i < KEPT; i++)
        if (s->kept[i].grammar && sha256_eq(&s->kept[i].digest, digest)) {
            s->kept[i].used = ++s->clock;
            return grammar_share(s->kept[i].grammar);
        }
    return NULL;
}

static void keep(struct structure *s, const struct sha256 *digest, struct grammar *g)
{
    LOCKED(&s->lock);
    struct kept *oldest = &s->kept[0];
    for (size_t i = 1; i < KEPT; i++)
        if (s->kept[i].used < oldest->used)
            oldest = &s->kept[i];
    grammar_unref(oldest->grammar);
    *oldest = (struct kept){ *digest, grammar_share(g), ++s->clock };
}

static int make_trie(struct structure *s)
{
    LOCKED(&s->lock);
    return s->trie ? 0 : token_trie_new(&s->trie, s->tokenizer);
}

/* A refusal names the field of the request, whoever found the fault. */
static int blame(const struct chat_request *request, struct fail *reterr)
{
    if (reterr && reterr->param[0] == '\0' && request->format_param)
        (void)snprintf(reterr->param, sizeof(reterr->param), "%s", request->format_param);
    return FAILED;
}

static int compile(const struct chat_request *request, struct structure_manner manner,
                   struct grammar **ret, struct fail *reterr)
{
    CLEANUP(grammar_builder_freep) struct grammar_builder *b = NULL;
    int r = grammar_builder_new(&b);
    grammar_expr root;
    if (r == 0)
        r = constraint_expr(b, request, manner, &root, reterr);
    if (r == 0)
        r = grammar_build(b, root, ret, reterr);
    return r == FAILED ? blame(request, reterr) : r;
}

int structure_grammar(struct structure *s, const struct chat_request *request,
                      struct structure_manner manner, struct grammar **ret, struct fail *reterr)
{
    *ret = NULL;
    if (is_free(request, manner))
        return 0;
    struct sha256 digest;
    int r = digest_of(&digest, request, manner);
    if (r == 0)
        r = make_trie(s);
    if (r < 0)
        return r;
    *ret = find(s, &digest);
    if (*ret)
        return 0;
    CLEANUP(grammar_unrefp) struct grammar *made = NULL;
    r = compile(request, manner, &made, reterr);
    if (r != 0)
        return r;
    keep(s, &digest, made);
    *ret = TAKE(made);
    return 0;
}

const struct token_trie *structure_trie(struct structure *s)
{
    LOCKED(&s->lock);
    return s->trie;
}

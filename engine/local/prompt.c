#include "engine/local/prompt.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

struct prompter {
    const struct tokenizer *tokenizer;
    uint32_t vocab;
    struct chat_template *template; /* NULL: did not compile, `broken` says why */
    struct tool_format format;
    struct fail broken;
};

static int compile(struct prompter *p, const struct gguf *g)
{
    struct str source;
    if (!gguf_str(g, "tokenizer.chat_template", &source) || source.n == 0) {
        log_line(LOG_info, "chat_template_default", "model=%s template=chatml", gguf_name(g));
        source = str_of(chat_template_chatml);
    }
    tool_format_of(&p->format, source);
    int r = chat_template_new(&p->template, source, &p->broken);
    if (r == FAILED) {
        log_line(LOG_warn, "chat_template_refused", "model=%s cause=\"%s\"", gguf_name(g),
                 p->broken.message);
        return 0;
    }
    if (r == 0)
        chat_template_probe(p->template, &p->format);
    return r;
}

int prompter_new(struct prompter **ret, const struct gguf *g, const struct tokenizer *t,
                 uint32_t vocab)
{
    CLEANUP(prompter_freep) struct prompter *p = calloc(1, sizeof(*p));
    if (!p)
        return -ENOMEM;
    p->tokenizer = t;
    p->vocab = vocab;
    int r = compile(p, g);
    if (r < 0)
        return r;
    *ret = TAKE(p);
    return 0;
}

struct prompter *prompter_free(struct prompter *p)
{
    if (!p)
        return NULL;
    chat_template_free(p->template);
    free(p);
    return NULL;
}

static struct str special_text(const struct tokenizer *t, int32_t id)
{
    return id < 0 ? STR("") : tokenizer_token_text(t, id);
}

/* Exactly one BOS where the model wants one: many templates spell it, some leave it out. */
static int begin_with_bos(const struct tokenizer *t, struct token_list *ids, size_t from)
{
    int32_t bos = tokenizer_bos(t);
    if (!tokenizer_adds_bos(t) || bos < 0 || (ids->n > from && ids->ids[from] == bos))
        return 0;
    int r = token_list_add(ids, bos);
    if (r < 0)
        return r;
    memmove(ids->ids + from + 1, ids->ids + from, (ids->n - 1 - from) * sizeof(*ids->ids));
    ids->ids[from] = bos;
    return 0;
}

static int too_long(const struct chat_request *request, const struct token_list *ids,
                    struct fail *reterr)
{
    return fail_param(
        reterr, FAIL_context_length_exceeded, request->is_completion ? "prompt" : "messages",
        "this model's context is %zu tokens, the prompt has more; shorten the prompt", ids->max);
}

/* A text that has too many tokens, whatever they are, is not worth the seconds of cutting it. */
static bool is_hopeless(const struct prompter *p, size_t bytes, const struct token_list *ids)
{
    return ids->max && bytes / ids->max > tokenizer_longest(p->tokenizer);
}

/* What a user wrote at the end opens nothing. */
static bool opens_reasoning(const struct prompter *p, const struct chat_rendering *r)
{
    const struct text_span *last = r->n_spans ? &r->spans[r->n_spans - 1] : NULL;
    return last && !last->literal && tool_format_opens(&p->format, last->text);
}

/* The beginning of the answer that the client wrote; p NULL: none. */
static struct str begun_answer(const struct chat_request *request)
{
    const struct chat_message *last = &request->messages[request->n_messages - 1];
    bool is_begun = request->continues && request->n_messages > 1 && last->n_tool_calls == 0 &&
                    str_is(last->role, "assistant");
    return is_begun && last->content.n ? last->content : STR_NULL;
}

/* The conversation as its template has it, with the head of the answer that comes. */
static int render(const struct prompter *p, const struct chat_request *request,
                  struct chat_rendering *ret, struct fail *reterr)
{
    struct chat_template_vars vars = {
        .request = request,
        .add_generation_prompt = true,
        .bos_token = special_text(p->tokenizer, tokenizer_bos(p->tokenizer)),
        .eos_token = special_text(p->tokenizer, tokenizer_eos(p->tokenizer)),
        .now_s = (int64_t)clock_wall_s(),
        .format = &p->format,
    };
    return chat_template_render(p->template, &vars, ret, reterr);
}

/* The same, and behind that head what is begun. A template whose head opens the reasoning leaves no
 * place for it: then it stays a turn like others. */
static int render_begun(const struct prompter *p, const struct chat_request *request,
                        struct str begun, struct chat_rendering *ret, struct fail *reterr)
{
    struct chat_request before = *request;
    before.n_messages--;
    int r = render(p, &before, ret, reterr);
    if (r != 0)
        return r;
    if (opens_reasoning(p, ret)) {
        chat_rendering_done(ret);
        return render(p, request, ret, reterr);
    }
    struct text_span *spans = realloc(ret->spans, (ret->n_spans + 1) * sizeof(*spans));
    if (!spans)
        return -ENOMEM;
    ret->spans = spans;
    spans[ret->n_spans++] = (struct text_span){ .text = begun, .literal = true };
    return 0;
}

static int chat_ids(const struct prompter *p, const struct chat_request *request,
                    struct token_list *ids, bool *ret_opened, struct fail *reterr)
{
    if (request->n_messages == 0)
        return fail_param(reterr, FAIL_empty_array, "messages",
                          "messages is empty; send at least one message");
    if (!p->template)
        return fail_param(reterr, FAIL_invalid_request, "messages",
                          "this model's chat template is not supported; use /v1/completions (%s)",
                          p->broken.message);
    struct str begun = begun_answer(request);
    CLEANUP(chat_rendering_done) struct chat_rendering rendering = { 0 };
    int r = begun.p ? render_begun(p, request, begun, &rendering, reterr)
                    : render(p, request, &rendering, reterr);
    if (r != 0)
        return r;
    *ret_opened = opens_reasoning(p, &rendering);
    size_t from = ids->n, bytes = 0;
    for (size_t i = 0; i < rendering.n_spans; i++)
        bytes += rendering.spans[i].text.n;
    if (is_hopeless(p, bytes, ids))
        return too_long(request, ids, reterr);
    r = tokenizer_encode_spans(p->tokenizer, rendering.spans, rendering.n_spans, TOKENIZE_special,
                               ids);
    return r < 0 ? r : begin_with_bos(p->tokenizer, ids, from);
}

static int given_ids(const struct prompter *p, const struct chat_request *request,
                     struct token_list *ids, struct fail *reterr)
{
    for (size_t i = 0; i < request->n_prompt_ids; i++) {
        int32_t id = request->prompt_ids[i];
        if (id < 0 || (uint32_t)id >= p->vocab)
            return fail_param(reterr, FAIL_invalid_request, "prompt",
                              "prompt[%zu] is %" PRId32
                              "; token ids of this model are 0 to %" PRIu32,
                              i, id, p->vocab - 1);
        int r = token_list_add(ids, id);
        if (r < 0)
            return r;
    }
    return 0;
}

const struct tool_format *prompter_format(const struct prompter *p)
{
    return &p->format;
}

int prompter_prompt(const struct prompter *p, const struct chat_request *request,
                    struct token_list *ids, bool *ret_opened, struct fail *reterr)
{
    size_t from = ids->n;
    int r;
    *ret_opened = false;
    if (!request->is_completion)
        r = chat_ids(p, request, ids, ret_opened, reterr);
    else if (request->prompt_ids)
        r = given_ids(p, request, ids, reterr);
    else if (is_hopeless(p, request->prompt.n, ids))
        r = too_long(request, ids, reterr);
    else /* text of a user: control tokens spelt in it stay text */
        r = tokenizer_encode(p->tokenizer, request->prompt, TOKENIZE_bos, ids);
    if (r == -E2BIG)
        r = too_long(request, ids, reterr);
    if (r == 0 && ids->n == from)
        return fail_param(reterr, FAIL_invalid_request,
                          request->is_completion ? "prompt" : "messages",
                          "the prompt has no tokens; send some text");
    return r;
}

int prompter_ids(const struct prompter *p, const struct chat_request *request,
                 struct token_list *ids, struct fail *reterr)
{
    bool opened;
    return prompter_prompt(p, request, ids, &opened, reterr);
}

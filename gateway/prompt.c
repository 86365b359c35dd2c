#include "gateway/prompt.h"

#include "base/metrics.h"
#include "gateway/api/decode.h"
#include "gateway/server.h"

#include <errno.h>

/* Prompts of token ids get their text. */
static int spell(struct answer *a, struct engine *e)
{
    for (size_t i = 0; i < a->n_chats; i++) {
        struct chat_request *chat = &a->chats[i];
        if (!chat->prompt_ids || chat->prompt.p)
            continue;
        CLEANUP(buf_done) struct buf text = BUF_INIT(LIMIT_BODY);
        engine_detokenize(e, chat->prompt_ids, chat->n_prompt_ids, &text);
        chat->prompt = arena_str(a->request->arena, buf_str(&text));
        if (buf_err(&text) < 0 || !chat->prompt.p)
            return -ENOMEM;
    }
    return 0;
}

int prompt_spell_echo(struct answer *a)
{
    return a->chats[0].echo && a->target.model ? spell(a, a->target.model->engine) : 0;
}

int prompt_spell(struct answer *a)
{
    struct request *r = a->request;
    struct engine *e = core_counter(r->state->core);
    return e && router_is_auto(r->state->router, a->chats[0].model) ? spell(a, e) : 0;
}

/* Where the text of a leading system message is; NULL: there is none. */
static const char *first_system(const struct chat_request *chat)
{
    const struct chat_message *m = chat->n_messages ? chat->messages : NULL;
    return m && str_is(m->role, "system") ? m->content.p : NULL;
}

int prompt_guard(struct answer *a, struct fail *reterr)
{
    struct request *r = a->request;
    for (size_t i = 0; i < a->n_chats; i++) {
        struct plugin_prompt io = {
            .request = &a->chats[i],
            .arena = r->arena,
            .decision = a->target.route.decision,
            .headers = r->headers,
            .n_headers = r->n_headers,
        };
        const char *plugin = NULL, *before = io.request->prompt.p,
                   *system = first_system(&a->chats[i]);
        enum verdict v = chain_prompt(a->chain, &io, &plugin, reterr);
        a->has_injected_prompt = a->has_injected_prompt || first_system(io.request) != system;
        if (io.request->prompt.p != before)
            io.request->prompt_ids = NULL; /* what they spelt is not what may be read */
        for (size_t k = 0; i == 0 && k < io.n_response_headers; k++) {
            const char *name = arena_cstr(r->arena, io.response_headers[k].key);
            if (name)
                reply_header(r, name, io.response_headers[k].value);
        }
        if (v == VERDICT_changed)
            metrics_add_label(METRIC_plugin_rewrites_total, SERVER_STAGE_prompt, 1);
        if (v == VERDICT_block) {
            metrics_add_label(METRIC_plugin_blocks_total, SERVER_STAGE_prompt, 1);
            a->is_blocked = true;
            return FAILED;
        }
        if (v == VERDICT_answer) {
            a->is_canned = true;
            a->canned = io.answer;
            return 0;
        }
    }
    return 0;
}

/* A part that only an engine which reads the client's own bytes can make use of. */
static const struct chat_part *unreadable(const struct chat_message *m)
{
    for (size_t i = 0; i < m->n_parts; i++) {
        const struct chat_part *p = &m->parts[i];
        if (p->kind != CHAT_PART_text && p->url.n == 0 && p->data.n == 0)
            return p;
    }
    return NULL;
}

/* What the first part is that is no text. */
static const char *medium_word(const struct chat_message *m)
{
    static const char *const words[] = {
        [CHAT_PART_image] = "an image", [CHAT_PART_audio] = "sound", [CHAT_PART_file] = "a file"
    };
    for (size_t i = 0; i < m->n_parts; i++) {
        enum chat_part_kind kind = m->parts[i].kind;
        bool is_unknown = kind == CHAT_PART_file && unreadable(m) == &m->parts[i];
        if (kind != CHAT_PART_text)
            return is_unknown ? "a part of another kind" : words[kind];
    }
    return "more than text";
}

int prompt_refuse_media(const struct answer *a, struct fail *reterr)
{
    const struct chat_request *chat = &a->chats[0];
    const struct engine *e = a->target.model ? a->target.model->engine : NULL;
    bool behind = e && engine_is_upstream(e); /* it knows what it reads */
    if (behind && chat->source.n && engine_speaks(e, chat->wire))
        return 0;
    if (chat->unserved)
        return decode_served(chat, reterr);
    for (size_t i = 0; i < chat->n_messages; i++) {
        const struct chat_message *m = &chat->messages[i];
        const struct chat_part *p = unreadable(m);
        if (p && behind)
            return fail_param(reterr, FAIL_unsupported_parameter, "messages",
                              "messages[%zu].content holds what the model '" STR_FMT
                              "' is not given: '" STR_FMT "'",
                              i, STR_ARG(a->model), STR_ARG(str_head(p->name, 64)));
        if (m->n_images && !behind)
            return fail_param(reterr, FAIL_unsupported_parameter, "messages",
                              "messages[%zu].content holds %s, and the model '" STR_FMT
                              "' reads text only",
                              i, medium_word(m), STR_ARG(a->model));
    }
    return 0;
}

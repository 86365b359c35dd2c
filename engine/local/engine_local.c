#include "engine/local/engine_local.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "engine/local/chat_template.h"
#include "engine/local/coordinator.h"
#include "engine/local/embedder.h"
#include "engine/local/encoder.h"
#include "engine/local/gguf.h"
#include "engine/local/job.h"
#include "engine/local/lora.h"
#include "engine/local/model.h"
#include "engine/local/prompt.h"
#include "engine/local/structure.h"
#include "engine/local/tokenizer.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>

struct local_engine {
    struct engine base;
    struct tokenizer *tokenizer;
    struct prompter *prompter;
    struct structure *structure;
    struct model *model; /* a decoder, with the next two; NULL: */
    struct stepper *stepper;
    struct coordinator *coordinator;
    struct encoder *encoder; /* else; it gives vectors and scores, no text */
    struct embedder *embedder;
    int32_t *eog; /* owned: the end tokens */
    size_t n_eog;
    uint32_t vocab; /* ids that can be chosen and given */
    uint32_t context;
    enum cache_type cache;
    _Atomic uint64_t base_id; /* 0: not asked for yet */
};

static struct local_engine *local(struct engine *e)
{
    return (struct local_engine *)e; /* base is its first member */
}

static const struct local_engine *local_const(const struct engine *e)
{
    return (const struct local_engine *)e;
}

static void local_free(struct engine *e)
{
    struct local_engine *l = local(e);
    embedder_free(l->embedder); /* first: those within use all the others, like the next's thread */
    coordinator_free(l->coordinator);
    stepper_free(l->stepper);
    structure_free(l->structure);
    prompter_free(l->prompter);
    tokenizer_free(l->tokenizer);
    model_free(l->model);
    free(l->eog);
    encoder_free(l->encoder);
    free(l);
}

/* ---- requests ---- */

static void local_cancel(struct engine_job *job)
{
    struct job *j = (struct job *)job; /* base is its first member */
    atomic_store_explicit(&j->cancelled, true, memory_order_relaxed);
}

static void local_unref(struct engine_job *job)
{
    job_unref((struct job *)job);
}

static const struct engine_ops local_ops;

static int submit(struct local_engine *l, struct engine_job **ret, const struct engine_spec *spec,
                  struct fail *reterr)
{
    if (!l->model)
        return fail_param(reterr, FAIL_invalid_request, "model",
                          "this model is an encoder (%s): it computes embeddings and scores, it "
                          "does not write text",
                          encoder_shape(l->encoder)->arch);
    CLEANUP(token_list_done) struct token_list ids = { .max = l->context };
    CLEANUP(grammar_unrefp) struct grammar *grammar = NULL;
    bool opened = false;
    int r = prompter_prompt(l->prompter, spec->request, &ids, &opened, reterr);
    const struct tool_format *format =
        spec->request->is_completion ? NULL : prompter_format(l->prompter);
    if (r == 0)
        r = structure_grammar(l->structure, spec->request,
                              (struct structure_manner){ format, opened }, &grammar, reterr);
    if (r != 0)
        return r;
    struct job_context context = {
        .ops = &local_ops,
        .tokenizer = l->tokenizer,
        .vocab = l->vocab,
        .context = l->context,
        .base = engine_local_base_id(&l->base),
        .cache = l->cache,
        .eog = l->eog,
        .n_eog = l->n_eog,
        .format = format,
        .opened = opened,
        .grammar = grammar,
        .trie = grammar ? structure_trie(l->structure) : NULL,
    };
    CLEANUP(job_unrefp) struct job *j = NULL;
    r = job_new(&j, &context, spec, &ids, reterr);
    if (r == 0)
        r = coordinator_put(l->coordinator, ret, j, reterr);
    if (r == 0)
        j = NULL; /* the caller's through *ret */
    return r;
}

static int local_submit(struct engine *e, struct engine_job **ret, const struct engine_spec *spec,
                        struct fail *reterr)
{
    int r = submit(local(e), ret, spec, reterr);
    return r < 0 ? fail_errno(reterr, r, "preparing the prompt") : r;
}

static int local_tokenize(struct engine *e, int32_t **ret_ids, size_t *ret_n,
                          const struct chat_request *request, struct fail *reterr)
{
    CLEANUP(token_list_done) struct token_list ids = { .max = LIMIT_CONTEXT };
    int r = prompter_ids(local(e)->prompter, request, &ids, reterr);
    if (r != 0)
        return r < 0 ? fail_errno(reterr, r, "preparing the prompt") : r;
    *ret_n = ids.n;
    *ret_ids = TAKE(ids.ids);
    return 0;
}

static ptrdiff_t local_count_tokens(struct engine *e, struct str text)
{
    CLEANUP(token_list_done) struct token_list ids = { .max = LIMIT_CONTEXT };
    const struct tokenizer *t = local(e)->tokenizer;
    if (text.n / LIMIT_CONTEXT > tokenizer_longest(t))
        return LIMIT_CONTEXT;
    int r = tokenizer_encode(t, text, /* flags= */ 0, &ids);
    return r < 0 && r != -E2BIG ? r : (ptrdiff_t)ids.n;
}

static int local_encode(struct engine *e, const struct engine_encoding *what, int32_t **ret_ids,
                        size_t *ret_n, struct fail *reterr)
{
    CLEANUP(token_list_done)
    struct token_list ids = { .max = what->max && what->max < LIMIT_CONTEXT ? what->max
                                                                            : LIMIT_CONTEXT };
    const struct tokenizer *t = local(e)->tokenizer;
    unsigned flags = (what->ends ? TOKENIZE_bos : 0) | (what->specials ? TOKENIZE_special : 0);
    int r = what->text.n / ids.max > tokenizer_longest(t)
                ? -E2BIG
                : tokenizer_encode(t, what->text, flags, &ids);
    if (r == -E2BIG)
        return fail_set(reterr, FAIL_context_length_exceeded,
                        "the text has more than %zu tokens; shorten it", ids.max);
    if (r < 0)
        return fail_errno(reterr, r, "cutting the text into tokens");
    *ret_n = ids.n;
    *ret_ids = TAKE(ids.ids);
    return 0;
}

/* Runs of text between control tokens, each as its own beginning: only then is what
 * SentencePiece puts before a text taken away again. */
static int local_spell(struct engine *e, const int32_t *ids, size_t n, struct buf *out,
                       struct fail *reterr)
{
    const struct tokenizer *t = local(e)->tokenizer;
    struct detokenizer d;
    detokenizer_init(&d, t, /* at_start= */ true);
    for (size_t i = 0; i < n; i++) {
        if (ids[i] < 0 || (uint32_t)ids[i] >= tokenizer_vocab(t))
            return fail_param(reterr, FAIL_invalid_request, "tokens",
                              "tokens[%zu] is %" PRId32
                              "; token ids of this model are 0 to %" PRIu32,
                              i, ids[i], tokenizer_vocab(t) - 1);
        if (!tokenizer_is_special(t, ids[i])) {
            detokenizer_push(&d, ids[i], out);
            continue;
        }
        detokenizer_end(&d, out);
        tokenizer_decode(t, ids[i], /* special= */ true, out);
        detokenizer_init(&d, t, /* at_start= */ true);
    }
    detokenizer_end(&d, out);
    return 0;
}

static struct str local_token(const struct engine *e, int32_t id, struct buf *bytes)
{
    const struct tokenizer *t = local_const(e)->tokenizer;
    if (bytes)
        tokenizer_decode(t, id, /* special= */ true, bytes);
    return tokenizer_token_text(t, id);
}

static void local_detokenize(struct engine *e, const int32_t *ids, size_t n, struct buf *out)
{
    const struct tokenizer *t = local(e)->tokenizer;
    struct detokenizer d;
    detokenizer_init(&d, t, /* at_start= */ true);
    for (size_t i = 0; i < n; i++)
        if (ids[i] >= 0 && (uint32_t)ids[i] < tokenizer_vocab(t))
            detokenizer_push(&d, ids[i], out);
    detokenizer_end(&d, out);
}

static int local_embed(struct engine *e, const struct embed_input *inputs, size_t n,
                       struct embed_result *ret, struct fail *reterr)
{
    return embedder_embed(local(e)->embedder, inputs, n, ret, reterr);
}

static int local_classify(struct engine *e, const struct embed_input *inputs, size_t n,
                          struct embed_result *ret, struct fail *reterr)
{
    return embedder_classify(local(e)->embedder, inputs, n, ret, reterr);
}

static int local_classify_tokens(struct engine *e, struct str text, struct embed_result *ret,
                                 struct token_range **ret_ranges, struct fail *reterr)
{
    return embedder_classify_tokens(local(e)->embedder, text, ret, ret_ranges, reterr);
}

static struct str local_label(const struct engine *e, size_t i)
{
    const struct encoder *encoder = local_const(e)->encoder;
    return encoder ? encoder_label(encoder, i) : STR_NULL;
}

static uint32_t local_context(const struct engine *e)
{
    return local_const(e)->context;
}

static size_t local_load(const struct engine *e, size_t *ret_running, size_t *ret_waiting)
{
    const struct local_engine *l = local_const(e);
    size_t running = 0, waiting = 0, embedding, embed_waiting;
    if (l->coordinator)
        (void)coordinator_load(l->coordinator, &running, &waiting);
    embedder_load(l->embedder, &embedding, &embed_waiting);
    if (ret_running)
        *ret_running = running + embedding;
    if (ret_waiting)
        *ret_waiting = waiting + embed_waiting;
    return running + embedding + waiting + embed_waiting;
}

static void local_drain(struct engine *e)
{
    if (local(e)->coordinator)
        coordinator_drain(local(e)->coordinator);
    embedder_drain(local(e)->embedder);
}

static const struct engine_ops local_ops = {
    .submit = local_submit,
    .cancel = local_cancel,
    .unref = local_unref,
    .tokenize = local_tokenize,
    .count_tokens = local_count_tokens,
    .detokenize = local_detokenize,
    .encode = local_encode,
    .spell = local_spell,
    .token = local_token,
    .embed = local_embed,
    .classify = local_classify,
    .classify_tokens = local_classify_tokens,
    .label = local_label,
    .context = local_context,
    .load = local_load,
    .drain = local_drain,
    .free = local_free,
};

/* ---- loading ---- */

static uint32_t at_most(uint64_t n, uint32_t max)
{
    return n < max ? (uint32_t)n : max;
}

/* Beyond the length that it was trained on a model talks nonsense: the file's own is the ceiling.
 */
static uint32_t choose_context(const struct config_model *m, uint32_t own)
{
    own = at_most(own ? own : LIMIT_CONTEXT, LIMIT_CONTEXT);
    if (m->context > own)
        log_line(LOG_warn, "context_reduced", "asked=%" PRIu64 " model=%" PRIu32, m->context, own);
    return m->context ? at_most(m->context, own) : own;
}

static int find_eog(struct local_engine *l)
{
    for (int pass = 0; pass < 2; pass++) {
        l->n_eog = 0;
        for (uint32_t id = 0; id < l->vocab; id++)
            if (tokenizer_is_eog(l->tokenizer, (int32_t)id)) {
                if (pass == 1)
                    l->eog[l->n_eog] = (int32_t)id;
                l->n_eog++;
            }
        if (pass == 0 && !(l->eog = calloc(l->n_eog + 1, sizeof(*l->eog))))
            return -ENOMEM;
    }
    return 0;
}

static int load_model(struct local_engine *l, const char *path, struct fail *reterr)
{
    CLEANUP(gguf_closep) struct gguf *g = NULL;
    int r = gguf_open(&g, path, reterr);
    if (r < 0)
        return fail_set(reterr, FAIL_invalid_request, "%s: %s", path, strerror(-r));
    struct str arch = STR("");
    bool encodes = r == 0 && gguf_str(g, "general.architecture", &arch) && encoder_knows(arch);
    if (r == 0 && !encodes)
        r = model_supported(g, reterr);
    if (r == 0)
        r = tokenizer_new(&l->tokenizer, g, reterr);
    if (r == 0 && encodes)
        r = encoder_new(&l->encoder, &g, reterr);
    else if (r == 0)
        r = model_new(&l->model, &g, reterr);
    if (r != 0)
        return r;
    uint32_t rows = l->model ? model_shape(l->model)->vocab : encoder_shape(l->encoder)->vocab;
    uint32_t ids = tokenizer_vocab(l->tokenizer);
    if (ids == 0 || ids > rows)
        return fail_set(reterr, FAIL_invalid_request,
                        "%s: the tokenizer has %" PRIu32 " ids, the embedding table %" PRIu32, path,
                        ids, rows);
    l->vocab = ids;
    r = find_eog(l);
    if (r == 0)
        r = structure_new(&l->structure, l->tokenizer);
    if (r < 0)
        return r;
    const struct gguf *file = l->model ? model_gguf(l->model) : encoder_gguf(l->encoder);
    return prompter_new(&l->prompter, file, l->tokenizer, l->vocab);
}

static uint32_t slots_of(const struct config_model *m)
{
    return at_most(m->slots ? m->slots : 1, LIMIT_SLOTS);
}

/* A quarter more than asked for, whose memory is touched only when tenants compete. */
static uint32_t spare_of(const struct config_model *m)
{
    uint32_t slots = slots_of(m), spare = (slots + 3) / 4;
    return spare < LIMIT_SLOTS - slots ? spare : LIMIT_SLOTS - slots;
}

static int start_decoding(struct local_engine *l, const struct config_model *m,
                          const struct stepper_options *o, struct fail *reterr)
{
    int r = stepper_new(&l->stepper, l->model, o, reterr);
    if (r != 0)
        return r;
    struct coordinator_options scheduling = {
        .stepper = l->stepper,
        .slots = o->slots - spare_of(m),
        .spare = spare_of(m),
        .context = l->context,
        .vocab = model_shape(l->model)->vocab,
        .rows = o->rows,
        .queue = at_most(m->queue, UINT32_MAX),
    };
    return coordinator_new(&l->coordinator, &scheduling);
}

static int start(struct local_engine *l, const struct config_model *m, struct fail *reterr)
{
    uint32_t slots = slots_of(m) + spare_of(m);
    uint32_t batch = at_most(m->batch, LIMIT_BATCH_ROWS);
    uint32_t rows = batch > slots ? batch : slots;
    l->context = choose_context(m, l->model ? model_shape(l->model)->context
                                            : encoder_shape(l->encoder)->context);
    struct stepper_options options = {
        .slots = slots,
        .context = l->context,
        .rows = rows,
        .threads = at_most(m->threads, 1024),
        .cache = (enum cache_type)m->cache_type,
    };
    l->cache = options.cache;
    int r = l->model ? start_decoding(l, m, &options, reterr) : 0;
    struct embedder_options embedding = {
        .tokenizer = l->tokenizer,
        .model = l->model,
        .encoder = l->encoder,
        .vocab = l->vocab,
        .context = l->context,
        .rows = rows,
        .threads = options.threads,
        .calls = m->queue,
        .cache = options.cache,
    };
    if (r == 0)
        r = embedder_new(&l->embedder, &embedding, reterr);
    if (r == 0)
        log_line(LOG_info, "model_loaded", "name=" STR_FMT " arch=%s slots=%u context=%u rows=%u",
                 STR_ARG(m->name),
                 l->model ? model_shape(l->model)->arch : encoder_shape(l->encoder)->arch,
                 slots_of(m), l->context, rows);
    return r;
}

int engine_local_new(struct engine **ret, const struct config_model *m, struct fail *reterr)
{
    CLEANUP(own_free) char *path = str_dup(m->path);
    struct local_engine *l = calloc(1, sizeof(*l));
    if (!l || !path) {
        free(l);
        return fail_errno(reterr, -ENOMEM, "loading the model");
    }
    l->base.ops = &local_ops;
    CLEANUP(engine_freep) struct engine *e = &l->base;
    int r = load_model(l, path, reterr);
    if (r == 0)
        r = start(l, m, reterr);
    if (r != 0)
        return r < 0 ? fail_errno(reterr, r, "loading the model") : r;
    *ret = TAKE(e);
    return 0;
}

const struct tokenizer *engine_local_tokenizer(const struct engine *e)
{
    return local_const(e)->tokenizer;
}

static int refuse_encoder(const char *path, struct fail *reterr)
{
    return fail_set(reterr, FAIL_unprocessable_adapter,
                    "%s: the base is an encoder, which takes no adapters", path);
}

int engine_local_lora_load(const struct engine *e, struct lora **ret, size_t *ret_bytes,
                           const char *path, struct fail *reterr)
{
    struct lora *lora = NULL;
    if (!local_const(e)->model)
        return refuse_encoder(path, reterr);
    int r = lora_load(&lora, local_const(e)->model, path, /* extra_scale= */ 1, reterr);
    if (r != 0)
        return r < 0 ? fail_errno(reterr, r, "loading the adapter") : r;
    *ret_bytes = lora->bytes;
    *ret = lora;
    return 0;
}

uint64_t engine_local_base_id(struct engine *e)
{
    struct local_engine *l = local(e);
    uint64_t id = atomic_load(&l->base_id);
    if (id || !l->model || model_id(l->model, &id) < 0)
        return id;
    atomic_store(&l->base_id, id); /* whoever else computes it now gets the same */
    return id;
}

static_assert((int)PACKING_source == LORA_packing_source && (int)PACKING_f16 == LORA_packing_f16 &&
                  (int)PACKING_int8 == LORA_packing_int8,
              "the configuration's words are the engine's");

static struct lora_pack pack_of(struct engine *e, enum adapter_packing packing)
{
    return (struct lora_pack){ local(e)->model, engine_local_base_id(e),
                               (enum lora_packing)packing };
}

int engine_local_lora_pack(struct engine *e, enum adapter_packing packing, const char *path,
                           const char *to, struct fail *reterr)
{
    if (!local(e)->model)
        return refuse_encoder(path, reterr);
    struct lora_pack p = pack_of(e, packing);
    int r = lora_pack_file(&p, path, to, reterr);
    return r < 0 ? fail_errno(reterr, r, "packing the adapter") : r;
}

int engine_local_lora_map(struct engine *e, enum adapter_packing packing, const char *packed,
                          struct lora **ret, size_t *ret_bytes, struct fail *reterr)
{
    if (!local(e)->model)
        return refuse_encoder(packed, reterr);
    struct lora_pack p = pack_of(e, packing);
    int r = lora_map_file(ret, &p, packed);
    if (r == 0)
        *ret_bytes = (*ret)->bytes;
    return r < 0 && r != -ESTALE ? fail_errno(reterr, r, "mapping the packed adapter") : r;
}

static int open_decoder(struct model **ret, const char *path, struct fail *reterr)
{
    CLEANUP(gguf_closep) struct gguf *g = NULL;
    struct str arch = STR("");
    int r = gguf_open(&g, path, reterr);
    if (r == 0 && gguf_str(g, "general.architecture", &arch) && encoder_knows(arch))
        return refuse_encoder(path, reterr);
    if (r == 0)
        r = model_supported(g, reterr);
    return r ? r : model_new(ret, &g, reterr);
}

int engine_local_lora_check(const char *model, const char *path, const char *to,
                            uint64_t *ret_base_id, struct fail *reterr)
{
    CLEANUP(model_freep) struct model *m = NULL;
    struct lora_pack p = { .packing = LORA_packing_source };
    int r = open_decoder(&m, model, reterr);
    if (r < 0)
        return fail_errno(reterr, r, "opening the base model");
    if (r == 0 && (to || ret_base_id))
        r = model_id(m, &p.base_id);
    p.model = m;
    if (r == 0)
        r = to ? lora_pack_file(&p, path, to, reterr) : lora_check(m, path, reterr);
    if (r != 0)
        return r < 0 ? fail_errno(reterr, r, "checking the adapter") : r;
    if (ret_base_id)
        *ret_base_id = p.base_id;
    return 0;
}

struct lora *engine_local_lora_free(struct lora *l)
{
    return lora_free(l);
}

#include "engine/local/embedder.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/num.h"
#include "engine/local/encoder.h"
#include "engine/local/loader.h"
#include "engine/local/tokenizer.h"

enum { SEQUENCES = 8 }; /* of a decoder, computed together: their caches are paged in when used */

struct embedder {
    struct embedder_options options;
    struct embed_decoder *decoder; /* or */
    struct encoder_runner *runner;
    struct embed_queue *queue;
    uint32_t width; /* of a vector */
};

/* The inputs of one call, as ids. */
struct batch {
    struct token_list *lists; /* owned; of inputs that came as text */
    struct embed_task *tasks; /* owned */
    size_t n;
    uint64_t tokens;
};

static void batch_done(struct batch *b)
{
    for (size_t i = 0; b->lists && i < b->n; i++)
        token_list_done(&b->lists[i]);
    free(b->lists);
    free(b->tasks);
}

/* Without a word of the file the last token, which alone has seen all others, speaks for a text. */
static int decoder_pooling(const struct embedder_options *o, enum pooling *ret, struct fail *reterr)
{
    struct loader l = { .gguf = model_gguf(o->model),
                        .prefix = model_shape(o->model)->arch,
                        .reterr = reterr };
    int r = loader_pooling(&l, ret, "pooling_type", POOLING_last);
    if (r == 0 && (*ret == POOLING_none || *ret == POOLING_rank))
        *ret = POOLING_last;
    return r;
}

static int start_decoder(struct embedder *e, struct embed_backend *ret, struct fail *reterr)
{
    const struct embedder_options *o = &e->options;
    struct stepper_options steps = {
        .slots = SEQUENCES,
        .context = o->context,
        .rows = o->rows,
        .threads = o->threads,
        .cache = o->cache,
    };
    enum pooling pooling = POOLING_last;
    e->width = model_shape(o->model)->embed;
    int r = decoder_pooling(o, &pooling, reterr);
    if (r == 0)
        r = embed_decoder_new(&e->decoder, o->model, pooling, &steps);
    if (r == 0)
        *ret = embed_decoder_backend(e->decoder);
    return r;
}

static int start_encoder(struct embedder *e, struct embed_backend *ret)
{
    const struct embedder_options *o = &e->options;
    uint32_t rows = o->rows > o->context ? o->rows : o->context; /* a text is read in one step */
    e->width = encoder_shape(o->encoder)->embed;
    int r = encoder_runner_new(&e->runner, o->encoder, rows, o->threads);
    if (r == 0)
        *ret = encoder_backend(e->runner);
    return r;
}

int embedder_new(struct embedder **ret, const struct embedder_options *o, struct fail *reterr)
{
    CLEANUP(embedder_freep) struct embedder *e = calloc(1, sizeof(*e));
    if (!e)
        return -ENOMEM;
    e->options = *o;
    struct embed_backend backend = { 0 };
    int r = o->encoder ? start_encoder(e, &backend) : start_decoder(e, &backend, reterr);
    if (r == 0)
        r = embed_queue_new(&e->queue, &backend, o->calls);
    if (r == 0)
        *ret = TAKE(e);
    return r;
}

struct embedder *embedder_free(struct embedder *e)
{
    if (!e)
        return NULL;
    embed_queue_free(e->queue); /* first: its callers use the rest */
    embed_decoder_free(e->decoder);
    encoder_runner_free(e->runner);
    free(e);
    return NULL;
}

/* ---- inputs ---- */

static int too_long(const struct embedder *e, size_t index, struct fail *reterr)
{
    return fail_param(reterr, FAIL_context_length_exceeded, "input",
                      "input %zu has more than the %" PRIu32
                      " tokens that this model reads at once: shorten it",
                      index, e->options.context);
}

static int check_input(const struct embedder *e, const struct embed_task *t, size_t index,
                       size_t n_ids, struct fail *reterr)
{
    if (n_ids == 0)
        return fail_param(reterr, FAIL_invalid_request, "input",
                          "input %zu is empty: it has no tokens", index);
    if (n_ids > e->options.context)
        return too_long(e, index, reterr);
    for (size_t i = 0; i < n_ids; i++)
        if (t->ids[i] < 0 || (uint32_t)t->ids[i] >= e->options.vocab)
            return fail_param(reterr, FAIL_invalid_request, "input",
                              "input %zu holds the token id %" PRId32
                              "; this model's are 0 to %" PRIu32,
                              index, t->ids[i], e->options.vocab - 1);
    return 0;
}

static int read_input(const struct embedder *e, struct batch *b, const struct embed_input *in,
                      struct fail *reterr)
{
    size_t i = b->n++; /* its list is freed from now on */
    struct embed_task *t = &b->tasks[i];
    struct token_list *own = &b->lists[i];
    size_t n_ids = in->n_ids;
    t->ids = in->ids;
    if (!in->ids) {
        own->max = e->options.context;
        int r = tokenizer_encode(e->options.tokenizer, in->text, TOKENIZE_bos, own);
        if (r < 0)
            return r == -E2BIG ? too_long(e, i, reterr) : r;
        t->ids = own->ids;
        n_ids = own->n;
    }
    int r = check_input(e, t, i, n_ids, reterr);
    if (r != 0)
        return r;
    t->n = (uint32_t)n_ids;
    b->tokens += n_ids;
    return 0;
}

static int read_inputs(const struct embedder *e, struct batch *b, const struct embed_input *inputs,
                       size_t n, struct fail *reterr)
{
    b->lists = calloc(n ? n : 1, sizeof(*b->lists));
    b->tasks = calloc(n ? n : 1, sizeof(*b->tasks));
    if (!b->lists || !b->tasks)
        return -ENOMEM;
    int r = 0;
    while (r == 0 && b->n < n)
        r = read_input(e, b, &inputs[b->n], reterr);
    return r;
}

/* ---- results ---- */

static int compute(struct embedder *e, struct batch *b, enum embed_output output, uint32_t width,
                   struct embed_result *ret, struct fail *reterr)
{
    size_t floats;
    CLEANUP(own_free) float *values = NULL;
    if (mul_ok(b->n, width, &floats))
        values = calloc(floats ? floats : 1, sizeof(*values));
    if (!values)
        return -ENOMEM;
    for (size_t i = 0; i < b->n; i++) {
        b->tasks[i].output = output;
        b->tasks[i].out = values + i * width;
    }
    int r = embed_queue_run(e->queue, b->tasks, b->n, reterr);
    if (r != 0)
        return r;
    *ret = (struct embed_result){ TAKE(values), b->n, width, b->tokens };
    return 0;
}

static int run_inputs(struct embedder *e, const struct embed_input *inputs, size_t n,
                      enum embed_output output, struct embed_result *ret, struct fail *reterr)
{
    CLEANUP(batch_done) struct batch b = { 0 };
    uint32_t width = output == EMBED_vector ? e->width : encoder_shape(e->options.encoder)->labels;
    int r = read_inputs(e, &b, inputs, n, reterr);
    if (r == 0)
        r = compute(e, &b, output, width, ret, reterr);
    return r < 0 ? fail_errno(reterr, r, "computing embeddings") : r;
}

int embedder_embed(struct embedder *e, const struct embed_input *inputs, size_t n,
                   struct embed_result *ret, struct fail *reterr)
{
    const struct encoder *encoder = e->options.encoder;
    if (encoder && encoder_shape(encoder)->pooling == POOLING_rank)
        return fail_param(reterr, FAIL_unsupported_parameter, "model",
                          "this model scores text (its pooling type is rank); it does not compute "
                          "embeddings");
    struct embed_result result = { 0 };
    int r = run_inputs(e, inputs, n, EMBED_vector, &result, reterr);
    if (r != 0)
        return r;
    for (size_t i = 0; i < n; i++) /* a sum of states points where their mean does */
        embed_unit_length(result.values + i * e->width, e->width);
    *ret = result;
    return 0;
}

static int no_head(const char *what, struct fail *reterr)
{
    return fail_param(reterr, FAIL_unsupported_parameter, "model",
                      "this model has no head that classifies %s", what);
}

int embedder_classify(struct embedder *e, const struct embed_input *inputs, size_t n,
                      struct embed_result *ret, struct fail *reterr)
{
    uint32_t labels = e->options.encoder ? encoder_shape(e->options.encoder)->labels : 0;
    if (!labels)
        return no_head("texts", reterr);
    return run_inputs(e, inputs, n, EMBED_scores, ret, reterr);
}

int embedder_classify_tokens(struct embedder *e, struct str text, struct embed_result *ret,
                             struct token_range **ret_ranges, struct fail *reterr)
{
    uint32_t labels = e->options.encoder ? encoder_shape(e->options.encoder)->token_labels : 0;
    if (!labels)
        return no_head("tokens", reterr);
    CLEANUP(token_list_done) struct token_list ids = { .max = e->options.context };
    int r = tokenizer_encode_ranges(e->options.tokenizer, text, TOKENIZE_bos, &ids);
    if (r == -E2BIG)
        return too_long(e, /* index= */ 0, reterr);
    if (r < 0)
        return fail_errno(reterr, r, "cutting the text into tokens");
    CLEANUP(own_free) float *values = NULL;
    struct embed_task task = { .ids = ids.ids, .output = EMBED_tokens };
    r = check_input(e, &task, /* index= */ 0, ids.n, reterr);
    if (r != 0)
        return r;
    task.n = (uint32_t)ids.n;
    task.out = values = calloc(ids.n * labels, sizeof(*values));
    r = values ? embed_queue_run(e->queue, &task, 1, reterr) : -ENOMEM;
    if (r != 0)
        return r < 0 ? fail_errno(reterr, r, "classifying tokens") : r;
    *ret = (struct embed_result){ TAKE(values), ids.n, labels, ids.n };
    *ret_ranges = TAKE(ids.ranges);
    return 0;
}

void embedder_drain(struct embedder *e)
{
    embed_queue_drain(e->queue);
}

void embedder_load(struct embedder *e, size_t *ret_running, size_t *ret_waiting)
{
    embed_queue_load(e->queue, ret_running, ret_waiting);
}

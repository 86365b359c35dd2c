/*
 * Types of which no output is stored, against the same weights expanded to F32: the model's file is
 * written again with every tensor unpacked (blocks.c proves that unpacking is exact), and both must
 * give the same logits, continuations and perplexity. The ternary types come as random blocks in a
 * real model's place of matrices. One case a type.
 */
#include "base/file.h"
#include "base/own.h"
#include "engine/local/kernel.h"
#include "tests/golden/decode.h"
#include "tests/support/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PROMPTS = 8, PROMPT = 12, WANTED = 48, ALIGNMENT = 32, MAX_TENSORS = 128 };

/* Activations may be rounded where weights are quantised: what stored references show of their own
 * builds is 0.1 to 0.4. Ours stay nearer to the exact graph. */
static const double logit_bound = 5e-3, margin_bound = 5e-3, perplexity_bound = 1e-3;

struct expanded_case {
    const char *name, *file;
    uint32_t type; /* of random blocks in place of the matrices; F32: the file's own */
};

/* ---- files ---- */

static const char *skip_value(const char *p, uint32_t kind)
{
    static const uint8_t sizes[] = { 1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8 };
    uint64_t n = 0;
    uint32_t of = 0;
    if (kind == GGUF_string) {
        memcpy(&n, p, sizeof(n));
        return p + sizeof(n) + n;
    }
    if (kind != GGUF_array)
        return p + sizes[kind];
    memcpy(&of, p, sizeof(of));
    memcpy(&n, p + sizeof(of), sizeof(n));
    p += sizeof(of) + sizeof(n);
    for (uint64_t i = 0; i < n; i++)
        p = skip_value(p, of);
    return p;
}

/* Bytes of the header and all keys: what stands before the first tensor's description. */
static size_t head_bytes(const char *file)
{
    enum { HEADER = 24, KEYS_AT = 16 };
    uint64_t n_keys = 0;
    const char *p = file + HEADER;
    memcpy(&n_keys, file + KEYS_AT, sizeof(n_keys));
    for (uint64_t i = 0; i < n_keys; i++) {
        uint32_t kind = 0;
        p = skip_value(p, GGUF_string);
        memcpy(&kind, p, sizeof(kind));
        p = skip_value(p + sizeof(kind), kind);
    }
    return (size_t)(p - file);
}

static void add(struct buf *b, const void *p, size_t n)
{
    buf_add(b, (struct str){ p, n });
}

static void pad(struct buf *b)
{
    while (b->n % ALIGNMENT)
        buf_addc(b, '\0');
}

struct tensor {
    const struct gguf_tensor *from;
    uint32_t type;
    void *data; /* owned */
    size_t bytes;
};

/* The file with other tensors, in the same order and shapes. */
static void write_file(const char *path, struct str file, const struct tensor *tensors, size_t n)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(1ul << 30);
    add(&b, file.p, head_bytes(file.p));
    uint64_t offset = 0;
    for (size_t i = 0; i < n; i++) {
        const struct gguf_tensor *t = tensors[i].from;
        uint64_t length = t->name.n;
        add(&b, &length, sizeof(length));
        buf_add(&b, t->name);
        add(&b, &t->n_dims, sizeof(t->n_dims));
        add(&b, t->dims, t->n_dims * sizeof(t->dims[0]));
        add(&b, &tensors[i].type, sizeof(tensors[i].type));
        add(&b, &offset, sizeof(offset));
        offset += (tensors[i].bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }
    for (size_t i = 0; i < n; i++) {
        pad(&b);
        add(&b, tensors[i].data, tensors[i].bytes);
    }
    pad(&b);
    assert_int_equal(buf_err(&b), 0);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(b.p, 1, b.n, f), b.n);
    assert_int_equal(fclose(f), 0);
}

static size_t rows_of(const struct gguf_tensor *t)
{
    return (size_t)(t->dims[1] * t->dims[2] * t->dims[3]);
}

/* The tensor's rows of `type`, unpacked. */
static struct tensor expand(const struct gguf_tensor *t, uint32_t type, const uint8_t *data)
{
    const struct kernel *k = kernel_for(&kernels_generic, type);
    size_t width = (size_t)t->dims[0], stride = kernel_row_bytes(type, width);
    struct tensor to = { t, TENSOR_F32, NULL, rows_of(t) * width * sizeof(float) };
    to.data = malloc(to.bytes);
    assert_non_null(k);
    assert_non_null(to.data);
    for (size_t row = 0; row < rows_of(t); row++)
        k->unpack((float *)to.data + row * width, data + row * stride, width);
    return to;
}

/* Random blocks of a ternary type; `half_at` is where its scale stands. */
static struct tensor random_blocks(const struct gguf_tensor *t, uint32_t type, uint64_t *random)
{
    const struct tensor_layout *l = tensor_layout(type);
    size_t half_at = l->block_bytes - 2; /* both end with it */
    struct tensor to = { t, type, NULL, rows_of(t) * kernel_row_bytes(type, (size_t)t->dims[0]) };
    uint8_t *p = to.data = malloc(to.bytes);
    assert_non_null(p);
    for (size_t i = 0; i < to.bytes; i++)
        p[i] = (uint8_t)test_random(random);
    for (size_t at = half_at; at < to.bytes; at += l->block_bytes) {
        p[at] = (uint8_t)test_random(random); /* 2^-5 … 2^-4 in F16 */
        p[at + 1] = (uint8_t)(0x28 | (test_random(random) & 3));
    }
    return to;
}

static bool is_matrix(const struct gguf_tensor *t)
{
    return t->n_dims > 1 && t->dims[0] % 256 == 0;
}

struct pair {
    char own[256], twin[256]; /* paths */
};

/* Writes the expanded twin, and for random blocks the model itself. */
static void make_pair(struct pair *ret, const struct expanded_case *c, const char *from)
{
    CLEANUP(gguf_closep) struct gguf *g = NULL;
    CLEANUP(own_free) char *file = NULL;
    static struct tensor own[MAX_TENSORS], twin[MAX_TENSORS];
    struct fail f = { 0 };
    size_t bytes = 0, n_random = 0;
    uint64_t random = c->type;
    if (gguf_open(&g, from, &f) != 0)
        fail_msg("%s: %s", from, f.message);
    file = test_read(from, &bytes);
    size_t n = gguf_n_tensors(g);
    assert_true(n <= MAX_TENSORS);
    for (size_t i = 0; i < n; i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        if (c->type != TENSOR_F32 && is_matrix(t)) {
            own[i] = random_blocks(t, c->type, &random);
            n_random++;
        } else {
            own[i] = (struct tensor){ t, t->type, malloc(t->bytes), t->bytes };
            assert_non_null(own[i].data);
            memcpy(own[i].data, t->data, t->bytes);
        }
        twin[i] = expand(t, own[i].type, own[i].data);
    }
    assert_true(c->type == TENSOR_F32 || n_random > 10);
    const char *folder = test_temp_dir();
    (void)snprintf(ret->twin, sizeof(ret->twin), "%.200s/twin.gguf", folder);
    (void)snprintf(ret->own, sizeof(ret->own), "%.200s/own.gguf", folder);
    write_file(ret->own, (struct str){ file, bytes }, own, n);
    write_file(ret->twin, (struct str){ file, bytes }, twin, n);
    for (size_t i = 0; i < n; i++) {
        free(own[i].data);
        free(twin[i].data);
    }
}

/* ---- comparing ---- */

struct output {
    struct decode_job jobs[PROMPTS];
    int32_t ids[PROMPTS][WANTED];
    double nll;
};

static int32_t prompts[PROMPTS][PROMPT];

static double mean_surprise(const struct model *m, const int32_t *ids, size_t n)
{
    struct stepper_options o = { 1, WANTED + PROMPT, WANTED + PROMPT, 2, CACHE_f32 };
    CLEANUP(stepper_freep) struct stepper *s = NULL;
    struct step_row rows[WANTED + PROMPT];
    struct fail f = { 0 };
    const float *logits;
    double sum = 0;
    uint32_t vocab = model_shape(m)->vocab;
    if (stepper_new(&s, m, &o, &f))
        fail_msg("%s", f.message);
    for (uint32_t i = 0; i + 1 < n; i++)
        rows[i] = (struct step_row){ ids[i], i, 0, true, NULL };
    assert_int_equal(stepper_run(s, rows, n - 1, &logits), 0);
    for (size_t i = 1; i < n; i++, logits += vocab) {
        double all = 0;
        for (uint32_t k = 0; k < vocab; k++)
            all += exp((double)(logits[k] - logits[ids[i]]));
        sum += log(all);
    }
    return sum / (double)(n - 1);
}

static void run(struct output *ret, const char *path, const int32_t *text, size_t n_text)
{
    struct model *m = decode_model(path);
    uint32_t vocab = model_shape(m)->vocab;
    for (size_t i = 0; i < PROMPTS; i++) {
        ret->jobs[i] = (struct decode_job){ .prompt = prompts[i],
                                            .n_prompt = PROMPT,
                                            .n_wanted = WANTED,
                                            .ids = ret->ids[i],
                                            .logits = calloc(vocab, sizeof(float)) };
        assert_non_null(ret->jobs[i].logits);
    }
    decode_all(m, ret->jobs, PROMPTS, PROMPTS, /* chunk= */ 5);
    if (n_text)
        ret->nll = mean_surprise(m, text, n_text);
    model_free(m);
}

/* How much more probable the twin finds its own choice than the other one, at that step. */
static double twin_margin(const char *path, const struct output *twin, size_t job, size_t step,
                          int32_t other)
{
    int32_t ids[PROMPT + WANTED];
    struct model *m = decode_model(path);
    float *logits = calloc(model_shape(m)->vocab, sizeof(float));
    assert_non_null(logits);
    memcpy(ids, prompts[job], sizeof(prompts[job]));
    memcpy(ids + PROMPT, twin->ids[job], step * sizeof(int32_t));
    struct decode_job j = { .prompt = ids, .n_prompt = PROMPT + step, .logits = logits };
    decode_all(m, &j, 1, 1, 8);
    double margin = (double)logits[twin->ids[job][step]] - (double)logits[other];
    free(logits);
    model_free(m);
    return margin;
}

static void compare(const struct expanded_case *c, const struct output *own,
                    const struct output *twin, const char *twin_path, uint32_t vocab)
{
    double worst = 0;
    size_t near = 0;
    for (size_t i = 0; i < PROMPTS; i++) {
        for (uint32_t k = 0; k < vocab; k++) {
            double off = fabs((double)own->jobs[i].logits[k] - (double)twin->jobs[i].logits[k]);
            worst = off > worst ? off : worst;
            if (!(off <= logit_bound))
                fail_msg("%s: logit %u of prompt %zu is %f, expanded %f", c->name, k, i,
                         (double)own->jobs[i].logits[k], (double)twin->jobs[i].logits[k]);
        }
        size_t at = 0;
        while (at < WANTED && own->ids[i][at] == twin->ids[i][at])
            at++;
        if (at == WANTED)
            continue;
        double margin = twin_margin(twin_path, twin, i, at, own->ids[i][at]);
        if (!(margin <= margin_bound))
            fail_msg("%s: prompt %zu goes another way at step %zu, with margin %f", c->name, i, at,
                     margin);
        near++;
    }
    double ratio = fabs(exp(own->nll - twin->nll) - 1);
    if (!(ratio <= perplexity_bound))
        fail_msg("%s: perplexity %f, expanded %f", c->name, exp(own->nll), exp(twin->nll));
    print_message("# %s: worst logit off %.2g, %zu of %d continuations apart at a margin up to %g, "
                  "perplexity %.4f %% off\n",
                  c->name, worst, near, PROMPTS, margin_bound, ratio * 100);
}

static void computes_as_its_expanded_twin(void **state)
{
    const struct expanded_case *c = *state;
    char path[128];
    (void)snprintf(path, sizeof(path), "engine/models/%s.gguf", c->file);
    TEST_SHARED(from, path);
    static struct output own, twin;
    struct pair files;
    uint64_t random = 7;
    make_pair(&files, c, from);
    struct model *m = decode_model(files.twin);
    uint32_t vocab = model_shape(m)->vocab;
    model_free(m);
    for (size_t i = 0; i < PROMPTS; i++)
        for (size_t k = 0; k < PROMPT; k++)
            prompts[i][k] = k ? (int32_t)(3 + test_random(&random) % (vocab - 3)) : 1;
    run(&twin, files.twin, /* text= */ NULL, 0);
    int32_t text[PROMPT + WANTED]; /* what the twin itself says, so that it is not all noise */
    memcpy(text, prompts[0], sizeof(prompts[0]));
    memcpy(text + PROMPT, twin.ids[0], sizeof(twin.ids[0]));
    for (size_t i = 0; i < PROMPTS; i++)
        free(twin.jobs[i].logits);
    run(&twin, files.twin, text, ARRAY_LEN(text));
    run(&own, files.own, text, ARRAY_LEN(text));
    compare(c, &own, &twin, files.twin, vocab);
    for (size_t i = 0; i < PROMPTS; i++) {
        free(own.jobs[i].logits);
        free(twin.jobs[i].logits);
    }
}

int main(void)
{
    static const struct expanded_case cases[] = {
        { "q4_1", "stories260K-wide.q4_1", TENSOR_F32 },
        { "q5_0", "stories260K-wide.q5_0", TENSOR_F32 },
        { "q5_1", "stories260K-wide.q5_1", TENSOR_F32 },
        { "q2_k", "stories260K-wide.q2_k", TENSOR_F32 },
        { "q3_k_m", "stories260K-wide.q3_k_m", TENSOR_F32 },
        { "q4_k_s", "stories260K-wide.q4_k_s", TENSOR_F32 },
        { "q5_k_m", "stories260K-wide.q5_k_m", TENSOR_F32 },
        { "q6_k", "stories260K-wide.q6_k", TENSOR_F32 },
        { "iq4_nl", "stories260K-wide.iq4_nl", TENSOR_F32 },
        { "iq4_xs", "stories260K-wide.iq4_xs", TENSOR_F32 },
        { "q4_k_m_of_qwen2", "stories260K-qwen2.q4_k_m", TENSOR_F32 },
        { "tq1_0", "stories260K-wide.f16", TENSOR_TQ1_0 },
        { "tq2_0", "stories260K-wide.f16", TENSOR_TQ2_0 },
    };
    enum { N = ARRAY_LEN(cases) };
    static char titles[N][64];
    struct CMUnitTest tests[N] = { { 0 } };
    for (size_t i = 0; i < N; i++) {
        (void)snprintf(titles[i], sizeof(titles[i]), "%s_computes_as_its_expanded_twin",
                       cases[i].name);
        tests[i] = (struct CMUnitTest){ titles[i], computes_as_its_expanded_twin, NULL, NULL,
                                        (void *)(uintptr_t)&cases[i] };
    }
    return TEST_RUN(tests);
}

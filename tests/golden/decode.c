#include "tests/golden/decode.h"

#include "tests/support/test.h"

#include <string.h>

int32_t decode_best(const float *logits, uint32_t n)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++)
        if (logits[i] > logits[best])
            best = i;
    return (int32_t)best;
}

struct model *decode_model(const char *path)
{
    struct fail e = { 0 };
    struct gguf *g = NULL;
    struct model *m = NULL;
    int r = gguf_open(&g, path, &e);
    if (!r)
        r = model_new(&m, &g, &e);
    if (r)
        fail_msg("%s: %d %s", path, r, e.message);
    return m;
}

struct progress {
    struct decode_job *job;
    size_t at;  /* prompt rows done */
    size_t got; /* ids */
};

static size_t add_rows(struct step_row *rows, const struct progress *p, uint32_t slot,
                       uint32_t chunk)
{
    const struct decode_job *j = p->job;
    if (p->at == j->n_prompt) {
        if (p->got == j->n_wanted)
            return 0;
        rows[0] = (struct step_row){ j->ids[p->got - 1], (uint32_t)(p->at + p->got - 1), slot, true,
                                     j->lora };
        return 1;
    }
    size_t n = j->n_prompt - p->at < chunk ? j->n_prompt - p->at : chunk;
    for (size_t i = 0; i < n; i++)
        rows[i] = (struct step_row){ j->prompt[p->at + i], (uint32_t)(p->at + i), slot,
                                     p->at + i + 1 == j->n_prompt, j->lora };
    return n;
}

static void take_logits(struct progress *p, const float *logits, uint32_t vocab)
{
    struct decode_job *j = p->job;
    if (p->got == 0 && j->logits)
        memcpy(j->logits, logits, vocab * sizeof(float));
    if (p->got < j->n_wanted)
        j->ids[p->got++] = decode_best(logits, vocab);
}

static void one_step(struct stepper *s, struct progress *p, size_t n, uint32_t chunk,
                     uint32_t vocab, struct step_row *rows)
{
    size_t n_rows = 0, counts[256];
    for (uint32_t i = 0; i < n; i++)
        n_rows += counts[i] = add_rows(rows + n_rows, &p[i], i, chunk);
    if (!n_rows)
        return;
    const float *logits;
    assert_int_equal(stepper_run(s, rows, n_rows, &logits), 0);
    size_t row = 0;
    for (size_t i = 0; i < n; i++) {
        if (p[i].at < p[i].job->n_prompt)
            p[i].at += counts[i];
        row += counts[i];
        if (counts[i] && rows[row - 1].logits) {
            take_logits(&p[i], logits, vocab);
            logits += vocab;
        }
    }
}

static bool finished(const struct progress *p)
{
    return p->at == p->job->n_prompt && p->got == p->job->n_wanted;
}

void decode_all(const struct model *m, struct decode_job *jobs, size_t n, uint32_t slots,
                uint32_t chunk)
{
    assert_true(slots <= 256);
    uint32_t vocab = model_shape(m)->vocab;
    size_t longest = 0;
    for (size_t i = 0; i < n; i++)
        if (jobs[i].n_prompt + jobs[i].n_wanted > longest)
            longest = jobs[i].n_prompt + jobs[i].n_wanted;
    struct stepper_options o = { .slots = slots,
                                 .context = (uint32_t)longest,
                                 .rows = slots * chunk,
                                 .threads = 2,
                                 .cache = CACHE_f32 };
    struct stepper *s = NULL;
    struct fail e = { 0 };
    if (stepper_new(&s, m, &o, &e))
        fail_msg("stepper: %s", e.message);
    struct step_row *rows = calloc(o.rows, sizeof(*rows));
    struct progress p[256];
    for (size_t first = 0; first < n; first += slots) {
        size_t some = n - first < slots ? n - first : slots;
        for (size_t i = 0; i < some; i++)
            p[i] = (struct progress){ .job = &jobs[first + i] };
        for (size_t i = 0; i < some;) {
            if (finished(&p[i]))
                i++;
            else
                one_step(s, p, some, chunk, vocab, rows);
        }
    }
    free(rows);
    stepper_free(s);
}

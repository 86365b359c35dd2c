#include "gateway/cli/cli.h"

#include "base/file.h"
#include "base/limits.h"
#include "gateway/cli/local.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROWS = 64, TEXT_BYTES = 64 << 20 };

struct options {
    const char *model, *file;
    struct cli_texts loras;
    uint64_t threads, window;
    bool json;
};

struct window {
    size_t size;        /* tokens at most, with BOS */
    const int32_t *ids; /* of the one that is scored */
    size_t n;
    size_t all; /* tokens of the text, for progress */
    const struct lora *lora;
};

struct score {
    size_t n;
    double nll; /* sum */
};

/* −ln of the probability that the logits give to id. */
static double surprise(const float *logits, uint32_t vocab, int32_t id)
{
    float most = logits[0];
    for (uint32_t i = 1; i < vocab; i++)
        most = logits[i] > most ? logits[i] : most;
    double sum = 0;
    for (uint32_t i = 0; i < vocab; i++)
        sum += exp((double)(logits[i] - most));
    return log(sum) - (double)(logits[id] - most);
}

/* One window: every token but the first, given all before it. */
static int score_window(struct stepper *s, const struct model *m, const struct window *w,
                        struct score *ret)
{
    struct step_row rows[ROWS];
    uint32_t vocab = model_shape(m)->vocab;
    size_t from = w->lora ? lora_from(w->lora, w->ids, w->n) : 0; /* where it has a part */
    for (size_t at = 0; at + 1 < w->n; at += ROWS) {
        size_t n = w->n - 1 - at < ROWS ? w->n - 1 - at : ROWS;
        for (size_t i = 0; i < n; i++)
            rows[i] = (struct step_row){ w->ids[at + i], (uint32_t)(at + i), 0, true,
                                         at + i >= from ? w->lora : NULL };
        const float *logits;
        int r = stepper_run(s, rows, n, &logits);
        if (r < 0)
            return r;
        for (size_t i = 0; i < n; i++)
            ret->nll += surprise(logits + i * vocab, vocab, w->ids[at + i + 1]);
        ret->n += n;
        cli_progress("tokens", ret->n, w->all);
    }
    return 0;
}

/*
 * Windows of size - 1 tokens of the text, each behind BOS where the model has one. A model without
 * BOS gets no token more, so that windows are cut at the same places, as the references are.
 */
static int score_ids(struct stepper *s, const struct local_model *m, const struct token_list *ids,
                     struct window w, struct score *ret)
{
    size_t bos = tokenizer_adds_bos(m->tokenizer) && tokenizer_bos(m->tokenizer) >= 0;
    size_t step = w.size - 1;
    CLEANUP(own_free) int32_t *window = calloc(w.size, sizeof(*window));
    if (!window)
        return -ENOMEM;
    window[0] = tokenizer_bos(m->tokenizer);
    w.ids = window;
    int r = 0;
    for (size_t at = 0; !r && at < ids->n; at += step) {
        size_t n = ids->n - at < step ? ids->n - at : step;
        memcpy(window + bos, ids->ids + at, n * sizeof(*window));
        w.n = n + bos;
        r = score_window(s, m->model, &w, ret);
    }
    cli_progress_done();
    return r;
}

static int read_ids(const struct options *o, const struct local_model *m, struct token_list *ids,
                    struct fail *f)
{
    CLEANUP(own_free) char *text = NULL;
    size_t n;
    int r = file_read(&text, &n, o->file, TEXT_BYTES);
    if (!r)
        r = tokenizer_encode(m->tokenizer, (struct str){ text, n }, 0, ids);
    if (r)
        return r;
    if (ids->n < 2)
        return fail_set(f, FAIL_invalid_request, "%s: it has %zu tokens; scoring needs 2", o->file,
                        ids->n);
    return 0;
}

static int run(const struct options *o, const struct local_model *m, struct lora_shelf *shelf,
               struct score *ret)
{
    struct fail f = { 0 };
    CLEANUP(token_list_done) struct token_list ids = { 0 };
    CLEANUP(stepper_freep) struct stepper *s = NULL;
    const struct lora *lora = NULL;
    struct lora_choice choices[64];
    size_t n = 0;
    int r = 0;
    for (; !r && n < o->loras.n; n++)
        r = lora_choice_parse(&choices[n], o->loras.items[n]) ? 0 : -ENOMEM;
    if (!r)
        r = lora_shelf_get(shelf, choices, n, &lora, &f);
    for (size_t i = 0; i < n; i++)
        free((void *)choices[i].path);
    if (!r)
        r = read_ids(o, m, &ids, &f);
    struct window w = { .size = ids.n + 1, .all = ids.n, .lora = lora };
    if (o->window && o->window < w.size)
        w.size = o->window;
    struct stepper_options so = { .slots = 1,
                                  .context = (uint32_t)w.size,
                                  .rows = ROWS,
                                  .threads = (uint32_t)o->threads,
                                  .cache = CACHE_f32 };
    if (!r)
        r = stepper_new(&s, m->model, &so, &f);
    if (!r)
        r = score_ids(s, m, &ids, w, ret);
    if (r)
        local_complain(r, o->file, &f);
    return r ? EXIT_FAILED : EXIT_OK;
}

static int perplexity(const struct options *o)
{
    struct local_model m;
    if (!local_open(&m, o->model))
        return EXIT_FAILED;
    struct lora_shelf *shelf = lora_shelf_new(m.model);
    struct score s = { 0 };
    int status = shelf ? run(o, &m, shelf, &s) : EXIT_FAILED;
    lora_shelf_free(shelf);
    local_close(&m);
    if (status != EXIT_OK)
        return status;
    double nll = s.nll / (double)s.n;
    (void)printf(o->json ? "{\"n\":%zu,\"nll\":%.6f,\"ppl\":%.6f}\n"
                         : "%zu tokens, %.6f nats a token, perplexity %.6f\n",
                 s.n, nll, exp(nll));
    return EXIT_OK;
}

int cli_perplexity(int argc, char **argv)
{
    struct options o = { .window = 256 };
    const struct cli_option options[] = {
        { "--model", 'm', CLI_text, &o.model, "GGUF", "the model file" },
        { "--file", 'f', CLI_text, &o.file, "FILE", "the text" },
        { "--lora", 0, CLI_texts, &o.loras, "FILE[=SCALE]",
          "an adapter: GGUF or PEFT folder; several are added up" },
        { "--window", 0, CLI_uint, &o.window, "N",
          "tokens of a window, one kept for BOS; 0: the whole text is one (256)" },
        { "--threads", 't', CLI_uint, &o.threads, "N", "0: one a core (0)" },
        { "--json", 0, CLI_flag, &o.json, NULL, "{\"n\", \"nll\" (mean, nats), \"ppl\"}" },
        { 0 },
    };
    const struct cli_command cmd = {
        "perplexity -m GGUF -f FILE [--lora FILE[=SCALE]]... [--json]",
        "Scores a text: how probable each token is, given all before it in its window.", options
    };
    int operands;
    int go = cli_parse(&cmd, argc, argv, &operands);
    if (go != CLI_GO)
        return go;
    if (!o.model || !o.file || operands || o.threads > 1024 || o.window == 1 || o.window == 2 ||
        o.window > LIMIT_CONTEXT) {
        (void)fprintf(stderr,
                      "rootstock: name the model with -m GGUF and the text with -f FILE\n"
                      "usage: rootstock %s\n",
                      cmd.usage);
        return EXIT_MISUSE;
    }
    return perplexity(&o);
}

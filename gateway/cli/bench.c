#include "gateway/cli/cli.h"

#include "base/clock.h"
#include "base/limits.h"
#include "gateway/cli/local.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { PROMPT_ROWS = 256 };

struct options {
    const char *model;
    uint64_t threads, pp, tg, batch, adapters, rank;
    bool json;
};

struct bench {
    const struct options *o;
    struct model *m;
    struct stepper *s;
    struct lora **loras; /* o->adapters of them, owned */
    struct step_row *rows;
};

struct speed {
    uint64_t tokens, us;
};

static double per_second(struct speed v)
{
    return v.us ? (double)v.tokens * 1e6 / (double)v.us : 0;
}

/* Any id does: speed does not depend on it. */
static int32_t some_token(const struct bench *b, size_t i)
{
    return (int32_t)(i * 7919 % model_shape(b->m)->vocab);
}

static const struct lora *lora_of(const struct bench *b, size_t sequence, bool adapted)
{
    return adapted && b->o->adapters ? b->loras[sequence % b->o->adapters] : NULL;
}

/* One prompt of pp tokens in steps of at most PROMPT_ROWS rows; logits of the last one. */
static int prefill(struct bench *b, bool adapted, struct speed *ret)
{
    const float *logits;
    uint64_t from = clock_us();
    for (size_t at = 0; at < b->o->pp; at += PROMPT_ROWS) {
        size_t n = b->o->pp - at < PROMPT_ROWS ? b->o->pp - at : PROMPT_ROWS;
        for (size_t i = 0; i < n; i++)
            b->rows[i] = (struct step_row){ some_token(b, at + i), (uint32_t)(at + i), 0,
                                            at + i + 1 == b->o->pp, lora_of(b, 0, adapted) };
        int r = stepper_run(b->s, b->rows, n, &logits);
        if (r < 0)
            return r;
        cli_progress("prefill", at + n, b->o->pp);
    }
    *ret = (struct speed){ b->o->pp, clock_us() - from };
    return 0;
}

/* `batch` sequences decode tg tokens each, from an empty cache. */
static int decode(struct bench *b, bool adapted, struct speed *ret)
{
    const float *logits;
    uint64_t from = clock_us();
    for (size_t at = 0; at < b->o->tg; at++) {
        for (size_t i = 0; i < b->o->batch; i++)
            b->rows[i] = (struct step_row){ some_token(b, at + i), (uint32_t)at, (uint32_t)i, true,
                                            lora_of(b, i, adapted) };
        int r = stepper_run(b->s, b->rows, b->o->batch, &logits);
        if (r < 0)
            return r;
        cli_progress("decode", at + 1, b->o->tg);
    }
    *ret = (struct speed){ b->o->tg * b->o->batch, clock_us() - from };
    return 0;
}

static int make(struct bench *b, struct fail *f)
{
    const struct options *o = b->o;
    size_t rows = o->batch > PROMPT_ROWS ? o->batch : PROMPT_ROWS;
    b->rows = calloc(rows, sizeof(*b->rows));
    b->loras = calloc(o->adapters + 1, sizeof(*b->loras));
    if (!b->rows || !b->loras)
        return -ENOMEM;
    for (size_t i = 0; i < o->adapters; i++) {
        int r = lora_synthetic(&b->loras[i], b->m, (uint32_t)o->rank, /* seed= */ i + 1);
        if (r < 0)
            return r;
    }
    uint64_t context = o->pp > o->tg ? o->pp : o->tg;
    struct stepper_options so = { .slots = (uint32_t)o->batch,
                                  .context = (uint32_t)(context ? context : 1),
                                  .rows = (uint32_t)rows,
                                  .threads = (uint32_t)o->threads,
                                  .cache = CACHE_f32 };
    return stepper_new(&b->s, b->m, &so, f);
}

static void print(const struct options *o, const struct speed v[4])
{
    double pp = per_second(v[0]), tg = per_second(v[1]);
    double lora_pp = per_second(v[2]), lora_tg = per_second(v[3]);
    if (o->json) {
        (void)printf("{\"model\":");
        CLEANUP(buf_done) struct buf name = BUF_INIT(64 * KIB);
        buf_add_json(&name, str_of(o->model));
        (void)printf("%s,\"threads\":%llu,\"pp\":%llu,\"tg\":%llu,\"batch\":%llu,\"pp_tps\":%.2f,"
                     "\"tg_tps\":%.2f",
                     name.p ? name.p : "\"\"", (unsigned long long)o->threads,
                     (unsigned long long)o->pp, (unsigned long long)o->tg,
                     (unsigned long long)o->batch, pp, tg);
        if (o->adapters)
            (void)printf(
                ",\"adapters\":%llu,\"rank\":%llu,\"lora_pp_tps\":%.2f,\"lora_tg_tps\":%.2f",
                (unsigned long long)o->adapters, (unsigned long long)o->rank, lora_pp, lora_tg);
        (void)puts("}");
        return;
    }
    (void)printf("prefill  %10.1f tokens/s\ndecode   %10.1f tokens/s, %llu together\n", pp, tg,
                 (unsigned long long)o->batch);
    if (o->adapters)
        (void)printf(
            "with %llu adapters of rank %llu: prefill %.1f (%.2f of the base), decode %.1f "
            "(%.2f)\n",
            (unsigned long long)o->adapters, (unsigned long long)o->rank, lora_pp,
            pp > 0 ? lora_pp / pp : 0, lora_tg, tg > 0 ? lora_tg / tg : 0);
}

static int run(const struct options *o)
{
    struct fail f = { 0 };
    struct local_model m;
    if (!local_open(&m, o->model))
        return EXIT_FAILED;
    struct bench b = { .o = o, .m = m.model };
    struct speed v[4] = { { 0 } };
    int r = make(&b, &f);
    for (size_t adapted = 0; !r && adapted <= (o->adapters ? 1 : 0); adapted++) {
        if (o->pp)
            r = prefill(&b, adapted, &v[adapted * 2]);
        if (!r && o->tg)
            r = decode(&b, adapted, &v[adapted * 2 + 1]);
    }
    cli_progress_done();
    if (r)
        local_complain(r, o->model, &f);
    else
        print(o, v);
    stepper_free(b.s);
    for (size_t i = 0; b.loras && i < o->adapters; i++)
        lora_free(b.loras[i]);
    free(b.loras);
    free(b.rows);
    local_close(&m);
    return r ? EXIT_FAILED : EXIT_OK;
}

int cli_bench(int argc, char **argv)
{
    struct options o = { .pp = 128, .tg = 32, .batch = 1, .rank = 16 };
    const struct cli_option options[] = {
        { "--model", 'm', CLI_text, &o.model, "GGUF", "the model file" },
        { "--threads", 't', CLI_uint, &o.threads, "N", "0: one a core (0)" },
        { "--pp", 0, CLI_uint, &o.pp, "N", "tokens of the prompt (128)" },
        { "--tg", 0, CLI_uint, &o.tg, "N", "tokens that each sequence decodes (32)" },
        { "--batch", 0, CLI_uint, &o.batch, "N", "sequences decoded together (1)" },
        { "--adapters", 0, CLI_uint, &o.adapters, "N",
          "random adapters, spread over the batch (0)" },
        { "--rank", 0, CLI_uint, &o.rank, "R", "of each adapter (16)" },
        { "--json", 0, CLI_flag, &o.json, NULL, "one JSON object" },
        { 0 },
    };
    const struct cli_command cmd = {
        "bench -m GGUF [-t THREADS] [--pp N] [--tg N] [--batch B] [--adapters N --rank R] [--json]",
        "Measures prefill and decode. With adapters, on all seven linears of every layer, it\n"
        "measures both without and with them.",
        options
    };
    int operands;
    int go = cli_parse(&cmd, argc, argv, &operands);
    if (go != CLI_GO)
        return go;
    bool fits = o.threads <= 1024 && o.pp <= LIMIT_CONTEXT && o.tg <= LIMIT_CONTEXT &&
                o.batch >= 1 && o.batch <= LIMIT_SLOTS && o.adapters <= 100000 && o.rank >= 1 &&
                o.rank <= LIMIT_LORA_RANK;
    if (!o.model || operands || !fits) {
        (void)fprintf(stderr, "rootstock: %s\nusage: rootstock %s\n",
                      !o.model ? "name the model with -m GGUF" : "a value is out of range",
                      cmd.usage);
        return EXIT_MISUSE;
    }
    return run(&o);
}

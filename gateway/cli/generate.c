#include "gateway/cli/cli.h"

#include "base/arena.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/num.h"
#include "gateway/api/decode.h"
#include "gateway/api/json.h"
#include "gateway/cli/local.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_JOBS = 1 << 20, SLOTS = 16, ROWS = 256 };

struct options {
    const char *model, *prompt, *grammar, *schema;
    struct cli_texts loras;
    uint64_t n, logits, threads, seed;
    double temp;
    bool chat, json, has_seed;
};

struct jobs {
    const struct options *o;
    struct local_model m;
    struct lora_shelf *shelf;
    struct lora_choice choices[64]; /* of the command line; paths owned */
    size_t n_choices;
    struct local_job *items;
    size_t n, cap;
    char *format_text;          /* owned: of the grammar's or schema's file */
    struct chat_request format; /* what jobs look like that do not say it themselves */
};

/* ---- reading ---- */

static struct local_job *new_job(struct jobs *g)
{
    if (g->n == g->cap) {
        size_t cap = g->cap ? g->cap * 2 : 16;
        struct local_job *more = realloc(g->items, cap * sizeof(*more));
        if (!more)
            return NULL;
        g->items = more;
        g->cap = cap;
    }
    struct local_job *j = &g->items[g->n++];
    *j = (struct local_job){ .wanted = (uint32_t)g->o->n };
    return j;
}

/* Prompt ids; `chat` wraps a plain prompt as a user's message. */
static int encode(struct jobs *g, struct local_job *j, const struct chat_request *request)
{
    struct chat_message one = { .role = STR("user"), .content = request->prompt };
    struct chat_request wrapped = *request;
    if (g->o->chat && request->is_completion) {
        wrapped.is_completion = false;
        wrapped.messages = &one;
        wrapped.n_messages = 1;
    }
    return prompter_ids(g->m.prompter, &wrapped, &j->prompt, &j->fail);
}

static int set_loras(struct jobs *g, struct local_job *j, const struct lora_choice *choices,
                     size_t n)
{
    return lora_shelf_get(g->shelf, choices, n, &j->lora, &j->fail);
}

/* ---- what the text looks like, and how it is drawn ---- */

static bool read_format(struct jobs *g)
{
    const char *path = g->o->grammar ? g->o->grammar : g->o->schema;
    size_t n = 0;
    if (!path)
        return true;
    int r = file_read(&g->format_text, &n, path, LIMIT_FORMAT_BYTES);
    if (r < 0) {
        local_complain(r, path, NULL);
        return false;
    }
    g->format.format = g->o->grammar ? CHAT_FORMAT_grammar : CHAT_FORMAT_json_schema;
    g->format.format_text = (struct str){ g->format_text, n };
    g->format.format_strict = true;
    g->format.format_param = g->o->grammar ? "grammar" : "json_schema";
    return true;
}

static struct sampling sampling_of(const struct options *o)
{
    struct sampling s = SAMPLING_INIT;
    s.temperature = (float)o->temp;
    s.has_seed = o->seed > 0;
    s.seed = o->seed;
    return s;
}

static int keep_sampling(struct local_job *j, const struct sampling *s)
{
    j->sampling = *s;
    j->sampling.bias = NULL;
    j->has_sampling = true;
    if (s->n_bias == 0)
        return 0;
    struct chat_logit_bias *bias = calloc(s->n_bias, sizeof(*bias));
    if (!bias)
        return -ENOMEM;
    memcpy(bias, s->bias, s->n_bias * sizeof(*bias));
    j->sampling.bias = bias;
    return 0;
}

static int refuse_unserved(const struct chat_request *asked, struct fail *reterr)
{
    const char *name = asked->n_stops      ? "stop"
                       : asked->n_stop_ids ? "stop_token_ids"
                       : asked->min_tokens ? "min_tokens"
                       : asked->ignore_eos ? "ignore_eos"
                                           : NULL;
    return name ? fail_param(reterr, FAIL_unsupported_parameter, name,
                             "%s is not served here; `rootstock serve` does", name)
                : 0;
}

static const struct refused refused_jobs[] = {
    { "tools", UNLESS_empty },    { "tool_choice", UNLESS_choice }, { "functions", UNLESS_empty },
    { "logprobs", UNLESS_false }, { "top_logprobs", UNLESS_zero },  { "echo", UNLESS_false },
    { "best_of", UNLESS_null },   { "suffix", UNLESS_empty },       { NULL, UNLESS_null },
};

/* The fields of a job that /v1/completions has too; `n` has another meaning here. */
static int read_fields(struct jobs *g, struct local_job *j, json_t *line, struct arena *a)
{
    json_auto_t *fields = json_copy(line);
    struct chat_request asked = { 0 };
    if (!fields || json_object_set_new(fields, "model", json_string("-")) < 0)
        return -ENOMEM;
    (void)json_object_del(fields, "n");
    struct str text = json_text(a, fields);
    struct body body;
    int r = text.p ? body_index(&body, text, a, &j->fail) : -ENOMEM;
    if (r == 0)
        r = decode_common(&asked, &body, a, &j->fail);
    if (r == 0)
        r = decode_served(&asked, &j->fail);
    if (r == 0)
        r = json_refuse(refused_jobs, line, &j->fail);
    if (r == 0)
        r = refuse_unserved(&asked, &j->fail);
    if (r != 0)
        return r;
    struct sampling base = sampling_of(g->o);
    if (!json_is_number(json_object_get(line, "temperature")))
        asked.sampling.temperature = base.temperature;
    if (!asked.sampling.has_seed) {
        asked.sampling.has_seed = base.has_seed;
        asked.sampling.seed = base.seed;
    }
    if (asked.max_tokens && !json_object_get(line, "n"))
        j->wanted = asked.max_tokens;
    r = keep_sampling(j, &asked.sampling);
    return r < 0 ? r
                 : structure_grammar(g->m.structure,
                                     asked.format == CHAT_FORMAT_text ? &g->format : &asked,
                                     (struct structure_manner){ 0 }, &j->grammar, &j->fail);
}

static struct str text_of(const json_t *v)
{
    return (struct str){ json_string_value(v), json_string_length(v) };
}

static int read_loras(struct jobs *g, struct local_job *j, const json_t *list)
{
    struct lora_choice choices[64];
    size_t i;
    json_t *item;
    if (!list)
        return set_loras(g, j, g->choices, g->n_choices);
    if (!json_is_array(list) || json_array_size(list) > ARRAY_LEN(choices))
        return fail_set(&j->fail, FAIL_invalid_request,
                        "lora is not an array of at most 64 {\"path\", \"scale\"}");
    json_array_foreach((json_t *)list, i, item)
    {
        const json_t *scale = json_object_get(item, "scale");
        choices[i].path = json_string_value(json_object_get(item, "path"));
        choices[i].scale = scale ? json_number_value(scale) : 1;
        if (!choices[i].path || (scale && !json_is_number(scale)))
            return fail_set(&j->fail, FAIL_invalid_request,
                            "lora[%zu] needs a \"path\" and, if any, a \"scale\" number", i);
    }
    return set_loras(g, j, choices, json_array_size(list));
}

static int read_messages(struct arena *a, const json_t *list, struct chat_request *ret,
                         struct fail *reterr)
{
    size_t i;
    json_t *item;
    ret->n_messages = json_array_size(list);
    if (!json_is_array(list) || !ret->n_messages || ret->n_messages > LIMIT_MESSAGES)
        return fail_set(reterr, FAIL_invalid_request, "messages is not an array of messages");
    ret->messages = arena_array(a, ret->n_messages, sizeof(*ret->messages));
    if (!ret->messages)
        return -ENOMEM;
    json_array_foreach((json_t *)list, i, item)
    {
        const json_t *role = json_object_get(item, "role"),
                     *content = json_object_get(item, "content");
        if (!json_is_string(role) || !json_is_string(content))
            return fail_set(reterr, FAIL_invalid_request,
                            "messages[%zu] needs \"role\" and \"content\" texts", i);
        ret->messages[i] =
            (struct chat_message){ .role = text_of(role), .content = text_of(content) };
    }
    return 0;
}

static int read_job(struct jobs *g, struct local_job *j, json_t *line)
{
    CLEANUP(arena_freep) struct arena *a = arena_new(LIMIT_REQUEST_ARENA);
    if (!a)
        return -ENOMEM;
    struct chat_request request = { .n = 1 };
    const json_t *prompt = json_object_get(line, "prompt"),
                 *messages = json_object_get(line, "messages"), *n = json_object_get(line, "n");
    if (n && (!json_is_integer(n) || json_integer_value(n) < 0 ||
              json_integer_value(n) > (json_int_t)LIMIT_CONTEXT))
        return fail_set(&j->fail, FAIL_invalid_request, "n is not a number of tokens");
    if (n)
        j->wanted = (uint32_t)json_integer_value(n);
    int r = 0;
    if (messages)
        r = read_messages(a, messages, &request, &j->fail);
    else if (!json_is_string(prompt))
        r = fail_set(&j->fail, FAIL_invalid_request, "a job needs \"prompt\" or \"messages\"");
    request.is_completion = !messages;
    request.prompt = text_of(prompt);
    if (!r)
        r = encode(g, j, &request);
    if (!r)
        r = read_fields(g, j, line, a);
    return r ? r : read_loras(g, j, json_object_get(line, "lora"));
}

/* A job that cannot run keeps its place and says why; only our own trouble ends the command. */
static bool settle(struct local_job *j, int r)
{
    if (r == FAILED)
        j->failed = true;
    if (r < 0)
        local_complain(r, "generate", &j->fail);
    return r >= 0;
}

static bool read_lines(struct jobs *g)
{
    struct str line;
    while (cli_line(&line)) {
        if (!str_trim(line).n)
            continue;
        struct local_job *j = g->n < MAX_JOBS ? new_job(g) : NULL;
        if (!j) {
            (void)fputs("rootstock: too many jobs\n", stderr);
            return false;
        }
        json_error_t e;
        json_auto_t *root = json_loadb(line.p, line.n, JSON_REJECT_DUPLICATES, &e);
        int r = root ? read_job(g, j, root)
                     : fail_set(&j->fail, FAIL_invalid_request, "not JSON: %s", e.text);
        if (!settle(j, r))
            return false;
    }
    return true;
}

static bool read_prompt(struct jobs *g)
{
    struct local_job *j = new_job(g);
    if (!j)
        return false;
    struct chat_request request = { .is_completion = true, .prompt = str_of(g->o->prompt), .n = 1 };
    int r = encode(g, j, &request);
    if (!r)
        r = structure_grammar(g->m.structure, &g->format, (struct structure_manner){ 0 },
                              &j->grammar, &j->fail);
    if (!r)
        r = set_loras(g, j, g->choices, g->n_choices);
    return settle(j, r);
}

/* ---- printing ---- */

/* A model of SentencePiece puts a space before the first text, which is not part of it. */
static bool begins_text(const struct tokenizer *t, const struct token_list *prompt)
{
    for (size_t i = 0; i < prompt->n; i++)
        if (!tokenizer_is_control(t, prompt->ids[i]))
            return false;
    return true;
}

static void add_text(const struct jobs *g, const struct local_job *j, struct buf *out)
{
    struct detokenizer d;
    detokenizer_init(&d, g->m.tokenizer, begins_text(g->m.tokenizer, &j->prompt));
    for (size_t i = 0; i < j->ids.n; i++)
        detokenizer_push(&d, j->ids.ids[i], out);
    detokenizer_end(&d, out);
}

static void add_ids(struct buf *out, const struct token_list *ids)
{
    buf_addc(out, '[');
    for (size_t i = 0; i < ids->n; i++)
        buf_addf(out, "%s%d", i ? "," : "", ids->ids[i]);
    buf_addc(out, ']');
}

static void add_json(const struct jobs *g, const struct local_job *j, struct buf *out)
{
    if (j->failed) {
        buf_addf(out, "{\"error\":{\"code\":\"%s\",\"message\":", fail_word(j->fail.code));
        buf_add_json(out, str_of(j->fail.message));
        buf_adds(out, "}}");
        return;
    }
    CLEANUP(buf_done) struct buf text = BUF_INIT(LIMIT_REQUEST_ARENA);
    add_text(g, j, &text);
    buf_adds(out, "{\"prompt_ids\":");
    add_ids(out, &j->prompt);
    buf_adds(out, ",\"ids\":");
    add_ids(out, &j->ids);
    buf_adds(out, ",\"text\":");
    buf_add_json(out, buf_str(&text));
    buf_addf(out, ",\"finish_reason\":\"%s\",\"top\":[", j->stopped ? "stop" : "length");
    for (size_t i = 0; i < j->n_top; i++)
        buf_addf(out, "%s[%d,%.9g]", i ? "," : "", j->top[i].id, (double)j->top[i].logit);
    buf_adds(out, "]}");
}

static int print_all(const struct jobs *g)
{
    int status = EXIT_OK;
    for (size_t i = 0; i < g->n; i++) {
        const struct local_job *j = &g->items[i];
        CLEANUP(buf_done) struct buf out = BUF_INIT(LIMIT_REQUEST_ARENA);
        if (j->failed) {
            (void)fprintf(stderr, "rootstock: job %zu: %s\n", i + 1, j->fail.message);
            status = EXIT_FAILED;
        }
        if (g->o->json)
            add_json(g, j, &out);
        else if (!j->failed)
            add_text(g, j, &out);
        buf_addc(&out, '\n');
        if (buf_err(&out) < 0)
            return EXIT_FAILED;
        (void)fwrite(out.p, 1, out.n, stdout);
    }
    return status;
}

/* ---- the command ---- */

static bool open_all(struct jobs *g)
{
    if (!read_format(g) || !local_open(&g->m, g->o->model))
        return false;
    g->shelf = lora_shelf_new(g->m.model);
    if (!g->shelf)
        return false;
    for (; g->n_choices < g->o->loras.n; g->n_choices++)
        if (!lora_choice_parse(&g->choices[g->n_choices], g->o->loras.items[g->n_choices]))
            return false;
    return g->o->prompt ? read_prompt(g) : read_lines(g);
}

static void close_all(struct jobs *g)
{
    for (size_t i = 0; i < g->n; i++)
        local_job_done(&g->items[i]);
    free(g->items);
    for (size_t i = 0; i < g->n_choices; i++)
        free((void *)g->choices[i].path);
    lora_shelf_free(g->shelf);
    free(g->format_text);
    local_close(&g->m);
}

static int generate(const struct options *o)
{
    struct jobs g = { .o = o };
    int status = EXIT_FAILED;
    if (open_all(&g)) {
        struct local_run run = {
            .m = &g.m,
            .sampling = sampling_of(o),
            .threads = (uint32_t)o->threads,
            .slots = g.n < 1       ? 1
                     : g.n < SLOTS ? (uint32_t)g.n
                                   : SLOTS,
            .rows = ROWS,
            .n_top = o->logits,
        };
        if (local_run(&run, g.items, g.n))
            status = print_all(&g);
    }
    close_all(&g);
    return status;
}

int cli_generate(int argc, char **argv)
{
    struct options o = { .n = 64 };
    const struct cli_option options[] = {
        { "--model", 'm', CLI_text, &o.model, "GGUF", "the model file" },
        { "--prompt", 'p', CLI_text, &o.prompt, "TEXT", "one prompt; without it JSONL on stdin" },
        { "--lora", 0, CLI_texts, &o.loras, "FILE[=SCALE]",
          "an adapter: GGUF or PEFT folder; several are added up" },
        { "--n", 'n', CLI_uint, &o.n, "N", "tokens to generate, at most (64)" },
        { "--temp", 0, CLI_float, &o.temp, "T", "temperature; 0 takes the most likely (0)" },
        { "--seed", 0, CLI_uint, &o.seed, "N", "of the draws; 0 takes a random one (0)" },
        { "--grammar", 0, CLI_text, &o.grammar, "FILE", "the text matches this grammar (GBNF)" },
        { "--json-schema", 0, CLI_text, &o.schema, "FILE", "the text is JSON of this schema" },
        { "--logits", 0, CLI_uint, &o.logits, "K", "the K largest logits at the prompt's end" },
        { "--threads", 't', CLI_uint, &o.threads, "N", "0: one a core (0)" },
        { "--chat", 0, CLI_flag, &o.chat, NULL, "the prompt is a user's message" },
        { "--json", 0, CLI_flag, &o.json, NULL, "one JSON object a job" },
        { 0 },
    };
    const struct cli_command cmd = {
        "generate -m GGUF [-p TEXT] [--lora FILE[=SCALE]]... [--n N] [--temp T] [--logits K] "
        "[--grammar FILE | --json-schema FILE] [--chat] [--json]",
        "Generates text. Without -p, every line of stdin is a job {\"prompt\" or \"messages\",\n"
        "\"lora\": [{\"path\", \"scale\"}], \"n\"}, with sampling fields, \"response_format\" and\n"
        "\"grammar\" as /v1/completions has them; all jobs are decoded together, each with its "
        "own\n"
        "adapters, and printed in their order.",
        options
    };
    int operands;
    int go = cli_parse(&cmd, argc, argv, &operands);
    if (go != CLI_GO)
        return go;
    bool two_formats = o.grammar && o.schema;
    if (!o.model || operands || two_formats || o.n > LIMIT_CONTEXT || o.temp < 0 ||
        o.threads > 1024) {
        (void)fprintf(stderr, "rootstock: %s\nusage: rootstock %s\n",
                      !o.model      ? "name the model with -m GGUF"
                      : operands    ? "this command takes options only"
                      : two_formats ? "give --grammar or --json-schema, not both"
                                    : "a value is out of range",
                      cmd.usage);
        return EXIT_MISUSE;
    }
    return generate(&o);
}

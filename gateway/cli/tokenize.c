/* rootstock tokenize: a line of text to a JSON array of token ids, or back. */
#include "gateway/cli/cli.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>

#include "base/limits.h"
#include "engine/local/tokenizer.h"

struct job {
    const struct tokenizer *t;
    bool json, special, no_bos, decode;
    unsigned long long line; /* for messages */
    uint64_t used;           /* bytes of stdin */
};

static struct tokenizer *load(const char *path)
{
    CLEANUP(gguf_closep) struct gguf *g = NULL;
    struct tokenizer *t = NULL;
    struct fail fail = { 0 };
    int r = gguf_open(&g, path, &fail);
    if (r == 0)
        r = tokenizer_new(&t, g, &fail);
    if (r < 0)
        (void)fail_errno(&fail, r, path);
    if (r != 0)
        (void)fprintf(stderr, "rootstock: %s\n", fail.message);
    return r == 0 ? t : NULL;
}

static int refuse(const struct job *j, const char *why)
{
    cli_progress_done();
    (void)fprintf(stderr, "rootstock: line %llu: %s\n", j->line, why);
    return FAILED;
}

static int encode_line(const struct job *j, struct str text, struct buf *out)
{
    CLEANUP(token_list_done) struct token_list ids = { 0 };
    unsigned flags = (j->no_bos ? 0 : TOKENIZE_bos) | (j->special ? TOKENIZE_special : 0);
    int r = tokenizer_encode(j->t, text, flags, &ids);
    if (r < 0)
        return r;
    buf_addc(out, '[');
    for (size_t i = 0; i < ids.n; i++)
        buf_addf(out, "%s%d", i ? ", " : "", ids.ids[i]);
    buf_addc(out, ']');
    return buf_err(out);
}

static int decode_line(const struct job *j, const json_t *ids, struct buf *out)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(GIB);
    struct detokenizer d;
    size_t i;
    json_t *item;
    detokenizer_init(&d, j->t, true);
    json_array_foreach(ids, i, item)
    {
        json_int_t id = json_integer_value(item);
        if (!json_is_integer(item) || id < 0 || id >= tokenizer_vocab(j->t))
            return refuse(j, "not an array of the model's token ids");
        if (j->special && tokenizer_is_special(j->t, (int32_t)id)) {
            detokenizer_end(&d, &text);
            tokenizer_decode(j->t, (int32_t)id, true, &text);
            detokenizer_init(&d, j->t, true); /* the text behind one begins anew */
        } else {
            detokenizer_push(&d, (int32_t)id, &text);
        }
    }
    detokenizer_end(&d, &text);
    if (buf_err(&text) < 0)
        return buf_err(&text);
    if (j->json)
        buf_add_json(out, buf_str(&text));
    else
        buf_add(out, buf_str(&text));
    return buf_err(out);
}

static int run_line(const struct job *j, struct str line, struct buf *out)
{
    if (!j->decode && !j->json)
        return encode_line(j, line, out);
    json_error_t e;
    json_auto_t *doc =
        json_loadb(line.n ? line.p : "", line.n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &e);
    if (!doc)
        return refuse(j, e.text);
    if (j->decode)
        return json_is_array(doc) ? decode_line(j, doc, out) : refuse(j, "not a JSON array");
    if (!json_is_string(doc))
        return refuse(j, "not a JSON string");
    return encode_line(j, (struct str){ json_string_value(doc), json_string_length(doc) }, out);
}

static int run_all(struct job *j)
{
    CLEANUP(buf_done) struct buf out = BUF_INIT(4 * GIB);
    struct str line;
    int r = 0;
    while (r == 0 && cli_line(&line)) {
        j->line++;
        buf_clear(&out);
        r = run_line(j, line, &out);
        if (r < 0)
            (void)refuse(j, "no memory");
        if (r == 0)
            buf_addc(&out, '\n');
        if (r == 0 && (fwrite(out.p, 1, out.n, stdout) != out.n || fflush(stdout) != 0))
            r = refuse(j, "cannot write");
        j->used += line.n + 1;
        cli_progress_input(j->used);
    }
    cli_progress_done();
    return r == 0 ? EXIT_OK : EXIT_FAILED;
}

int cli_tokenize(int argc, char **argv)
{
    const char *model = NULL;
    struct job j = { 0 };
    const struct cli_option options[] = {
        { "--model", 'm', CLI_text, &model, "GGUF", "model file, or one of only a vocabulary" },
        { "--json", 0, CLI_flag, &j.json, NULL, "a line of text is a JSON string" },
        { "--parse-special", 0, CLI_flag, &j.special, NULL,
          "control tokens spelt in the text become those tokens" },
        { "--no-bos", 0, CLI_flag, &j.no_bos, NULL, "add neither BOS nor EOS" },
        { "--decode", 0, CLI_flag, &j.decode, NULL,
          "the other way: a JSON array of ids in, text out" },
        { NULL },
    };
    const struct cli_command cmd = {
        "tokenize -m GGUF [--json] [--parse-special] [--no-bos] [--decode]",
        "Reads lines of text from stdin and prints a JSON array of token ids for each.", options
    };
    int operands = 0, status = cli_parse(&cmd, argc, argv, &operands);
    if (status != CLI_GO)
        return status;
    if (!model || operands) {
        (void)fputs("rootstock: usage: rootstock tokenize -m GGUF [--json] [--parse-special] "
                    "[--no-bos] [--decode]\n",
                    stderr);
        return EXIT_MISUSE;
    }
    struct tokenizer *t = load(model);
    if (!t)
        return EXIT_FAILED;
    j.t = t;
    status = run_all(&j);
    (void)tokenizer_free(t);
    return status;
}

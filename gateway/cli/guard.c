/* rootstock guard: what the guardrails of a policy make of a text, without a router or an engine.
 */
#include "gateway/cli/cli.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>

#include "base/limits.h"
#include "plugins/plugin.h"

struct pick {
    const char *name; /* of the decision that was asked for; NULL: the first that guards */
    const struct node *plugins; /* of the decision that was found */
    const char *path;
    bool guards; /* among them is a pii plugin */
    bool named;  /* the decision that was asked for exists */
};

static bool has_guard(const struct node *plugins)
{
    for (size_t i = 0; plugins && i < plugins->n; i++)
        if (node_is(node_get(node_at(plugins, i), "type"), "pii"))
            return true;
    return false;
}

/* The named decision; else the first with a pii plugin; else the first with plugins. */
static int pick_among(struct pick *k, const struct node *decisions, const char *path,
                      struct arena *arena)
{
    for (size_t i = 0; decisions && decisions->kind == NODE_list && i < decisions->n; i++) {
        const struct node *d = decisions->items[i];
        const struct node *plugins = node_get(d, "plugins");
        bool guards = has_guard(plugins);
        if (k->name && (k->named || !node_is(node_get(d, "name"), k->name)))
            continue;
        if (!k->name && (!plugins || k->guards || (k->plugins && !guards)))
            continue;
        k->path = arena_printf(arena, "%s[%zu].plugins", path, i);
        if (!k->path)
            return -ENOMEM;
        k->plugins = plugins;
        k->guards = guards;
        k->named = true;
    }
    return 0;
}

static int pick_plugins(struct pick *k, const struct config *c, struct arena *arena)
{
    int r = pick_among(k, node_get(c->routing, "decisions"), "routing.decisions", arena);
    for (size_t i = 0; r == 0 && c->recipes && c->recipes->kind == NODE_list && i < c->recipes->n;
         i++) {
        const struct node *recipe = c->recipes->items[i];
        const struct node *routing = node_get(recipe, "routing");
        const char *path = arena_printf(arena, "recipes[%zu].decisions", i);
        r = path ? pick_among(k, node_get(routing ? routing : recipe, "decisions"), path, arena)
                 : -ENOMEM;
    }
    return r;
}

/* The chain to guard with, or NULL; what is wrong goes to stderr. */
static struct chain *load_chain(const struct config *c, const char *decision)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new(MIB);
    CLEANUP(problems_freep) struct problems *p = problems_new();
    CLEANUP(buf_done) struct buf text = BUF_INIT(MIB);
    struct pick k = { .name = decision, .path = "plugins" };
    struct chain *chain = NULL;
    if (!arena || !p || pick_plugins(&k, c, arena) < 0) {
        (void)fputs("rootstock: no memory\n", stderr);
        return NULL;
    }
    if (decision && !k.named) {
        (void)fprintf(stderr, "rootstock: no decision is called '%s'\n", decision);
        return NULL;
    }
    int r = chain_new(&chain, k.plugins, k.path, p);
    problems_print(p, &text);
    if (text.n)
        (void)fputs(text.p, stderr);
    return r < 0 ? NULL : chain;
}

static void print_line(enum verdict verdict, const struct finding *f, size_t n, struct str text,
                       const struct fail *fail, struct buf *out)
{
    static const char *const verdicts[] = { "pass", "changed", "answer", "block" };
    buf_addf(out, "{\"verdict\":\"%s\",\"findings\":[", verdicts[verdict]);
    for (size_t i = 0; i < n; i++) {
        buf_adds(out, i ? ",{\"type\":" : "{\"type\":");
        buf_add_json(out, f[i].type);
        buf_addf(out, ",\"start\":%zu,\"end\":%zu,\"score\":%g}", f[i].start, f[i].end, f[i].score);
    }
    buf_adds(out, "],\"text\":");
    buf_add_json(out, text);
    if (verdict == VERDICT_block) {
        buf_adds(out, ",\"reason\":");
        buf_add_json(out, str_of(fail->message));
    }
    buf_adds(out, "}\n");
}

static int guard_text(const struct chain *chain, struct str text, bool response, struct buf *out)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new(LIMIT_REQUEST_ARENA);
    CLEANUP(buf_done) struct buf result = BUF_INIT(LIMIT_REQUEST_ARENA);
    struct guarded g = { .text = &result };
    struct fail fail = { 0 };
    if (!arena)
        return -ENOMEM;
    enum verdict v = chain_guard(chain, text, response, arena, &g, &fail);
    if (buf_err(&result) < 0)
        return buf_err(&result);
    print_line(v, g.findings, g.n, buf_str(&result), &fail, out);
    return buf_err(out);
}

/* One line of input to one line of output; a malformed one is an {"error"}, and *ret_why says it.
 */
static int guard_line(const struct chain *chain, struct str line, bool response, struct buf *out,
                      char ret_why[JSON_ERROR_TEXT_LENGTH])
{
    json_error_t error;
    json_auto_t *body = json_loadb(line.p, line.n, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &error);
    const json_t *text = json_object_get(body, "text");
    buf_clear(out);
    if (json_is_string(text)) {
        struct str s = { json_string_value(text), json_string_length(text) };
        return guard_text(chain, s, response, out);
    }
    (void)snprintf(ret_why, JSON_ERROR_TEXT_LENGTH, "%s",
                   body ? "a line must be an object with 'text', a string" : error.text);
    buf_adds(out, "{\"error\":");
    buf_add_json(out, str_of(ret_why));
    buf_adds(out, "}\n");
    return -EINVAL;
}

static int guard_all(const struct chain *chain, bool response)
{
    CLEANUP(buf_done) struct buf out = BUF_INIT(2 * LIMIT_REQUEST_ARENA);
    int status = EXIT_OK;
    unsigned long long number = 0; /* of the line, from 1 */
    for (struct str line; cli_line(&line);) {
        char why[JSON_ERROR_TEXT_LENGTH] = "";
        number++;
        if (str_trim(line).n == 0)
            continue;
        int r = guard_line(chain, line, response, &out, why);
        if (r < 0)
            status = EXIT_FAILED;
        if (why[0])
            (void)fprintf(stderr, "rootstock: line %llu: %s\n", number, why);
        if (r == -ENOMEM || r == -EMSGSIZE) {
            (void)fputs("rootstock: no memory\n", stderr);
            return EXIT_FAILED;
        }
        if (fwrite(out.p, 1, out.n, stdout) != out.n || fflush(stdout) != 0)
            return EXIT_FAILED;
    }
    return status;
}

int cli_guard(int argc, char **argv)
{
    const char *path = NULL, *stage = "prompt", *decision = NULL;
    const struct cli_option options[] = {
        { "--config", 'c', CLI_text, &path, "FILE", "the configuration with the policy" },
        { "--stage", 0, CLI_text, &stage, "STAGE", "prompt (the default) or response" },
        { "--decision", 0, CLI_text, &decision, "NAME",
          "whose plugins; without it, of the first decision that has a pii plugin" },
        { 0 },
    };
    const struct cli_command cmd = {
        "guard -c FILE [--stage prompt|response] [--decision NAME]",
        "Reads {\"text\": \"…\"} a line and runs a decision's plugins over it. Prints a line for\n"
        "each: {\"verdict\",\"findings\":[{\"type\",\"start\",\"end\",\"score\"}],\"text\"}; the\n"
        "verdict is pass, changed, answer or block (then with a \"reason\"), start and end are\n"
        "bytes of the text that was read, and text is what may go on.",
        options
    };
    int operands;
    int go = cli_parse(&cmd, argc, argv, &operands);
    if (go != CLI_GO)
        return go;
    bool response = strcmp(stage, "response") == 0;
    if (!path || operands > 0 || (!response && strcmp(stage, "prompt") != 0)) {
        (void)fputs(path && operands == 0 ? "rootstock: --stage is prompt or response\n"
                                          : "rootstock: name the configuration with -c FILE\n",
                    stderr);
        return EXIT_MISUSE;
    }
    CLEANUP(config_unrefp) struct config *c = cli_config(path);
    if (!c)
        return EXIT_FAILED;
    CLEANUP(chain_freep) struct chain *chain = load_chain(c, decision);
    return chain ? guard_all(chain, response) : EXIT_FAILED;
}

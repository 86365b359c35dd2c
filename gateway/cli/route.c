/* rootstock route: what a policy decides, line by line, without an engine. */
#include "base/limits.h"
#include "engine/local/engine_local.h"
#include "gateway/api/decode.h"
#include "gateway/api/error.h"
#include "gateway/cli/cli.h"
#include "router/router.h"

#include <errno.h>
#include <stdio.h>

enum { EXPLAIN_BYTES = 64 << 20 };

/* A model that is named is used; the policy is not asked. */
static int name_model(const struct router *r, struct str model, struct route *ret,
                      struct fail *reterr)
{
    struct str base = model, adapter = STR_NULL;
    if (!router_knows_model(r, base))
        (void)str_cut(model, ':', &base, &adapter);
    *ret = (struct route){ .model = base, .adapter = adapter };
    if (!router_knows_model(r, base))
        return fail_param(reterr, FAIL_model_not_found, "model",
                          "the model '%.*s' is neither an auto name nor one of the policy",
                          STR_ARG(model));
    return 0;
}

static int route_line(const struct router *r, struct str line, bool explain, struct buf *out,
                      struct fail *reterr)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new(LIMIT_REQUEST_ARENA);
    struct chat_request chat;
    struct route route;
    int e = arena ? decode_routable(&chat, line, arena, reterr) : -ENOMEM;
    if (e == 0 && !router_is_auto(r, chat.model)) {
        e = name_model(r, chat.model, &route, reterr);
    } else if (e == 0) {
        struct route_request q = { .chat = &chat, .trace = explain };
        e = router_route(r, &q, arena, &route, reterr);
    }
    if (e < 0)
        e = fail_errno(reterr, e, "routing");
    buf_clear(out);
    if (e == 0)
        route_print_line(&route, explain, out);
    else
        error_print(out, reterr);
    buf_addc(out, '\n');
    return e == 0 ? 0 : -EINVAL;
}

static int route_all(const struct router *r, bool explain)
{
    CLEANUP(buf_done) struct buf out = BUF_INIT(EXPLAIN_BYTES);
    int status = EXIT_OK;
    unsigned long long number = 0; /* of the line, from 1 */
    for (struct str line; cli_line(&line);) {
        struct fail fail = { 0 };
        number++;
        if (str_trim(line).n == 0)
            continue;
        if (route_line(r, line, explain, &out, &fail) < 0 || buf_err(&out) < 0) {
            (void)fprintf(stderr, "rootstock: line %llu: %s\n", number,
                          buf_err(&out) < 0 ? strerror(-buf_err(&out)) : fail.message);
            status = EXIT_FAILED;
        }
        if (fwrite(out.p, 1, out.n, stdout) != out.n || fflush(stdout) != 0)
            return EXIT_FAILED;
    }
    return status;
}

int cli_route(int argc, char **argv)
{
    const char *path = NULL;
    bool explain = false;
    const struct cli_option options[] = {
        { "--config", 'c', CLI_text, &path, "FILE", "the configuration with the policy" },
        { "--explain", 0, CLI_flag, &explain, NULL,
          "print every signal and each decision's reason" },
        { 0 },
    };
    const struct cli_command cmd = {
        "route -c FILE [--explain]",
        "Reads a JSON object a line: a chat request or {\"text\": \"…\"}. Prints a line for each:\n"
        "{\"decision\",\"model\",\"adapter\",\"algorithm\",\"plugins\":[],\"signals\":{},\"us\"}.\n"
        "A line that cannot be routed prints {\"error\"}; the exit status is then 1.",
        options
    };
    int operands;
    int go = cli_parse(&cmd, argc, argv, &operands);
    if (go != CLI_GO)
        return go;
    if (!path || operands > 0) {
        (void)fputs("rootstock: name the configuration file with -c FILE\n", stderr);
        return EXIT_MISUSE;
    }
    CLEANUP(problems_freep) struct problems *p = problems_new();
    CLEANUP(config_unrefp) struct config *c = cli_config(path);
    CLEANUP(engine_freep) struct engine *encoder = NULL; /* outlives the router */
    CLEANUP(router_freep) struct router *r = NULL;
    CLEANUP(buf_done) struct buf text = BUF_INIT(MIB);
    if (!c || !p)
        return EXIT_FAILED;
    struct router_parts parts = { NULL };
    struct fail fail = { 0 };
    int e =
        c->engine.embedding.path.n ? engine_local_new(&encoder, &c->engine.embedding, &fail) : 0;
    if (e != 0) {
        (void)fprintf(stderr, "rootstock: %s\n", e > 0 ? fail.message : strerror(-e));
        return EXIT_FAILED;
    }
    parts.encoder = encoder;
    e = router_new_with(&r, c, &parts, p);
    if (e < 0) {
        problems_print(p, &text);
        (void)fputs(text.p ? text.p : "rootstock: no memory\n", stderr);
        return EXIT_FAILED;
    }
    return route_all(r, explain);
}

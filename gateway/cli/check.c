/* rootstock check: everything that is wrong with a configuration, in one go. */
#include "base/limits.h"
#include "gateway/cli/cli.h"
#include "plugins/plugin.h"
#include "router/lint/lint.h"
#include "router/router.h"

#include <errno.h>
#include <stdio.h>

/* The plugins of every decision of a profile, also where the router refuses the policy. */
static int check_plugins(const struct node *routing, const char *path, struct problems *p)
{
    const struct node *decisions = node_get(routing, "decisions");
    int r = 0;
    for (size_t i = 0; node_at(decisions, i) && (r == 0 || r == -EINVAL); i++) {
        CLEANUP(chain_freep) struct chain *chain = NULL;
        char at[96];
        (void)snprintf(at, sizeof(at), "%s.decisions[%zu].plugins", path, i);
        r = chain_new(&chain, node_get(node_at(decisions, i), "plugins"), at, p);
    }
    return r == -EINVAL ? 0 : r; /* its problems are in p */
}

/* Compiles what the policy names, so that its problems are found too. */
int cli_check_policy(struct router **ret, const struct config *c, struct problems *p)
{
    int r = router_new(ret, c, p);
    if (r == 0 || r == -EINVAL)
        r = check_plugins(c->routing, "routing", p);
    for (size_t i = 0; r == 0 && node_at(c->recipes, i); i++) {
        char path[48];
        (void)snprintf(path, sizeof(path), "recipes[%zu].routing", i);
        r = check_plugins(node_get(node_at(c->recipes, i), "routing"), path, p);
    }
    if (r == 0 && *ret && problems_count(p, PROBLEM_error) == 0)
        r = router_lint(*ret, p);
    return r;
}

static void check_file(const struct config *c, struct str file, const char *path,
                       struct problems *p)
{
    FILE *f = fopen(file.p, "rb");
    if (f)
        (void)fclose(f);
    else
        node_problem(p, PROBLEM_error, &(struct node){ .file = c->file }, path, "%s: %s", file.p,
                     strerror(errno));
}

static void check_files(const struct config *c, struct problems *p)
{
    const struct config_model *models = c->engine.models.items;
    for (size_t i = 0; i < c->engine.models.n; i++)
        if (models[i].path.p) /* else its absence is reported */
            check_file(c, models[i].path, "engine.models", p);
    if (c->engine.embedding.path.p)
        check_file(c, c->engine.embedding.path, "engine.embedding", p);
}

int cli_check(int argc, char **argv)
{
    const char *path = NULL;
    bool json = false, reference = false;
    const struct cli_option options[] = {
        { "--config", 'c', CLI_text, &path, "FILE", "the configuration" },
        { "--json", 0, CLI_flag, &json, NULL, "problems as a JSON array on stdout" },
        { "--reference", 0, CLI_flag, &reference, NULL,
          "print every option of ours with its default" },
        { 0 },
    };
    const struct cli_command cmd = {
        "check -c FILE [--json]",
        "Reports every problem of a configuration as file:line:column: kind: path: what.\n"
        "Exits 1 when there is an error; warnings and ignored fields do not fail.",
        options
    };
    int operands;
    int go = cli_parse(&cmd, argc, argv, &operands);
    if (go != CLI_GO)
        return go;
    CLEANUP(buf_done) struct buf out = BUF_INIT(16 * MIB);
    if (reference) {
        config_print_reference(&out);
        (void)fputs(out.p, stdout);
        return EXIT_OK;
    }
    CLEANUP(problems_freep) struct problems *p = problems_new();
    CLEANUP(config_unrefp) struct config *c = NULL;
    if (!path || !p) {
        (void)fputs("rootstock: name the configuration file with -c FILE\n", stderr);
        return EXIT_MISUSE;
    }
    int r = config_examine(&c, path, p);
    if (c) {
        check_files(c, p);
        CLEANUP(router_freep) struct router *router = NULL;
        int policy = cli_check_policy(&router, c, p);
        r = r < 0 ? r : policy;
    }
    if (r < 0 && problems_len(p) == 0)
        (void)fprintf(stderr, "rootstock: %s: %s\n", path, strerror(-r));
    if (json)
        problems_print_json(p, &out);
    else
        problems_print(p, &out);
    bool refused = r < 0 || problems_count(p, PROBLEM_error);
    (void)fputs(out.p ? out.p : "", json ? stdout : stderr);
    if (json)
        (void)fputc('\n', stdout);
    else if (!refused)
        (void)printf("%s: fine (%zu warnings, %zu ignored)\n", path,
                     problems_count(p, PROBLEM_warning), problems_count(p, PROBLEM_ignored));
    return refused ? EXIT_FAILED : EXIT_OK;
}

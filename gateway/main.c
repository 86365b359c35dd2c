#include "gateway/cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
} commands[] = {
    { "serve", cli_serve, "answer HTTP requests" },
    { "check", cli_check, "check a configuration file" },
    { "route", cli_route, "show which model and adapter the policy picks" },
    { "guard", cli_guard, "run a text through the guardrails" },
    { "generate", cli_generate, "generate text from a model file" },
    { "tokenize", cli_tokenize, "turn text into token ids" },
    { "perplexity", cli_perplexity, "score a text with a model file" },
    { "embed", cli_embed, "turn text into vectors" },
    { "bench", cli_bench, "measure prefill and decode speed" },
    { "dsl", cli_dsl, "compile, write back, check and format policies in the DSL" },
    { "selection", cli_selection, "learn which model answers what best, from measured answers" },
    { "adapters", cli_adapters, "publish, list and move adapter revisions" },
};

static void usage(FILE *to)
{
    (void)fputs("usage: rootstock COMMAND [OPTIONS]\n\ncommands:\n", to);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        (void)fprintf(to, "  %-11s %s\n", commands[i].name, commands[i].help);
    (void)fputs("\n'rootstock COMMAND --help' tells the options of a command.\n", to);
}

/* A result that could not be written is no success. */
static int written(int status)
{
    errno = 0;
    bool lost = fflush(stdout) != 0 || ferror(stdout);
    if (!lost || status != EXIT_OK)
        return status;
    (void)fprintf(stderr, "rootstock: the output is lost: %s\n",
                  errno ? strerror(errno) : "it could not be written");
    return EXIT_FAILED;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        usage(stderr);
        return EXIT_MISUSE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        usage(stdout);
        return written(EXIT_OK);
    }
    if (strcmp(argv[1], "--version") == 0) {
        (void)puts("rootstock " ROOTSTOCK_VERSION);
        return written(EXIT_OK);
    }
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return written(commands[i].run(argc - 1, argv + 1));
    (void)fprintf(stderr, "rootstock: no command '%s'\n", argv[1]);
    usage(stderr);
    return EXIT_MISUSE;
}

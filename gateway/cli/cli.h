/*
 * The commands of the `rootstock` program, one file each. Each takes its own arguments (argv[0] is
 * the command's name) and returns an exit status: 0 success, 1 failure, 2 misuse.
 *
 * Results go to stdout, messages to stderr; a progress bar only where stderr is a terminal.
 */
#pragma once

#include "base/buf.h"
#include "config/config.h"
#include "gateway/cli/progress.h"

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_MISUSE = 2 };

int cli_serve(int argc, char **argv);
int cli_check(int argc, char **argv);
int cli_route(int argc, char **argv);
int cli_guard(int argc, char **argv);
int cli_generate(int argc, char **argv);
int cli_tokenize(int argc, char **argv);
int cli_perplexity(int argc, char **argv);
int cli_embed(int argc, char **argv);
int cli_bench(int argc, char **argv);
int cli_adapters(int argc, char **argv);
int cli_dsl(int argc, char **argv);
int cli_selection(int argc, char **argv);

/* ---- options shared by the commands (cli.c) ---- */

enum cli_kind { CLI_flag, CLI_text, CLI_uint, CLI_float, CLI_texts };

struct cli_option {
    const char *name; /* "--lora"; NULL ends the table */
    char letter;      /* 'm' for -m; 0: none */
    enum cli_kind kind;
    void *into;        /* bool *, const char **, uint64_t *, double *, struct cli_texts * */
    const char *value; /* "FILE[=SCALE]", for help */
    const char *help;
};

struct cli_texts { /* a repeated option */
    const char *items[64];
    size_t n;
};

struct cli_command {
    const char *usage; /* "route -c FILE [--explain]" */
    const char *help;  /* a paragraph */
    const struct cli_option *options;
};

#define CLI_GO (-1)
/*
 * Parses argv; `-h`/`--help` prints help. CLI_GO: continue; operands (non-options) are moved to
 * argv[1 … *ret_operands]. Otherwise the exit status to return.
 */
int cli_parse(const struct cli_command *cmd, int argc, char **argv, int *ret_operands);

/* Loads a configuration and prints its problems to stderr; NULL when it is refused. */
struct config *cli_config(const char *path);

struct router;
/*
 * Everything that is wrong with the policy and the plugins of a configuration. 0 (problems may have
 * been added; *ret is NULL when the router refuses the policy) or a negative errno. (check.c)
 */
int cli_check_policy(struct router **ret, const struct config *c, struct problems *p);

/* Next line of stdin without its newline; owned by the static buffer, valid until the next call;
 * false at the end. */
bool cli_line(struct str *ret);

#include "gateway/cli/cli.h"

#include "base/limits.h"
#include "base/num.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static void print_option(const struct cli_option *o, FILE *to)
{
    char left[64];
    int n = o->letter ? snprintf(left, sizeof(left), "  -%c, %s", o->letter, o->name)
                      : snprintf(left, sizeof(left), "      %s", o->name);
    if (o->kind != CLI_flag && n > 0)
        (void)snprintf(left + n, sizeof(left) - (size_t)n, " %s", o->value ? o->value : "VALUE");
    (void)fprintf(to, "%-34s %s\n", left, o->help);
}

static void print_help(const struct cli_command *cmd, FILE *to)
{
    (void)fprintf(to, "usage: rootstock %s\n\n%s\n\n", cmd->usage, cmd->help);
    for (const struct cli_option *o = cmd->options; o->name; o++)
        print_option(o, to);
    (void)fprintf(to, "%-34s %s\n", "  -h, --help", "this text");
}

static int misuse(const struct cli_command *cmd, const char *what, const char *word)
{
    (void)fprintf(stderr, "rootstock: %s%s%s\nusage: rootstock %s\n", what, word ? ": " : "",
                  word ? word : "", cmd->usage);
    return EXIT_MISUSE;
}

/* The option that `arg` names ("--lora", "--lora=x", "-m"), or NULL; *ret_value is what follows
 * "=". */
static const struct cli_option *find(const struct cli_command *cmd, const char *arg,
                                     const char **ret_value)
{
    *ret_value = NULL;
    for (const struct cli_option *o = cmd->options; o->name; o++) {
        size_t n = strlen(o->name);
        if (strncmp(arg, o->name, n) == 0 && (arg[n] == '\0' || arg[n] == '=')) {
            *ret_value = arg[n] == '=' ? arg + n + 1 : NULL;
            return o;
        }
        if (o->letter && arg[0] == '-' && arg[1] == o->letter && arg[2] == '\0')
            return o;
    }
    return NULL;
}

static int store(const struct cli_option *o, const char *value)
{
    struct cli_texts *texts = o->into;
    switch (o->kind) {
    case CLI_flag:
        *(bool *)o->into = true;
        return 0;
    case CLI_text:
        *(const char **)o->into = value;
        return 0;
    case CLI_uint:
        return num_parse_u64(o->into, str_of(value), 0, UINT64_MAX);
    case CLI_float:
        return num_parse_double(o->into, str_of(value), -1e300, 1e300);
    case CLI_texts:
        if (texts->n == ARRAY_LEN(texts->items))
            return -1;
        texts->items[texts->n++] = value;
        return 0;
    }
    return -1;
}

int cli_parse(const struct cli_command *cmd, int argc, char **argv, int *ret_operands)
{
    int operands = 0;
    bool only_operands = false;
    for (int i = 1; i < argc; i++) {
        char *arg = argv[i];
        if (!only_operands && strcmp(arg, "--") == 0) {
            only_operands = true;
            continue;
        }
        if (only_operands || arg[0] != '-' || arg[1] == '\0') {
            argv[++operands] = arg;
            continue;
        }
        if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0) {
            print_help(cmd, stdout);
            return EXIT_OK;
        }
        const char *value;
        const struct cli_option *o = find(cmd, arg, &value);
        if (!o)
            return misuse(cmd, "no such option", arg);
        if (o->kind == CLI_flag && value)
            return misuse(cmd, "this option takes no value", o->name);
        if (o->kind != CLI_flag && !value && ++i < argc)
            value = argv[i];
        if (o->kind != CLI_flag && !value)
            return misuse(cmd, "this option needs a value", o->name);
        if (store(o, value) < 0)
            return misuse(cmd, "this value does not fit its option", arg);
    }
    *ret_operands = operands;
    return CLI_GO;
}

struct config *cli_config(const char *path)
{
    CLEANUP(problems_freep) struct problems *p = problems_new();
    CLEANUP(buf_done) struct buf text = BUF_INIT(4 * MIB);
    struct config *c = NULL;
    if (!path) {
        (void)fputs("rootstock: name the configuration file with -c FILE\n", stderr);
        return NULL;
    }
    if (!p)
        return NULL;
    int r = config_load(&c, path, p);
    problems_print(p, &text);
    if (text.n)
        (void)fputs(text.p, stderr);
    if (r < 0 && text.n == 0)
        (void)fprintf(stderr, "%s: %s\n", path, strerror(-r));
    return r < 0 ? NULL : c;
}

bool cli_line(struct str *ret)
{
    static char *line;
    static size_t cap;
    ssize_t n = getline(&line, &cap, stdin);
    if (n < 0) {
        free(line);
        line = NULL;
        cap = 0;
        return false;
    }
    if (n && line[n - 1] == '\n')
        n--;
    if (n && line[n - 1] == '\r')
        n--;
    *ret = (struct str){ line, (size_t)n };
    return true;
}

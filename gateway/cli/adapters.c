#include "gateway/cli/adapters.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#define OUT_MAX (256 * MIB)
#define CALL_ARENA (2 * GIB)

enum { FLEET_MS = 5000, USUAL_MS = 2000, OPTIONS = 32 };

/* ---- words ---- */

void adapters_complain(const char *about, int r, const struct fail *f)
{
    const char *sep = about[0] ? ": " : "";
    if (r < 0)
        (void)fprintf(stderr, "rootstock: %s%s%s\n", about, sep, strerror(-r));
    else
        (void)fprintf(stderr, "rootstock: %s%s%s (%s)\n", about, sep, f->message,
                      fail_word(f->code));
}

int adapters_misuse(struct fail *f, const char *fmt, ...)
{
    char text[sizeof(f->message)];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    (void)fail_set(f, FAIL_invalid_request, "%s", text);
    return EXIT_MISUSED;
}

int adapters_name(const struct adapters_call *c, const char *word, struct adapter_name *ret,
                  struct fail *f)
{
    *ret = adapter_name_split(str_of(word));
    if (c->base)
        ret->base = str_of(c->base);
    if (ret->selector.n)
        return fail_set(f, FAIL_invalid_request, "name the adapter without '@%.*s'",
                        STR_ARG(str_head(ret->selector, 80)));
    return 0;
}

int adapters_base(struct adapters_call *c, const struct adapter_name *name, struct str *ret,
                  struct fail *f)
{
    const struct config_model *models = c->config->engine.models.items;
    struct adapter_info there;
    *ret = name->base;
    if (ret->n)
        return 0;
    int r = adapters_show(c->adapters, c->arena, STR_NULL, name->adapter, &there, f);
    if (r == 0)
        *ret = there.base;
    if (r != FAILED || f->code != FAIL_model_not_found)
        return r;
    if (c->config->engine.n_own != 1)
        return fail_set(f, FAIL_invalid_request, "which base model is it for? say --base BASE");
    *ret = models[0].name;
    return 0;
}

int adapters_wait_ms(const struct adapters_call *c, uint64_t *ret, struct fail *f)
{
    *ret = c->wait ? 0 : USUAL_MS;
    if (!c->wait || strcmp(c->wait, "none") == 0)
        return 0;
    if (strcmp(c->wait, "fleet") != 0)
        return adapters_misuse(f, "--wait is fleet or none, not '%.40s'", c->wait);
    *ret = c->timeout_ms ? c->timeout_ms : FLEET_MS;
    return 0;
}

int adapters_flush(struct adapters_call *c)
{
    int r = buf_err(&c->out);
    if (r == 0 && c->out.n && fwrite(c->out.p, 1, c->out.n, stdout) != c->out.n)
        r = -EIO;
    buf_clear(&c->out);
    return r;
}

/* ---- verbs ---- */

#define NAME_HELP "NAME is ADAPTER, TENANT/ADAPTER or BASE:ADAPTER."
#define MANY_HELP                                                                                  \
    " Several names, a file of names (--names FILE, - is\nstdin), --prefix, --tenant or --all "    \
    "change many adapters together."

enum verb_id {
    VERB_push = 1 << 0,
    VERB_list = 1 << 1,
    VERB_show = 1 << 2,
    VERB_alias = 1 << 3,
    VERB_promote = 1 << 4,
    VERB_rollback = 1 << 5,
    VERB_canary = 1 << 6,
    VERB_shadow = 1 << 7,
    VERB_retire = 1 << 8,
    VERB_history = 1 << 9,
    VERB_import = 1 << 10,
    VERB_pull = 1 << 11,
    VERB_gc = 1 << 12,
    VERB_verify = 1 << 13,
    VERB_pack = 1 << 14,
    VERBS_all = (1 << 15) - 1,
    VERBS_many = VERB_alias | VERB_promote | VERB_rollback,
    VERBS_share = VERB_canary | VERB_shadow,
    VERBS_change = VERBS_many | VERBS_share | VERB_retire,
};

static const struct verb {
    const char *word;
    enum verb_id id;
    int least, most; /* operands after it */
    int (*run)(struct adapters_call *c, struct fail *f);
    const char *usage, *help;
} verbs[] = {
    { "push", VERB_push, 2, 2, adapters_cli_push, "push NAME PATH",
      "Publishes a PEFT folder or a .gguf file as a new revision. The first revision of an "
      "adapter\n"
      "becomes prod; later ones do with --alias prod. The same content is the same revision.\n"
      "" NAME_HELP },
    { "list", VERB_list, 0, 0, adapters_cli_list, "list",
      "Lists the adapters by name: revisions, aliases with their revision's number, description." },
    { "show", VERB_show, 1, 1, adapters_cli_show, "show NAME",
      "Shows revisions, aliases, epoch and examples of an adapter. " NAME_HELP },
    { "alias", VERB_alias, 2, INT32_MAX, adapters_cli_alias, "alias NAME… ALIAS WHAT",
      "Moves an alias to WHAT: an alias, a revision's number or its digest. " NAME_HELP
      "\n" MANY_HELP },
    { "promote", VERB_promote, 1, INT32_MAX, adapters_cli_promote, "promote NAME… WHAT",
      "Makes WHAT (an alias, a revision's number or its digest) prod, or --alias ALIAS. The "
      "former\n"
      "prod is prev then. " NAME_HELP "\n" MANY_HELP },
    { "rollback", VERB_rollback, 0, INT32_MAX, adapters_cli_rollback,
      "rollback NAME [ALIAS] | rollback --alias ALIAS NAME…",
      "Takes an alias (prod) back to where it stood before; once more, and it is forth again.\n"
      "" NAME_HELP "\n" MANY_HELP },
    { "canary", VERB_canary, 1, 3, adapters_cli_canary,
      "canary NAME REVISION WEIGHT% | NAME --abort",
      "Sends a share of the requests for prod to a revision, the same callers on every gateway, "
      "or\n"
      "takes that back. Gateways take it back by themselves where it does worse than prod\n"
      "(adapters.canary). " NAME_HELP },
    { "shadow", VERB_shadow, 1, 3, adapters_cli_shadow,
      "shadow NAME REVISION WEIGHT% | NAME --abort",
      "Sends copies of a share of the requests for prod to a revision that answers nobody, or "
      "ends\n"
      "that. " NAME_HELP },
    { "retire", VERB_retire, 1, 2, adapters_cli_retire, "retire NAME [REVISION]",
      "Takes a revision that no alias names out of the catalog, or the whole adapter. Its files "
      "go\n"
      "with the next gc. " NAME_HELP },
    { "history", VERB_history, 1, 1, adapters_cli_history, "history NAME",
      "Who changed what, oldest first; --limit: the last ones only. " NAME_HELP },
    { "import", VERB_import, 1, 1, adapters_cli_import, "import FILE|FOLDER|-",
      "Brings in many adapters. FILE has a JSON object a line:\n"
      "  {\"base\",\"adapter\",\"digest\",\"bytes\",\"description\"}  a revision whose blobs are "
      "in "
      "the store\n"
      "  {\"base\",\"adapter\",\"path\",\"alias\"}                 a folder or file to publish\n"
      "FOLDER holds an adapter in each of its folders (or its revisions in NAME/1, NAME/2, …).\n"
      "What is there is left alone, so that an import can be run again." },
    { "pull", VERB_pull, 1, 2, adapters_cli_pull, "pull NAME[@REVISION] [FOLDER]",
      "Brings the files of a revision into the local cache, verified, and into "
      "FOLDER. " NAME_HELP },
    { "gc", VERB_gc, 0, 0, adapters_cli_gc, "gc",
      "Removes files that no revision of the catalog names from the stores and the local cache." },
    { "verify", VERB_verify, 0, 1, adapters_cli_verify, "verify [NAME[@REVISION]]",
      "Hashes every file of an adapter, or of all, in every store and in the cache. Exit status "
      "1:\n"
      "a file is missing, damaged or unreadable. " NAME_HELP },
    { "pack", VERB_pack, 1, INT32_MAX, adapters_cli_pack, "pack NAME[@REVISION]…",
      "Builds the form that gateways map, in the local cache, before anybody asks for it.\n"
      "" NAME_HELP },
};

static const struct verb *find_verb(const char *word)
{
    for (size_t i = 0; word && i < ARRAY_LEN(verbs); i++)
        if (strcmp(verbs[i].word, word) == 0)
            return &verbs[i];
    return NULL;
}

/* ---- options ---- */

static const struct {
    unsigned verbs;
    struct cli_option option; /* `into` is filled when it is used */
    size_t offset;
} option_rows[] = {
#define ROW(verbs, name, kind, member, value, help)                                                \
    {                                                                                              \
        verbs, { name, 0, kind, NULL, value, help }, offsetof(struct adapters_call, member)        \
    }
    ROW(VERBS_all & ~(VERB_list | VERB_gc), "--base", CLI_text, base, "BASE",
        "base model of the adapter"),
    ROW(VERB_push | VERB_promote | VERB_rollback | VERB_import, "--alias", CLI_text, alias, "ALIAS",
        "the alias that moves"),
    ROW(VERB_push, "--description", CLI_text, description, "TEXT", "what the adapter is for"),
    ROW(VERB_push, "--example", CLI_texts, examples, "TEXT", "a question for it; repeatable"),
    ROW(VERB_alias | VERB_promote, "--expected", CLI_text, expected, "SHA256",
        "only if the alias names this now"),
    ROW(VERBS_change | VERB_push, "--if-match", CLI_uint, if_match, "EPOCH",
        "only if the adapter's epoch is this"),
    ROW(VERBS_change | VERB_push, "--key", CLI_text, key, "KEY",
        "idempotency key: a change is made once, kept for a day"),
    ROW(VERBS_change | VERB_push, "--wait", CLI_text, wait, "fleet",
        "fail unless every live gateway has applied it; none: do not wait"),
    ROW(VERBS_change | VERB_push, "--timeout", CLI_uint, timeout_ms, "MS", "of --wait; 5000"),
    ROW(VERBS_change | VERB_push | VERB_import, "--who", CLI_text, who, "TEXT",
        "whom the history names"),
    ROW(VERBS_many, "--names", CLI_text, names, "FILE", "names, one a line"),
    ROW(VERBS_many | VERB_list, "--prefix", CLI_text, prefix, "TEXT",
        "adapters whose names begin so"),
    ROW(VERBS_many | VERB_list, "--tenant", CLI_text, tenant, "TENANT", "adapters of a tenant"),
    ROW(VERBS_many, "--all", CLI_flag, all, NULL, "every adapter"),
    ROW(VERB_list, "--after", CLI_text, after, "NAME", "those behind this name"),
    ROW(VERB_list | VERB_history, "--limit", CLI_uint, limit, "N", "at most so many"),
    ROW(VERBS_share, "--abort", CLI_flag, abort, NULL, "take it back"),
    ROW(VERB_import, "--replace", CLI_flag, replace, NULL, "also what is there already"),
    ROW(VERB_gc, "--dry-run", CLI_flag, dry_run, NULL, "count only"),
    ROW(VERB_gc, "--grace", CLI_uint, grace, "SECONDS",
        "what is younger stays; 86400, longer than any push takes"),
    ROW(VERBS_all, "--json", CLI_flag, json, NULL, "results as JSON"),
#undef ROW
};

/* Those of the verb, NULL: of all. */
static void choose_options(struct adapters_call *c, const struct verb *v, const char **config,
                           struct cli_option ret[static OPTIONS])
{
    size_t n = 0;
    ret[n++] =
        (struct cli_option){ "--config", 'c', CLI_text, config, "FILE", "the configuration" };
    for (size_t i = 0; i < ARRAY_LEN(option_rows); i++) {
        if (v && !(option_rows[i].verbs & v->id))
            continue;
        ret[n] = option_rows[i].option;
        ret[n++].into = (char *)c + option_rows[i].offset;
    }
    ret[n] = (struct cli_option){ 0 };
}

/* ---- the command ---- */

static int run(struct adapters_call *c, const struct verb *v, const char *config)
{
    struct fail f = { 0 };
    CLEANUP(config_unrefp) struct config *snapshot = cli_config(config);
    CLEANUP(arena_freep) struct arena *arena = arena_new(CALL_ARENA);
    CLEANUP(adapters_closep) struct adapters *a = NULL;
    if (!snapshot || !arena)
        return EXIT_FAILED;
    int r = v->id == VERB_pack ? 0 : adapters_open(&a, snapshot, /* loader= */ NULL, &f);
    c->config = c->snapshot = snapshot;
    c->arena = arena;
    c->adapters = a;
    if (r == 0)
        r = v->run(c, &f);
    int flushed = r == 0 || r == EXIT_SAID ? adapters_flush(c) : 0;
    if (r == EXIT_MISUSED)
        (void)fprintf(stderr, "rootstock: %s\nusage: rootstock adapters %s -c FILE\n", f.message,
                      v->usage);
    else if (r != 0 && r != EXIT_SAID)
        adapters_complain("", r, &f);
    else if (flushed != 0)
        adapters_complain("standard output", flushed, &f);
    if (r == EXIT_MISUSED)
        return EXIT_MISUSE;
    return r == 0 && flushed == 0 ? EXIT_OK : EXIT_FAILED;
}

static const char general_usage[] = "adapters VERB … -c FILE [--json]";
static const char general_help[] =
    "Changes and shows the adapter catalog of a configuration.\n\n"
    "  push NAME PATH               publish a PEFT folder or a .gguf file as a new revision\n"
    "  list                         every adapter\n"
    "  show NAME                    revisions, aliases and examples of one\n"
    "  alias NAME… ALIAS WHAT       move an alias to an alias, a revision's number or digest\n"
    "  promote NAME… WHAT           make a revision prod; the former one is prev\n"
    "  rollback NAME [ALIAS]        back to where the alias (prod) stood before\n"
    "  canary NAME REVISION WEIGHT%  a share of prod's requests; --abort takes it back\n"
    "  shadow NAME REVISION WEIGHT%  copies of a share, answered for nobody; --abort\n"
    "  retire NAME [REVISION]       take a revision, or the adapter, out of the catalog\n"
    "  history NAME                 who changed what, oldest first\n"
    "  import FILE|FOLDER|-         many adapters at once\n"
    "  pull NAME [FOLDER]           bring its files into the cache, and into a folder\n"
    "  gc                           remove files that no revision names\n"
    "  verify [NAME]                hash every file in every store and in the cache\n"
    "  pack NAME…                   build what gateways map, ahead of time\n\n"
    "NAME is ADAPTER, TENANT/ADAPTER or BASE:ADAPTER. A change is live on every gateway when the\n"
    "command ends (within 2 s). 'rootstock adapters VERB --help' tells the options of one. The "
    "options of all:";

static int misused(const struct verb *v)
{
    if (v)
        (void)fprintf(stderr, "usage: rootstock adapters %s -c FILE\n", v->usage);
    else
        (void)fprintf(stderr,
                      "usage: rootstock %s\nverbs: push list show alias promote rollback "
                      "canary shadow retire history import pull gc verify pack\n",
                      general_usage);
    return EXIT_MISUSE;
}

int cli_adapters(int argc, char **argv)
{
    const char *config = NULL;
    char usage[160];
    struct adapters_call c = { .out = BUF_INIT(OUT_MAX), .grace = UINT64_MAX };
    struct cli_option options[OPTIONS];
    const struct verb *v = find_verb(argc > 1 ? argv[1] : NULL);
    choose_options(&c, v, &config, options);
    (void)snprintf(usage, sizeof(usage), "adapters %s -c FILE", v ? v->usage : "");
    const struct cli_command cmd = { v ? usage : general_usage, v ? v->help : general_help,
                                     options };
    int operands;
    int go = cli_parse(&cmd, argc, argv, &operands);
    if (go != CLI_GO)
        return go;
    if (!v)
        v = find_verb(operands ? argv[1] : NULL);
    int n = operands - 1;
    if (!v || n < v->least || n > v->most)
        return misused(v);
    if (!config) {
        (void)fputs("rootstock: name the configuration file with -c FILE\n", stderr);
        return EXIT_MISUSE;
    }
    c.operands = argv + 2;
    c.n_operands = n;
    if (!c.who)
        c.who = getenv("USER");
    int status = run(&c, v, config);
    buf_done(&c.out);
    return status;
}

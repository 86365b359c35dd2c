#include <errno.h>
#include <inttypes.h>

#include "adapters/adapters.h"
#include "base/clock.h"
#include "base/limits.h"
#include "gateway/cli/cli.h"

#define OUT_MAX (256 * MIB)
#define LIST_ARENA (2 * GIB)

/* What the words after the verb mean, and the options. */
struct call {
    const struct config *config;
    struct adapters *adapters;
    struct arena *arena;
    struct adapter_name name;
    const char *operands[4]; /* after the verb */
    const char *base, *alias, *description, *who, *expected;
    struct cli_texts examples;
    bool json;
    struct buf out;
};

/* ---- words ---- */

static int report(int r, const struct fail *f)
{
    if (r < 0)
        (void)fprintf(stderr, "rootstock: %s\n", strerror(-r));
    else if (r == FAILED)
        (void)fprintf(stderr, "rootstock: %s (%s)\n", f->message, fail_word(f->code));
    return r == 0 ? EXIT_OK : EXIT_FAILED;
}

static void add_short(struct buf *b, const struct sha256 *d)
{
    char hex[SHA256_HEX + 1];
    sha256_hex(hex, d);
    buf_addf(b, "sha256:%.12s", hex);
}

static void add_time(struct buf *b, uint64_t s)
{
    char text[32] = "-";
    time_t t = (time_t)s;
    struct tm tm;
    if (s && gmtime_r(&t, &tm))
        (void)strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
    buf_adds(b, text);
}

static const struct adapter_revision *revision_of(const struct adapter_info *i,
                                                  const struct sha256 *digest)
{
    for (size_t k = 0; k < i->n_revisions; k++)
        if (sha256_eq(&i->revisions[k].digest, digest))
            return &i->revisions[k];
    return NULL;
}

static void add_digest_json(struct buf *b, const char *key, const struct sha256 *d)
{
    char hex[SHA256_HEX + 1];
    sha256_hex(hex, d);
    buf_addf(b, "\"%s\":\"%s\"", key, hex);
}

static void add_info_json(struct buf *b, const struct adapter_info *i)
{
    buf_adds(b, "{\"name\":");
    buf_add_json(b, i->name);
    buf_adds(b, ",\"base\":");
    buf_add_json(b, i->base);
    buf_adds(b, ",\"description\":");
    buf_add_json(b, i->description);
    buf_adds(b, ",\"examples\":[");
    for (size_t k = 0; k < i->n_examples; k++) {
        buf_adds(b, k ? "," : "");
        buf_add_json(b, i->examples[k]);
    }
    buf_adds(b, "],\"revisions\":[");
    for (size_t k = 0; k < i->n_revisions; k++) {
        const struct adapter_revision *r = &i->revisions[k];
        buf_addf(b, "%s{\"ordinal\":%" PRIu64 ",", k ? "," : "", r->ordinal);
        add_digest_json(b, "digest", &r->digest);
        buf_addf(b, ",\"bytes\":%" PRIu64 ",\"created\":%" PRIu64 "}", r->bytes, r->created_s);
    }
    buf_adds(b, "],\"aliases\":{");
    for (size_t k = 0; k < i->n_aliases; k++) {
        buf_adds(b, k ? "," : "");
        buf_add_json(b, str_of(i->aliases[k].name));
        buf_addc(b, ':');
        char hex[SHA256_HEX + 1];
        sha256_hex(hex, &i->aliases[k].digest);
        buf_addf(b, "\"%s\"", hex);
    }
    buf_adds(b, "}}");
}

static void add_revision_line(struct buf *b, const struct adapter_revision *r)
{
    buf_addf(b, "%s:%s revision %" PRIu64 " ", r->base, r->adapter, r->ordinal);
    add_short(b, &r->digest);
    if (r->alias[0])
        buf_addf(b, " is %s", r->alias);
    buf_addc(b, '\n');
}

static void add_revision_result(struct call *c, const struct adapter_revision *r)
{
    if (!c->json) {
        add_revision_line(&c->out, r);
        return;
    }
    buf_adds(&c->out, "{\"name\":");
    buf_add_json(&c->out, str_of(r->adapter));
    buf_adds(&c->out, ",\"base\":");
    buf_add_json(&c->out, str_of(r->base));
    buf_adds(&c->out, ",\"alias\":");
    buf_add_json(&c->out, str_of(r->alias));
    buf_addf(&c->out, ",\"ordinal\":%" PRIu64 ",", r->ordinal);
    add_digest_json(&c->out, "digest", &r->digest);
    buf_addf(&c->out, ",\"bytes\":%" PRIu64 "}\n", r->bytes);
}

/* ---- verbs ---- */

static void show_progress(void *ctx, uint64_t done, uint64_t total)
{
    cli_progress(ctx, done, total);
}

/* The base of a new adapter: as said, or that of the adapter there is, or the only one configured.
 */
static int choose_base(struct call *c, struct str *ret, struct fail *f)
{
    const struct config_model *models = c->config->engine.models.items;
    struct adapter_info there;
    *ret = c->base ? str_of(c->base) : c->name.base;
    if (ret->n)
        return 0;
    int r = adapters_show(c->adapters, c->arena, STR_NULL, c->name.adapter, &there, f);
    if (r == 0)
        *ret = there.base;
    if (r != FAILED || f->code != FAIL_model_not_found)
        return r;
    if (c->config->engine.models.n != 1)
        return fail_set(f, FAIL_invalid_request, "which base model is it for? say --base BASE");
    *ret = models[0].name;
    return 0;
}

static int push(struct call *c, struct fail *f)
{
    struct str examples[ARRAY_LEN(c->examples.items)];
    struct adapter_revision done;
    struct adapter_push p = { .adapter = c->name.adapter,
                              .description = str_of(c->description),
                              .who = str_of(c->who),
                              .path = c->operands[1],
                              .alias = str_of(c->alias),
                              .examples = examples,
                              .n_examples = c->examples.n,
                              .progress = show_progress,
                              .progress_ctx = (void *)c->operands[1] };
    for (size_t i = 0; i < c->examples.n; i++)
        examples[i] = str_of(c->examples.items[i]);
    int r = choose_base(c, &p.base, f);
    if (r == 0)
        r = adapters_push(c->adapters, &p, &done, f);
    cli_progress_done();
    if (r == 0)
        add_revision_result(c, &done);
    return r;
}

static void add_list_line(struct buf *b, const struct adapter_info *i)
{
    buf_addf(b, "%s:%s", i->base.p, i->name.p);
    buf_addf(b, "\t%zu revision%s", i->n_revisions, i->n_revisions == 1 ? "" : "s");
    for (size_t k = 0; k < i->n_aliases; k++) {
        const struct adapter_revision *r = revision_of(i, &i->aliases[k].digest);
        buf_addf(b, "%s%s=%" PRIu64, k ? " " : "\t", i->aliases[k].name, r ? r->ordinal : 0);
    }
    buf_addf(b, "%s\t%s\n", i->n_aliases ? "" : "\t-", i->description.p);
}

static int list(struct call *c, struct fail *f)
{
    struct adapter_info *infos;
    struct adapters_state state;
    size_t n;
    int r = adapters_list(c->adapters, c->arena, STR(""), 0, &infos, &n);
    adapters_state(c->adapters, &state);
    if (r == 0 && !state.connected)
        r = fail_set(f, FAIL_catalog_unavailable, "the adapter catalog does not answer");
    if (r != 0)
        return r;
    buf_adds(&c->out, c->json ? "[" : "");
    for (size_t i = 0; i < n; i++) {
        if (!c->json) {
            add_list_line(&c->out, &infos[i]);
            continue;
        }
        buf_adds(&c->out, i ? ",\n " : "");
        add_info_json(&c->out, &infos[i]);
    }
    buf_adds(&c->out, c->json ? "]\n" : "");
    return 0;
}

static int show(struct call *c, struct fail *f)
{
    struct adapter_info i;
    int r = adapters_show(c->adapters, c->arena, c->name.base, c->name.adapter, &i, f);
    if (r != 0)
        return r;
    if (c->json) {
        add_info_json(&c->out, &i);
        buf_addc(&c->out, '\n');
        return 0;
    }
    buf_addf(&c->out, "%s:%s\n", i.base.p, i.name.p);
    if (i.description.n)
        buf_addf(&c->out, "  %s\n", i.description.p);
    for (size_t k = 0; k < i.n_revisions; k++) {
        const struct adapter_revision *v = &i.revisions[k];
        buf_addf(&c->out, "  revision %" PRIu64 "  ", v->ordinal);
        add_short(&c->out, &v->digest);
        buf_addf(&c->out, "  %" PRIu64 " bytes  ", v->bytes);
        add_time(&c->out, v->created_s);
        for (size_t m = 0; m < i.n_aliases; m++)
            if (sha256_eq(&i.aliases[m].digest, &v->digest))
                buf_addf(&c->out, "  %s", i.aliases[m].name);
        buf_addc(&c->out, '\n');
    }
    for (size_t k = 0; k < i.n_examples; k++)
        buf_addf(&c->out, "  example: %s\n", i.examples[k].p);
    return 0;
}

static int alias(struct call *c, struct fail *f)
{
    struct adapter_revision done;
    int r = adapters_alias(c->adapters, c->name.base, c->name.adapter, str_of(c->operands[1]),
                           str_of(c->operands[2]), str_of(c->expected), str_of(c->who), &done, f);
    if (r == 0)
        add_revision_result(c, &done);
    return r;
}

static int rollback(struct call *c, struct fail *f)
{
    struct adapter_revision done;
    int r = adapters_rollback(c->adapters, c->name.base, c->name.adapter, str_of(c->operands[1]),
                              str_of(c->who), &done, f);
    if (r == 0)
        add_revision_result(c, &done);
    return r;
}

static void add_audit_json(struct buf *b, const struct adapter_audit *a)
{
    const struct {
        const char *key;
        struct str value;
    } texts[] = { { "what", a->what },
                  { "alias", a->alias },
                  { "from", a->from },
                  { "to", a->to },
                  { "who", a->who } };
    buf_addf(b, "{\"epoch\":%" PRIu64 ",\"when\":%" PRIu64, a->epoch, a->when_s);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        buf_addf(b, ",\"%s\":", texts[i].key);
        buf_add_json(b, texts[i].value);
    }
    buf_addc(b, '}');
}

static int history(struct call *c, struct fail *f)
{
    struct adapter_audit *lines;
    size_t n;
    int r = adapters_history(c->adapters, c->arena, c->name.base, c->name.adapter, &lines, &n, f);
    if (r != 0)
        return r;
    buf_adds(&c->out, c->json ? "[" : "");
    for (size_t i = 0; i < n; i++) {
        const struct adapter_audit *a = &lines[i];
        if (c->json) {
            buf_adds(&c->out, i ? ",\n " : "");
            add_audit_json(&c->out, a);
            continue;
        }
        buf_addf(&c->out, "%" PRIu64 "\t", a->epoch);
        add_time(&c->out, a->when_s);
        buf_addf(&c->out, "\t%s\t%s\t%.12s -> %.12s\t%s\n", a->what.p,
                 a->alias.n ? a->alias.p : "-", a->from.n ? a->from.p : "-",
                 a->to.n ? a->to.p : "-", a->who.p);
    }
    buf_adds(&c->out, c->json ? "]\n" : "");
    return 0;
}

/* ---- the command ---- */

static const struct verb {
    const char *word;
    int least, most; /* operands after it */
    int (*run)(struct call *c, struct fail *f);
} verbs[] = {
    { "push", 2, 2, push },   { "list", 0, 0, list },         { "show", 1, 1, show },
    { "alias", 3, 3, alias }, { "rollback", 1, 2, rollback }, { "history", 1, 1, history },
};

static const struct verb *find_verb(const char *word)
{
    for (size_t i = 0; word && i < ARRAY_LEN(verbs); i++)
        if (strcmp(verbs[i].word, word) == 0)
            return &verbs[i];
    return NULL;
}

static int misused(const struct cli_command *cmd)
{
    (void)fprintf(stderr, "usage: rootstock %s\n", cmd->usage);
    return EXIT_MISUSE;
}

static int run(struct call *c, const struct verb *v, const char *config)
{
    struct fail f;
    CLEANUP(config_unrefp) struct config *snapshot = cli_config(config);
    CLEANUP(arena_freep) struct arena *arena = arena_new(LIST_ARENA);
    CLEANUP(adapters_closep) struct adapters *a = NULL;
    if (!snapshot || !arena)
        return EXIT_FAILED;
    int r = adapters_open(&a, snapshot, /* loader= */ NULL, &f);
    c->config = snapshot;
    c->arena = arena;
    c->adapters = a;
    c->name = adapter_name_split(str_of(c->operands[0]));
    if (c->base)
        c->name.base = str_of(c->base);
    if (r == 0 && c->name.selector.n)
        r = fail_set(&f, FAIL_invalid_request, "name the adapter without '@%.*s'",
                     STR_ARG(str_head(c->name.selector, 80)));
    if (r == 0)
        r = v->run(c, &f);
    if (r == 0)
        r = buf_err(&c->out);
    if (r == 0 && c->out.n && fwrite(c->out.p, 1, c->out.n, stdout) != c->out.n)
        r = -EIO;
    return report(r, &f);
}

int cli_adapters(int argc, char **argv)
{
    const char *config = NULL;
    struct call c = { .out = BUF_INIT(OUT_MAX) };
    const struct cli_option options[] = {
        { "--config", 'c', CLI_text, &config, "FILE", "the configuration" },
        { "--base", 0, CLI_text, &c.base, "BASE", "base model of the adapter" },
        { "--alias", 0, CLI_text, &c.alias, "ALIAS", "push: move this alias to the revision" },
        { "--description", 0, CLI_text, &c.description, "TEXT", "push: what the adapter is for" },
        { "--example", 0, CLI_texts, &c.examples, "TEXT", "push: a question for it; repeatable" },
        { "--expected", 0, CLI_text, &c.expected, "SHA256", "alias: only if it names this now" },
        { "--who", 0, CLI_text, &c.who, "TEXT", "whom the history names" },
        { "--json", 0, CLI_flag, &c.json, NULL, "results as JSON" },
        { 0 },
    };
    const struct cli_command cmd = {
        "adapters push|list|show|alias|rollback|history -c FILE …",
        "Changes and shows the adapter catalog of a configuration.\n\n"
        "  push NAME PATH          publish a PEFT folder or a .gguf file as a new revision\n"
        "  list                    every adapter\n"
        "  show NAME               revisions, aliases and examples of one\n"
        "  alias NAME ALIAS WHAT   move an alias to an alias, a revision's number or digest\n"
        "  rollback NAME [ALIAS]   back to where the alias (prod) stood before\n"
        "  history NAME            who changed what, oldest first\n\n"
        "NAME is ADAPTER or BASE:ADAPTER. A change is live on every gateway when the command ends.",
        options
    };
    int operands;
    int go = cli_parse(&cmd, argc, argv, &operands);
    if (go != CLI_GO)
        return go;
    const struct verb *v = find_verb(operands ? argv[1] : NULL);
    int n = operands - 1;
    if (!v || n < v->least || n > v->most)
        return misused(&cmd);
    if (!config) {
        (void)fputs("rootstock: name the configuration file with -c FILE\n", stderr);
        return EXIT_MISUSE;
    }
    for (int i = 0; i < n; i++)
        c.operands[i] = argv[2 + i];
    if (!c.who)
        c.who = getenv("USER");
    int status = run(&c, v, config);
    buf_done(&c.out);
    return status;
}

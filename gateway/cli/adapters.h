/*
 * `rootstock adapters`: what the files of its verbs share.
 */
#pragma once

#include "adapters/adapters.h"
#include "gateway/cli/cli.h"

/* What the words after the verb mean, and the options. */
struct adapters_call {
    const struct config *config;
    struct config *snapshot;   /* the same */
    struct adapters *adapters; /* NULL for pack, which opens them with the engines */
    struct arena *arena;
    char **operands;
    int n_operands;
    struct buf out; /* flushed by adapters_flush */

    const char *base, *alias, *description, *who, *expected, *wait, *key, *names, *prefix, *tenant,
        *after;
    struct cli_texts examples;
    uint64_t if_match, timeout_ms, limit;
    uint64_t grace; /* UINT64_MAX: not said */
    bool json, abort, replace, all, dry_run, told_unchecked;
    size_t n_faults;
};

/* Verbs: 0, FAILED with *f, a negative errno, or one of these. */
enum {
    EXIT_SAID = 2, /* it failed and has said so */
    EXIT_MISUSED,  /* *f says what the words should have been */
};

int adapters_cli_push(struct adapters_call *c, struct fail *f);
int adapters_cli_list(struct adapters_call *c, struct fail *f);
int adapters_cli_show(struct adapters_call *c, struct fail *f);
int adapters_cli_history(struct adapters_call *c, struct fail *f);
int adapters_cli_alias(struct adapters_call *c, struct fail *f);
int adapters_cli_promote(struct adapters_call *c, struct fail *f);
int adapters_cli_rollback(struct adapters_call *c, struct fail *f);
int adapters_cli_canary(struct adapters_call *c, struct fail *f);
int adapters_cli_shadow(struct adapters_call *c, struct fail *f);
int adapters_cli_retire(struct adapters_call *c, struct fail *f);
int adapters_cli_import(struct adapters_call *c, struct fail *f);
int adapters_cli_pull(struct adapters_call *c, struct fail *f);
int adapters_cli_gc(struct adapters_call *c, struct fail *f);
int adapters_cli_verify(struct adapters_call *c, struct fail *f);
int adapters_cli_pack(struct adapters_call *c, struct fail *f);

/* ---- shared ---- */

int adapters_misuse(struct fail *f, const char *fmt, ...) PRINTF_LIKE(2, 3); /* EXIT_MISUSED */

/* "BASE:ADAPTER" or "ADAPTER" with --base. FAILED: it names a revision. */
int adapters_name(const struct adapters_call *c, const char *word, struct adapter_name *ret,
                  struct fail *f) MUST_USE;
/* The base of a new adapter: as said, or that of the adapter there is, or the only one configured.
 */
int adapters_base(struct adapters_call *c, const struct adapter_name *name, struct str *ret,
                  struct fail *f) MUST_USE;
/* How long other gateways are waited for, of --wait and --timeout; 0: they are not. */
int adapters_wait_ms(const struct adapters_call *c, uint64_t *ret, struct fail *f) MUST_USE;
/* Calls fn for page after page of what --prefix, --tenant, --after and --limit select; the infos
 * live during the call. */
typedef int (*adapters_page_fn)(void *ctx, const struct adapter_info *infos, size_t n);
int adapters_pages(struct adapters_call *c, adapters_page_fn fn, void *ctx,
                   struct fail *f) MUST_USE;
/* Publishes one folder or file as the options say, with a bar. */
int adapters_push_one(struct adapters_call *c, const struct adapter_push *like,
                      struct adapter_revision *ret, struct fail *f) MUST_USE;
/* Writes what is in c->out. 0 or negative errno. */
int adapters_flush(struct adapters_call *c) MUST_USE;
/* Says why on stderr. */
void adapters_complain(const char *about, int r, const struct fail *f);

void adapters_print_digest(struct buf *b, const char *key, const struct sha256 *d); /* JSON */
void adapters_print_short(struct buf *b, const struct sha256 *d);
void adapters_print_revision(struct adapters_call *c, const struct adapter_revision *r);

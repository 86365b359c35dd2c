/*
 * One catalog behind one interface: a folder or Redis.
 *
 * A catalog writes what it learns into the page. `fresh` and `state` never block; everything else
 * may, and runs on the catalog's thread, on loader threads, on workers or in the CLI.
 */
#pragma once

#include "adapters/blobs/blobs.h"
#include "adapters/page.h"
#include "adapters/residency.h"
#include "adapters/revision.h"

struct catalog;

struct publication { /* all borrowed */
    struct str base, adapter, description, alias, who;
    const struct str *examples;
    size_t n_examples;
    const struct revision_source *source;
    const struct manifest *manifest;
    struct sha256 digest;
    uint64_t ordinal; /* that it has at least; 0: the next one */
    uint64_t base_id; /* as in struct head_revision */
    uint32_t rank;
};

struct catalog_ops {
    bool remote; /* a selector that the page lacks may be known there */
    /* The page says what the catalog says of this name (also that it does not exist). */
    bool (*fresh)(struct catalog *c, struct str base, struct str adapter);
    /* Brings the page up to date for one name. FAILED: catalog_unavailable. */
    int (*lookup)(struct catalog *c, struct str base, struct str adapter, struct fail *reterr);
    /* The same for every name. */
    int (*refresh)(struct catalog *c, struct fail *reterr);
    /* Every name is in the page: what it does not find was not there when the catalog last spoke.
     */
    bool (*complete)(struct catalog *c);
    /* Brings the page up to date, and returns when every live gateway has. */
    int (*publish)(struct catalog *c, const struct publication *p, struct fail *reterr);
    /* The same for adapters_change_many; base and adapter name one adapter of the page each. */
    int (*change)(struct catalog *c, const struct adapter_change *changes, size_t n,
                  struct arena *arena, struct adapter_changed *changed, struct fail *fails,
                  struct fail *reterr);
    /* NULL: it has none. */
    int (*import)(struct catalog *c, const struct adapter_import *rows, size_t n, bool replace,
                  size_t *ret_written, struct fail *reterr);
    int (*limit_tenant)(struct catalog *c, struct str tenant, uint64_t max_adapters,
                        struct fail *reterr);
    /* NULL: the page is always as new as the catalog. */
    int (*wait_epoch)(struct catalog *c, struct str adapter, uint64_t epoch, uint64_t wait_ms,
                      struct fail *reterr);
    int (*history)(struct catalog *c, struct arena *arena, struct str base, struct str adapter,
                   struct adapter_audit **ret, size_t *ret_n, struct fail *reterr);
    int (*stage)(struct catalog *c, const struct adapter_revision *r, struct stage *ret,
                 struct fail *reterr);
    void (*unstage)(struct catalog *c, struct stage *s);
    /* Where the files are; NULL: in the catalog's own folder. */
    struct blobs *(*blobs)(struct catalog *c);
    void (*state)(struct catalog *c, bool *ret_connected, uint64_t *ret_lag_ms);
    struct catalog *(*free)(struct catalog *c);
};

struct catalog_host {  /* what a catalog is opened for; copied */
    struct page *page; /* borrowed */
    bool follow;       /* a gateway, which keeps its page current; else a command, which asks */
    /* Revisions that requests of this process use now, at most `max`; NULL: unknown. Never blocks;
     * any thread. */
    size_t (*in_use)(void *ctx, struct sha256 *ret, size_t max);
    void *ctx;
};

struct catalog { /* the first member of each kind */
    const struct catalog_ops *ops;
    struct page *page; /* borrowed */
};

int catalog_directory_open(struct catalog **ret, const struct config_adapters *c,
                           const struct catalog_host *host, struct fail *reterr) MUST_USE;
int catalog_redis_open(struct catalog **ret, const struct config_adapters *c,
                       const struct catalog_host *host, struct fail *reterr) MUST_USE;

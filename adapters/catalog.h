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
};

struct alias_move {
    struct str base, adapter, alias;
    struct str selector; /* unused by a rollback */
    struct str expected; /* 64 hex digits, or empty: whatever it is */
    struct str who;
    bool rollback;
};

struct catalog_ops {
    bool remote; /* a selector that the page lacks may be known there */
    /* The page says what the catalog says of this name (also that it does not exist). */
    bool (*fresh)(struct catalog *c, struct str base, struct str adapter);
    /* Brings the page up to date for one name. FAILED: catalog_unavailable. */
    int (*lookup)(struct catalog *c, struct str base, struct str adapter, struct fail *reterr);
    /* The same for every name. */
    int (*refresh)(struct catalog *c, struct fail *reterr);
    /* Both bring the page up to date, and return when every live gateway has. */
    int (*publish)(struct catalog *c, const struct publication *p, struct fail *reterr);
    int (*move)(struct catalog *c, const struct alias_move *m, struct fail *reterr);
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

struct catalog { /* the first member of each kind */
    const struct catalog_ops *ops;
    struct page *page; /* borrowed */
};

int catalog_directory_open(struct catalog **ret, const struct config_adapters *c, struct page *page,
                           struct fail *reterr) MUST_USE;
/* `follow`: a gateway, which keeps its page current; else a command, which asks every time. */
int catalog_redis_open(struct catalog **ret, const struct config_adapters *c, struct page *page,
                       bool follow, struct fail *reterr) MUST_USE;

/*
 * The head of one adapter: everything the catalog says about it, at one moment.
 *
 * Immutable and reference-counted; any thread. One allocation holds the record and its text.
 */
#pragma once

#include "adapters/adapters.h"

#include <stdatomic.h>

#define ALIAS_PROD "prod" /* what a name without a selector means */
#define ALIAS_PREV "prev" /* where `prod` stood before its last move */
#define ALIAS_CANARY "canary"
#define ALIAS_SHADOW "shadow"

struct head_revision {
    struct sha256 digest;
    uint64_t ordinal, created_s, bytes;
    uint64_t base_id; /* of the base it was checked against (adapter_loader.base_id); 0: unknown */
    uint32_t rank;    /* the largest; 0: unknown */
};

struct head_alias {
    struct str name;
    struct sha256 digest;
    struct sha256 previous; /* before its last move; meaningful when moved */
    bool moved;
};

/* What the catalog has of an adapter and this head leaves out (head_codec.h). */
enum head_more { HEAD_MORE_revisions = 1, HEAD_MORE_aliases = 2, HEAD_MORE_about = 4 };

struct head {
    _Atomic unsigned refs;
    unsigned more; /* HEAD_MORE_… bits */
    uint64_t
        epoch; /* of the catalog, when this head was last changed; 0: the catalog counts none */
    struct str base, adapter, description; /* NUL-terminated; adapter: "name" or "tenant/name" */
    uint32_t canary_weight, shadow_weight; /* of CANARY_WHOLE; 0: none */
    uint64_t canary_salt; /* the epoch at which the canary began: mixes the sticky hash */
    struct str *examples;
    size_t n_examples;
    struct head_revision *revisions; /* by ordinal */
    size_t n_revisions;
    struct head_alias *aliases; /* by name */
    size_t n_aliases;
};

/* A sorted deep copy of the draft, whose pointers may point anywhere; NULL: no memory. */
struct head *head_new(const struct head *draft);
struct head *head_ref(struct head *h);
struct head *head_unref(struct head *h); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct head *, head_unref);

const struct head_alias *head_alias(const struct head *h, struct str name); /* NULL: no such */
const struct head_revision *head_revision(const struct head *h, const struct sha256 *digest);
const struct head_revision *head_default(const struct head *h); /* `prod`, else newest, else NULL */

/*
 * The revision that a selector means: empty, an alias, a digest prefix and, with `ordinals`, a
 * number. FAILED: model_not_found or conflict. *ret is borrowed from the head; *ret_alias is the
 * alias's name or empty.
 */
int head_select(const struct head *h, struct str selector, bool ordinals,
                const struct head_revision **ret, struct str *ret_alias,
                struct fail *reterr) MUST_USE;

/* Spreads a number over 64 bits: the finalizer of splitmix64 (Steele, Lea, Flood 2014). */
uint64_t head_mix(uint64_t x);
/* A request with this sticky hash is of the canary's share: alike on every gateway, and drawn anew
 * with each canary (its salt). 0 never is. */
bool head_in_canary(const struct head *h, uint64_t sticky);
/* What a request means: the canary for its share of the requests without a selector, else
 * head_select. */
int head_choose(const struct head *h, struct str selector, uint64_t sticky, bool ordinals,
                struct adapter_revision *ret, struct fail *reterr) MUST_USE;

/* The alias (NULL: none) names `expected`, 64 hex digits, or nothing is expected. FAILED:
 * precondition_failed. */
int alias_expect(const struct head_alias *a, struct str expected, struct fail *reterr) MUST_USE;

void head_describe(const struct head *h, const struct head_revision *r, struct str alias,
                   struct adapter_revision *ret);

/* ---- names ---- */

struct str adapter_tenant(struct str name); /* before the '/', or empty; borrowed */
/* "name" or "tenant/name" of letters, digits, '.', '_' and '-', neither beginning with '.' or '-'.
 * FAILED: invalid_request. */
int adapter_name_check(struct str name, struct fail *reterr) MUST_USE;
/* One word of these, and neither a number nor what a selector would read as a digest. */
int alias_name_check(struct str name, struct fail *reterr) MUST_USE;
int base_name_check(struct str name, struct fail *reterr) MUST_USE; /* printable, no blanks */

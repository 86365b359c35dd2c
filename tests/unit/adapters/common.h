/* What the tests of adapters/ share: small valid adapters, configurations, a loader without an
 * engine, and waiting for a lease. */
#pragma once

#include "tests/support/test.h"

#include <pthread.h>
#include <stdatomic.h>

#include "adapters/adapters.h"
#include "adapters/head.h"

/* Writes a valid PEFT folder whose content, and so digest, depends on the seed. */
void write_peft(const char *folder, unsigned seed);
/* A new folder with one in it. */
const char *new_peft(unsigned seed);

struct config directory_config(const char *path);
struct config redis_config(const char *url, const char *cache);

struct fake_loader {
    atomic_uint loads, unloads, running, most_running;
    atomic_uint delay_ms;
    atomic_bool refuse;
    atomic_size_t bytes; /* 0: those of the files */
};
struct adapter_loader loader_of(struct fake_loader *f);

/* "base:adapter@selector" as text; borrowed from it. */
struct adapter_name name_of(const char *text);

/* A wait for one lease. */
struct waiting {
    pthread_mutex_t lock;
    pthread_cond_t done;
    unsigned calls;
    struct lease *lease; /* taken by the test */
    struct fail fail;
    struct lease_wait *wait;
};
void waiting_init(struct waiting *w);
void waiting_answer(void *owner, struct lease *lease, const struct fail *fail); /* a lease_fn */
bool waiting_done(struct waiting *w, unsigned timeout_ms);

/* Acquires and waits: 0 with a lease, or FAILED. */
int acquire(struct adapters *a, const char *name, struct lease **ret, struct fail *reterr);
/* Digest (hex, static ring) that the name is served with; "" when it is not served. */
const char *served(struct adapters *a, const char *name);
const char *hex_of(const struct sha256 *d);

int push(struct adapters *a, const char *base, const char *adapter, const char *path,
         const char *alias, struct adapter_revision *ret, struct fail *reterr);
int set_alias(struct adapters *a, const char *adapter, const char *alias, const char *selector);

/* A stager without files and a loader that counts, for the tests of residency; each may be slow,
 * refuse or be held back. With a cache the loader packs, into files that say what they are. */
#pragma once

#include "adapters/residency.h"
#include "tests/unit/adapters/common.h"

enum { FAKE_IDS = 256 };

struct fake {
    struct residents *r;
    struct blob_cache *cache; /* NULL: nothing is packed */
    uint64_t base_id;
    atomic_uint layout; /* of what is packed and can be mapped */
    atomic_uint loads, unloads, maps, packs, stages, running, most, staged_by_id[FAKE_IDS];
    atomic_uint delay_ms;
    unsigned bad; /* the id that never loads; 0: none */
    atomic_bool refuse, hold, refuse_pack, no_space;
    atomic_bool hold_stage; /* of what is not local */
    _Atomic size_t factor;  /* resident bytes = factor × file bytes */
    _Atomic unsigned last_unloaded;
    atomic_uint order[1024], n_order; /* ids in the order they were loaded or mapped */
    bool (*is_local)(unsigned id);    /* NULL: none is */
    atomic_uint made_by_id[FAKE_IDS];
    atomic_int in_memory[FAKE_IDS];
    _Atomic int leased[FAKE_IDS]; /* set by a test that wants it checked at each unload */
};

struct thing {
    unsigned id;
};

void fake_start(struct fake *f, const struct residency_limits *limits); /* f is filled already */
void fake_finish(struct fake *f);
struct adapter_revision fake_rev(unsigned id, uint64_t bytes);
int fake_take(struct fake *f, unsigned id, uint64_t bytes, const struct residency_ask *how,
              struct waiting *w, struct lease **ret, struct fail *reterr);
/* Acquires and waits for it. */
int fake_take_now(struct fake *f, unsigned id, uint64_t bytes, const char *tenant,
                  struct lease **ret, struct fail *reterr);
void fake_touch(struct fake *f, unsigned id, uint64_t bytes, const char *tenant);
bool fake_has(struct fake *f, unsigned id);
/* Until no load is queued or runs. */
void fake_settle(struct fake *f);

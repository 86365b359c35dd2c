/*
 * The model that the engine's unit programs share, its adapters, and requests for it. For cmocka
 * programs; each includes it once.
 */
#pragma once

#include <ftw.h>

#include "base/log.h"
#include "tests/support/test.h"
#include "tests/unit/engine/engine_fixture.h"

/* ---- the model and its adapters: the demo's, else the reference model's ---- */

static char model_path[512];
static char adapter_paths[16][512];
static size_t n_adapters;

static inline int find_adapter(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    const char *name = path + ftw->base;
    if (kind == FTW_F && strcmp(name, "adapter_config.json") == 0 &&
        n_adapters < ARRAY_LEN(adapter_paths))
        (void)snprintf(adapter_paths[n_adapters++], sizeof(adapter_paths[0]), "%.*s", ftw->base - 1,
                       path);
    return 0;
}

static inline int by_path(const void *a, const void *b)
{
    return strcmp(a, b);
}

static inline void find_adapters(const char *folder)
{
    n_adapters = 0;
    (void)nftw(folder, find_adapter, 8, FTW_PHYS);
    qsort(adapter_paths, n_adapters, sizeof(adapter_paths[0]), by_path);
}

/* NAME/REVISION: one revision of each is enough, two may hardly differ. */
static inline void keep_one_revision(void)
{
    size_t n = 0;
    for (size_t i = 0; i < n_adapters; i++) {
        size_t name = (size_t)(strrchr(adapter_paths[i], '/') - adapter_paths[i]) + 1;
        if (n == 0 || strncmp(adapter_paths[n - 1], adapter_paths[i], name) != 0)
            memmove(adapter_paths[n++], adapter_paths[i], sizeof(adapter_paths[0]));
    }
    n_adapters = n;
}

static inline int find_model(void **state)
{
    log_set_level(LOG_error);
    (void)snprintf(model_path, sizeof(model_path), "%s", test_path("models/demo.gguf"));
    find_adapters(test_path("models/adapters"));
    keep_one_revision();
    const char *stories = test_shared("engine/models/stories260K.f16.gguf");
    const char *lora = test_shared("engine/lora/stories260K");
    if (n_adapters < 2 && stories && lora) {
        (void)snprintf(model_path, sizeof(model_path), "%s", stories);
        find_adapters(lora);
    }
    return 0;
}

static inline struct engine *open_engine(struct fixture_options o)
{
    return fixture_engine(model_path, o);
}

#define DEFAULTS ((struct fixture_options){ 0 })

/* One request in an engine of its own. */
static inline void run_alone(struct record *r, const struct chat_request *request, uint32_t choice,
                             size_t adapter)
{
    CLEANUP(engine_freep) struct engine *e = open_engine((struct fixture_options){ .slots = 1 });
    struct fixture_adapter a = { 0 };
    if (adapter < n_adapters)
        a = fixture_adapter(e, adapter_paths[adapter]);
    record_init(r);
    struct engine_spec spec = fixture_spec(request, &a, r);
    spec.choice = choice;
    fixture_run(e, &spec);
    (void)engine_local_lora_free(a.lora);
}

static inline void assert_same(const struct record *a, const struct record *b)
{
    assert_int_equal(a->last, b->last);
    assert_int_equal(a->finish, b->finish);
    assert_string_equal(record_text(a), record_text(b));
    assert_int_equal(a->n_ids, b->n_ids);
    assert_memory_equal(a->ids, b->ids, a->n_ids * sizeof(a->ids[0]));
}

static const char *const prompts[] = {
    "Once upon a time, there was a little dog who",
    "Once upon a time, there was a big tree. The tree",
    "What is the capital of France?",
    ("Lily and Tom went to the park to play with the ball. They saw a man who had a very big hat "
     "and a small cat, and the cat said that"),
};

static inline struct chat_request varied_request(size_t i)
{
    struct chat_request r = fixture_prompt(prompts[i % ARRAY_LEN(prompts)], 12 + (uint32_t)(i % 7));
    r.ignore_eos = i % 3 == 0;
    if (i % 2) {
        r.sampling.temperature = 1.2f;
        r.sampling.top_p = 0.95f;
        r.sampling.seed = i;
        r.sampling.has_seed = true;
        r.sampling.repeat_penalty = i % 4 == 1 ? 1.1f : 1;
    }
    return r;
}

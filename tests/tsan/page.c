/*
 * The page under ThreadSanitizer: threads enter, replace and remove heads while others look up,
 * list, sweep and write snapshots. Every head that is seen is whole, none goes back to an older
 * epoch, and a name that always existed is always found.
 */
#include "adapters/page.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "adapters/snapshot.h"
#include "tests/support/test.h"

enum { WRITERS = 2, READERS = 3, STEADY = 64, PASSING = 400, ROUNDS = 30 };

static struct page *page;
static atomic_bool stop;
static atomic_uint found, wrong;

/* The epoch is in the text too, as often as it has letters. */
static struct head *make(const char *name, uint64_t epoch)
{
    char text[128];
    int n = snprintf(text, sizeof(text), "%s %llu", name, (unsigned long long)epoch);
    for (uint64_t i = 0; i < epoch % 60; i++)
        text[n++] = '.';
    struct head_revision r = { .ordinal = epoch };
    struct head d = { .base = STR("demo"),
                      .adapter = str_of(name),
                      .description = { text, (size_t)n },
                      .epoch = epoch,
                      .revisions = &r,
                      .n_revisions = 1 };
    return head_new(&d);
}

static bool is_whole(const struct head *h)
{
    struct head *same = make(h->adapter.p, h->epoch);
    bool whole = same && str_eq(same->description, h->description) && h->n_revisions == 1 &&
                 h->revisions[0].ordinal == h->epoch;
    (void)head_unref(same);
    return whole;
}

static void *write_heads(void *arg)
{
    unsigned which = *(unsigned *)arg;
    char name[32];
    for (uint64_t round = 1; round <= ROUNDS; round++) {
        for (unsigned i = which; i < STEADY; i += WRITERS) {
            (void)snprintf(name, sizeof(name), "steady-%u", i);
            if (page_put(page, make(name, round)) < 0 || page_put(page, make(name, round / 2)) < 0)
                atomic_fetch_add(&wrong, 1);
        }
        for (unsigned i = which; i < PASSING; i += WRITERS) {
            (void)snprintf(name, sizeof(name), "%spassing-%u", i % 3 ? "" : "acme/", i);
            if (page_put(page, make(name, round)) < 0)
                atomic_fetch_add(&wrong, 1);
        }
        for (unsigned i = which; i < PASSING; i += WRITERS) {
            (void)snprintf(name, sizeof(name), "%spassing-%u", i % 3 ? "" : "acme/", i);
            page_remove(page, STR("demo"), str_of(name));
        }
    }
    return NULL;
}

static void *read_heads(void *arg)
{
    uint64_t seed = *(unsigned *)arg + 1u, last[STEADY] = { 0 };
    char name[32];
    while (!stop) {
        unsigned i = (unsigned)(test_random(&seed) % STEADY);
        struct head *h = NULL;
        (void)snprintf(name, sizeof(name), "steady-%u", i);
        if (page_find(page, test_random(&seed) % 2 ? STR("demo") : STR(""), str_of(name), &h,
                      NULL) != 0 ||
            !h || !is_whole(h) || h->epoch < last[i])
            atomic_fetch_add(&wrong, 1);
        last[i] = h ? h->epoch : 0;
        (void)head_unref(h);
        atomic_fetch_add(&found, 1);
    }
    return NULL;
}

static void *list_heads(void *arg)
{
    uint64_t seed = *(unsigned *)arg + 100u;
    while (!stop) {
        struct page_query q = { .max = test_random(&seed) % 300,
                                .viewer = test_random(&seed) % 2 ? STR("acme") : STR_NULL };
        struct head **list;
        size_t n;
        if (page_query(page, &q, &list, &n) != 0) {
            atomic_fetch_add(&wrong, 1);
            continue;
        }
        for (size_t i = 0; i < n; i++)
            if (!is_whole(list[i]) || (i && str_cmp(list[i - 1]->adapter, list[i]->adapter) >= 0))
                atomic_fetch_add(&wrong, 1);
        page_list_free(list, n);
    }
    return NULL;
}

/* Everything but what readers rely on: nothing is unseen that a writer puts again and again. */
static void *sweep_and_save(void *arg)
{
    const char *path = arg;
    struct snapshot_shards shards = { .n = 1 };
    while (!stop) {
        if (snapshot_save(page, path, STR("x"), &shards) < 0)
            atomic_fetch_add(&wrong, 1);
        page_unsee(page, (struct page_part){ 1, 2 }); /* a part without names */
        (void)page_remove_unseen(page, (struct page_part){ 1, 2 }, UINT64_MAX);
        (void)page_len(page);
        (void)page_bytes(page);
    }
    return NULL;
}

int main(void)
{
    char name[32], path[] = "/tmp/rootstock-tsan-XXXXXX";
    unsigned ids[READERS + WRITERS];
    pthread_t writers[WRITERS], others[READERS + 2];
    struct snapshot_shards shards = { .n = 1 };
    struct fail f;
    size_t n = 0;
    int fd = mkstemp(path);
    if (fd < 0 || close(fd) < 0 || page_new(&page) < 0)
        return 1;
    for (unsigned i = 0; i < STEADY; i++) {
        (void)snprintf(name, sizeof(name), "steady-%u", i);
        if (page_put(page, make(name, 0)) < 0)
            return 1;
    }
    for (unsigned i = 0; i < READERS + WRITERS; i++)
        ids[i] = i;
    for (unsigned i = 0; i < READERS; i++)
        (void)pthread_create(&others[i], NULL, read_heads, &ids[i]);
    (void)pthread_create(&others[READERS], NULL, list_heads, &ids[0]);
    (void)pthread_create(&others[READERS + 1], NULL, sweep_and_save, path);
    for (unsigned i = 0; i < WRITERS; i++)
        (void)pthread_create(&writers[i], NULL, write_heads, &ids[i]);
    for (unsigned i = 0; i < WRITERS; i++)
        (void)pthread_join(writers[i], NULL);
    stop = true;
    for (unsigned i = 0; i < READERS + 2; i++)
        (void)pthread_join(others[i], NULL);

    struct page *back = NULL;
    bool good = page_len(page) == STEADY && page_new(&back) == 0 &&
                snapshot_save(page, path, STR("x"), &shards) == 0 &&
                snapshot_load(back, path, STR("x"), &shards, &n, &f) == 0 && n == STEADY;
    (void)page_free(back);
    (void)page_free(page);
    (void)unlink(path);
    printf("found %u, wrong %u, left %zu\n", found, wrong, n);
    return good && wrong == 0 && found ? 0 : 1;
}

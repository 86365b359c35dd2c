#include "adapters/packed.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"

struct packed {
    struct adapter_loader loader;
    struct stager stager;
};

int packed_new(struct packed **ret, const struct adapter_loader *loader,
               const struct stager *stager)
{
    *ret = NULL;
    if (!loader->pack || !loader->map || !loader->base_id || !stager->cache)
        return 0;
    struct packed *p = malloc(sizeof(*p));
    if (!p)
        return -ENOMEM;
    *p = (struct packed){ *loader, *stager };
    *ret = p;
    return 0;
}

struct packed *packed_free(struct packed *p)
{
    free(p);
    return NULL;
}

bool packed_group(const struct adapter_loader *loader, const struct adapter_revision *rev,
                  char ret[static BLOB_GROUP_MAX + 1])
{
    uint64_t base = loader->base_id ? loader->base_id(loader->ctx, str_of(rev->base)) : 0;
    (void)snprintf(ret, BLOB_GROUP_MAX + 1, "base-%016" PRIx64, base);
    return base != 0;
}

/* The cache; NULL: packed files of this base cannot be kept. */
static struct blob_cache *place_of(struct packed *p, const struct adapter_revision *rev,
                                   struct packed_file *ret)
{
    *ret = (struct packed_file){ 0 };
    return packed_group(&p->loader, rev, ret->group) ? p->stager.cache(p->stager.ctx) : NULL;
}

/* A hold that was just taken, with its path. */
static int keep(struct blob_cache *c, const struct adapter_revision *rev, struct packed_file *ret,
                const char *path)
{
    if ((ret->path = str_dup(str_of(path)))) {
        ret->held = true;
        return 0;
    }
    blob_cache_packed_release(c, ret->group, &rev->digest);
    return -ENOMEM;
}

int packed_find(struct packed *p, const struct adapter_revision *rev, struct packed_file *ret)
{
    char path[PATH_MAX];
    struct blob_cache *c = place_of(p, rev, ret);
    if (!c)
        return -ENOTSUP;
    int k = blob_cache_packed_hold(c, ret->group, &rev->digest, path);
    return k < 0 ? k : keep(c, rev, ret, path);
}

int packed_make(struct packed *p, const struct adapter_revision *rev, const char *folder,
                struct packed_file *ret, struct fail *reterr)
{
    char temp[PATH_MAX], path[PATH_MAX];
    struct blob_cache *c = place_of(p, rev, ret);
    if (!c)
        return -ENOTSUP;
    int k = blob_cache_temp(c, temp);
    if (k < 0)
        return k;
    uint64_t start_us = clock_us();
    k = p->loader.pack(p->loader.ctx, str_of(rev->base), folder, temp, reterr);
    if (k == 0)
        k = blob_cache_packed_insert(c, ret->group, &rev->digest, temp, path);
    if (k != 0) {
        (void)unlink(temp);
        return k;
    }
    metrics_observe_us(METRIC_adapter_pack_seconds, clock_us() - start_us);
    return keep(c, rev, ret, path);
}

int packed_map(struct packed *p, const struct adapter_revision *rev, struct packed_file *file,
               void **ret, size_t *ret_bytes, struct fail *reterr)
{
    int k = p->loader.map(p->loader.ctx, str_of(rev->base), file->path, ret, ret_bytes, reterr);
    if (k == -ESTALE) {
        struct blob_cache *c = p->stager.cache(p->stager.ctx);
        if (c)
            blob_cache_packed_remove(c, file->group, &rev->digest);
        metrics_add(METRIC_adapter_packed_stale_total, 1);
    }
    if (k != 0)
        packed_release(p, rev, file);
    free(file->path);
    file->path = NULL;
    return k;
}

void packed_release(struct packed *p, const struct adapter_revision *rev, struct packed_file *file)
{
    struct blob_cache *c = file->held ? p->stager.cache(p->stager.ctx) : NULL;
    if (c)
        blob_cache_packed_release(c, file->group, &rev->digest);
    file->held = false;
    free(file->path);
    file->path = NULL;
}

#include "adapters/files.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "adapters/packed.h"
#include "base/log.h"
#include "base/metrics.h"

struct files {
    struct catalog *catalog;
    struct adapter_loader loader; /* zero: none */
    struct blobs *blobs;
    char folder[PATH_MAX];
    _Atomic(struct blob_cache *) cache; /* the blobs', once it is open */
};

int files_new(struct files **ret, struct catalog *catalog, struct blobs *blobs,
              const struct config_adapters *c, const struct adapter_loader *loader)
{
    struct files *f = calloc(1, sizeof(*f));
    if (!f)
        return -ENOMEM;
    f->catalog = catalog;
    f->blobs = blobs;
    if (loader)
        f->loader = *loader;
    if (snprintf(f->folder, sizeof(f->folder), "%.*s", STR_ARG(c->blob_cache)) >= PATH_MAX) {
        (void)files_free(f);
        return -ENAMETOOLONG;
    }
    *ret = f;
    return 0;
}

struct files *files_free(struct files *f)
{
    free(f);
    return NULL;
}

/* What cannot be opened is done without, which is slower and no failure. */
static struct blob_cache *cache_of(void *ctx)
{
    static struct log_rate rate;
    struct files *f = ctx;
    struct blob_cache *c = atomic_load(&f->cache);
    struct fail why;
    if (c)
        return c;
    int k = f->folder[0] ? blobs_cache(f->blobs, &c, &why) : -ENOENT;
    if (k < 0)
        k = fail_errno(&why, k, "opening the blob cache");
    if (k == 0)
        atomic_store(&f->cache, c);
    else
        log_rated(&rate, LOG_info, "adapter_cache",
                  "why=\"%s\", continuing without packed files and what they save", why.message);
    return k == 0 ? c : NULL;
}

static int stage(void *ctx, const struct adapter_revision *r, struct stage *ret,
                 struct fail *reterr)
{
    struct files *f = ctx;
    return f->catalog->ops->stage(f->catalog, r, ret, reterr);
}

static void unstage(void *ctx, struct stage *s)
{
    struct files *f = ctx;
    f->catalog->ops->unstage(f->catalog, s);
}

/* Whether the file of a blob is in the folder, as long as no cache is open. */
static bool has_blob(const struct files *f, const struct sha256 *digest)
{
    char key[BLOB_KEY_MAX], path[PATH_MAX];
    blob_store_key(key, digest);
    int n = snprintf(path, sizeof(path), "%s/%s", f->folder, key);
    return n > 0 && n < PATH_MAX && access(path, F_OK) == 0;
}

enum residency files_where(struct files *f, const struct adapter_revision *rev)
{
    struct blob_cache *c = atomic_load(&f->cache);
    char group[BLOB_GROUP_MAX + 1];
    if (!f->catalog->ops->remote)
        return RESIDENCY_disk;
    if (c && packed_group(&f->loader, rev, group) && blob_cache_has(c, group, &rev->digest))
        return RESIDENCY_disk;
    /* The manifest comes with the files and goes with them, or nearly so. */
    return has_blob(f, &rev->digest) ? RESIDENCY_disk : RESIDENCY_cold;
}

static enum residency where(void *ctx, const struct adapter_revision *rev)
{
    return files_where(ctx, rev);
}

struct stager files_stager(struct files *f)
{
    return (struct stager){ .stage = stage,
                            .unstage = unstage,
                            .where = where,
                            .cache = cache_of,
                            .is_paced = true,
                            .ctx = f };
}

int files_beside(struct files *f, const char *name, char ret[static PATH_MAX])
{
    if (!f->folder[0])
        return -ENOENT;
    int n = snprintf(ret, PATH_MAX, "%s/%s", f->folder, name);
    return n < 0 || n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

void files_show(struct files *f)
{
    struct blob_cache *c = atomic_load(&f->cache);
    if (c)
        metrics_set(METRIC_adapter_cached_bytes, (int64_t)blob_cache_bytes(c));
}

#include "adapters/adapters.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "adapters/folder.h"
#include "adapters/revision.h"
#include "base/file.h"

/* Its files are those of the revision. */
static bool is_whole(const char *path, const struct sha256 *digest)
{
    struct revision_source s;
    struct manifest m;
    struct fail why;
    struct stat st;
    if (stat(path, &st) < 0 || revision_find(&s, path, &why) != 0 ||
        revision_manifest(&s, /* progress= */ NULL, /* ctx= */ NULL, &m, &why) != 0)
        return false;
    struct sha256 is = manifest_digest(&m);
    return sha256_eq(&is, digest);
}

/* Another process may put it there, or take a damaged one away, at the same time. */
static int move_in(const char *made, const char *path, const struct sha256 *digest)
{
    char damaged[PATH_MAX];
    if (snprintf(damaged, sizeof(damaged), "%s.damaged", made) >= PATH_MAX)
        return -ENAMETOOLONG;
    if (rename(made, path) == 0)
        return 0;
    if (errno != ENOTEMPTY && errno != EEXIST && errno != ENOTDIR)
        return -errno;
    if (is_whole(path, digest))
        return 0;
    if (rename(path, damaged) < 0 && errno != ENOENT)
        return -errno;
    folder_remove(damaged);
    return rename(made, path) == 0 || is_whole(path, digest) ? 0 : -errno;
}

uint32_t adapters_rank_at(const char *path)
{
    struct revision_source s;
    struct fail why;
    return revision_find(&s, path, &why) == 0 ? revision_rank(&s) : 0;
}

int adapters_place(struct adapters *a, const struct adapter_name *name, const char *folder,
                   struct fail *reterr)
{
    static atomic_uint n_made;
    char hex[SHA256_HEX + 1], path[PATH_MAX], made[PATH_MAX];
    struct adapter_revision rev;
    int r = adapters_resolve(a, name, &rev, reterr);
    if (r != 0)
        return r;
    sha256_hex(hex, &rev.digest);
    if (snprintf(path, sizeof(path), "%s/%.2s/%s", folder, hex, hex) >= PATH_MAX ||
        snprintf(made, sizeof(made), "%s/%.2s/.%s.%d.%u", folder, hex, hex, (int)getpid(),
                 atomic_fetch_add(&n_made, 1)) >= PATH_MAX)
        return -ENAMETOOLONG;
    if (is_whole(path, &rev.digest))
        return 0;
    folder_remove(made); /* of a process that had this number before */
    struct adapter_pull pull = { .name = *name, .folder = made };
    r = adapters_pull(a, &pull, &rev, reterr);
    if (r == 0 && (r = move_in(made, path, &rev.digest)) < 0)
        r = fail_set(reterr, FAIL_invalid_request, "%.200s: %s", path, strerror(-r));
    folder_remove(made);
    return r;
}

#include "adapters/blobs/blob_store.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define BLOCK (256 * KIB)

static const struct {
    const char *scheme;
    int (*open)(struct blob_store **ret, struct str url, const struct config_blobs *c,
                struct fail *reterr);
} kinds[] = {
    { "file:", blob_store_file }, { "http:", blob_store_http }, { "https:", blob_store_http },
    { "s3:", blob_store_s3 },     { "oci:", blob_store_oci },   { "oci+http:", blob_store_oci },
};

struct blob_store *blob_store_free(struct blob_store *s)
{
    return s ? s->ops->free(s) : NULL;
}

int blob_store_open(struct blob_store **ret, struct str url, const struct config_blobs *c,
                    struct fail *reterr)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (str_starts(url, str_of(kinds[i].scheme)))
            return kinds[i].open(ret, url, c, reterr);
    ptrdiff_t scheme = str_find(url, STR(":"));
    return fail_param(reterr, FAIL_invalid_request, "adapters.blobs.store",
                      "adapters.blobs.store: '%.*s' is none of redis, file:, http:, https:, s3:, "
                      "oci:",
                      STR_ARG(str_head(url, scheme > 0 && scheme < 40 ? (size_t)scheme + 1 : 40)));
}

int blob_source_check(int fd, const struct sha256 *digest, uint64_t bytes, struct fail *reterr)
{
    CLEANUP(own_free) char *block = malloc(BLOCK);
    CLEANUP(sha256_freep) struct sha256_stream *sum = NULL;
    int r = block ? sha256_new(&sum) : -ENOMEM;
    if (r < 0)
        return r;
    for (uint64_t at = 0;;) {
        ssize_t n = pread(fd, block, BLOCK, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_set(reterr, FAIL_conflict, "the file cannot be read: %s", strerror(errno));
        at += (uint64_t)n;
        if (n == 0 && at == bytes)
            break;
        if (n == 0 || at > bytes)
            return fail_set(reterr, FAIL_conflict, "the file changed while it was published");
        sha256_add(sum, block, (size_t)n);
    }
    struct sha256 is = sha256_end(sum);
    return sha256_eq(&is, digest)
               ? 0
               : fail_set(reterr, FAIL_conflict, "the file changed while it was published");
}

void blob_store_key(char ret[static BLOB_KEY_MAX], const struct sha256 *digest)
{
    char hex[SHA256_HEX + 1];
    sha256_hex(hex, digest);
    (void)snprintf(ret, BLOB_KEY_MAX, "sha256/%.2s/%s", hex, hex);
}

#include "adapters/blobs/blob_store.h"

#include <errno.h>
#include <stdlib.h>

static const struct {
    const char *scheme;
    int (*open)(struct blob_store **ret, struct str url, const struct config_blobs *c,
                struct fail *reterr);
} kinds[] = {
    { "file:", blob_store_file },
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

void blob_store_key(char ret[static BLOB_KEY_MAX], const struct sha256 *digest)
{
    char hex[SHA256_HEX + 1];
    sha256_hex(hex, digest);
    (void)snprintf(ret, BLOB_KEY_MAX, "sha256/%.2s/%s", hex, hex);
}

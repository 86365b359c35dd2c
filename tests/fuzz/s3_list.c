/*
 * Any bytes as the answer of a bucket to a listing, in two parts. What is read is a page within its
 * bounds.
 */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <stdlib.h>

#include "adapters/blobs/s3_list.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct blob_page page;
    CLEANUP(s3_listing_freep) struct s3_listing *l = NULL;
    struct str text = { (const char *)data, size };
    if (s3_listing_new(&l) != 0)
        return 0;
    int r = s3_listing_add(l, str_head(text, size / 2));
    if (r == 0)
        r = s3_listing_add(l, str_sub(text, size / 2));
    if (r == 0)
        r = s3_listing_end(l, &page);
    if (r != 0 && r != -EBADMSG)
        abort();
    if (r == 0 && (page.n > BLOB_PAGE || (!page.last && !page.cursor[0])))
        abort();
    return 0;
}

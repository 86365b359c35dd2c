/*
 * Any bytes as a snapshot of the catalog, with the sums put right, so that what is behind them is
 * reached too. What is read is written, and reads back as many.
 */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "adapters/snapshot.h"
#include "base/buf.h"
#include "base/crc32c.h"

enum { FILE_HEAD = 31, SECTION_HEAD = 16 };

/* Each section's sum is over its kind, its length and its bytes. */
static void put_sums_right(char *p, size_t n)
{
    for (size_t at = FILE_HEAD; at + SECTION_HEAD <= n;) {
        uint64_t length = 0;
        for (unsigned i = 0; i < sizeof(length); i++)
            length |= (uint64_t)(unsigned char)p[at + 8 + i] << (8 * i);
        if (length > n - at - SECTION_HEAD)
            return;
        uint32_t sum = crc32c(crc32c(0, p + at, 4), p + at + 8, 8 + (size_t)length);
        for (unsigned i = 0; i < sizeof(sum); i++)
            p[at + 4 + i] = (char)(sum >> (8 * i));
        at += SECTION_HEAD + (size_t)length;
    }
}

static int load(const char *path, struct page *p, size_t *ret_n)
{
    static struct snapshot_shards shards;
    struct fail f;
    return snapshot_load(p, path, STR("name"), &shards, ret_n, &f);
}

static void write_again(struct page *p, size_t n)
{
    static const struct snapshot_shards shards = { 0 };
    char path[] = "/tmp/rootstock-fuzz-XXXXXX";
    CLEANUP(page_freep) struct page *back = NULL;
    int fd = mkstemp(path);
    size_t again;
    if (fd < 0 || close(fd) < 0 || page_new(&back) < 0 ||
        snapshot_save(p, path, STR("name"), &shards) < 0 || load(path, back, &again) != 0 ||
        again != page_len(p) || again > n || page_len(back) != again)
        abort();
    (void)unlink(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    static unsigned runs;
    char path[64];
    size_t n = 0;
    CLEANUP(page_freep) struct page *p = NULL;
    CLEANUP(own_free) char *copy = malloc(size + 1);
    if ((fd < 0 && (fd = memfd_create("fuzz", MFD_CLOEXEC)) < 0) || !copy || page_new(&p) < 0)
        abort();
    if (size)
        memcpy(copy, data, size);
    put_sums_right(copy, size);
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (ftruncate(fd, 0) < 0 || pwrite(fd, copy, size, 0) != (ssize_t)size)
        abort();
    if (load(path, p, &n) == 0 && runs++ % 16 == 0)
        write_again(p, n);
    return 0;
}

/*
 * Any bytes as what adapters/ reads from outside; the first byte says as what. A card that was read
 * is printed, and what was printed reads back as the same card.
 */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "adapters/card.h"
#include "adapters/revision.h"
#include "base/buf.h"

static struct card *read_card(struct str text, struct problems *p)
{
    struct card *c = NULL;
    if (card_parse(&c, "adapter.yaml", text, p) < 0 && problems_len(p) == 0)
        abort(); /* refused, yet nobody said why */
    return c;
}

static void fuzz_card(struct str text)
{
    CLEANUP(problems_freep) struct problems *p = problems_new();
    CLEANUP(buf_done) struct buf once = BUF_INIT(64 * MIB);
    CLEANUP(buf_done) struct buf twice = BUF_INIT(64 * MIB);
    CLEANUP(card_freep) struct card *c = read_card(text, p);
    if (!c)
        return;
    card_print(c, &once);
    CLEANUP(card_freep) struct card *again = read_card(buf_str(&once), p);
    if (!again)
        abort(); /* our own words are not understood */
    card_print(again, &twice);
    if (!str_eq(buf_str(&once), buf_str(&twice)))
        abort();
}

static void fuzz_manifest(struct str text)
{
    struct manifest m;
    CLEANUP(buf_done) struct buf b = BUF_INIT(MANIFEST_MAX);
    if (manifest_parse(&m, text) < 0)
        return;
    manifest_print(&m, &b);
    struct sha256 digest = manifest_digest(&m), of_text = sha256_of(text);
    if (!str_eq(buf_str(&b), text) || !sha256_eq(&digest, &of_text))
        abort(); /* two texts of one manifest: two names of one revision */
}

static void fuzz_file(struct str content, const char *name)
{
    static int fd = -1;
    struct revision_source s = { .n = 1, .bytes = content.n };
    struct fail f;
    if (fd < 0 && (fd = memfd_create("fuzz", MFD_CLOEXEC)) < 0)
        abort();
    if (ftruncate(fd, 0) < 0 || pwrite(fd, content.p, content.n, 0) != (ssize_t)content.n)
        abort();
    s.files[0].name = name;
    s.files[0].bytes = content.n;
    (void)snprintf(s.files[0].path, sizeof(s.files[0].path), "/proc/self/fd/%d", fd);
    if (revision_check(&s, &f) == FAILED && f.message[0] == '\0')
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct str rest = { (const char *)data + 1, size - 1 };
    switch (data[0]) {
    case 'c':
        fuzz_card(rest);
        break;
    case 'm':
        fuzz_manifest(rest);
        break;
    case 'j':
        fuzz_file(rest, "adapter_config.json");
        break;
    case 's':
        fuzz_file(rest, "adapter_model.safetensors");
        break;
    case 'g':
        fuzz_file(rest, "adapter.gguf");
        break;
    }
    return 0;
}

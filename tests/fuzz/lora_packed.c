#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "engine/local/lora.h"
#include "tests/unit/engine/tiny_model.h"

enum { BASE_ID = 7, MAX_FILE = 1 << 16 };
enum { AT_CHECKSUM = 12, AT_BASE_ID = 16, AT_FILE_BYTES = 56, AT_LAYERS = 64, HEAD_BYTES = 80 };

/* Makes the head vouch for itself, so that what the tables say is looked at. */
static void vouch(uint8_t *file, size_t n)
{
    uint64_t id = BASE_ID, bytes = n;
    uint32_t counts[3], crc = 0;
    memcpy(counts, file + AT_LAYERS, sizeof(counts)); /* layers, modules, invocation tokens */
    uint64_t head = HEAD_BYTES + counts[0] * 24ull + counts[1] * 64ull + counts[2] * 4ull;
    memcpy(file + AT_BASE_ID, &id, sizeof(id));
    memcpy(file + AT_FILE_BYTES, &bytes, sizeof(bytes));
    memcpy(file + AT_CHECKSUM, &crc, sizeof(crc));
    crc = crc32c(0, file, head < n ? head : n);
    memcpy(file + AT_CHECKSUM, &crc, sizeof(crc));
}

static void step(const struct model *m, const struct lora *l)
{
    static struct stepper *s;
    struct stepper_options o = { 1, 4, 2, 1, CACHE_f32 };
    struct fail f = { 0 };
    const float *logits;
    struct step_row rows[] = { { 1, 0, 0, false, l }, { 2, 1, 0, true, l } };
    if (!s && stepper_new(&s, m, &o, &f) != 0)
        return;
    (void)!stepper_run(s, rows, ARRAY_LEN(rows), &logits);
}

/* Packed adapters: what is mapped is used for a step, so a place outside of the file shows. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tiny_model base;
    static uint8_t file[MAX_FILE];
    if (size < HEAD_BYTES || size > sizeof(file))
        return 0;
    if (!base.model)
        (void)tiny_model_get(&base, (struct tiny_options){ .arch = "llama" });
    memcpy(file, data, size);
    vouch(file, size);
    CLEANUP(own_close) int fd = memfd_create("packed", MFD_CLOEXEC);
    char path[64];
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (fd < 0 || write(fd, file, size) != (ssize_t)size)
        return 0;
    CLEANUP(lora_freep) struct lora *l = NULL;
    const struct lora_pack pack = { base.model, BASE_ID, LORA_packing_source };
    if (lora_map_file(&l, &pack, path) == 0)
        step(base.model, l);
    struct fail f = { 0 };
    (void)!lora_verify_file(path, &f);
    return 0;
}

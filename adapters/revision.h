/*
 * A revision's files and its digest: sha256 over the canonical manifest, which names each file with
 * its own digest and size. Same content, same digest, whoever computes it.
 *
 *     rootstock-adapter 1\n
 *     <sha256 hex> <bytes> <name>\n      sorted by name
 */
#pragma once

#include <limits.h>

#include "adapters/adapters.h"

#define MANIFEST_MAX 8192 /* bytes of its text: LIMIT_ADAPTER_FILES lines */
#define REVISION_FILES 11 /* a PEFT pair with a tokenizer's files, or one GGUF */

struct manifest_file {
    char name[64];
    struct sha256 digest;
    uint64_t bytes;
};

struct manifest {
    size_t n;
    struct manifest_file files[LIMIT_ADAPTER_FILES];
};

/* Where the files of a revision are read from. */
struct revision_source {
    size_t n;
    struct {
        const char *name; /* in the revision: literal */
        char path[PATH_MAX];
        uint64_t bytes;
    } files[REVISION_FILES];
    uint64_t bytes;
};

/* Finds the files at `path`: a PEFT folder, a folder with one .gguf, or a .gguf file. A tokenizer's
 * and a chat template's files in a PEFT folder belong to the revision. FAILED:
 * unprocessable_adapter. */
int revision_find(struct revision_source *ret, const char *path, struct fail *reterr) MUST_USE;

/* A structural check that needs no engine: JSON, safetensors and GGUF heads are sane. FAILED:
 * unprocessable_adapter, naming file and field. */
int revision_check(const struct revision_source *s, struct fail *reterr) MUST_USE;

/* The greatest rank of its modules, as adapter_config.json says (`r`, `rank_pattern`); 0: it does
 * not say. */
uint32_t revision_rank(const struct revision_source *s);

/* Hashes the files. `progress` may be NULL. */
typedef void (*progress_fn)(void *ctx, uint64_t done, uint64_t total);
int revision_manifest(const struct revision_source *s, progress_fn progress, void *ctx,
                      struct manifest *ret, struct fail *reterr) MUST_USE;

void manifest_print(const struct manifest *m, struct buf *b);       /* at most MANIFEST_MAX bytes */
int manifest_parse(struct manifest *ret, struct str text) MUST_USE; /* -EBADMSG: not canonical */
struct sha256 manifest_digest(const struct manifest *m);
uint64_t manifest_bytes(const struct manifest *m); /* of the files */

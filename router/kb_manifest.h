/*
 * The manifest of a knowledge base: labels.json, `{"labels": {NAME: {"exemplars": [text, …]}}}`.
 */
#pragma once

#include "config/config.h"

struct kb_manifest_label {
    struct str name;
    struct str *exemplars;
    size_t n;
};

struct kb_manifest {
    struct kb_manifest_label *labels; /* in the file's order */
    size_t n;
};

struct kb_manifest_source {
    const struct config *config;
    struct str path, file; /* of the base: a folder, and the manifest in it */
    const struct node *at; /* where both stand, for messages, with the next */
    const char *at_path;
    struct arena *arena; /* holds the text */
    struct problems *p;
};

/*
 * An absolute path is taken as it is. Another is looked for below engine.knowledge_bases (there
 * also without its first part "knowledge_bases"), then beside the configuration file and in the
 * folders above it; the first that exists is read. 0; -ENOTSUP: none does (a warning was added);
 * -EINVAL: it is no manifest, or too large (an error was added, with line and column of the JSON);
 * -ENOMEM.
 */
int kb_manifest_load(struct kb_manifest *ret, const struct kb_manifest_source *source) MUST_USE;

/* Reads the text of one; `file` is a name for messages. 0, -EINVAL or -ENOMEM. */
int kb_manifest_parse(struct kb_manifest *ret, struct str text, const char *file,
                      const struct kb_manifest_source *source) MUST_USE;

/*
 * Tables that say what a section of the configuration holds: one row gives the parser, the range
 * check, the default, the help and the spelling suggestion of one key.
 *
 *     struct kv_cache { unsigned type; uint64_t bytes; };
 *     static const struct option kv_cache_options[] = {
 *         OPT_WORD(struct kv_cache, type, "type", cache_types, "f16", "element type of the KV
 * cache"), OPT_BYTES(struct kv_cache, bytes, "bytes", 0, 64 * GIB, "0", "0: as the slots need"),
 *         OPT_END,
 *     };
 *
 * Every folder brings the tables of its own section. Values are written into plain structs; text
 * and lists live in the arena of the snapshot.
 */
#pragma once

#include "config/node.h"

#include <stdint.h>

enum option_kind {
    OPTION_bool,     /* bool */
    OPTION_uint,     /* uint64_t */
    OPTION_int,      /* int64_t */
    OPTION_float,    /* double */
    OPTION_text,     /* struct str; absent and no default: p is NULL */
    OPTION_bytes,    /* uint64_t: "1GiB" */
    OPTION_duration, /* uint64_t milliseconds: "10s" */
    OPTION_word,     /* unsigned: index into words */
    OPTION_texts,    /* struct text_list; one scalar is a list of one */
    OPTION_section,  /* an embedded struct, by its own table */
    OPTION_list,     /* struct item_list of structs, by their own table */
    OPTION_named, /* struct item_list: a map from name to struct; `name` goes to the first member, a
                     struct str */
    OPTION_node,  /* const struct node *: anything, read by its owner later */
    OPTION_ignored,  /* accepted, reported as ignored: has no effect here */
    OPTION_unserved, /* accepted, warned about: not served yet. Not when the map says enabled: false
                      */
    OPTION_note,     /* a text for people: accepted, kept nowhere */
};

struct text_list {
    const struct str *items;
    size_t n;
};

struct item_list {
    void *items; /* n structs of the row's item_size */
    size_t n;
};

struct option {
    const char *key; /* NULL ends the table; "*" accepts every other key as ignored */
    enum option_kind kind;
    size_t offset;   /* of the member */
    double min, max; /* numbers, bytes, milliseconds; lengths of lists */
    const char *def; /* in the words of the file; NULL: zero. OPTION_REQUIRED: must be given */
    const char *const *words; /* of a word, NULL-terminated */
    /* Of a section, list or named. Of what is ignored or unserved: what it must look like (a map,
     * or a list of them), by a table of OPT_KNOWN_ rows; NULL: anything. */
    const struct option *sub;
    size_t item_size; /* of a list or named */
    const char *help; /* NULL: the manual does not say it */
};

extern const char option_required[];
#define OPTION_REQUIRED option_required

#define OPT_BOOL(type, member, key, def, help)                                                     \
    {                                                                                              \
        key, OPTION_bool, offsetof(type, member), 0, 1, def, NULL, NULL, 0, help                   \
    }
#define OPT_UINT(type, member, key, min, max, def, help)                                           \
    {                                                                                              \
        key, OPTION_uint, offsetof(type, member), min, max, def, NULL, NULL, 0, help               \
    }
#define OPT_INT(type, member, key, min, max, def, help)                                            \
    {                                                                                              \
        key, OPTION_int, offsetof(type, member), min, max, def, NULL, NULL, 0, help                \
    }
#define OPT_FLOAT(type, member, key, min, max, def, help)                                          \
    {                                                                                              \
        key, OPTION_float, offsetof(type, member), min, max, def, NULL, NULL, 0, help              \
    }
#define OPT_TEXT(type, member, key, def, help)                                                     \
    {                                                                                              \
        key, OPTION_text, offsetof(type, member), 0, 65536, def, NULL, NULL, 0, help               \
    }
#define OPT_BYTES(type, member, key, min, max, def, help)                                          \
    {                                                                                              \
        key, OPTION_bytes, offsetof(type, member), min, max, def, NULL, NULL, 0, help              \
    }
#define OPT_DURATION(type, member, key, min, max, def, help)                                       \
    {                                                                                              \
        key, OPTION_duration, offsetof(type, member), min, max, def, NULL, NULL, 0, help           \
    }
#define OPT_WORD(type, member, key, words, def, help)                                              \
    {                                                                                              \
        key, OPTION_word, offsetof(type, member), 0, 0, def, words, NULL, 0, help                  \
    }
#define OPT_TEXTS(type, member, key, max, help)                                                    \
    {                                                                                              \
        key, OPTION_texts, offsetof(type, member), 0, max, NULL, NULL, NULL, 0, help               \
    }
#define OPT_SECTION(type, member, key, sub, help)                                                  \
    {                                                                                              \
        key, OPTION_section, offsetof(type, member), 0, 0, NULL, NULL, sub, 0, help                \
    }
#define OPT_LIST(type, member, key, max, sub, item, help)                                          \
    {                                                                                              \
        key, OPTION_list, offsetof(type, member), 0, max, NULL, NULL, sub, sizeof(item), help      \
    }
#define OPT_NAMED(type, member, key, max, sub, item, help)                                         \
    {                                                                                              \
        key, OPTION_named, offsetof(type, member), 0, max, NULL, NULL, sub, sizeof(item), help     \
    }
#define OPT_NODE(type, member, key, help)                                                          \
    {                                                                                              \
        key, OPTION_node, offsetof(type, member), 0, 0, NULL, NULL, NULL, 0, help                  \
    }
#define OPT_IGNORED(key, help)                                                                     \
    {                                                                                              \
        key, OPTION_ignored, 0, 0, 0, NULL, NULL, NULL, 0, help                                    \
    }
#define OPT_UNSERVED(key, help)                                                                    \
    {                                                                                              \
        key, OPTION_unserved, 0, 0, 0, NULL, NULL, NULL, 0, help                                   \
    }
#define OPT_NOTE(key)                                                                              \
    {                                                                                              \
        key, OPTION_note, 0, 0, 65536, NULL, NULL, NULL, 0, "for people"                           \
    }
#define OPT_IGNORED_MAP(key, sub, help)                                                            \
    {                                                                                              \
        key, OPTION_ignored, 0, 0, 0, NULL, NULL, sub, 0, help                                     \
    }
#define OPT_UNSERVED_MAP(key, sub, help)                                                           \
    {                                                                                              \
        key, OPTION_unserved, 0, 0, 0, NULL, NULL, sub, 0, help                                    \
    }

/* Rows that are only checked: what they read is thrown away. */
union discarded {
    bool flag;
    uint64_t number;
    double real;
    struct str text;
    struct text_list texts;
    struct item_list list;
    const struct node *node;
    unsigned word;
};
#define OPT_KNOWN_FLAG(key) OPT_BOOL(union discarded, flag, key, NULL, "")
#define OPT_KNOWN_NUMBER(key, max) OPT_UINT(union discarded, number, key, 0, max, NULL, "")
#define OPT_KNOWN_REAL(key, min, max) OPT_FLOAT(union discarded, real, key, min, max, NULL, "")
#define OPT_KNOWN_TEXT(key) OPT_TEXT(union discarded, text, key, NULL, "")
#define OPT_KNOWN_WORD(key, words) OPT_WORD(union discarded, word, key, words, NULL, "")
#define OPT_KNOWN_TEXTS(key) OPT_TEXTS(union discarded, texts, key, 10000, "")
#define OPT_KNOWN_LIST(key, sub)                                                                   \
    OPT_LIST(union discarded, list, key, 10000, sub, union discarded, "")
#define OPT_KNOWN_MAP(key, sub)                                                                    \
    {                                                                                              \
        key, OPTION_section, 0, 0, 0, NULL, NULL, sub, 0, ""                                       \
    }
#define OPT_KNOWN_ANY(key) OPT_NODE(union discarded, node, key, "")
#define OPT_END                                                                                    \
    {                                                                                              \
        NULL, OPTION_ignored, 0, 0, 0, NULL, NULL, NULL, 0, NULL                                   \
    }

/*
 * Reads a map node (NULL or null: all defaults) into *into by the table. Every key that is unknown,
 * of the wrong type or out of range is an error with its place and, for a misspelt key, a
 * suggestion.
 * "${NAME}" in a text value is replaced by the environment variable (an error when it is unset).
 * 0, -EINVAL (problems were added) or -ENOMEM. `path` is the node's own ("engine").
 */
int schema_read(void *into, const struct option *table, const struct node *map, const char *path,
                struct arena *arena, struct problems *p) MUST_USE;

/* Prints a table as commented YAML with defaults: the reference manual. */
void schema_print(const struct option *table, unsigned indent, struct buf *b);

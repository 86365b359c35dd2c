#include <endian.h>
#include <errno.h>
#include <inttypes.h>

#include <jansson.h>

#include "adapters/revision.h"
#include "base/file.h"

static int refuse(struct fail *reterr, const char *path, const char *what)
{
    return fail_set(reterr, FAIL_unprocessable_adapter, "%.180s: %s", path, what);
}

enum { CONFIG_MAX = 4 * MIB };

static int check_config(const char *path, struct fail *reterr)
{
    CLEANUP(own_free) char *text = NULL;
    size_t n;
    int r = file_read(&text, &n, path, CONFIG_MAX);
    if (r < 0)
        return refuse(reterr, path, strerror(-r));
    json_error_t error;
    json_auto_t *j = json_loadb(text, n, JSON_REJECT_DUPLICATES, &error);
    if (!j)
        return fail_set(reterr, FAIL_unprocessable_adapter, "%.180s:%d:%d: %.80s", path, error.line,
                        error.column, error.text);
    if (!json_is_object(j))
        return refuse(reterr, path, "not a JSON object");
    const char *type = json_string_value(json_object_get(j, "peft_type"));
    if (!type || strcmp(type, "LORA") != 0)
        return refuse(reterr, path, "peft_type is not \"LORA\"");
    if (json_integer_value(json_object_get(j, "r")) < 1)
        return refuse(reterr, path, "r is not a positive whole number");
    if (!json_is_number(json_object_get(j, "lora_alpha")))
        return refuse(reterr, path, "lora_alpha is not a number");
    return 0;
}

/* Bytes of one element, 0: unknown to safetensors. */
static uint64_t dtype_bytes(const char *name)
{
    static const struct {
        const char *name;
        uint64_t bytes;
    } rows[] = { { "F64", 8 }, { "I64", 8 }, { "U64", 8 },  { "F32", 4 },     { "I32", 4 },
                 { "U32", 4 }, { "F16", 2 }, { "BF16", 2 }, { "I16", 2 },     { "U16", 2 },
                 { "I8", 1 },  { "U8", 1 },  { "BOOL", 1 }, { "F8_E4M3", 1 }, { "F8_E5M2", 1 } };
    for (size_t i = 0; name && i < ARRAY_LEN(rows); i++)
        if (strcmp(rows[i].name, name) == 0)
            return rows[i].bytes;
    return 0;
}

/* Shape, element type and place of one tensor agree and lie within `data` bytes. */
static bool tensor_ok(const json_t *t, uint64_t data)
{
    const json_t *shape = json_object_get(t, "shape"),
                 *offsets = json_object_get(t, "data_offsets");
    uint64_t bytes = dtype_bytes(json_string_value(json_object_get(t, "dtype")));
    if (!bytes || !json_is_array(shape) || json_array_size(offsets) != 2)
        return false;
    for (size_t i = 0; i < json_array_size(shape); i++) {
        json_int_t dim = json_integer_value(json_array_get(shape, i));
        if (dim < 0 || __builtin_mul_overflow(bytes, (uint64_t)dim, &bytes))
            return false;
    }
    json_int_t from = json_integer_value(json_array_get(offsets, 0));
    json_int_t to = json_integer_value(json_array_get(offsets, 1));
    return from >= 0 && to >= from && (uint64_t)to <= data && (uint64_t)(to - from) == bytes;
}

static int check_tensors(json_t *head, uint64_t data, const char *path, struct fail *reterr)
{
    const char *name;
    json_t *t;
    size_t a = 0, b = 0;
    json_object_foreach(head, name, t)
    {
        if (strcmp(name, "__metadata__") == 0)
            continue;
        if (!tensor_ok(t, data))
            return fail_set(reterr, FAIL_unprocessable_adapter,
                            "%.180s: tensor %.80s: its dtype, shape and data_offsets do not agree "
                            "with the file",
                            path, name);
        a += strstr(name, "lora_A") != NULL || strstr(name, "lora_embedding_A") != NULL;
        b += strstr(name, "lora_B") != NULL || strstr(name, "lora_embedding_B") != NULL;
    }
    if (a == 0 || b == 0)
        return refuse(reterr, path, "holds no lora_A and lora_B tensors");
    return 0;
}

static int check_safetensors(const char *path, struct fail *reterr)
{
    CLEANUP(file_unmap) struct file_map m = { 0 };
    int r = file_map(&m, path);
    if (r < 0)
        return refuse(reterr, path, strerror(-r));
    uint64_t header = 0;
    if (m.n >= 8)
        memcpy(&header, m.p, 8);
    header = le64toh(header);
    if (m.n < 8 || header == 0 || header > LIMIT_SAFETENSORS_HEADER || header > m.n - 8)
        return refuse(reterr, path, "not a safetensors file: its header does not fit the file");
    json_error_t error;
    json_auto_t *j = json_loadb((const char *)m.p + 8, header, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(j))
        return refuse(reterr, path, "not a safetensors file: its header is not a JSON object");
    return check_tensors(j, m.n - 8 - header, path, reterr);
}

static int check_gguf(const char *path, struct fail *reterr)
{
    CLEANUP(file_unmap) struct file_map m = { 0 };
    struct {
        char magic[4];
        uint32_t version;
        uint64_t tensors, keys;
    } head;
    int r = file_map(&m, path);
    if (r < 0)
        return refuse(reterr, path, strerror(-r));
    if (m.n < sizeof(head))
        return refuse(reterr, path, "not a GGUF file: too short");
    memcpy(&head, m.p, sizeof(head));
    uint32_t version = le32toh(head.version);
    uint64_t tensors = le64toh(head.tensors), keys = le64toh(head.keys);
    if (memcmp(head.magic, "GGUF", 4) != 0)
        return refuse(reterr, path, "not a GGUF file: no magic");
    if (version < 2 || version > 3)
        return refuse(reterr, path, "not a GGUF version that is read here (2 or 3)");
    /* The least sizes of a tensor's and a key's description bound how many can be there. */
    if (tensors == 0 || tensors > LIMIT_GGUF_TENSORS || keys > LIMIT_GGUF_KEYS ||
        tensors * 24 + keys * 13 > m.n)
        return refuse(reterr, path, "its tensor or key count does not fit the file");
    if (!memmem(m.p, m.n, "adapter.type", 12))
        return refuse(reterr, path, "a GGUF file without adapter.type is no adapter");
    return 0;
}

int revision_check(const struct revision_source *s, struct fail *reterr)
{
    for (size_t i = 0; i < s->n; i++) {
        const char *path = s->files[i].path;
        struct str name = str_of(s->files[i].name);
        int r = str_is(name, "adapter_config.json") ? check_config(path, reterr)
                : str_ends(name, STR(".gguf"))      ? check_gguf(path, reterr)
                : str_ends(name, STR(".safetensors"))
                    ? check_safetensors(path, reterr)
                    : 0; /* a tokenizer's: only its digest counts */
        if (r != 0)
            return r;
    }
    return 0;
}

static uint32_t rank_in(const char *path)
{
    CLEANUP(own_free) char *text = NULL;
    size_t n;
    if (file_read(&text, &n, path, CONFIG_MAX) < 0)
        return 0;
    json_auto_t *j = json_loadb(text, n, JSON_REJECT_DUPLICATES, /* error= */ NULL);
    json_int_t most = json_integer_value(json_object_get(j, "r"));
    const char *module;
    json_t *rank;
    json_object_foreach(json_object_get(j, "rank_pattern"), module, rank)
    {
        if (json_integer_value(rank) > most)
            most = json_integer_value(rank);
    }
    return most > 0 && most <= UINT32_MAX ? (uint32_t)most : 0;
}

uint32_t revision_rank(const struct revision_source *s)
{
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->files[i].name, "adapter_config.json") == 0)
            return rank_in(s->files[i].path);
    return 0;
}

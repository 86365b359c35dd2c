/* PEFT folders: adapter_config.json and adapter_model.safetensors. */
#include "engine/local/lora_impl.h"

#include <errno.h>
#include <limits.h>
#include <unistd.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/num.h"
#include "engine/local/peft_config.h"
#include "engine/local/safetensors.h"

enum { CONFIG_BYTES = 4 << 20 };

struct key {           /* of a tensor */
    struct str module; /* "model.layers.0.self_attn.q_proj" */
    uint32_t layer;
    enum lora_target target;
    bool is_b;
};

/* "….lora_A.weight" and "….lora_A.default.weight" → module, and which matrix. */
static bool parse_matrix(struct str name, struct key *ret)
{
    ptrdiff_t at = str_find(name, STR(".lora_"));
    if (at < 0)
        return false;
    struct str tail = str_sub(name, (size_t)at + strlen(".lora_"));
    if (!str_starts(tail, STR("A.")) && !str_starts(tail, STR("B.")))
        return false;
    ret->module = str_head(name, (size_t)at);
    ret->is_b = tail.p[0] == 'B';
    struct str rest = str_sub(tail, 2), adapter, last;
    return str_is(rest, "weight") ||
           (str_cut(rest, '.', &adapter, &last) && adapter.n && str_is(last, "weight"));
}

static bool parse_key(struct str name, const struct model *m, struct key *ret)
{
    if (str_starts(name, STR("base_model.model.")))
        name = str_sub(name, strlen("base_model.model."));
    if (!parse_matrix(name, ret) || !str_starts(ret->module, STR("model.layers.")))
        return false;
    struct str number, linear;
    uint64_t layer;
    if (!str_cut(str_sub(ret->module, strlen("model.layers.")), '.', &number, &linear) ||
        num_parse_u64(&layer, number, 0, m->shape.layers - 1) < 0)
        return false;
    for (int t = 0; t < LORA_TARGETS; t++)
        if (model_has_linear(m, (enum lora_target)t) && str_is(linear, linear_names[t].hf)) {
            ret->layer = (uint32_t)layer;
            ret->target = (enum lora_target)t;
            return true;
        }
    return false;
}

static int matrix_type(struct str dtype, uint32_t *ret)
{
    if (str_is(dtype, "F32"))
        *ret = TENSOR_F32;
    else if (str_is(dtype, "F16"))
        *ret = TENSOR_F16;
    else if (str_is(dtype, "BF16"))
        *ret = TENSOR_BF16;
    else
        return -EINVAL;
    return 0;
}

static int check_rank(const struct lora_draft *d, const struct safetensor *t, uint64_t found,
                      uint32_t rank, struct fail *reterr)
{
    if (found == rank)
        return 0;
    return fail_set(reterr, FAIL_unprocessable_adapter,
                    "%s: the tensor '" STR_FMT "' has rank %llu, adapter_config.json (r, "
                    "rank_pattern) says %u; make them agree",
                    d->file, STR_ARG(t->name), (unsigned long long)found, rank);
}

static int add_tensor(struct lora_draft *d, const struct peft_config *c, const struct safetensor *t,
                      struct fail *reterr)
{
    struct key key;
    if (!parse_key(t->name, d->model, &key)) {
        char names[192];
        model_linear_names(d->model, /* hf= */ true, names, sizeof(names));
        return fail_set(reterr, FAIL_unprocessable_adapter,
                        "%s: the tensor '" STR_FMT "' adapts no linear of the base model; served "
                        "are lora_A and lora_B of %s in %u layers",
                        d->file, STR_ARG(str_head(t->name, 128)), names, d->model->shape.layers);
    }
    struct lora_matrix x = { .name = t->name, .data = t->data };
    if (matrix_type(t->dtype, &x.type) < 0)
        return fail_set(reterr, FAIL_unprocessable_adapter,
                        "%s: the tensor '" STR_FMT "' is of type " STR_FMT
                        "; supported are F32, F16, BF16",
                        d->file, STR_ARG(t->name), STR_ARG(t->dtype));
    if (t->n_dims != 2)
        return fail_set(reterr, FAIL_unprocessable_adapter,
                        "%s: the tensor '" STR_FMT "' has %u dimensions, not 2", d->file,
                        STR_ARG(t->name), t->n_dims);
    x.rows = t->dims[0];
    x.cols = t->dims[1];
    uint32_t rank;
    double scale;
    int r = peft_config_module(c, key.module, key.layer, &rank, &scale, reterr);
    if (!r)
        r = check_rank(d, t, key.is_b ? x.cols : x.rows, rank, reterr);
    if (r)
        return r;
    struct lora_draft_pair *p = &d->pairs[(size_t)key.layer * LORA_TARGETS + key.target];
    p->scale = scale;
    p->permute = d->model->arch->hf_rows_permuted && (key.target == LORA_q || key.target == LORA_k);
    return lora_draft_set(d, key.layer, key.target, key.is_b, &x, reterr);
}

static int load_config(struct peft_config **ret, const char *path, struct fail *reterr)
{
    CLEANUP(own_free) char *text = NULL;
    size_t n;
    int r = file_read(&text, &n, path, CONFIG_BYTES);
    if (r == -EFBIG)
        return fail_set(reterr, FAIL_unprocessable_adapter, "%s: it is larger than %d MiB", path,
                        CONFIG_BYTES >> 20);
    return r ? r : peft_config_parse(ret, path, (struct str){ text, n }, reterr);
}

static int load_tensors(struct lora **ret, struct lora_draft *d, const struct peft_config *c,
                        struct str bytes, struct fail *reterr)
{
    CLEANUP(safetensors_freep) struct safetensors *s = NULL;
    int r = safetensors_parse(&s, d->file, bytes, reterr);
    for (size_t i = 0; !r && i < safetensors_n(s); i++)
        r = add_tensor(d, c, safetensors_at(s, i), reterr);
    return r ? r : lora_pack(ret, d, reterr);
}

static int missing_weights(const char *folder, const char *path, struct fail *reterr)
{
    char pickle[PATH_MAX];
    int n = snprintf(pickle, sizeof(pickle), "%s/adapter_model.bin", folder);
    if (n > 0 && (size_t)n < sizeof(pickle) && access(pickle, F_OK) == 0)
        return fail_set(reterr, FAIL_unprocessable_adapter,
                        "%s: a pickle is not opened; save the adapter as safetensors", pickle);
    return fail_set(reterr, FAIL_unprocessable_adapter, "%s: the file is missing", path);
}

int lora_load_peft(struct lora **ret, const struct model *m, const char *folder, float extra_scale,
                   struct fail *reterr)
{
    char config_path[PATH_MAX], path[PATH_MAX];
    int n = snprintf(config_path, sizeof(config_path), "%s/adapter_config.json", folder);
    int k = snprintf(path, sizeof(path), "%s/adapter_model.safetensors", folder);
    if (n < 0 || k < 0 || (size_t)n >= sizeof(config_path) || (size_t)k >= sizeof(path))
        return -ENAMETOOLONG;
    CLEANUP(peft_config_freep) struct peft_config *c = NULL;
    int r = load_config(&c, config_path, reterr);
    if (r)
        return r;
    struct file_map map = { 0 };
    r = file_map(&map, path);
    if (r == -ENOENT)
        return missing_weights(folder, path, reterr);
    if (r < 0)
        return r;
    CLEANUP(lora_draft_done) struct lora_draft d = { 0 };
    r = lora_draft_init(&d, m, path, extra_scale);
    if (!r)
        r = load_tensors(ret, &d, c, (struct str){ (const char *)map.p, map.n }, reterr);
    file_unmap(&map);
    return r;
}

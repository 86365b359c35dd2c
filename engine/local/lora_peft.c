/* PEFT folders: adapter_config.json and adapter_model.safetensors. */
#include "engine/local/lora_impl.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
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
    enum lora_part part;
};

/* "weight" or "NAME.weight", with the adapter's name: `last` may also stand alone. */
static bool ends_as(struct str rest, const char *last)
{
    struct str adapter, tail;
    return str_is(rest, last) ||
           (str_cut(rest, '.', &adapter, &tail) && adapter.n && str_is(tail, last));
}

/* What stands behind ".lora_". */
static bool parse_lora(struct str tail, struct key *ret)
{
    static const struct {
        const char *begin, *last; /* last "": it may end here, or with the adapter's name */
        enum lora_part part;
    } rows[] = {
        { "A.", "weight", LORA_part_a },
        { "B.", "weight", LORA_part_b },
        { "B.", "bias", LORA_part_b_bias },
        { "magnitude_vector.", "weight", LORA_part_magnitude },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (str_starts(tail, str_of(rows[i].begin)) &&
            ends_as(str_sub(tail, strlen(rows[i].begin)), rows[i].last)) {
            ret->part = rows[i].part;
            return true;
        }
    ret->part = LORA_part_magnitude;
    return str_is(tail, "magnitude_vector") || /* or with the adapter's name */
           (str_starts(tail, STR("magnitude_vector.")) &&
            str_find(str_sub(tail, strlen("magnitude_vector.")), STR(".")) < 0);
}

/* "….lora_A.weight", "….lora_A.default.weight", "….base_layer.bias" → module, and which part. */
static bool parse_part(struct str name, struct key *ret)
{
    ptrdiff_t at = str_find(name, STR(".lora_"));
    if (at >= 0) {
        ret->module = str_head(name, (size_t)at);
        return parse_lora(str_sub(name, (size_t)at + strlen(".lora_")), ret);
    }
    ret->part = LORA_part_bias;
    bool wrapped = str_ends(name, STR(".base_layer.bias")); /* PEFT's name of an adapted one's */
    if (!str_ends(name, STR(".bias")))
        return false;
    ret->module = str_head(name, name.n - strlen(wrapped ? ".base_layer.bias" : ".bias"));
    return true;
}

static bool parse_key(struct str name, const struct model *m, struct key *ret)
{
    *ret = (struct key){ 0 };
    if (str_starts(name, STR("base_model.model.")))
        name = str_sub(name, strlen("base_model.model."));
    if (!parse_part(name, ret) || !str_starts(ret->module, STR("model.layers.")))
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

/* A matrix as it is, a vector as one row. */
static int read_shape(const struct lora_draft *d, const struct safetensor *t, enum lora_part part,
                      struct lora_matrix *ret, struct fail *reterr)
{
    bool vector = part != LORA_part_a && part != LORA_part_b;
    uint32_t dims = vector ? 1 : 2;
    bool flat = vector && t->n_dims == 2 && (t->dims[0] == 1 || t->dims[1] == 1);
    if (t->n_dims != dims && !flat)
        return fail_set(reterr, FAIL_unprocessable_adapter,
                        "%s: the tensor '" STR_FMT "' has %u dimensions, not %u", d->file,
                        STR_ARG(t->name), t->n_dims, dims);
    ret->rows = vector ? 1 : t->dims[0];
    ret->cols = flat ? t->dims[0] * t->dims[1] : t->dims[dims - 1];
    return 0;
}

static int refuse_unknown(const struct lora_draft *d, const struct safetensor *t,
                          struct fail *reterr)
{
    char names[192];
    model_linear_names(d->model, /* hf= */ true, names, sizeof(names));
    return fail_set(reterr, FAIL_unprocessable_adapter,
                    "%s: the tensor '" STR_FMT "' adapts no linear of the base model; served "
                    "are lora_A and lora_B of %s in %u layers",
                    d->file, STR_ARG(str_head(t->name, 128)), names, d->model->shape.layers);
}

/* The configuration must have said that there is such a part. */
static int check_announced(const struct lora_draft *d, const struct peft_config *c,
                           const struct safetensor *t, enum lora_part part, struct fail *reterr)
{
    const char *field = NULL;
    if (part == LORA_part_magnitude && !peft_config_dora(c))
        field = "use_dora";
    else if (part == LORA_part_b_bias && !peft_config_lora_bias(c))
        field = "lora_bias";
    else if (part == LORA_part_bias && !peft_config_biases(c))
        field = "bias";
    if (!field)
        return 0;
    return fail_param(reterr, FAIL_unprocessable_adapter, field,
                      "%s: %s of adapter_config.json does not say that there is a tensor '" STR_FMT
                      "'; make them agree",
                      d->file, field, STR_ARG(str_head(t->name, 128)));
}

static int add_adapted(struct lora_draft *d, const struct peft_config *c,
                       const struct safetensor *t, const struct key *key,
                       const struct lora_matrix *x, struct fail *reterr)
{
    uint32_t rank;
    double scale;
    int r = peft_config_module(c, key->module, key->layer, &rank, &scale, reterr);
    if (!r && key->part <= LORA_part_b)
        r = check_rank(d, t, key->part == LORA_part_b ? x->cols : x->rows, rank, reterr);
    d->pairs[(size_t)key->layer * LORA_TARGETS + key->target].scale = r ? 0 : scale;
    return r;
}

static int add_tensor(struct lora_draft *d, const struct peft_config *c, const struct safetensor *t,
                      struct fail *reterr)
{
    struct key key;
    if (!parse_key(t->name, d->model, &key))
        return refuse_unknown(d, t, reterr);
    struct lora_matrix x = { .name = t->name, .data = t->data };
    if (matrix_type(t->dtype, &x.type) < 0)
        return fail_set(reterr, FAIL_unprocessable_adapter,
                        "%s: the tensor '" STR_FMT "' is of type " STR_FMT
                        "; supported are F32, F16, BF16",
                        d->file, STR_ARG(t->name), STR_ARG(t->dtype));
    int r = read_shape(d, t, key.part, &x, reterr);
    if (!r)
        r = check_announced(d, c, t, key.part, reterr);
    if (!r && key.part != LORA_part_bias)
        r = add_adapted(d, c, t, &key, &x, reterr);
    if (r)
        return r;
    struct lora_draft_pair *p = &d->pairs[(size_t)key.layer * LORA_TARGETS + key.target];
    p->permute = d->model->arch->hf_rows_permuted && (key.target == LORA_q || key.target == LORA_k);
    return lora_draft_set(d, key.layer, key.target, key.part, &x, reterr);
}

static int refuse_absent(const struct lora_draft *d, const struct lora_matrix *beside,
                         const char *field, const char *what, struct fail *reterr)
{
    return fail_param(reterr, FAIL_unprocessable_adapter, field,
                      "%s: %s is set in adapter_config.json, yet '" STR_FMT "' has no %s beside it",
                      d->file, field, STR_ARG(beside->name), what);
}

/* What the configuration says is there for every adapted module. PEFT reads a bias by the name that
 * the module has once it is wrapped, and passes over the other. */
static int check_parts(const struct lora_draft *d, const struct peft_config *c, struct fail *reterr)
{
    for (size_t i = 0; i < (size_t)d->model->shape.layers * LORA_TARGETS; i++) {
        const struct lora_draft_pair *p = &d->pairs[i];
        const struct lora_matrix *a = &p->parts[LORA_part_a], *bias = &p->parts[LORA_part_bias];
        if (a->name.p && peft_config_dora(c) && !lora_draft_has(p, LORA_part_magnitude))
            return refuse_absent(d, a, "use_dora", "lora_magnitude_vector", reterr);
        if (a->name.p && peft_config_lora_bias(c) && !lora_draft_has(p, LORA_part_b_bias))
            return refuse_absent(d, a, "lora_bias", "lora_B.bias", reterr);
        bool wrapped = bias->name.p && str_ends(bias->name, STR(".base_layer.bias"));
        if (bias->name.p && wrapped != (a->name.p != NULL))
            return fail_param(reterr, FAIL_unprocessable_adapter, "bias",
                              "%s: the tensor '" STR_FMT
                              "' would be ignored by PEFT: its module is "
                              "%s; export the adapter again",
                              d->file, STR_ARG(bias->name), wrapped ? "not adapted" : "adapted");
    }
    return 0;
}

static int read_invocation(struct lora_draft *d, const struct peft_config *c, struct fail *reterr)
{
    static const char field[] = "alora_invocation_tokens";
    size_t n = peft_config_n_invocation(c);
    if (!n)
        return 0;
    if (n > LORA_INVOCATION_TOKENS)
        return fail_param(reterr, FAIL_unprocessable_adapter, field, "%s: %s has more than %d ids",
                          d->file, field, LORA_INVOCATION_TOKENS);
    if (lora_draft_invoke(d, n) < 0)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        int64_t id = peft_config_invocation(c, i);
        if (id < 0 || id >= d->model->shape.vocab)
            return fail_param(reterr, FAIL_unprocessable_adapter, field,
                              "%s: %s has the id %lld; the base model has 0 to %u", d->file, field,
                              (long long)id, d->model->shape.vocab - 1);
        d->invocation[i] = (int32_t)id;
    }
    return 0;
}

/* ---- the base ---- */

enum { NAME_BYTES = 128 };

/* Letters and digits of the last part of a path or an address, in lower case. */
static struct str bare_name(struct str s, char buf[static NAME_BYTES])
{
    while (s.n && s.p[s.n - 1] == '/')
        s.n--;
    for (size_t i = s.n; i > 0; i--)
        if (s.p[i - 1] == '/') {
            s = str_sub(s, i);
            break;
        }
    size_t n = 0;
    for (size_t i = 0; i < s.n && n < NAME_BYTES; i++) {
        char c = s.p[i];
        if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z'))
            buf[n++] = c;
        else if (c >= 'A' && c <= 'Z')
            buf[n++] = (char)(c - 'A' + 'a');
    }
    return (struct str){ buf, n };
}

/* "owner/name", as hubs call models; not a path of the machine that trained. */
static bool is_hub_name(struct str s)
{
    struct str owner, name;
    return str_cut(s, '/', &owner, &name) && owner.n && name.n && owner.p[0] != '.' &&
           owner.p[0] != '~' && str_find(name, STR("/")) < 0;
}

/*
 * Where the base's file says from which repository it was made and the adapter names another, its
 * weights are others though they may have the same shape. Copies of a repository keep its name or
 * add to it.
 */
static int check_base(const struct lora_draft *d, const struct peft_config *c, struct fail *reterr)
{
    static const char *const keys[] = { "general.source.huggingface.repository",
                                        "general.source.repo_url", "general.source.url" };
    struct str wanted = peft_config_base(c), source;
    if (!is_hub_name(wanted))
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        if (!gguf_str(d->model->gguf, keys[i], &source) || !source.n)
            continue;
        char a[NAME_BYTES], b[NAME_BYTES];
        struct str x = bare_name(wanted, a), y = bare_name(source, b);
        if (!x.n || !y.n || str_find(x, y) >= 0 || str_find(y, x) >= 0)
            return 0;
        return fail_param(reterr, FAIL_unprocessable_adapter, "base_model_name_or_path",
                          "%s: base_model_name_or_path is '" STR_FMT
                          "', the base model was made from '" STR_FMT
                          "'; use the base model that the adapter was trained on",
                          d->file, STR_ARG(str_head(wanted, 128)), STR_ARG(str_head(source, 128)));
    }
    return 0;
}

/* ---- files ---- */

static int load_config(struct str *ret_text, struct peft_config **ret, const char *path,
                       struct fail *reterr)
{
    char *text = NULL;
    size_t n = 0;
    int r = file_read(&text, &n, path, CONFIG_BYTES);
    *ret_text = (struct str){ text, n };
    if (r == -EFBIG)
        return fail_set(reterr, FAIL_unprocessable_adapter, "%s: it is larger than %d MiB", path,
                        CONFIG_BYTES >> 20);
    return r ? r : peft_config_parse(ret, path, *ret_text, reterr);
}

static int read_tensors(struct lora_draft *d, const struct peft_config *c,
                        const struct safetensors *s, struct fail *reterr)
{
    int r = check_base(d, c, reterr);
    if (!r)
        r = read_invocation(d, c, reterr);
    for (size_t i = 0; !r && i < safetensors_n(s); i++)
        r = add_tensor(d, c, safetensors_at(s, i), reterr);
    if (!r)
        r = lora_draft_check(d, reterr);
    return r ? r : check_parts(d, c, reterr);
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

struct peft_files {
    char config_path[PATH_MAX], path[PATH_MAX];
    struct str text; /* of adapter_config.json; owned */
    struct file_map map;
    struct peft_config *config; /* owned */
};

static void files_done(struct peft_files *f)
{
    peft_config_free(f->config);
    free((void *)(uintptr_t)f->text.p);
    file_unmap(&f->map);
}

static int open_files(struct peft_files *f, const char *folder, struct fail *reterr)
{
    int n = snprintf(f->config_path, sizeof(f->config_path), "%s/adapter_config.json", folder);
    int k = snprintf(f->path, sizeof(f->path), "%s/adapter_model.safetensors", folder);
    if (n < 0 || k < 0 || (size_t)n >= sizeof(f->config_path) || (size_t)k >= sizeof(f->path))
        return -ENAMETOOLONG;
    int r = load_config(&f->text, &f->config, f->config_path, reterr);
    if (r)
        return r;
    r = file_map(&f->map, f->path);
    return r == -ENOENT ? missing_weights(folder, f->path, reterr) : r;
}

int lora_read_peft(const struct model *m, const char *folder, float extra_scale, lora_use *use,
                   void *ctx, struct fail *reterr)
{
    CLEANUP(files_done) struct peft_files f = { 0 };
    int r = open_files(&f, folder, reterr);
    if (r)
        return r;
    CLEANUP(lora_draft_done) struct lora_draft d = { 0 };
    CLEANUP(safetensors_freep) struct safetensors *s = NULL;
    struct str bytes = { (const char *)f.map.p, f.map.n };
    r = lora_draft_init(&d, m, f.path, extra_scale);
    if (!r)
        r = safetensors_parse(&s, d.file, bytes, reterr);
    if (!r)
        r = read_tensors(&d, f.config, s, reterr);
    d.sources[0] = f.text;
    d.sources[1] = bytes;
    return r ? r : use(ctx, &d, reterr);
}

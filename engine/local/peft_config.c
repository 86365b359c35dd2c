#include "engine/local/peft_config.h"

#define PCRE2_CODE_UNIT_WIDTH 8

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <pcre2.h>
#include <stdlib.h>

#include "base/limits.h"

enum {
    MATCH_STEPS = 200000, /* of one match: a hostile pattern stops here */
    PATTERNS = 4096,
};

struct pattern {
    pcre2_code *code; /* owned */
    double value;
};

struct patterns { /* in the file's order: the first that matches counts */
    struct pattern *items;
    size_t n;
};

struct peft_config {
    const char *name;
    json_t *root; /* owned */
    uint32_t r;
    double alpha;
    bool rslora, dora, lora_bias, biases;
    const json_t *invocation; /* a list of numbers, or NULL; borrowed from root */
    struct patterns ranks, alphas;
    pcre2_code *target, *exclude;             /* where they are one expression; owned */
    const json_t *target_list, *exclude_list; /* where they are lists; borrowed from root */
    const json_t *layers;                     /* layers_to_transform: number or list; borrowed */
    pcre2_match_context *limits;              /* owned */
};

/* ---- the fields ---- */

enum rule {
    RULE_read, /* by the code below */
    RULE_any,  /* has no say in the result */
    RULE_off,  /* must be null, false, 0 or empty */
};

static const struct field {
    const char *name;
    enum rule rule;
    const char *fix; /* of RULE_off */
} fields[] = {
    { "peft_type", RULE_read, NULL },
    { "r", RULE_read, NULL },
    { "lora_alpha", RULE_read, NULL },
    { "use_rslora", RULE_read, NULL },
    { "rank_pattern", RULE_read, NULL },
    { "alpha_pattern", RULE_read, NULL },
    { "bias", RULE_read, NULL },
    { "init_lora_weights", RULE_read, NULL },
    { "target_modules", RULE_read, NULL },
    { "exclude_modules", RULE_read, NULL },
    { "layers_to_transform", RULE_read, NULL },
    { "layers_pattern", RULE_read, NULL },
    { "task_type", RULE_any, NULL },
    { "inference_mode", RULE_any, NULL },
    { "lora_dropout", RULE_any, NULL },
    { "use_dora", RULE_read, NULL },
    { "lora_bias", RULE_read, NULL },
    { "alora_invocation_tokens", RULE_read, NULL },
    { "base_model_name_or_path", RULE_read, NULL },
    { "revision", RULE_any, NULL },
    { "fan_in_fan_out", RULE_any, NULL }, /* all bases here have Linear modules: PEFT drops it */
    { "auto_mapping", RULE_any, NULL },
    { "peft_version", RULE_any, NULL },
    { "runtime_config", RULE_any, NULL },
    { "megatron_core", RULE_any, NULL },
    { "qalora_group_size", RULE_any, NULL }, /* read only under use_qalora */
    { "modules_to_save", RULE_off, "train without full copies of modules" },
    { "trainable_token_indices", RULE_off, "train without new token embeddings" },
    { "layer_replication", RULE_off, "train on the base as it is" },
    { "target_parameters", RULE_off, "train on modules (target_modules)" },
    { "use_qalora", RULE_off, "train without QALoRA" },
    { "use_bdlora", RULE_off, "train without block-diagonal LoRA" },
    { "megatron_config", RULE_off, "export the adapter from Megatron to plain PEFT" },
    { "loftq_config", RULE_off, "convert the adapter to the original base when saving" },
    { "eva_config", RULE_any, NULL }, /* how A began; the base was left as it was */
    { "kasa_config", RULE_off, "train without KaSA, which truncates the base" },
    { "velora_config", RULE_off, "train without VeLoRA" },
    { "monteclora_config", RULE_off, "train without MonteCLoRA" },
    { "corda_config", RULE_off, "convert the adapter to the original base when saving" },
    { "lora_ga_config", RULE_off, "convert the adapter to the original base when saving" },
    { "arrow_config", RULE_off, "train without Arrow routing" },
    { "ensure_weight_tying", RULE_off, "train without tied full copies" },
};

static int refuse_field(const struct peft_config *c, const char *field, struct fail *reterr,
                        const char *fmt, ...) PRINTF_LIKE(4, 5);
static int refuse_field(const struct peft_config *c, const char *field, struct fail *reterr,
                        const char *fmt, ...)
{
    char text[256];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    return fail_param(reterr, FAIL_unprocessable_adapter, field, "%s: %s %s", c->name, field, text);
}

static bool is_off(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_NULL:
    case JSON_FALSE:
        return true;
    case JSON_TRUE:
        return false;
    case JSON_INTEGER:
    case JSON_REAL:
        return json_number_value(v) == 0;
    case JSON_STRING:
        return json_string_length(v) == 0;
    case JSON_ARRAY:
        return json_array_size(v) == 0;
    default:
        return json_object_size(v) == 0;
    }
}

/* A short rendering of a value, for messages. */
static const char *shown(const json_t *v, char buf[static 64])
{
    size_t n = json_dumpb(v, buf, 60, JSON_COMPACT | JSON_ENCODE_ANY);
    if (n > 60)
        (void)snprintf(buf, 64, "%s", json_is_array(v) ? "[…]" : json_is_object(v) ? "{…}" : "…");
    else
        buf[n] = '\0';
    return buf;
}

static const struct field *find_field(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        if (strcmp(fields[i].name, name) == 0)
            return &fields[i];
    return NULL;
}

static int check_fields(const struct peft_config *c, struct fail *reterr)
{
    const char *key;
    json_t *v;
    char text[64];
    json_object_foreach(c->root, key, v)
    {
        const struct field *f = find_field(key);
        if ((f && f->rule != RULE_off) || is_off(v))
            continue;
        if (!f)
            return refuse_field(c, key, reterr,
                                "is %s, a field this version does not know; remove it if it has no "
                                "effect on the result",
                                shown(v, text));
        return refuse_field(c, key, reterr, "is %s, which is not supported; %s", shown(v, text),
                            f->fix);
    }
    return 0;
}

/* ---- patterns ---- */

static int compile(const struct peft_config *c, const char *field, const char *text,
                   uint32_t options, pcre2_code **ret, struct fail *reterr)
{
    int error;
    PCRE2_SIZE at;
    *ret = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, options | PCRE2_UTF, &error, &at,
                         NULL);
    if (*ret)
        return 0;
    char why[80] = "";
    (void)pcre2_get_error_message(error, (PCRE2_UCHAR *)why, sizeof(why));
    return refuse_field(c, field, reterr, "has '%.60s', which is no regular expression: %s", text,
                        why);
}

/* 1: matches, 0: not, FAILED is told apart by *ret_failed. */
static bool matches(const struct peft_config *c, const char *field, const pcre2_code *code,
                    struct str subject, bool *ret_failed, struct fail *reterr)
{
    pcre2_match_data *data = pcre2_match_data_create(1, NULL);
    if (!data) {
        *ret_failed = true;
        (void)fail_errno(reterr, -ENOMEM, "matching a pattern");
        return false;
    }
    int hits = pcre2_match(code, (PCRE2_SPTR)subject.p, subject.n, 0, 0, data, c->limits);
    pcre2_match_data_free(data);
    if (hits < 0 && hits != PCRE2_ERROR_NOMATCH) {
        *ret_failed = true;
        (void)refuse_field(c, field, reterr,
                           "has a pattern that takes too long to match; write it "
                           "without nested repetition");
    }
    return hits >= 0;
}

/* PEFT matches a key as `(.*\.)?(KEY)$` from the module's begin. */
static int read_patterns(struct peft_config *c, const char *field, struct patterns *ret,
                         struct fail *reterr)
{
    const json_t *map = json_object_get(c->root, field);
    if (!map || is_off(map))
        return 0;
    if (!json_is_object(map) || json_object_size(map) > PATTERNS)
        return refuse_field(c, field, reterr, "is not an object of at most %d patterns", PATTERNS);
    ret->items = calloc(json_object_size(map), sizeof(*ret->items));
    if (!ret->items)
        return -ENOMEM;
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)map, key, v)
    {
        double value = json_number_value(v);
        bool whole = ret == &c->ranks;
        if (!json_is_number(v) || !isfinite(value) ||
            (whole && (!json_is_integer(v) || value < 1 || value > LIMIT_LORA_RANK)))
            return refuse_field(c, field, reterr, "of '%.60s' is not a %s", key,
                                whole ? "rank from 1 to 1024" : "finite number");
        char text[1024];
        int n = snprintf(text, sizeof(text), "(.*\\.)?(%s)$", key);
        if (n < 0 || (size_t)n >= sizeof(text))
            return refuse_field(c, field, reterr, "has a pattern of more than 1000 bytes");
        struct pattern *p = &ret->items[ret->n];
        int r = compile(c, field, text, PCRE2_ANCHORED, &p->code, reterr);
        if (r)
            return r;
        p->value = value;
        ret->n++;
    }
    return 0;
}

static int lookup(const struct peft_config *c, const char *field, const struct patterns *p,
                  struct str module, double *ret, struct fail *reterr)
{
    bool failed = false;
    for (size_t i = 0; i < p->n && !failed; i++)
        if (matches(c, field, p->items[i].code, module, &failed, reterr)) {
            *ret = p->items[i].value;
            return 0;
        }
    return failed ? FAILED : 0;
}

/* ---- reading ---- */

static bool list_of(const json_t *v, bool (*fits)(const json_t *))
{
    size_t i;
    json_t *item;
    json_array_foreach((json_t *)v, i, item) if (!fits(item)) return false;
    return json_is_array(v);
}

static bool is_text(const json_t *v)
{
    return json_is_string(v);
}

static bool is_whole(const json_t *v)
{
    return json_is_integer(v);
}

/* Ways to begin that leave the base as it is. */
static bool is_plain_start(const char *how)
{
    static const char *const words[] = { "gaussian", "orthogonal", "eva", "mica" };
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (strcmp(how, words[i]) == 0)
            return true;
    return false;
}

static int read_type(const struct peft_config *c, struct fail *reterr)
{
    char text[64];
    const json_t *type = json_object_get(c->root, "peft_type");
    const char *word = json_string_value(type);
    if (!word || strcmp(word, "LORA") != 0)
        return refuse_field(c, "peft_type", reterr, "is %s; only \"LORA\" is supported",
                            type ? shown(type, text) : "missing");
    const json_t *init = json_object_get(c->root, "init_lora_weights");
    const char *how = json_string_value(init);
    bool plain =
        !init || json_is_boolean(init) || json_is_null(init) || (how && is_plain_start(how));
    if (!plain) /* PiSSA and its like train against a changed base */
        return refuse_field(
            c, "init_lora_weights", reterr,
            "is %s, which trains against a changed base; save it converted to plain "
            "LoRA (path_initial_model_for_weight_conversion)",
            shown(init, text));
    return 0;
}

static int read_switch(const struct peft_config *c, const char *field, bool *ret,
                       struct fail *reterr)
{
    char text[64];
    const json_t *v = json_object_get(c->root, field);
    if (v && !json_is_boolean(v) && !json_is_null(v))
        return refuse_field(c, field, reterr, "is %s; it must be true or false", shown(v, text));
    *ret = json_is_true(v);
    return 0;
}

static int read_bias(struct peft_config *c, struct fail *reterr)
{
    char text[64];
    const json_t *bias = json_object_get(c->root, "bias");
    const char *word = json_string_value(bias);
    if (!bias || is_off(bias))
        return 0;
    if (!word ||
        (strcmp(word, "none") != 0 && strcmp(word, "all") != 0 && strcmp(word, "lora_only") != 0))
        return refuse_field(c, "bias", reterr,
                            "is %s; it must be \"none\", \"all\" or \"lora_only\"",
                            shown(bias, text));
    c->biases = strcmp(word, "none") != 0;
    return 0;
}

static int read_invocation(struct peft_config *c, struct fail *reterr)
{
    char text[64];
    const json_t *v = json_object_get(c->root, "alora_invocation_tokens");
    if (!v || is_off(v))
        return 0;
    if (!list_of(v, is_whole))
        return refuse_field(c, "alora_invocation_tokens", reterr,
                            "is %s; it must be a list of token ids", shown(v, text));
    c->invocation = v;
    return 0;
}

/* What else is computed beside A and B, and when. */
static int read_extras(struct peft_config *c, struct fail *reterr)
{
    int r = read_switch(c, "use_dora", &c->dora, reterr);
    if (!r)
        r = read_switch(c, "lora_bias", &c->lora_bias, reterr);
    if (!r)
        r = read_bias(c, reterr);
    if (!r)
        r = read_invocation(c, reterr);
    if (!r && c->dora && c->lora_bias) /* PEFT refuses to make one, too */
        return refuse_field(c, "lora_bias", reterr, "is true beside use_dora; train with one");
    if (!r && c->dora && c->invocation)
        return refuse_field(c, "alora_invocation_tokens", reterr,
                            "is set beside use_dora; train with one");
    return r;
}

static int read_scale(struct peft_config *c, struct fail *reterr)
{
    char text[64];
    const json_t *r = json_object_get(c->root, "r"),
                 *alpha = json_object_get(c->root, "lora_alpha");
    json_int_t rank = json_integer_value(r);
    if (!json_is_integer(r) || rank < 1 || rank > LIMIT_LORA_RANK)
        return refuse_field(c, "r", reterr, "is %s; it must be a whole number from 1 to %d",
                            r ? shown(r, text) : "missing", LIMIT_LORA_RANK);
    if (!json_is_number(alpha) || !isfinite(json_number_value(alpha)))
        return refuse_field(c, "lora_alpha", reterr, "is %s; it must be a number",
                            alpha ? shown(alpha, text) : "missing");
    c->r = (uint32_t)rank;
    c->alpha = json_number_value(alpha);
    int e = read_switch(c, "use_rslora", &c->rslora, reterr);
    if (!e)
        e = read_patterns(c, "rank_pattern", &c->ranks, reterr);
    return e ? e : read_patterns(c, "alpha_pattern", &c->alphas, reterr);
}

/* One expression for whole names, or a list of suffixes. */
static int read_modules(struct peft_config *c, const char *field, pcre2_code **ret_code,
                        const json_t **ret_list, struct fail *reterr)
{
    const json_t *v = json_object_get(c->root, field);
    if (!v || is_off(v))
        return 0;
    if (json_is_string(v)) {
        if (strcmp(json_string_value(v), "all-linear") == 0)
            return 0;
        return compile(c, field, json_string_value(v), PCRE2_ANCHORED | PCRE2_ENDANCHORED, ret_code,
                       reterr);
    }
    if (!list_of(v, is_text))
        return refuse_field(c, field, reterr, "is neither a pattern nor a list of module names");
    *ret_list = v;
    return 0;
}

static int read_layers(struct peft_config *c, struct fail *reterr)
{
    const json_t *v = json_object_get(c->root, "layers_to_transform");
    char text[64];
    if (v && (json_is_integer(v) || !is_off(v))) {
        if (!json_is_integer(v) && !list_of(v, is_whole))
            return refuse_field(c, "layers_to_transform", reterr,
                                "is %s; it must be a layer or a list of layers", shown(v, text));
        c->layers = v;
    }
    const json_t *p = json_object_get(c->root, "layers_pattern");
    if (!p || is_off(p))
        return 0;
    const json_t *word = json_is_array(p) && json_array_size(p) == 1 ? json_array_get(p, 0) : p;
    if (!json_is_string(word) || strcmp(json_string_value(word), "layers") != 0)
        return refuse_field(c, "layers_pattern", reterr,
                            "is %s; the layers of this base are called \"layers\"", shown(p, text));
    return 0;
}

int peft_config_parse(struct peft_config **ret, const char *name, struct str json,
                      struct fail *reterr)
{
    CLEANUP(peft_config_freep) struct peft_config *c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    c->name = name;
    json_error_t e;
    c->root = json_loadb(json.p ? json.p : "", json.n, JSON_REJECT_DUPLICATES, &e);
    if (!c->root)
        return fail_set(reterr, FAIL_unprocessable_adapter, "%s:%d:%d: not JSON: %s", name, e.line,
                        e.column, e.text);
    if (!json_is_object(c->root))
        return fail_set(reterr, FAIL_unprocessable_adapter, "%s: it is not a JSON object", name);
    c->limits = pcre2_match_context_create(NULL);
    if (!c->limits)
        return -ENOMEM;
    (void)pcre2_set_match_limit(c->limits, MATCH_STEPS);
    (void)pcre2_set_depth_limit(c->limits, MATCH_STEPS / 100);
    int r = read_type(c, reterr);
    if (!r)
        r = check_fields(c, reterr);
    if (!r)
        r = read_scale(c, reterr);
    if (!r)
        r = read_extras(c, reterr);
    if (!r)
        r = read_modules(c, "target_modules", &c->target, &c->target_list, reterr);
    if (!r)
        r = read_modules(c, "exclude_modules", &c->exclude, &c->exclude_list, reterr);
    if (!r)
        r = read_layers(c, reterr);
    if (r)
        return r;
    *ret = TAKE(c);
    return 0;
}

static void patterns_done(struct patterns *p)
{
    for (size_t i = 0; i < p->n; i++)
        pcre2_code_free(p->items[i].code);
    free(p->items);
}

struct peft_config *peft_config_free(struct peft_config *c)
{
    if (!c)
        return NULL;
    patterns_done(&c->ranks);
    patterns_done(&c->alphas);
    pcre2_code_free(c->target);
    pcre2_code_free(c->exclude);
    pcre2_match_context_free(c->limits);
    json_decref(c->root);
    free(c);
    return NULL;
}

/* ---- what it says ---- */

bool peft_config_dora(const struct peft_config *c)
{
    return c->dora;
}

bool peft_config_lora_bias(const struct peft_config *c)
{
    return c->lora_bias;
}

bool peft_config_biases(const struct peft_config *c)
{
    return c->biases;
}

size_t peft_config_n_invocation(const struct peft_config *c)
{
    return json_array_size(c->invocation);
}

int64_t peft_config_invocation(const struct peft_config *c, size_t i)
{
    return json_integer_value(json_array_get(c->invocation, i));
}

struct str peft_config_base(const struct peft_config *c)
{
    const json_t *v = json_object_get(c->root, "base_model_name_or_path");
    return json_is_string(v) ? (struct str){ json_string_value(v), json_string_length(v) }
                             : STR("");
}

/* ---- modules ---- */

/* The name itself, or a suffix of whole parts. */
static bool listed(const json_t *list, struct str module)
{
    size_t i;
    json_t *item;
    json_array_foreach((json_t *)list, i, item)
    {
        struct str s = { json_string_value(item), json_string_length(item) };
        if (str_eq(s, module))
            return true;
        if (s.n && module.n > s.n && str_ends(module, s) && module.p[module.n - s.n - 1] == '.')
            return true;
    }
    return false;
}

static bool layer_chosen(const struct peft_config *c, uint32_t layer)
{
    if (!c->layers)
        return true;
    if (json_is_integer(c->layers))
        return json_integer_value(c->layers) == layer;
    size_t i;
    json_t *item;
    json_array_foreach((json_t *)c->layers, i,
                       item) if (json_integer_value(item) == layer) return true;
    return false;
}

static int check_target(const struct peft_config *c, struct str module, uint32_t layer,
                        struct fail *reterr)
{
    const char *field = NULL;
    bool failed = false;
    if ((c->exclude && matches(c, "exclude_modules", c->exclude, module, &failed, reterr)) ||
        (c->exclude_list && listed(c->exclude_list, module)))
        field = "exclude_modules";
    else if ((c->target && !matches(c, "target_modules", c->target, module, &failed, reterr)) ||
             (c->target_list && !listed(c->target_list, module)))
        field = "target_modules";
    else if (!layer_chosen(c, layer))
        field = "layers_to_transform";
    if (failed)
        return FAILED;
    if (field)
        return refuse_field(c, field, reterr,
                            "leaves out '" STR_FMT "', yet the adapter has tensors for it; PEFT "
                            "would ignore them",
                            STR_ARG(str_head(module, 128)));
    return 0;
}

int peft_config_module(const struct peft_config *c, struct str module, uint32_t layer,
                       uint32_t *ret_rank, double *ret_scale, struct fail *reterr)
{
    int r = check_target(c, module, layer, reterr);
    double rank = c->r, alpha = c->alpha;
    if (!r)
        r = lookup(c, "rank_pattern", &c->ranks, module, &rank, reterr);
    if (!r)
        r = lookup(c, "alpha_pattern", &c->alphas, module, &alpha, reterr);
    if (r)
        return r;
    *ret_rank = (uint32_t)rank;
    *ret_scale = alpha / (c->rslora ? sqrt(rank) : rank);
    return 0;
}

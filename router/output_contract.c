#include "router/output_contract.h"

#include <errno.h>
#include <stdio.h>

enum { MAX_CHOICES = 1000, CHOICES_BYTES = 1 << 20 };

static const char *const types[] = { "", "choice", "structured_json", "reference_selection", NULL };
static const char *const render_modes[] = { "value", "template", NULL };
static const char *const extract_modes[] = { "exact", "json_object", NULL };
static const char *const sources[] = { "content", "reasoning_content", "candidate_responses" };
static const char *const schema_refs[] = { "terminal_action_v1", NULL };
static const char *const reference_sources[] = { "candidate_responses", NULL };
static const char *const id_formats[] = { "index", "reference_number", NULL };
static const char *const postprocesses[] = { "dereference_selected_reference", NULL };

enum { RENDER_value, RENDER_template };

struct spec {
    unsigned type;
    const struct node *choice_set, *json_schema, *reference, *render, *extract, *normalize,
        *on_violation;
    struct item_list postprocess;
};

struct choice_set {
    struct text_list values;
};

struct schema_ref {
    unsigned word;
};

struct reference {
    unsigned source, id_format;
};

struct render {
    unsigned mode;
    struct str template;
};

struct extract {
    unsigned mode;
    struct text_list sources;
};

struct normalize {
    struct text_list field_order;
    const struct node *defaults;
};

struct violation {
    bool repair;
    struct str fallback;
};

struct postprocess {
    unsigned type;
};

static const struct option choice_options[] = {
    OPT_TEXTS(struct choice_set, values, "values", MAX_CHOICES, "the answer is one of them"),
    OPT_END,
};

static const struct option schema_options[] = {
    OPT_WORD(struct schema_ref, word, "schema_ref", schema_refs, OPTION_REQUIRED, "a known schema"),
    OPT_END,
};

static const struct option reference_options[] = {
    OPT_WORD(struct reference, source, "source", reference_sources, "candidate_responses",
             "what is referred to"),
    OPT_WORD(struct reference, id_format, "id_format", id_formats, "index", "how"),
    OPT_END,
};

static const struct option render_options[] = {
    OPT_WORD(struct render, mode, "mode", render_modes, "value",
             "the choice itself, or a text with {choice} in it"),
    OPT_TEXT(struct render, template, "template", NULL, "holds {choice}"),
    OPT_END,
};

enum { MAX_SOURCES = ARRAY_LEN(sources) };

static const struct option extract_options[] = {
    OPT_WORD(struct extract, mode, "mode", extract_modes, "exact", "how the answer is found"),
    OPT_TEXTS(struct extract, sources, "sources", MAX_SOURCES, "where"),
    OPT_END,
};

static const struct option normalize_options[] = {
    OPT_TEXTS(struct normalize, field_order, "field_order", 1000, "of the object"),
    OPT_NODE(struct normalize, defaults, "defaults", "of fields that are missing"),
    OPT_END,
};

static const struct option violation_options[] = {
    OPT_BOOL(struct violation, repair, "repair", "false", "ask once more"),
    OPT_TEXT(struct violation, fallback, "fallback", NULL, "stands for an answer that is none"),
    OPT_END,
};

static const struct option postprocess_options[] = {
    OPT_WORD(struct postprocess, type, "type", postprocesses, OPTION_REQUIRED, "what is done"),
    OPT_END,
};

static const struct option options[] = {
    OPT_WORD(struct spec, type, "type", types, "", "what an answer is"),
    OPT_NODE(struct spec, choice_set, "choice_set", "of choice"),
    OPT_NODE(struct spec, json_schema, "json_schema", "of structured_json"),
    OPT_NODE(struct spec, reference, "reference", "of reference_selection"),
    OPT_NODE(struct spec, render, "render", "of choice: how it is written"),
    OPT_NODE(struct spec, extract, "extract", "how the answer is found"),
    OPT_NODE(struct spec, normalize, "normalize", "of structured_json"),
    OPT_NODE(struct spec, on_violation, "on_violation", "what is done with any other answer"),
    OPT_LIST(struct spec, postprocess, "postprocess", 100, postprocess_options, struct postprocess,
             "what is done with the answer"),
    OPT_END,
};

struct load {
    struct arena *arena;
    struct problems *p;
    const struct node *at;
    const char *path;
};

static int wrong(const struct load *l, const char *what)
{
    return node_problem(l->p, PROBLEM_error, l->at, l->path, "%s", what);
}

static int read_part(const struct load *l, void *into, const struct option *table,
                     const struct node *part, const char *key)
{
    char path[256];
    (void)snprintf(path, sizeof(path), "%s.%s", l->path, key);
    return schema_read(into, table, part, path, l->arena, l->p);
}

/* ---- checks ---- */

static int check_extract(const struct load *l, const struct spec *s, struct extract *e)
{
    int k = read_part(l, e, extract_options, s->extract, "extract");
    for (size_t i = 0; k == 0 && i < e->sources.n; i++) {
        size_t known = 0;
        while (known < ARRAY_LEN(sources) && !str_is(e->sources.items[i], sources[known]))
            known++;
        if (known == ARRAY_LEN(sources))
            k = wrong(l, "extract.sources are content, reasoning_content, candidate_responses");
        for (size_t j = 0; j < i; j++)
            if (str_eq(e->sources.items[i], e->sources.items[j]))
                k = wrong(l, "extract.sources names one twice");
    }
    if (k == 0 && e->mode != 0 && s->type != CONTRACT_structured_json)
        k = wrong(l, "extract.mode json_object is for structured_json");
    return k;
}

static int check_normalize(const struct load *l, const struct spec *s)
{
    struct normalize n = { { NULL, 0 }, NULL };
    int k = read_part(l, &n, normalize_options, s->normalize, "normalize");
    if (k == 0 && n.defaults && n.defaults->kind != NODE_map)
        k = wrong(l, "normalize.defaults is a map of texts");
    for (size_t i = 0; k == 0 && n.defaults && i < n.defaults->n; i++)
        if (n.defaults->items[i]->kind != NODE_scalar)
            k = wrong(l, "normalize.defaults is a map of texts");
    return k;
}

static int check_parts(const struct load *l, const struct spec *s)
{
    struct reference r = { 0 };
    struct schema_ref ref = { 0 };
    struct extract extract = { 0 };
    int k = read_part(l, &r, reference_options, s->reference, "reference");
    if (k == 0 && s->type == CONTRACT_structured_json)
        k = s->json_schema ? read_part(l, &ref, schema_options, s->json_schema, "json_schema")
                           : wrong(l, "structured_json needs json_schema.schema_ref");
    if (k == 0)
        k = check_normalize(l, s);
    if (k == 0)
        k = check_extract(l, s, &extract);
    if (k == 0 && s->postprocess.n && s->type != CONTRACT_reference_selection)
        k = wrong(l, "postprocess dereference_selected_reference is for reference_selection");
    if (k == 0 && s->type == CONTRACT_none && s->postprocess.n == 0)
        k = wrong(l, "needs a type: choice, structured_json or reference_selection");
    return k;
}

/* ---- choices ---- */

static int check_values(const struct load *l, const struct choice_set *c)
{
    if (c->values.n == 0)
        return wrong(l, "a choice needs choice_set.values");
    for (size_t i = 0; i < c->values.n; i++) {
        struct str v = str_trim(c->values.items[i]);
        if (v.n == 0)
            return wrong(l, "a value of choice_set is empty");
        for (size_t k = 0; k < i; k++)
            if (str_eq_nocase(v, str_trim(c->values.items[k])))
                return wrong(l, "choice_set gives a value twice");
    }
    return 0;
}

/* The template with the choice in the place of {choice} or {{choice}}. */
static void render(struct str template, struct str value, struct buf *b)
{
    static const struct str marks[] = { { "{{choice}}", 10 }, { "{choice}", 8 } };
    while (template.n) {
        size_t k = 0;
        while (k < ARRAY_LEN(marks) && !str_starts(template, marks[k]))
            k++;
        if (k < ARRAY_LEN(marks))
            buf_add(b, value);
        else
            buf_addc(b, template.p[0]);
        template = str_sub(template, k < ARRAY_LEN(marks) ? marks[k].n : 1);
    }
}

static int load_choices(const struct load *l, const struct spec *s, struct output_contract *ret)
{
    struct choice_set c = { { NULL, 0 } };
    struct render r = { 0 };
    int k = read_part(l, &c, choice_options, s->choice_set, "choice_set");
    if (k == 0)
        k = check_values(l, &c);
    if (k == 0)
        k = read_part(l, &r, render_options, s->render, "render");
    if (k == 0 && r.mode == RENDER_template && str_find(r.template, STR("{choice}")) < 0)
        k = wrong(l, "render.template must hold {choice}");
    if (k != 0)
        return k;
    CLEANUP(buf_done) struct buf all = BUF_INIT(CHOICES_BYTES);
    for (size_t i = 0; i < c.values.n; i++) {
        CLEANUP(buf_done) struct buf one = BUF_INIT(CHOICES_BYTES);
        render(r.mode == RENDER_template ? r.template : STR("{choice}"),
               str_trim(c.values.items[i]), &one);
        buf_addc(&all, i ? ',' : '[');
        buf_add_json(&all, buf_str(&one));
        if (buf_err(&one) < 0)
            return wrong(l, "the choices are too long");
    }
    buf_addc(&all, ']');
    if (buf_err(&all) < 0)
        return wrong(l, "the choices are too long");
    ret->choices = arena_str(l->arena, buf_str(&all));
    return ret->choices.p ? 0 : -ENOMEM;
}

int output_contract_load(const struct output_contract **ret, const struct node *spec,
                         const char *path, struct arena *arena, struct problems *p)
{
    struct load l = { arena, p, spec, path };
    struct spec s = { 0 };
    struct violation v = { 0 };
    *ret = NULL;
    if (!spec || spec->kind == NODE_null)
        return 0;
    struct output_contract *c = arena_alloc(arena, sizeof(*c));
    if (!c)
        return -ENOMEM;
    *c = (struct output_contract){ .type = CONTRACT_none };
    int k = schema_read(&s, options, spec, path, arena, p);
    if (k == 0)
        k = check_parts(&l, &s);
    if (k == 0)
        k = read_part(&l, &v, violation_options, s.on_violation, "on_violation");
    c->type = (enum contract_type)s.type;
    c->fallback = v.fallback;
    c->repair = v.repair;
    if (k == 0 && c->type == CONTRACT_choice)
        k = load_choices(&l, &s, c);
    if (k == 0)
        *ret = c;
    return k;
}

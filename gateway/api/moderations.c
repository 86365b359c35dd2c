/*
 * POST /v1/moderations: an engine behind that serves it gets the body as it is; a classifier in
 * this process answers by its labels, each a category. Everything runs on a worker.
 */
#include "base/limits.h"
#include "gateway/api/api.h"
#include "gateway/api/json.h"
#include "gateway/api/model.h"
#include "gateway/relay.h"
#include "gateway/server.h"

#include <errno.h>
#include <math.h>

enum { LABELS_MAX = 1024 };
#define FLAGGED_FROM 0.5

/* What OpenAI's answers always name; of a classifier that has no such label nothing was applied. */
static const char *const usual[] = { "harassment",
                                     "harassment/threatening",
                                     "hate",
                                     "hate/threatening",
                                     "illicit",
                                     "illicit/violent",
                                     "self-harm",
                                     "self-harm/intent",
                                     "self-harm/instructions",
                                     "sexual",
                                     "sexual/minors",
                                     "violence",
                                     "violence/graphic" };
/* Labels that say that there is nothing to flag: with one of them the labels exclude each other. */
static const char *const harmless[] = {
    "safe", "ok", "neutral", "none", "normal", "benign", "clean"
};

struct ask {
    struct request *request;
    struct str model;
    bool has_model;
    struct engine *engine;
    struct embed_input *inputs; /* borrowed from the body */
    size_t n;
};
static const struct field ask_fields[] = {
    { "model", FIELD_text, offsetof(struct ask, model), 0, 0, offsetof(struct ask, has_model) },
    { 0 },
};

static bool is_among(struct str word, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq_nocase(word, str_of(words[i])))
            return true;
    return false;
}

static bool is_harmless(struct str label)
{
    return is_among(label, harmless, ARRAY_LEN(harmless));
}

/* Without a name: whatever here moderates. */
static int usual_model(struct ask *a, struct fail *reterr)
{
    const struct core *c = a->request->state->core;
    for (size_t i = 0; i < c->n_models; i++) {
        struct engine *e = c->models[i].engine;
        bool named = str_find(c->models[i].name, STR("moderation")) >= 0;
        if (engine_is_upstream(e) ? !named : engine_label(e, 0).n == 0)
            continue;
        a->engine = e;
        a->model = a->request->log_model = c->models[i].name;
        return 0;
    }
    return fail_param(reterr, FAIL_model_not_found, "model",
                      "no model here moderates; name one that does with 'model', or configure a "
                      "classifier or an engine behind");
}

static int bad_input(struct fail *reterr)
{
    return fail_param(reterr, FAIL_invalid_request, "input",
                      "'input' must be a string, an array of strings, or an array of parts "
                      "{\"type\":\"text\",\"text\":…}");
}

static int read_item(struct ask *a, size_t i, const json_t *v, struct fail *reterr)
{
    if (json_is_object(v) && str_is(json_str(json_object_get(v, "type")), "image_url"))
        return fail_param(reterr, FAIL_unsupported_parameter, "input",
                          "input[%zu] is an image, and the model '" STR_FMT "' reads text only", i,
                          STR_ARG(str_head(a->model, 128)));
    const json_t *text = json_is_object(v) ? json_object_get(v, "text") : v;
    if (!json_is_string(text))
        return bad_input(reterr);
    a->inputs[i] = (struct embed_input){ .text = json_str(text) };
    return 0;
}

static int read_inputs(struct ask *a, const json_t *v, struct fail *reterr)
{
    size_t n = json_is_array(v) ? json_array_size(v) : json_is_string(v) ? 1 : 0;
    if (n == 0 || n > LIMIT_EMBED_INPUTS)
        return bad_input(reterr);
    a->inputs = arena_array(a->request->arena, n, sizeof(*a->inputs));
    int r = a->inputs ? 0 : json_no_memory(reterr);
    for (size_t i = 0; r == 0 && i < n; i++)
        r = read_item(a, i, json_is_array(v) ? json_array_get(v, i) : v, reterr);
    a->n = n;
    return r;
}

/* ---- scores ---- */

/* Logits → probabilities: exclusive labels share one, others have each their own. */
static void to_scores(float *x, size_t n, bool exclusive)
{
    float top = -INFINITY, sum = 0;
    for (size_t i = 0; i < n; i++)
        top = x[i] > top ? x[i] : top;
    for (size_t i = 0; i < n; i++) {
        x[i] = exclusive ? expf(x[i] - top) : 1.0f / (1.0f + expf(-x[i]));
        sum += x[i];
    }
    for (size_t i = 0; exclusive && i < n; i++)
        x[i] /= sum;
}

enum column { COLUMN_flags, COLUMN_scores, COLUMN_types };

static void print_value(struct buf *b, enum column c, double score, bool applied)
{
    if (c == COLUMN_scores)
        buf_addf(b, "%.9g", score);
    else if (c == COLUMN_flags)
        buf_adds(b, score >= FLAGGED_FROM ? "true" : "false");
    else
        buf_adds(b, applied ? "[\"text\"]" : "[]");
}

static void print_column(const struct ask *a, const float *scores, size_t n, enum column c,
                         struct buf *b)
{
    const char *comma = "";
    for (size_t i = 0; i < ARRAY_LEN(usual); i++) {
        size_t k = 0;
        while (k < n && !str_eq_nocase(engine_label(a->engine, k), str_of(usual[i])))
            k++;
        buf_addf(b, "%s\"%s\":", comma, usual[i]);
        print_value(b, c, k < n ? (double)scores[k] : 0.0, k < n);
        comma = ",";
    }
    for (size_t k = 0; k < n; k++) {
        struct str label = engine_label(a->engine, k);
        if (is_harmless(label) || is_among(label, usual, ARRAY_LEN(usual)))
            continue;
        buf_addc(b, ',');
        buf_add_json(b, label);
        buf_addc(b, ':');
        print_value(b, c, (double)scores[k], /* applied= */ true);
    }
}

static void print_result(const struct ask *a, float *scores, size_t n, struct buf *b)
{
    bool exclusive = false, flagged = false;
    for (size_t k = 0; k < n; k++)
        exclusive = exclusive || is_harmless(engine_label(a->engine, k));
    to_scores(scores, n, exclusive);
    for (size_t k = 0; k < n; k++)
        flagged = flagged ||
                  (!is_harmless(engine_label(a->engine, k)) && (double)scores[k] >= FLAGGED_FROM);
    buf_addf(b, "{\"flagged\":%s,\"categories\":{", flagged ? "true" : "false");
    print_column(a, scores, n, COLUMN_flags, b);
    buf_adds(b, "},\"category_scores\":{");
    print_column(a, scores, n, COLUMN_scores, b);
    buf_adds(b, "},\"category_applied_input_types\":{");
    print_column(a, scores, n, COLUMN_types, b);
    buf_adds(b, "}}");
}

static int classify(struct ask *a, struct fail *reterr)
{
    CLEANUP(embed_result_done) struct embed_result got = { 0 };
    struct request *r = a->request;
    int err = engine_classify(a->engine, a->inputs, a->n, &got, reterr);
    if (err != 0)
        return err;
    if (got.width > LABELS_MAX)
        return fail_set(reterr, FAIL_internal_error, "the classifier has %zu labels", got.width);
    buf_addf(&r->reply.body, "{\"id\":\"modr-%s\",\"model\":", r->made + strlen("req_"));
    buf_add_json(&r->reply.body, a->model);
    buf_adds(&r->reply.body, ",\"results\":[");
    for (size_t i = 0; i < got.n; i++) {
        buf_adds(&r->reply.body, i ? "," : "");
        print_result(a, got.values + i * got.width, got.width, &r->reply.body);
    }
    buf_adds(&r->reply.body, "]}");
    r->log_tokens = got.tokens;
    return 0;
}

/* ---- the endpoint ---- */

static int answer(struct ask *a, struct fail *reterr)
{
    json_auto_t *body = NULL; /* texts are borrowed from it to the end */
    int r = json_body(&body, buf_str(&a->request->body), reterr);
    if (r == 0)
        r = json_fields(a, ask_fields, body, reterr);
    if (r == 0)
        r = a->has_model ? model_for_vectors(a->request, a->model, &a->engine, reterr)
                         : usual_model(a, reterr);
    if (r == 0 && engine_is_upstream(a->engine))
        return relay_body(a->request, a->engine, a->model, "/moderations", reterr);
    if (r == 0)
        r = read_inputs(a, json_object_get(body, "input"), reterr);
    return r == 0 ? classify(a, reterr) : r;
}

/* Worker. */
static void work(struct request *r)
{
    struct ask a = { .request = r };
    struct fail fail = { 0 };
    int err = answer(&a, &fail);
    if (err < 0)
        err = fail_errno(&fail, err, "moderating");
    if (err != 0)
        (void)reply_fail(r, &fail);
    buf_done(&r->body);
}

enum next api_moderations(struct request *r)
{
    return server_compute(r, work, reply_made);
}

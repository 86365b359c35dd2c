/*
 * POST /v1/rerank and /v1/score: how near texts are to a query. An engine behind that serves these
 * itself (vLLM) gets the body as it is; else texts are embedded and compared by the cosine of their
 * vectors. Fields and answers are those of Cohere, Jina and vLLM. Everything runs on a worker.
 */
#include "base/limits.h"
#include "gateway/api/api.h"
#include "gateway/api/json.h"
#include "gateway/api/model.h"
#include "gateway/relay.h"
#include "gateway/server.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

struct ask {
    struct request *request;
    struct str model;
    int64_t top_n;
    bool has_model, has_top_n, returns_documents;
    struct engine *engine;
    struct embed_input *inputs; /* queries, then documents; borrowed from the body */
    size_t n_queries, n_documents;
    struct embed_result vectors;
};
#define AT(member) offsetof(struct ask, member)
static const struct field rerank_fields[] = {
    { "model", FIELD_text, AT(model), 0, 0, AT(has_model) },
    { "top_n", FIELD_int, AT(top_n), 1, INT32_MAX, AT(has_top_n) },
    { "return_documents", FIELD_bool, AT(returns_documents), 0, 0, -1 },
    { 0 },
};

struct place { /* of a document in the order of the answer */
    size_t index;
    double score;
};

static int bad_text(const char *field, size_t i, struct fail *reterr)
{
    return fail_param(reterr, FAIL_invalid_request, field,
                      "%s[%zu] must be a string that is not empty, or an object with such a 'text'",
                      field, i);
}

/* A string, or {"text": "…"}. */
static int read_text(struct ask *a, size_t at, const char *field, size_t i, const json_t *v,
                     struct fail *reterr)
{
    struct str text = json_str(json_is_object(v) ? json_object_get(v, "text") : v);
    a->inputs[at] = (struct embed_input){ .text = text };
    return text.n ? 0 : bad_text(field, i, reterr);
}

static size_t count_of(const json_t *v)
{
    return json_is_array(v) ? json_array_size(v) : v && !json_is_null(v) ? 1 : 0;
}

static int read_texts(struct ask *a, const json_t *queries, const char *queries_name,
                      const json_t *documents, const char *documents_name, struct fail *reterr)
{
    a->n_queries = count_of(queries);
    a->n_documents = count_of(documents);
    if (a->n_queries == 0 || a->n_documents == 0) {
        const char *missing = a->n_queries ? documents_name : queries_name;
        return fail_param(reterr, FAIL_invalid_request, missing,
                          "'%s' is missing or empty; it must hold at least one text", missing);
    }
    if (a->n_queries + a->n_documents > LIMIT_EMBED_INPUTS)
        return fail_param(reterr, FAIL_invalid_request, documents_name,
                          "at most %d texts are taken at once", LIMIT_EMBED_INPUTS);
    a->inputs = arena_array(a->request->arena, a->n_queries + a->n_documents, sizeof(*a->inputs));
    int r = a->inputs ? 0 : json_no_memory(reterr);
    for (size_t i = 0; r == 0 && i < a->n_queries; i++)
        r = read_text(a, i, queries_name, i,
                      json_is_array(queries) ? json_array_get(queries, i) : queries, reterr);
    for (size_t i = 0; r == 0 && i < a->n_documents; i++)
        r = read_text(a, a->n_queries + i, documents_name, i,
                      json_is_array(documents) ? json_array_get(documents, i) : documents, reterr);
    return r;
}

/* Of vectors of any length: those of an engine behind are as it makes them. */
static double cosine(const struct ask *a, size_t query, size_t document)
{
    const float *x = a->vectors.values + query * a->vectors.width;
    const float *y = a->vectors.values + (a->n_queries + document) * a->vectors.width;
    double sum = 0, xx = 0, yy = 0;
    for (size_t i = 0; i < a->vectors.width; i++) {
        sum += (double)x[i] * (double)y[i];
        xx += (double)x[i] * (double)x[i];
        yy += (double)y[i] * (double)y[i];
    }
    double c = xx > 0 && yy > 0 ? sum / sqrt(xx * yy) : 0;
    return c > 1 ? 1 : c < -1 ? -1 : c; /* rounding */
}

static void add_usage(struct ask *a, struct buf *b)
{
    a->request->log_tokens = a->vectors.tokens;
    buf_addf(b, "\"usage\":{\"prompt_tokens\":%llu,\"total_tokens\":%llu}}",
             (unsigned long long)a->vectors.tokens, (unsigned long long)a->vectors.tokens);
}

/* ---- rerank ---- */

static int by_score(const void *x, const void *y)
{
    const struct place *a = x, *b = y;
    if (a->score != b->score)
        return a->score > b->score ? -1 : 1;
    return a->index < b->index ? -1 : 1;
}

static int print_ranking(struct ask *a, struct fail *reterr)
{
    struct request *r = a->request;
    struct buf *b = &r->reply.body;
    size_t n = a->n_documents;
    struct place *places = arena_array(r->arena, n, sizeof(*places));
    if (!places)
        return json_no_memory(reterr);
    for (size_t i = 0; i < n; i++)
        places[i] = (struct place){ i, cosine(a, 0, i) };
    qsort(places, n, sizeof(*places), by_score);
    if (a->has_top_n && (size_t)a->top_n < n)
        n = (size_t)a->top_n;
    buf_addf(b, "{\"id\":\"rerank-%s\",\"model\":", r->made + strlen("req_"));
    buf_add_json(b, a->model);
    buf_adds(b, ",\"results\":[");
    for (size_t i = 0; i < n; i++) {
        buf_addf(b, "%s{\"index\":%zu,\"relevance_score\":%.9g", i ? "," : "", places[i].index,
                 places[i].score);
        if (a->returns_documents) {
            buf_adds(b, ",\"document\":{\"text\":");
            buf_add_json(b, a->inputs[a->n_queries + places[i].index].text);
            buf_addc(b, '}');
        }
        buf_addc(b, '}');
    }
    buf_adds(b, "],");
    add_usage(a, b);
    return 0;
}

static int read_rerank(struct ask *a, const json_t *body, struct fail *reterr)
{
    const json_t *query = json_object_get(body, "query");
    if (!json_is_string(query))
        return fail_param(reterr, FAIL_invalid_request, "query",
                          "'query' is missing; it must be a string");
    return read_texts(a, query, "query", json_object_get(body, "documents"), "documents", reterr);
}

/* ---- score ---- */

static int print_scores(struct ask *a, struct fail *reterr)
{
    struct request *r = a->request;
    struct buf *b = &r->reply.body;
    (void)reterr;
    buf_addf(b, "{\"id\":\"score-%s\",\"object\":\"list\",\"created\":%llu,\"model\":",
             r->made + strlen("req_"), (unsigned long long)r->created_s);
    buf_add_json(b, a->model);
    buf_adds(b, ",\"data\":[");
    for (size_t i = 0; i < a->n_documents; i++)
        buf_addf(b, "%s{\"index\":%zu,\"object\":\"score\",\"score\":%.9g}", i ? "," : "", i,
                 cosine(a, a->n_queries > 1 ? i : 0, i));
    buf_adds(b, "],");
    add_usage(a, b);
    return 0;
}

/* text_1 and text_2, or vLLM's newer names for them. */
static int read_score(struct ask *a, const json_t *body, struct fail *reterr)
{
    const json_t *x = json_object_get(body, "text_1"), *y = json_object_get(body, "text_2");
    bool newer = !x && !y;
    if (newer) {
        x = json_object_get(body, "queries");
        y = json_object_get(body, "documents");
    }
    int r =
        read_texts(a, x, newer ? "queries" : "text_1", y, newer ? "documents" : "text_2", reterr);
    if (r == 0 && a->n_queries > 1 && a->n_queries != a->n_documents)
        r = fail_param(
            reterr, FAIL_invalid_request, newer ? "documents" : "text_2",
            "there are %zu texts for %zu; one is compared with all, or each with its own",
            a->n_documents, a->n_queries);
    return r;
}

/* ---- both ---- */

struct kind {
    const char *path;
    int (*read)(struct ask *a, const json_t *body, struct fail *reterr);
    int (*print)(struct ask *a, struct fail *reterr);
};
static const struct kind rerank = { "/rerank", read_rerank, print_ranking };
static const struct kind score = { "/score", read_score, print_scores };

static int answer(struct ask *a, const struct kind *k, struct fail *reterr)
{
    json_auto_t *body = NULL; /* texts are borrowed from it to the end */
    int r = json_body(&body, buf_str(&a->request->body), reterr);
    if (r == 0)
        r = json_fields(a, rerank_fields, body, reterr);
    if (r == 0)
        r = model_for_vectors(a->request, a->model, &a->engine, reterr);
    if (r == 0)
        r = k->read(a, body, reterr);
    if (r == 0 && engine_is_upstream(a->engine)) {
        r = relay_body(a->request, a->engine, a->model, k->path, reterr);
        if (r != FAILED || reterr->code != FAIL_unsupported_parameter)
            return r;
        r = 0;
    }
    if (r == 0)
        r = engine_embed(a->engine, a->inputs, a->n_queries + a->n_documents, &a->vectors, reterr);
    return r == 0 ? k->print(a, reterr) : r;
}

/* Worker. */
static void work(struct request *r)
{
    struct ask a = { .request = r };
    struct fail fail = { 0 };
    int err = answer(&a, r->work_about, &fail);
    if (err < 0)
        err = fail_errno(&fail, err, "comparing texts");
    if (err != 0)
        (void)reply_fail(r, &fail);
    embed_result_done(&a.vectors);
    buf_done(&r->body);
}

enum next api_rerank(struct request *r)
{
    r->work_about = &rerank;
    return server_compute(r, work, reply_made);
}

enum next api_score(struct request *r)
{
    r->work_about = &score;
    return server_compute(r, work, reply_made);
}

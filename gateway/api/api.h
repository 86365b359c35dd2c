/*
 * The routes: one row gives path, method, and what may be asked of it.
 *
 * "{*}" leaves the rest of the path joined in params and apart in `rest`, where an encoded slash
 * belongs to its segment.
 */
#pragma once

#include "gateway/request.h"

struct endpoint {
    const char *method; /* GET answers HEAD too */
    const char *path;   /* "{}" stands for one segment, "{*}" at the end for the rest */
    enum next (*run)(struct request *r);
    bool open;     /* needs no key */
    bool works;    /* refused while draining, counted against gateway.limits.streams */
    bool cors;     /* pages of other origins may call it */
    bool operates; /* for keys without a tenant */
    /* How it says what went wrong; NULL: as OpenAI does, or as the head asks (`common`). */
    const struct error_dialect *errors;
    bool common;  /* other APIs have it too: `anthropic-version` in the head says whose is meant */
    bool uploads; /* files may be sent: multipart/form-data, up to gateway.limits.upload */
};

struct api_match {
    const struct endpoint *endpoint;
    const struct endpoint *other; /* of the same path, where the method is not served; or NULL */
    struct str params[REQUEST_PARAMS]; /* decoded, in the arena */
    struct path_rest rest;
    const char *allow; /* in the arena; set for OPTIONS and with method_not_allowed */
};

/*
 * Finds the row of a path as it came on the wire (percent-encoded). 0, or FAILED: not_found,
 * method_not_allowed, invalid_request. OPTIONS finds any row of the path.
 */
int api_find(struct api_match *ret, struct str url, const char *method, struct arena *arena,
             struct fail *reterr) MUST_USE;

/* Percent-decodes, into the arena. -EINVAL: a malformed sequence, a control byte, no UTF-8. */
int api_unescape(struct str raw, struct arena *arena, struct str *ret) MUST_USE;

enum next api_health(struct request *r);
enum next api_ready(struct request *r);
enum next api_metrics(struct request *r);
enum next api_models(struct request *r);
enum next api_model(struct request *r);
enum next api_messages(struct request *r);
enum next api_count_tokens(struct request *r);
enum next api_embeddings(struct request *r);
enum next api_responses(struct request *r);
enum next api_response(struct request *r); /* one that is kept: GET and DELETE */
enum next api_response_items(struct request *r);
enum next api_response_cancel(struct request *r);
enum next api_response_tokens(struct request *r);
enum next api_conversations(struct request *r);
enum next api_conversation(struct request *r); /* GET, POST, DELETE */
enum next api_conversation_items(struct request *r);
enum next api_conversation_item(struct request *r);
enum next api_moderations(struct request *r);
enum next api_rerank(struct request *r);
enum next api_score(struct request *r);
enum next api_tokenize(struct request *r);
enum next api_detokenize(struct request *r);
enum next api_eval(struct request *r);
enum next api_outcomes_get(struct request *r);
enum next api_outcomes_post(struct request *r);
enum next api_replay_list(struct request *r);
enum next api_upstream(struct request *r);
enum next api_replay_sums(struct request *r);
enum next api_replay_show(struct request *r);
enum next api_admin_list(struct request *r);
enum next api_admin_adapter(struct request *r); /* whatever is asked of one adapter */
enum next api_files(struct request *r);         /* GET and POST */
enum next api_file(struct request *r);          /* GET, DELETE */
enum next api_file_content(struct request *r);
enum next api_batches(struct request *r); /* GET and POST */
enum next api_batch(struct request *r);
enum next api_batch_cancel(struct request *r);
enum next api_lora_load(struct request *r);
enum next api_lora_unload(struct request *r);

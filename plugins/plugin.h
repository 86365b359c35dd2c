/*
 * Plugins: guardrails and rewriters that a decision (or the whole gateway) attaches to a request.
 *
 * Three stages. prompt: before the engine, may rewrite the request, answer it at once, or block it.
 * stream: on the engine's text as it leaves, may rewrite it, withhold at most LIMIT_HOLD_BACK
 * bytes, or stop it. response: on a whole answer that is not streamed; a chain runs its stream
 * stage over it too, so that a guardrail needs to be written once.
 *
 * A compiled chain is immutable and shared by threads; the state of one request lives in chain_run,
 * which one thread uses at a time.
 */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/fail.h"
#include "config/config.h"
#include "engine/chat.h"

enum verdict {
    VERDICT_pass,
    VERDICT_changed,
    VERDICT_answer, /* the plugin answers instead of the engine */
    VERDICT_block,  /* refused; *reterr says why, without repeating the content */
};

struct finding {
    struct str type; /* EMAIL_ADDRESS, PHONE_NUMBER, CREDIT_CARD, IBAN_CODE, US_SSN, IP_ADDRESS … */
    size_t start, end; /* bytes of the checked text, end exclusive */
    double score;
};

/* ---- a plugin's own table, for those who write one ---- */

struct plugin;      /* one configured instance: options compiled */
struct plugin_flow; /* its state over one request */

struct plugin_prompt {            /* what the prompt stage works on */
    struct chat_request *request; /* texts may be replaced by text of the arena */
    struct arena *arena;
    struct str decision;             /* name of the route's decision */
    const struct chat_pair *headers; /* of the client's request, lower-case keys */
    size_t n_headers;
    /* out */
    struct str answer;                  /* of VERDICT_answer */
    struct chat_pair *response_headers; /* set on the response, also when streaming */
    size_t n_response_headers;
    struct chat_pair *upstream_headers; /* for an upstream engine; key with NULL value: remove */
    size_t n_upstream_headers;
};

struct plugin_type {
    const char *name; /* as in the policy: "pii" */
    const char *help;
    /* Reads `configuration` (a map, maybe empty) into an instance in the arena. Problems go to `p`.
     * *ret stays NULL for one that is switched off. */
    int (*compile)(const struct plugin **ret, const struct node *configuration, const char *path,
                   struct arena *arena, struct problems *p);
    void (*done)(const struct plugin *plugin); /* what the arena does not hold; may be NULL */
    enum verdict (*prompt)(const struct plugin *plugin, struct plugin_prompt *io,
                           struct fail *reterr); /* may be NULL */
    /* Whether this instance takes part in the stream stage; NULL: yes if there are flows. */
    bool (*streams)(const struct plugin *plugin);
    /* What it finds in one text and would act on; may be NULL. 0 or -ENOMEM. */
    int (*find)(const struct plugin *plugin, struct str text, bool response, struct arena *arena,
                struct finding **ret, size_t *ret_n);
    /* Stream stage, all or none: a flow is made when an answer begins. */
    struct plugin_flow *(*flow_new)(const struct plugin *plugin); /* NULL: no memory */
    /*
     * Takes `text` (whole UTF-8 characters), appends what may leave to `out`. `end`: nothing
     * follows, so nothing may be withheld. VERDICT_block ends the answer with content_filter.
     */
    enum verdict (*flow_push)(struct plugin_flow *flow, struct str text, bool end, struct buf *out,
                              struct fail *reterr);
    void (*flow_free)(struct plugin_flow *flow);
};

extern const struct plugin_type
    *const plugin_types[]; /* all built in, NULL-terminated (plugins/builtin.c) */

/* ---- the chain, for the gateway ---- */

struct chain;     /* the plugins of one decision, in order */
struct chain_run; /* one request through it */

/* `plugins` is a list of {type, configuration}, which must outlive the chain; NULL gives an empty
 * one. Unknown types are errors with a suggestion; types of the policy language that are not
 * served yet are reported as ignored by name. */
int chain_new(struct chain **ret, const struct node *plugins, const char *path,
              struct problems *p) MUST_USE;
struct chain *chain_free(struct chain *c);
DEFINE_CLEANUP(struct chain *, chain_free);
size_t chain_len(const struct chain *c);
const char *chain_name(const struct chain *c, size_t i);
bool chain_has_stream(const struct chain *c); /* else text may bypass it */

/* First verdict that is answer or block ends the stage; *ret_plugin names its plugin (or the last
 * that changed). */
enum verdict chain_prompt(const struct chain *c, struct plugin_prompt *io, const char **ret_plugin,
                          struct fail *reterr);

int chain_run_new(struct chain_run **ret,
                  const struct chain *c) MUST_USE; /* for one answer (one choice) */
struct chain_run *chain_run_free(struct chain_run *r);
DEFINE_CLEANUP(struct chain_run *, chain_run_free);
/* Text in, text that may leave appended to `out`; see flow_push. After a block nothing more is
 * accepted. */
enum verdict chain_push(struct chain_run *r, struct str text, bool end, struct buf *out,
                        struct fail *reterr);

struct guarded {
    struct buf *text;         /* the caller's: what is left is appended */
    struct finding *findings; /* in the arena */
    size_t n;
};

/* One text through the detectors of a chain, as a prompt or as a response: for `rootstock guard`.
 */
enum verdict chain_guard(const struct chain *c, struct str text, bool response, struct arena *arena,
                         struct guarded *ret, struct fail *reterr);

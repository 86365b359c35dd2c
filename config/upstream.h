/*
 * Engines behind, as they are written: `upstream` of a model (struct raw_upstream is what its table
 * reads), and the `providers.models` of the policy language. For config.c only.
 *
 * Nothing is connected to here, and no file of a credential is read.
 */
#pragma once

#include "config/config.h"

struct raw_endpoint {
    struct config_endpoint e;
    struct raw_endpoint_tls {
        struct str ca, cert, key;
        bool verify;
    } tls;
    const struct node *headers;
    const struct node *secret; /* what may not stand in a configuration */
};

/* The endpoint's keys stand beside the others: the only endpoint, or what all of them share. */
struct raw_upstream {
    struct raw_endpoint common; /* the first member: sections count their offsets from here */
    struct config_upstream u;
    const struct node *endpoints;
    struct text_list retry_on;
};

extern const char *const upstream_provider_words[]; /* of enum upstream_provider; NULL ends it */
extern const struct option endpoint_options[];      /* of struct raw_endpoint, without defaults */
extern const struct option upstream_options[];      /* of struct raw_upstream */
extern const struct option transport_options[];     /* of struct config_transport */
extern const struct option pricing_options[];       /* of struct config_pricing */

enum { UPSTREAM_ENDPOINTS_MAX = 64 }; /* the pool's bound */

/* Where something stands, and where its troubles go. */
struct upstream_place {
    struct config *c;
    struct problems *p;
    const struct node *at;
    const char *path;
    const struct upstream_place *outer; /* keys that are not here may stand there; NULL */
};

/* As node_problem, at a key of the place, where it is written, else at the map that lacks it. The
 * policy language's spelling of the key is found too. */
int upstream_problem(const struct upstream_place *at, enum problem_kind kind, const char *key,
                     const char *fmt, ...) PRINTF_LIKE(4, 5);
/* From what the table read to what config.h promises. `model` is its name on the wire. 0, -EINVAL
 * (problems were added), -ENOMEM. */
int upstream_finish(struct raw_upstream *raw, struct str model, const struct upstream_place *at,
                    struct config_upstream *ret) MUST_USE;
/* The same of one endpoint, whose url (empty: the provider's) and model are set already. */
int upstream_endpoint_finish(struct raw_endpoint *raw, const struct upstream_place *at) MUST_USE;
/* Names of endpoints that were given none; others must differ. */
int upstream_name_endpoints(struct config_endpoint *all, size_t n,
                            const struct upstream_place *at) MUST_USE;
/* `at`: where it is written; NULL: nowhere, and no price is known. */
struct config_pricing pricing_finish(const struct config_pricing *raw, const struct node *at);
/* The provider that a word of the policy language means; false: none that is known. */
bool upstream_provider_of(struct str word, unsigned *ret);

/* Adds the models of providers.models that engine.models does not have. */
int backends_read(struct config *c, struct problems *p) MUST_USE;

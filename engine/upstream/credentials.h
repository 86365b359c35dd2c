/*
 * Credentials of endpoints: keys, tokens that are fetched and renewed, AWS keys.
 *
 * From the environment, files and (cloud) metadata; never in configuration, logs, errors, dumps or
 * replay records. Files are read again when they change. A tenant's own key goes before
 * everybody's. Memory that held one is wiped. Any thread; never blocks but at the start.
 */
#pragma once

#include "base/buf.h"
#include "base/fail.h"
#include "config/config.h"

struct credentials;
struct transport;

/* `transport`: by which tokens are fetched (Google's OAuth2, metadata servers). 0, -ENOMEM; FAILED:
 * a file that is named cannot be read, or holds no credentials. */
int credentials_new(struct credentials **ret, const struct config_upstream *config,
                    struct transport *transport, struct fail *reterr) MUST_USE;
struct credentials *credentials_free(struct credentials *c);
DEFINE_CLEANUP(struct credentials *, credentials_free);

/*
 * Of endpoint i for a tenant (empty: nobody's own), appended to `ret`: a key or bearer token; for
 * Bedrock "ID:SECRET[:SESSION TOKEN]", or "Bearer KEY". Nothing appended: none is needed. FAILED:
 * none can be had now (upstream_error, without saying anything of it).
 */
int credentials_get(struct credentials *c, unsigned i, struct str tenant, struct buf *ret,
                    struct fail *reterr) MUST_USE;
/* The other side refused it: fetched tokens and files are read anew before the next use. */
void credentials_refused(struct credentials *c, unsigned i, struct str tenant);

/*
 * The admin API of adapters, /admin/adapters…: what its files share.
 *
 * All of it runs on workers: the catalog may have to be asked. NAME of the path is ADAPTER,
 * TENANT/ADAPTER or BASE:ADAPTER, its parts apart or with an encoded slash.
 */
#pragma once

#include "gateway/api/json.h"
#include "gateway/api/listing.h"
#include "gateway/request.h"

/* What path, query and headers ask; in the request's arena, as request->work_about. */
struct admin_ask {
    struct str name;     /* NAME */
    struct str argument; /* the alias or revision behind it in the path */
    struct str if_match; /* header; p NULL: none */
    struct str if_none;  /* If-None-Match */
    struct str key;      /* Idempotency-Key */
    struct str revision; /* of the query */
    uint64_t fleet_ms;   /* how long the other gateways are waited for; 0: they are not */
    bool must_reach;     /* ?wait=fleet: it is said where one of them has not followed */
    struct listing page;
};

/* An adapter as the catalog has it. */
struct admin_adapter {
    struct str base, adapter; /* in the request's arena; adapter with its tenant */
    struct adapter_revision revision;
};

/*
 * The adapter that NAME means for the caller, once this process has applied the epoch that the
 * request asks for. `changes`: to change it; a tenant may change its own only. FAILED:
 * model_not_found, permission_denied, overloaded (behind that epoch), the catalog's.
 */
int admin_find(struct request *r, struct str name, bool changes, struct admin_adapter *ret,
               struct fail *reterr) MUST_USE;
/* The full name of an adapter that need not exist, and its base, which may be empty. A tenant's
 * are its own. FAILED: permission_denied, model_not_found. */
int admin_name(struct request *r, struct str name, struct str *ret_base, struct str *ret_adapter,
               struct fail *reterr) MUST_USE;
/*
 * What If-Match asks: *ret is the epoch the head must have, 0 for whatever it is. `now` is the
 * epoch that is known here. FAILED: precondition_failed, and the reply has the current ETag.
 */
int admin_if_match(struct request *r, uint64_t now, uint64_t *ret, struct fail *reterr) MUST_USE;
void admin_etag(struct request *r, uint64_t epoch); /* ETag and x-catalog-epoch */

/* Who changes, for the history: of a tenant its name goes before. */
struct str admin_who(struct request *r, struct str said);

void admin_add_digest(struct buf *b, const struct sha256 *d); /* quoted */
void admin_add_info(struct buf *b, const struct adapter_info *info);
/* Fails the request unless err is 0. */
void admin_done(struct request *r, int err, struct fail *fail, const char *doing);

/* Workers. */
void admin_publish(struct request *r);
void admin_alias(struct request *r);
void admin_put_alias(struct request *r);
void admin_rollback(struct request *r);
void admin_canary(struct request *r);
void admin_abort(struct request *r);
void admin_shadow(struct request *r);
void admin_retire(struct request *r);
void admin_prefetch(struct request *r);

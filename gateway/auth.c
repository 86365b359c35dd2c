#include "gateway/auth.h"

#include "base/limits.h"
#include "base/sha256.h"

#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>

enum { KEYS_MAX = 65536 };

struct key {
    struct sha256 digest;
    struct str tenant; /* in `text`; p NULL: the operator's */
};

struct auth {
    size_t n;
    char *text; /* owned: the tenants' names */
    struct key keys[];
};

static bool is_separator(char c)
{
    return c == ',' || c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* Next "key[=tenant]" of the list, the tenant's p NULL without one; false at its end. */
static bool next_key(struct str *list, struct str *ret_key, struct str *ret_tenant)
{
    while (list->n && is_separator(list->p[0]))
        *list = str_sub(*list, 1);
    size_t n = 0;
    while (n < list->n && !is_separator(list->p[n]))
        n++;
    struct str item = str_head(*list, n);
    *list = str_sub(*list, n);
    *ret_tenant = STR_NULL;
    if (!str_cut(item, '=', ret_key, ret_tenant))
        *ret_key = item;
    return item.n > 0;
}

/* Its adapters are called "tenant/name". */
static bool is_tenant(struct str tenant)
{
    if (!tenant.p)
        return true;
    for (size_t i = 0; i < tenant.n; i++)
        if (!isalnum((unsigned char)tenant.p[i]) && !strchr("._-", tenant.p[i]))
            return false;
    return tenant.n && tenant.n < LIMIT_NAME / 2 && tenant.p[0] != '.' && tenant.p[0] != '-';
}

int auth_parse(struct auth **ret, struct str keys)
{
    size_t n = 0;
    struct str key, tenant;
    for (struct str list = keys; n < KEYS_MAX && next_key(&list, &key, &tenant); n++)
        if (key.n == 0 || !is_tenant(tenant))
            return -EINVAL; /* "=tenant", "key=" */
    if (n == 0)
        return -EINVAL;
    CLEANUP(auth_freep) struct auth *a = calloc(1, sizeof(*a) + n * sizeof(a->keys[0]));
    if (!a || !(a->text = malloc(keys.n)))
        return -ENOMEM;
    size_t used = 0;
    while (a->n < n && next_key(&keys, &key, &tenant)) {
        struct key *k = &a->keys[a->n++];
        k->digest = sha256_of(key);
        if (!tenant.p)
            continue;
        memcpy(a->text + used, tenant.p, tenant.n);
        k->tenant = (struct str){ a->text + used, tenant.n };
        used += tenant.n;
    }
    *ret = TAKE(a);
    return 0;
}

int auth_new(struct auth **ret, const struct config_gateway *g, struct problems *p)
{
    if (!g->keys_env.p || g->keys_env.n == 0) {
        *ret = calloc(1, sizeof(struct auth));
        return *ret ? 0 : -ENOMEM;
    }
    const char *value = getenv(g->keys_env.p);
    int r = value ? auth_parse(ret, str_of(value)) : -EINVAL;
    if (r == -EINVAL)
        return node_problem(p, PROBLEM_error, /* at= */ NULL, "gateway.auth.keys_env",
                            "the environment variable %s %s; put \"key[=tenant],…\" into it, or "
                            "leave keys_env out to serve only this machine",
                            g->keys_env.p,
                            value ? "holds no key, or a tenant that is no name" : "is not set");
    return r;
}

struct auth *auth_free(struct auth *a)
{
    if (a)
        free(a->text);
    free(a);
    return NULL;
}

bool auth_open(const struct auth *a)
{
    return a->n == 0;
}

static struct str bearer(struct str authorization)
{
    struct str word, rest;
    if (!str_cut(str_trim(authorization), ' ', &word, &rest) || !str_eq_nocase(word, STR("bearer")))
        return STR_NULL;
    return str_trim(rest);
}

/* Looks at every key and every byte, whichever matches; NULL: none. */
static const struct key *known_key(const struct auth *a, struct str key)
{
    struct sha256 d = sha256_of(key);
    const struct key *found = NULL;
    for (size_t i = 0; i < a->n; i++) {
        unsigned differs = 0;
        for (size_t k = 0; k < SHA256_BYTES; k++)
            differs |= (unsigned)(d.b[k] ^ a->keys[i].digest.b[k]);
        found = differs == 0 ? &a->keys[i] : found;
    }
    return found;
}

int auth_check(const struct auth *a, struct str authorization, struct str api_key, bool loopback,
               struct auth_caller *ret, struct fail *reterr)
{
    if (auth_open(a)) {
        *ret = (struct auth_caller){ 0 };
        if (loopback)
            return 0;
        return fail_set(reterr, FAIL_permission_denied,
                        "no keys are configured, so only clients on this machine are served; set "
                        "gateway.auth.keys_env to serve others");
    }
    struct str key = authorization.p ? bearer(authorization) : str_trim(api_key);
    if (key.n == 0)
        return fail_set(reterr, FAIL_invalid_api_key,
                        "no API key was sent; send the header 'Authorization: Bearer KEY'");
    const struct key *known = known_key(a, key);
    if (!known)
        return fail_set(reterr, FAIL_invalid_api_key, "the API key is not known here");
    ret->tenant = known->tenant;
    memcpy(&ret->key, known->digest.b, sizeof(ret->key));
    return 0;
}

bool auth_is_loopback(const struct sockaddr *addr)
{
    if (!addr)
        return false;
    if (addr->sa_family == AF_UNIX)
        return true;
    if (addr->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)addr;
        return ntohl(v4->sin_addr.s_addr) >> 24 == 127;
    }
    if (addr->sa_family != AF_INET6)
        return false;
    const struct in6_addr *a = &((const struct sockaddr_in6 *)(const void *)addr)->sin6_addr;
    return IN6_IS_ADDR_LOOPBACK(a) || (IN6_IS_ADDR_V4MAPPED(a) && a->s6_addr[12] == 127);
}

/*
 * Settings of TLS, kept once for all calls of a loop that have the same.
 */
#include "engine/upstream/transport_inner.h"

#include <stdlib.h>

static bool same(const char *a, const char *b)
{
    return a && b ? !strcmp(a, b) : a == b;
}

static void kind_free(struct tls_kind *k)
{
    free((char *)(uintptr_t)k->tls.ca);
    free((char *)(uintptr_t)k->tls.cert);
    free((char *)(uintptr_t)k->tls.key);
    free(k);
}

static bool copy(const char **ret, const char *from)
{
    *ret = from ? strdup(from) : NULL;
    return !from || *ret;
}

const struct tls_kind *tls_kind_of(struct transport_loop *l, const struct call_tls *tls)
{
    for (const struct tls_kind *k = l->tls_kinds; k; k = k->next)
        if (k->tls.insecure == tls->insecure && same(k->tls.ca, tls->ca) &&
            same(k->tls.cert, tls->cert) && same(k->tls.key, tls->key))
            return k;
    struct tls_kind *k = calloc(1, sizeof(*k));
    if (!k)
        return NULL;
    k->tls.insecure = tls->insecure;
    if (!copy(&k->tls.ca, tls->ca) || !copy(&k->tls.cert, tls->cert) ||
        !copy(&k->tls.key, tls->key)) {
        kind_free(k);
        return NULL;
    }
    k->next = l->tls_kinds;
    l->tls_kinds = k;
    return k;
}

void tls_kinds_free(struct transport_loop *l)
{
    while (l->tls_kinds) {
        struct tls_kind *next = l->tls_kinds->next;
        kind_free(l->tls_kinds);
        l->tls_kinds = next;
    }
}

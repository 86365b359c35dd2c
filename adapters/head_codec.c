#include "adapters/head_codec.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

enum { VERSION = 1, MORE_MASK = 7, FORM_EXTRA = 8 };
enum { EXTRA_canary = 1, EXTRA_shadow = 2, EXTRA_about = 4, EXTRA_ALL = 7 };
enum { NUMBER_BITS = 7, NUMBER_MORE = 0x80, NUMBER_MAX = 10 /* bytes */ };

/* By name, so that codes ascend with the aliases. */
static const struct str known[] = { { ALIAS_CANARY, sizeof(ALIAS_CANARY) - 1 },
                                    { ALIAS_PREV, sizeof(ALIAS_PREV) - 1 },
                                    { ALIAS_PROD, sizeof(ALIAS_PROD) - 1 },
                                    { ALIAS_SHADOW, sizeof(ALIAS_SHADOW) - 1 } };
#define N_KNOWN ARRAY_LEN(known)

static size_t known_code(struct str name) /* N_KNOWN: none of them */
{
    size_t i = 0;
    while (i < N_KNOWN && !str_eq(known[i], name))
        i++;
    return i;
}

/* ---- to bytes ---- */

static void put_number(struct buf *to, uint64_t v)
{
    for (; v >= NUMBER_MORE; v >>= NUMBER_BITS)
        buf_addc(to, (char)(v | NUMBER_MORE));
    buf_addc(to, (char)v);
}

static void put_text(struct buf *to, struct str s)
{
    put_number(to, s.n);
    buf_add(to, s);
}

static void put_digest(struct buf *to, const struct sha256 *d)
{
    buf_add(to, (struct str){ (const char *)d->b, SHA256_BYTES });
}

static void put_u64(char at[static sizeof(uint64_t)], uint64_t v)
{
    for (unsigned i = 0; i < sizeof(v); i++)
        at[i] = (char)(v >> (8 * i));
}

void head_packed_set_epoch(char packed[static HEAD_EPOCH_BYTES], uint64_t epoch)
{
    for (unsigned i = 0; i < HEAD_EPOCH_BYTES; i++)
        packed[i] = (char)(epoch >> (8 * (HEAD_EPOCH_BYTES - 1 - i)));
}

struct packing {
    const struct head *h;
    bool partial;
    size_t n_revisions, n_aliases; /* that are kept */
};

static bool keeps_alias(const struct packing *p, const struct head_alias *a)
{
    return !p->partial || known_code(a->name) < N_KNOWN;
}

static bool keeps_revision(const struct packing *p, const struct head_revision *r)
{
    bool keep = !p->partial || r == head_default(p->h);
    for (size_t i = 0; !keep && i < p->h->n_aliases; i++)
        keep = keeps_alias(p, &p->h->aliases[i]) && sha256_eq(&p->h->aliases[i].digest, &r->digest);
    return keep;
}

static void put_place(const struct packing *p, struct buf *to, const struct sha256 *digest)
{
    size_t at = 0;
    for (size_t i = 0; i < p->h->n_revisions; i++) {
        const struct head_revision *r = &p->h->revisions[i];
        if (!keeps_revision(p, r))
            continue;
        if (sha256_eq(&r->digest, digest)) {
            put_number(to, at);
            return;
        }
        at++;
    }
    put_number(to, at);
    put_digest(to, digest);
}

static void put_revision(struct buf *to, const struct head_revision *r)
{
    put_digest(to, &r->digest);
    put_number(to, r->ordinal);
    put_number(to, r->created_s);
    put_number(to, r->bytes);
    put_number(to, (uint64_t)r->rank << 1 | (r->base_id != 0));
    if (r->base_id) {
        char id[sizeof(uint64_t)];
        put_u64(id, r->base_id);
        buf_add(to, (struct str){ id, sizeof(id) });
    }
}

static void put_alias(const struct packing *p, struct buf *to, const struct head_alias *a)
{
    size_t code = known_code(a->name);
    bool named = code == N_KNOWN;
    put_number(to, (uint64_t)(named ? N_KNOWN - 1 + a->name.n : code) << 1 | a->moved);
    if (named)
        buf_add(to, a->name);
    put_place(p, to, &a->digest);
    if (a->moved)
        put_place(p, to, &a->previous);
}

static void put_extra(const struct head *h, unsigned extra, struct buf *to)
{
    if (!extra)
        return;
    buf_addc(to, (char)extra);
    if (extra & EXTRA_canary) {
        put_number(to, h->canary_weight);
        put_number(to, h->canary_salt);
    }
    if (extra & EXTRA_shadow)
        put_number(to, h->shadow_weight);
    if (extra & EXTRA_about) {
        put_text(to, h->description);
        put_number(to, h->n_examples);
        for (size_t i = 0; i < h->n_examples; i++)
            put_text(to, h->examples[i]);
    }
}

void head_pack(const struct head *h, bool partial, struct buf *to)
{
    struct packing p = { .h = h, .partial = partial };
    for (size_t i = 0; i < h->n_revisions; i++)
        p.n_revisions += keeps_revision(&p, &h->revisions[i]);
    for (size_t i = 0; i < h->n_aliases; i++)
        p.n_aliases += keeps_alias(&p, &h->aliases[i]);
    bool about = h->description.n || h->n_examples;
    unsigned more = (unsigned)h->more & MORE_MASK;
    if (p.n_revisions < h->n_revisions)
        more |= HEAD_MORE_revisions;
    if (p.n_aliases < h->n_aliases)
        more |= HEAD_MORE_aliases;
    if (about && partial)
        more |= HEAD_MORE_about;
    unsigned extra = (h->canary_weight || h->canary_salt ? EXTRA_canary : 0u) |
                     (h->shadow_weight ? EXTRA_shadow : 0u) |
                     (about && !partial ? EXTRA_about : 0u);

    char epoch[HEAD_EPOCH_BYTES];
    head_packed_set_epoch(epoch, h->epoch);
    buf_add(to, (struct str){ epoch, sizeof(epoch) });
    buf_addc(to, (char)(VERSION << 4 | more | (extra ? FORM_EXTRA : 0)));
    put_number(to, p.n_revisions);
    for (size_t i = 0; i < h->n_revisions; i++)
        if (keeps_revision(&p, &h->revisions[i]))
            put_revision(to, &h->revisions[i]);
    put_number(to, p.n_aliases);
    for (size_t i = 0; i < h->n_aliases; i++)
        if (keeps_alias(&p, &h->aliases[i]))
            put_alias(&p, to, &h->aliases[i]);
    put_extra(h, extra, to);
}

/* ---- from bytes ---- */

/*
 * Walks packed bytes twice: first to check and count (`head` NULL), then into the block that was
 * allocated for what was counted. `bad` is sticky; reads then give zeros.
 */
struct unpacking {
    const unsigned char *at, *end;
    bool bad;
    size_t n_revisions, n_aliases, n_examples;
    size_t text; /* bytes, with their NULs */
    struct head *head;
    char *block; /* where the next text goes */
};

static struct str take(struct unpacking *u, uint64_t n)
{
    if (u->bad || n > (uint64_t)(u->end - u->at)) {
        u->bad = true;
        return STR_NULL;
    }
    struct str s = { (const char *)u->at, (size_t)n };
    u->at += n;
    return s;
}

static uint64_t take_number(struct unpacking *u)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < NUMBER_MAX && u->at < u->end; i++) {
        uint64_t bits = *u->at & (NUMBER_MORE - 1u);
        bool more = *u->at++ & NUMBER_MORE;
        if (i == NUMBER_MAX - 1 && bits > 1) /* 63 bits came before */
            break;
        v |= bits << (NUMBER_BITS * i);
        if (!more)
            return v;
    }
    u->bad = true;
    return 0;
}

static uint64_t take_at_most(struct unpacking *u, uint64_t max)
{
    uint64_t v = take_number(u);
    if (v > max)
        u->bad = true;
    return u->bad ? 0 : v;
}

static struct sha256 take_digest(struct unpacking *u)
{
    struct sha256 d = { { 0 } };
    struct str s = take(u, SHA256_BYTES);
    if (s.p)
        memcpy(d.b, s.p, SHA256_BYTES);
    return d;
}

/* A NUL-terminated copy in the block, or, while counting, the bytes where they are. */
static struct str keep_text(struct unpacking *u, struct str s)
{
    u->text += s.n + 1;
    if (!u->head)
        return s;
    char *p = u->block;
    if (s.n)
        memcpy(p, s.p, s.n);
    p[s.n] = '\0';
    u->block += s.n + 1;
    return (struct str){ p, s.n };
}

static void take_revisions(struct unpacking *u)
{
    u->n_revisions = (size_t)take_at_most(u, LIMIT_REVISIONS);
    uint64_t last = 0;
    for (size_t i = 0; i < u->n_revisions && !u->bad; i++) {
        struct head_revision r = { .digest = take_digest(u) };
        r.ordinal = take_number(u);
        r.created_s = take_number(u);
        r.bytes = take_number(u);
        uint64_t rank = take_at_most(u, (uint64_t)UINT32_MAX << 1 | 1);
        r.rank = (uint32_t)(rank >> 1);
        if (rank & 1) {
            struct str id = take(u, sizeof(r.base_id));
            for (size_t k = id.n; k-- > 0;)
                r.base_id = r.base_id << 8 | (unsigned char)id.p[k];
        }
        if (r.ordinal < last)
            u->bad = true;
        last = r.ordinal;
        if (u->head)
            u->head->revisions[i] = r;
    }
}

static struct sha256 take_place(struct unpacking *u)
{
    size_t i = (size_t)take_at_most(u, u->n_revisions);
    if (i == u->n_revisions)
        return take_digest(u);
    return u->head ? u->head->revisions[i].digest : (struct sha256){ { 0 } };
}

static void take_aliases(struct unpacking *u)
{
    u->n_aliases = (size_t)take_at_most(u, LIMIT_ALIASES);
    struct str last = STR("");
    for (size_t i = 0; i < u->n_aliases && !u->bad; i++) {
        uint64_t word = take_at_most(u, (uint64_t)(N_KNOWN - 1 + LIMIT_NAME) << 1 | 1);
        struct head_alias a = { .moved = word & 1 };
        size_t code = (size_t)(word >> 1);
        a.name = code < N_KNOWN ? known[code] : take(u, code - (N_KNOWN - 1));
        if (str_cmp(last, a.name) >= 0 || (code >= N_KNOWN && (known_code(a.name) < N_KNOWN ||
                                                               base_name_check(a.name, NULL) != 0)))
            u->bad = true; /* not by name, a known one spelt out, or not printable */
        a.name = keep_text(u, a.name);
        last = a.name;
        a.digest = take_place(u);
        if (a.moved)
            a.previous = take_place(u);
        if (u->head)
            u->head->aliases[i] = a;
    }
}

static void take_about(struct unpacking *u, struct head *h)
{
    h->description = keep_text(u, take(u, take_number(u)));
    u->n_examples = (size_t)take_at_most(u, (uint64_t)(u->end - u->at)); /* a byte each, at least */
    for (size_t i = 0; i < u->n_examples && !u->bad; i++) {
        struct str s = keep_text(u, take(u, take_number(u)));
        if (u->head)
            u->head->examples[i] = s;
    }
}

static void take_extra(struct unpacking *u, struct head *h)
{
    struct str s = take(u, 1);
    unsigned extra = s.n ? (unsigned char)*s.p : 0;
    if (extra == 0 || extra & ~(unsigned)EXTRA_ALL) {
        u->bad = true;
        return;
    }
    if (extra & EXTRA_canary) {
        h->canary_weight = (uint32_t)take_at_most(u, CANARY_WHOLE);
        h->canary_salt = take_number(u);
    }
    if (extra & EXTRA_shadow)
        h->shadow_weight = (uint32_t)take_at_most(u, CANARY_WHOLE);
    if (extra & EXTRA_about)
        take_about(u, h);
}

/* false: not such bytes. */
static bool walk(struct unpacking *u, struct str packed, struct head *h)
{
    u->at = (const unsigned char *)packed.p;
    u->end = u->at + packed.n;
    (void)take(u, HEAD_EPOCH_BYTES);
    struct str form = take(u, 1);
    unsigned bits = form.n ? (unsigned char)*form.p : 0;
    h->epoch = head_packed_epoch(packed);
    h->more = bits & MORE_MASK;
    if (bits >> 4 != VERSION)
        return false;
    take_revisions(u);
    take_aliases(u);
    if (bits & FORM_EXTRA && !u->bad)
        take_extra(u, h);
    return !u->bad && u->at == u->end;
}

static bool check(struct str packed, struct unpacking *ret)
{
    struct head seen = { 0 };
    *ret = (struct unpacking){ 0 };
    return packed.n <= HEAD_PACKED_MAX && walk(ret, packed, &seen);
}

int head_packed_check(struct str packed)
{
    struct unpacking counted;
    return check(packed, &counted) ? 0 : -EBADMSG;
}

int head_unpack(struct head **ret, struct str base, struct str adapter, struct str packed)
{
    struct unpacking n;
    if (!check(packed, &n))
        return -EBADMSG;
    /* Bounded by HEAD_PACKED_MAX and the limits on counts: no sum can wrap. The description's NUL
     * is there without one too. */
    size_t texts = n.text + base.n + adapter.n + 3;
    size_t bytes = sizeof(struct head) + n.n_revisions * sizeof(struct head_revision) +
                   n.n_aliases * sizeof(struct head_alias) + n.n_examples * sizeof(struct str);
    struct head *h = malloc(bytes + texts);
    if (!h)
        return -ENOMEM;
    *h = (struct head){ .n_revisions = n.n_revisions,
                        .n_aliases = n.n_aliases,
                        .n_examples = n.n_examples };
    atomic_init(&h->refs, 1);
    h->revisions = (struct head_revision *)(h + 1);
    h->aliases = (struct head_alias *)(h->revisions + n.n_revisions);
    h->examples = (struct str *)(h->aliases + n.n_aliases);
    struct unpacking u = { .head = h, .block = (char *)(h->examples + n.n_examples) };
    h->base = keep_text(&u, base);
    h->adapter = keep_text(&u, adapter);
    h->description = keep_text(&u, STR("")); /* taken over by the about part, where there is one */
    bool same = walk(&u, packed, h);
    assert(same && u.text <= texts);
    *ret = h;
    return 0;
}

uint64_t head_packed_epoch(struct str packed)
{
    uint64_t v = 0;
    for (size_t i = 0; packed.n >= HEAD_EPOCH_BYTES && i < HEAD_EPOCH_BYTES; i++)
        v = v << 8 | (unsigned char)packed.p[i];
    return v;
}

unsigned head_packed_more(struct str packed)
{
    return packed.n > HEAD_EPOCH_BYTES ? (unsigned char)packed.p[HEAD_EPOCH_BYTES] & MORE_MASK : 0;
}

uint64_t head_hash(struct str adapter)
{
    uint64_t h = 0xcbf29ce484222325U;
    for (size_t i = 0; i < adapter.n; i++)
        h = (h ^ (unsigned char)adapter.p[i]) * 0x100000001b3U;
    return head_mix(h);
}

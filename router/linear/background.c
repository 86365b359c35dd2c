#include "router/linear/background.h"

#include <errno.h>
#include <math.h>

#include "router/vectors/words.h"

enum { VERSION = 1, BYTE_MAX = 255 };

struct head {
    char magic[8];
    uint32_t version, feature_bits, fingerprint;
    float step;
};
static const float DENSE = 0.7f; /* chosen by cross-validation */
static const char MAGIC[8] = { 'r', 's', 'r', 'a', 'r', 'i', 't', 'y' };

int features_fingerprint(uint32_t *ret)
{
    static const char probe[] = "how do i renew it, straße 42? 你好 привет x_1";
    enum { SCRATCH = 1 << 20 };
    static const uint32_t FNV_BASIS = 0x811c9dc5u, FNV_PRIME = 0x01000193u;
    CLEANUP(arena_freep) struct arena *a = arena_new(SCRATCH);
    struct features f = { 0 };
    if (!a || features_of(&f, str_of(probe), NULL, a) < 0)
        return -ENOMEM;
    uint32_t sum = 0; /* in any order: the order of features is no part of what they are */
    for (uint32_t i = 0; i < f.n; i++) {
        uint32_t h = (FNV_BASIS ^ f.id[i]) * FNV_PRIME;
        h = (h ^ (uint32_t)lrintf(f.value[i] * 1000)) * FNV_PRIME;
        sum += (h ^ (i < f.n_words)) * FNV_PRIME;
    }
    *ret = sum;
    return 0;
}

static int bad(struct fail *reterr, const char *name, const char *what)
{
    return fail_set(reterr, FAIL_invalid_request, "%s is not a table of rarity: %s", name, what);
}

int background_open(struct background *ret, const char *name, struct str bytes, struct fail *reterr)
{
    struct head h;
    if (bytes.n != sizeof(h) + FEATURE_BUCKETS)
        return bad(reterr, name, "its length is not that of one");
    memcpy(&h, bytes.p, sizeof(h));
    if (memcmp(h.magic, MAGIC, sizeof(MAGIC)) != 0 || h.version != VERSION ||
        h.feature_bits != FEATURE_BITS)
        return bad(reterr, name, "it does not begin as one");
    if (!(h.step >= 0 && isfinite(h.step)))
        return bad(reterr, name, "its step is no such number");
    *ret = (struct background){ (const unsigned char *)bytes.p + sizeof(h), h.step };
    return 0;
}

int background_write(const struct rarity *r, struct buf *out)
{
    struct head h = { .version = VERSION, .feature_bits = FEATURE_BITS };
    memcpy(h.magic, MAGIC, sizeof(h.magic));
    int e = features_fingerprint(&h.fingerprint);
    if (e < 0)
        return e;
    for (uint32_t id = 0; id < FEATURE_BUCKETS; id++)
        h.step = fmaxf(h.step, (rarity_of(r, id) - 1) / BYTE_MAX);
    buf_add(out, (struct str){ (const char *)&h, sizeof(h) });
    for (uint32_t id = 0; id < FEATURE_BUCKETS; id++) {
        float steps = h.step > 0 ? (rarity_of(r, id) - 1) / h.step : 0;
        buf_addc(out, (char)(unsigned char)lrintf(steps));
    }
    return buf_err(out);
}

/* `from` may be `f` itself: its values, weighed, are written to f's. */
static void weigh(const struct background *b, const struct features *from, struct features *f)
{
    for (uint32_t i = 0; i < f->n; i++) {
        unsigned rarity = from->rarity ? from->rarity[i] : b->rarity[from->id[i]];
        f->value[i] = from->value[i] * (1 + b->step * (float)rarity);
    }
    features_weigh(f, NULL);
}

void background_weigh(const struct background *b, struct features *f)
{
    weigh(b, f, f);
}

int background_features(const struct background *b, const struct features *hashed,
                        const float words[], struct arena *arena, struct features *ret)
{
    uint32_t n = hashed->n;
    struct features f = *hashed;
    f.id = arena_array(arena, (size_t)n + WORDS_WIDTH, sizeof(*f.id));
    f.value = arena_array(arena, (size_t)n + WORDS_WIDTH, sizeof(*f.value));
    if (!f.id || !f.value)
        return -ENOMEM;
    if (n)
        memcpy(f.id, hashed->id, n * sizeof(*f.id));
    weigh(b, hashed, &f);
    for (uint32_t k = 0; k < WORDS_WIDTH; k++) {
        f.id[n + k] = FEATURE_BUCKETS - WORDS_WIDTH + k;
        f.value[n + k] = DENSE * words[k];
    }
    f.n += WORDS_WIDTH;
    *ret = f;
    return 0;
}

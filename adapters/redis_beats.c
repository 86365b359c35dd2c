#include "adapters/redis_beats.h"

#include <errno.h>
#include <time.h>

#include "adapters/head_codec.h"
#include "adapters/redis_scripts.h"
#include "base/clock.h"

#define FIRST_NAP_US 150 /* between two looks at the heartbeats; then longer */
#define LAST_NAP_US 2000
enum { USED_MAX = 256 };

void fleet_keys(const struct redis_keys *k, const char *id, struct fleet_keys *ret)
{
    redis_key(k, ret->gateways, "gateways:{g}", STR(""));
    redis_key(k, ret->beat, "g:{g}:", str_of(id));
    redis_key(k, ret->used, "gu:{g}:", str_of(id));
}

int fleet_say(struct redis_link *l, const struct redis_keys *k, const struct fleet_beat *b,
              struct fail *reterr)
{
    CLEANUP(redis_reply_free) redisReply *reply = NULL;
    struct fleet_keys keys;
    char epochs[REDIS_SHARDS_MAX * HEAD_EPOCH_BYTES], used[USED_MAX * sizeof(b->used->b)];
    size_t n = b->n_used < USED_MAX ? b->n_used : USED_MAX;
    fleet_keys(k, b->id, &keys);
    for (uint32_t s = 0; s < k->shards; s++)
        head_packed_set_epoch(epochs + (size_t)HEAD_EPOCH_BYTES * s, b->epochs[s]);
    for (size_t i = 0; i < n; i++)
        memcpy(used + i * sizeof(b->used->b), b->used[i].b, sizeof(b->used->b));
    struct str argv[] = { str_of(keys.gateways),
                          str_of(keys.beat),
                          str_of(keys.used),
                          str_of(b->id),
                          { epochs, (size_t)HEAD_EPOCH_BYTES * k->shards },
                          STR(FLEET_BEAT_MS),
                          b->tell_used ? (struct str){ used, n * sizeof(b->used->b) } : STR("=") };
    int r = redis_run(l, &redis_beat, argv, ARRAY_LEN(argv), &reply, reterr);
    return r == 0 ? redis_check(reply, REDIS_REPLY_INTEGER, reterr) : r;
}

void fleet_leave(struct redis_link *l, const struct redis_keys *k, const char *id)
{
    struct fleet_keys keys;
    CLEANUP(redis_reply_free) redisReply *left = NULL;
    CLEANUP(redis_reply_free) redisReply *gone = NULL;
    fleet_keys(k, id, &keys);
    int r = REDIS_CALL(l, &left, NULL, STR("SREM"), str_of(keys.gateways), str_of(id));
    if (r == 0)
        r = REDIS_CALL(l, &gone, NULL, STR("DEL"), str_of(keys.beat), str_of(keys.used));
    (void)r; /* it expires by itself */
}

static int live(struct redis_link *l, const struct redis_keys *k, bool used, redisReply **ret,
                struct fail *reterr)
{
    struct fleet_keys keys; /* without an id: the prefixes */
    fleet_keys(k, "", &keys);
    struct str argv[] = { str_of(keys.gateways), str_of(keys.beat),
                          used ? str_of(keys.used) : STR("") };
    int r = redis_run(l, &redis_gateways, argv, ARRAY_LEN(argv), ret, reterr);
    return r == 0 ? redis_check(*ret, REDIS_REPLY_ARRAY, reterr) : r;
}

static bool is_behind(const struct redis_keys *k, struct str beat, const uint64_t *need)
{
    for (uint32_t s = 0; s < k->shards; s++)
        if (need[s] && head_packed_epoch(str_sub(beat, (size_t)HEAD_EPOCH_BYTES * s)) < need[s])
            return true;
    return false;
}

/* How many are behind now; negative: Redis does not say. */
static int count_behind(struct redis_link *l, const struct redis_keys *k, const char *self,
                        const uint64_t *need, struct buf *laggards)
{
    CLEANUP(redis_reply_free) redisReply *reply = NULL;
    int behind = 0;
    if (live(l, k, /* used= */ false, &reply, NULL) != 0)
        return -1;
    for (size_t i = 0; i + 1 < reply->elements; i += 2) {
        struct str id = redis_text(reply->element[i]);
        if (str_is(id, self) || !is_behind(k, redis_text(reply->element[i + 1]), need))
            continue;
        behind++;
        if (laggards) {
            buf_adds(laggards, laggards->n ? " " : "");
            buf_add(laggards, str_head(id, FLEET_ID_MAX));
        }
    }
    return behind;
}

/* NOLINTNEXTLINE(readability-function-size): what a wait takes */
void fleet_wait(struct redis_link *l, const struct redis_keys *k, const char *self,
                const uint64_t *need, uint64_t wait_ms, unsigned *ret_behind, struct buf *laggards)
{
    uint64_t until = clock_ms() + wait_ms;
    long nap_us = FIRST_NAP_US;
    *ret_behind = 1;
    for (;;) {
        if (laggards)
            buf_clear(laggards);
        int behind = count_behind(l, k, self, need, laggards);
        if (behind >= 0)
            *ret_behind = (unsigned)behind;
        if (behind == 0 || clock_ms() >= until)
            return;
        struct timespec nap = { .tv_nsec = nap_us * 1000 };
        (void)nanosleep(&nap, NULL);
        nap_us = 2 * nap_us < LAST_NAP_US ? 2 * nap_us : LAST_NAP_US;
    }
}

int fleet_user(struct redis_link *l, const struct redis_keys *k, const struct sha256 *digest,
               char ret[static FLEET_ID_MAX], struct fail *reterr)
{
    CLEANUP(redis_reply_free) redisReply *reply = NULL;
    ret[0] = '\0';
    int r = live(l, k, /* used= */ true, &reply, reterr);
    for (size_t i = 0; r == 0 && i + 1 < reply->elements; i += 2) {
        struct str used = redis_text(reply->element[i + 1]);
        for (size_t at = 0; at + sizeof(digest->b) <= used.n; at += sizeof(digest->b))
            if (memcmp(used.p + at, digest->b, sizeof(digest->b)) == 0) {
                (void)snprintf(ret, FLEET_ID_MAX, "%.*s",
                               STR_ARG(str_head(redis_text(reply->element[i]), FLEET_ID_MAX - 1)));
                return 0;
            }
    }
    return r;
}

/*
 * The order is: what is allowed, logit bias, penalties, temperature, top-k, typical, top-p, min-p,
 * one draw. Bias before penalties and the order of the cuts are llama.cpp's; temperature comes
 * before the cuts, as the OpenAI API and vLLM have it, so top_p means a share of the distribution
 * that is drawn from. Each cut sees what the one before it left: the shares are of that rest.
 *
 * A cut never sorts the vocabulary: candidates that cannot survive are dropped in one pass, the
 * rest become a heap, and only those that are kept are popped.
 */
#include "engine/local/sampler.h"

#include "base/num.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <sys/random.h>

enum { REPEAT_WINDOW = 64 };         /* tokens that the repeat penalty looks at */
static const float least = -9999.0f; /* log-probability of the impossible: JSON has no -inf */
static const float bias_bans = -100, bias_forces = 100; /* OpenAI: "a ban or exclusive selection" */

struct candidate {
    double weight; /* exp((logit − max) / T) */
    int32_t id;
};

struct sampler {
    struct sampling params;       /* `bias` is our own copy */
    struct chat_logit_bias *bias; /* owned */
    float *forced;                /* n_bias logits of ids that exclude all others; scratch */
    uint32_t vocab;
    uint64_t key, n_drawn;         /* the generator: a key, and a counter of draws */
    int32_t recent[REPEAT_WINDOW]; /* ring */
    uint32_t n_recent;             /* ever added */
    uint32_t *counts;              /* of each generated id; NULL without those penalties */
    float *work;                   /* vocab logits after bias and penalties */
    struct candidate *heap;        /* vocab; NULL when greedy */
};

/* ---- random numbers ---- */

static uint64_t mix(uint64_t z) /* the finaliser of splitmix64 (Steele, Lea, Flood 2014) */
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static const uint64_t golden = 0x9e3779b97f4a7c15u;

static uint64_t generator_key(uint64_t seed, uint32_t choice)
{
    return mix(mix(seed + golden) ^ ((choice + 1) * golden));
}

/* In [0, 1). Depends on the key and on how many tokens came before, on nothing else. */
static double draw(struct sampler *s)
{
    s->n_drawn++;
    return (double)(mix(s->key + s->n_drawn * golden) >> 11) * 0x1p-53;
}

/* ---- life ---- */

struct sampler *sampler_free(struct sampler *s)
{
    if (!s)
        return NULL;
    free(s->bias);
    free(s->forced);
    free(s->counts);
    free(s->work);
    free(s->heap);
    free(s);
    return NULL;
}

static bool id_known(const struct sampler *s, int32_t id)
{
    return id >= 0 && (uint32_t)id < s->vocab;
}

static bool counts_tokens(const struct sampling *p)
{
    return p->presence_penalty != 0 || p->frequency_penalty != 0;
}

static bool is_greedy(const struct sampler *s)
{
    return !(s->params.temperature > 0);
}

static int allocate(struct sampler *s)
{
    if (s->params.n_bias) {
        s->bias = calloc(s->params.n_bias, sizeof(*s->bias));
        s->forced = calloc(s->params.n_bias, sizeof(*s->forced));
        if (!s->bias || !s->forced)
            return -ENOMEM;
        memcpy(s->bias, s->params.bias, s->params.n_bias * sizeof(*s->bias));
    }
    s->params.bias = s->bias;
    if (counts_tokens(&s->params) && !(s->counts = calloc(s->vocab, sizeof(*s->counts))))
        return -ENOMEM;
    s->work = calloc(s->vocab, sizeof(*s->work));
    if (!s->work)
        return -ENOMEM;
    if (!is_greedy(s) && !(s->heap = calloc(s->vocab, sizeof(*s->heap))))
        return -ENOMEM;
    return 0;
}

int sampler_new(struct sampler **ret, const struct sampling *p, uint32_t choice, uint32_t vocab,
                const int32_t *prompt, size_t n_prompt)
{
    if (vocab == 0)
        return -EINVAL;
    CLEANUP(sampler_freep) struct sampler *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    s->params = *p;
    s->vocab = vocab;
    int r = allocate(s);
    if (r < 0)
        return r;

    uint64_t seed = p->seed;
    if (!p->has_seed && getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
        return errno ? -errno : -EIO;
    s->key = generator_key(seed, choice);

    size_t from = n_prompt > REPEAT_WINDOW ? n_prompt - REPEAT_WINDOW : 0;
    for (size_t i = from; i < n_prompt; i++)
        s->recent[s->n_recent++ % REPEAT_WINDOW] = prompt[i];
    *ret = TAKE(s);
    return 0;
}

/* ---- bias and penalties ---- */

/* Comparable and finite at the top: NaN never wins. */
static float tame(float logit)
{
    float known = logit > -INFINITY ? logit : -INFINITY;
    return known < FLT_MAX ? known : FLT_MAX;
}

/* Repeat penalty as in llama.cpp (after Keskar et al. 2019): once an id, whatever its sign. */
static void penalise_recent(struct sampler *s)
{
    float penalty = s->params.repeat_penalty;
    uint32_t n = s->n_recent < REPEAT_WINDOW ? s->n_recent : REPEAT_WINDOW;
    for (uint32_t i = 0; i < n; i++) {
        int32_t id = s->recent[i];
        bool seen = false;
        for (uint32_t j = 0; j < i && !seen; j++)
            seen = s->recent[j] == id;
        if (seen || !id_known(s, id))
            continue;
        float *w = &s->work[id];
        *w = tame(*w > 0 ? *w / penalty : *w * penalty);
    }
}

static void penalise_counted(struct sampler *s)
{
    for (uint32_t i = 0; i < s->vocab; i++)
        if (s->counts[i])
            s->work[i] = tame(s->work[i] - s->params.presence_penalty -
                              (float)s->counts[i] * s->params.frequency_penalty);
}

static void add_bias(struct sampler *s)
{
    for (size_t i = 0; i < s->params.n_bias; i++) {
        const struct chat_logit_bias *b = &s->bias[i];
        if (!id_known(s, b->token))
            continue;
        float *w = &s->work[b->token];
        *w = b->bias <= bias_bans ? -INFINITY : tame(*w + b->bias);
    }
}

/* Where ids with the largest bias can be chosen at all, nothing else can. */
static void force(struct sampler *s)
{
    bool any = false;
    for (size_t i = 0; i < s->params.n_bias; i++) {
        const struct chat_logit_bias *b = &s->bias[i];
        bool forces = b->bias >= bias_forces && id_known(s, b->token);
        s->forced[i] = forces ? s->work[b->token] : -INFINITY;
        any |= s->forced[i] > -INFINITY;
    }
    if (!any)
        return;
    for (uint32_t i = 0; i < s->vocab; i++)
        s->work[i] = -INFINITY;
    for (size_t i = 0; i < s->params.n_bias; i++)
        if (s->forced[i] > -INFINITY)
            s->work[s->bias[i].token] = s->forced[i];
}

/*
 * Loops over the vocabulary take four lanes at once and have no branch on a single id. The compiler
 * does not do it by itself: a comparison of floats may trap.
 */
enum { WORD_BITS = 32, LANES = 4 };
typedef float lanes __attribute__((vector_size(LANES * sizeof(float))));
typedef int32_t lane_bits __attribute__((vector_size(LANES * sizeof(int32_t))));

static inline lanes load(const float *from)
{
    lanes v;
    memcpy(&v, from, sizeof(v));
    return v;
}

/* Of each lane a where its mask is all ones, b where it is 0. */
static inline lanes pick_lanes(lane_bits mask, lanes a, lanes b)
{
    return (lanes)((mask & (lane_bits)a) | (~mask & (lane_bits)b));
}

/* The logits whose bits are set, made tame; the others become impossible. */
static inline void copy_word(float *out, const float *in, uint32_t word)
{
    static const lane_bits bit_of = { 1, 2, 4, 8 };
    const lanes never = { -INFINITY, -INFINITY, -INFINITY, -INFINITY };
    const lanes most = { FLT_MAX, FLT_MAX, FLT_MAX, FLT_MAX };
    for (uint32_t k = 0; k < WORD_BITS; k += LANES, word >>= LANES) {
        int32_t bits = (int32_t)(word & 0xf);
        lanes v = load(&in[k]);
        v = pick_lanes(v > never, v, never); /* NaN is not larger */
        v = pick_lanes(v < most, v, most);
        v = pick_lanes(((lane_bits){ bits, bits, bits, bits } & bit_of) == bit_of, v, never);
        memcpy(&out[k], &v, sizeof(v));
    }
}

/* Copies the logits of the allowed ids (NULL: all); the others become impossible. */
static void copy_allowed(struct sampler *s, const float *logits, const uint32_t *allowed)
{
    size_t whole = s->vocab / WORD_BITS, at = whole * WORD_BITS;
    for (size_t w = 0; w < whole; w++)
        copy_word(&s->work[w * WORD_BITS], &logits[w * WORD_BITS], allowed ? allowed[w] : ~0u);
    for (; at < s->vocab; at++)
        s->work[at] =
            !allowed || (allowed[whole] >> at % WORD_BITS & 1) ? tame(logits[at]) : -INFINITY;
}

/* The logits to choose from; fills s->work. */
static void prepare(struct sampler *s, const float *logits, const uint32_t *allowed,
                    const int32_t *banned, size_t n_banned)
{
    copy_allowed(s, logits, allowed);
    add_bias(s);
    if (s->params.repeat_penalty != 1 && s->params.repeat_penalty > 0)
        penalise_recent(s);
    if (s->counts)
        penalise_counted(s);
    for (size_t i = 0; i < n_banned; i++)
        if (id_known(s, banned[i]))
            s->work[banned[i]] = -INFINITY;
    if (s->forced)
        force(s);
}

/* ---- choosing ---- */

static bool is_banned(int32_t id, const int32_t *banned, size_t n_banned)
{
    for (size_t i = 0; i < n_banned; i++)
        if (banned[i] == id)
            return true;
    return false;
}

/* The largest of n values, at least -inf. No NaN is among them. */
static float maximum(const float *v, size_t n)
{
    enum { CHAINS = 4 }; /* independent of each other: a comparison takes several cycles */
    const lanes never = { -INFINITY, -INFINITY, -INFINITY, -INFINITY };
    lanes best[CHAINS] = { never, never, never, never };
    float max = -INFINITY;
    size_t i = 0;
    for (; i + (size_t)CHAINS * LANES <= n; i += (size_t)CHAINS * LANES)
        for (size_t k = 0; k < CHAINS; k++) {
            lanes x = load(&v[i + k * LANES]);
            best[k] = pick_lanes(x > best[k], x, best[k]);
        }
    for (; i < n; i++)
        max = v[i] > max ? v[i] : max;
    for (size_t k = 0; k < (size_t)CHAINS * LANES; k++)
        max = best[k / LANES][k % LANES] > max ? best[k / LANES][k % LANES] : max;
    return max;
}

/* The first of the largest; -1 when every logit is -inf. */
static int32_t largest(const struct sampler *s)
{
    enum { BLOCK = 4096 }; /* a multiple of WORD_BITS; only one block is searched again */
    float top = -INFINITY;
    uint32_t block = 0;
    for (uint32_t at = 0; at < s->vocab; at += BLOCK) {
        uint32_t n = s->vocab - at < BLOCK ? s->vocab - at : BLOCK;
        float max = maximum(&s->work[at], n);
        if (max > top) {
            top = max;
            block = at;
        }
    }
    if (top == -INFINITY)
        return -1;
    while (s->work[block] != top)
        block++;
    return (int32_t)block;
}

static bool above(const struct candidate *a, const struct candidate *b)
{
    return a->weight > b->weight || (a->weight == b->weight && a->id < b->id);
}

static void sift_down(struct candidate *heap, size_t n, size_t at)
{
    struct candidate moving = heap[at];
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= n)
            break;
        if (child + 1 < n && above(&heap[child + 1], &heap[child]))
            child++;
        if (!above(&heap[child], &moving))
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moving;
}

static void heapify(struct candidate *heap, size_t n)
{
    for (size_t i = n / 2; i-- > 0;)
        sift_down(heap, n, i);
}

/* Moves the largest to the end of the heap's memory: what was popped stands there, largest last. */
static const struct candidate *pop(struct candidate *heap, size_t *n)
{
    struct candidate top = heap[0];
    heap[0] = heap[--*n];
    sift_down(heap, *n, 0);
    heap[*n] = top;
    return &heap[*n];
}

struct kept { /* the survivors, largest first, read downwards from `first` */
    const struct candidate *first;
    size_t n;
    double total;
};

/* Weight of a logit: of the largest it is 1. */
static double weight_of(const struct sampler *s, float logit, float max)
{
    if (logit == max)
        return 1; /* 0 × inf at a tiny temperature */
    return exp(((double)logit - (double)max) / (double)s->params.temperature);
}

/* Weights of all ids that are worth it: at least `floor` of the total weight each. */
static size_t weigh(struct sampler *s, float max, double floor, double *ret_total)
{
    double total = 0;
    size_t n_possible = 0, n = 0;
    for (uint32_t i = 0; i < s->vocab; i++) {
        if (s->work[i] == -INFINITY)
            continue;
        double w = weight_of(s, s->work[i], max);
        s->heap[n_possible++] = (struct candidate){ w, (int32_t)i };
        total += w;
    }
    for (size_t i = 0; i < n_possible; i++)
        if (s->heap[i].weight > 0 && s->heap[i].weight >= floor * total)
            s->heap[n++] = s->heap[i];
    *ret_total = total;
    return n;
}

static struct kept pop_while(struct candidate *heap, size_t n, size_t max_n, double max_total)
{
    struct kept k = { .first = heap + n - 1 };
    heapify(heap, n);
    while (n > 0 && k.n < max_n && (k.n == 0 || k.total < max_total)) {
        k.total += pop(heap, &n)->weight;
        k.n++;
    }
    return k;
}

static void keep_least(struct kept *k, double share) /* of the largest, which always stays */
{
    double sum = 0, weight = share * k->first->weight;
    size_t n = 0;
    while (n < k->n && (n == 0 || k->first[-(ptrdiff_t)n].weight >= weight))
        sum += k->first[-(ptrdiff_t)n++].weight;
    k->n = n;
    k->total = sum;
}

/* What survived so far: n candidates at the head of the heap, in no order. */
struct rest {
    size_t n;
    double total;
};

/* What was kept moves to the head. */
static struct rest settle(struct sampler *s, const struct kept *k)
{
    memmove(s->heap, k->first - (ptrdiff_t)(k->n - 1), k->n * sizeof(*s->heap));
    return (struct rest){ k->n, k->total };
}

/*
 * Locally typical sampling (Meister, Pimentel, Wiher, Cotterell 2022): of the ids whose surprise
 * (-ln p) is nearest to the expected one (the entropy), the fewest that hold `share` of the mass.
 * At least one stays; of two equally near ones the lower id comes first.
 */
static struct rest keep_typical(struct sampler *s, struct rest r, double share, float max)
{
    double log_total = log(r.total), entropy = 0;
    for (size_t i = 0; i < r.n; i++) {
        double p = s->heap[i].weight / r.total;
        entropy += p > 0 ? -p * log(p) : 0;
    }
    for (size_t i = 0; i < r.n; i++) { /* the heap's largest: the nearest */
        double surprise = log_total - log(s->heap[i].weight);
        s->heap[i].weight = -fabs(surprise - entropy);
    }
    heapify(s->heap, r.n);
    struct kept k = { .first = s->heap + r.n - 1 };
    for (size_t left = r.n; left > 0 && (k.n == 0 || k.total < share * r.total); k.n++) {
        (void)pop(s->heap, &left);
        struct candidate *c = &s->heap[left];
        c->weight = weight_of(s, s->work[c->id], max);
        k.total += c->weight;
    }
    return settle(s, &k);
}

static int32_t draw_kept(struct sampler *s, const struct kept *k)
{
    double left = draw(s) * k->total;
    for (size_t i = 0; i + 1 < k->n; i++) {
        left -= k->first[-(ptrdiff_t)i].weight;
        if (left < 0)
            return k->first[-(ptrdiff_t)i].id;
    }
    return k->first[-(ptrdiff_t)(k->n - 1)].id;
}

static int32_t draw_any(struct sampler *s, size_t n, double total)
{
    double left = draw(s) * total;
    for (size_t i = 0; i + 1 < n; i++) {
        left -= s->heap[i].weight;
        if (left < 0)
            return s->heap[i].id;
    }
    return s->heap[n - 1].id;
}

static int32_t sample(struct sampler *s, float max)
{
    const struct sampling *p = &s->params;
    bool cut_k = p->top_k > 0 && p->top_k < s->vocab, cut_typical = p->typical_p < 1;
    bool cut_p = p->top_p<1, cut_min = p->min_p> 0;

    /* Together, those below (1 − top_p) / vocab hold less than 1 − top_p: none is in the nucleus.
     * With an earlier cut the nucleus is a share of what that leaves: nothing is told beforehand.
     */
    double share = fmax((double)p->top_p, 0);
    bool is_first = !cut_k && !cut_typical;
    struct rest r;
    r.n = weigh(s, max, cut_p && is_first ? (1 - share) / (2.0 * s->vocab) : 0, /* 2: rounding */
                &r.total);
    if (cut_k) {
        struct kept k = pop_while(s->heap, r.n, p->top_k, INFINITY);
        r = settle(s, &k);
    }
    if (cut_typical)
        r = keep_typical(s, r, fmax((double)p->typical_p, 0), max);
    if (!cut_k && !cut_p && !cut_min)
        return draw_any(s, r.n, r.total);
    struct kept k = pop_while(s->heap, r.n, r.n, cut_p ? share * r.total : INFINITY);
    if (cut_min)
        keep_least(&k, (double)p->min_p);
    return draw_kept(s, &k);
}

/* Where every logit is impossible: the first id that may be chosen; -1: none may. */
static int32_t first_allowed(const struct sampler *s, const uint32_t *allowed,
                             const int32_t *banned, size_t n_banned)
{
    for (uint32_t i = 0; i < s->vocab; i++) {
        bool is_in = !allowed || (allowed[i / WORD_BITS] >> i % WORD_BITS & 1);
        if (is_in && !is_banned((int32_t)i, banned, n_banned))
            return (int32_t)i;
    }
    return -1;
}

int32_t sampler_pick(struct sampler *s, const float *logits, const uint32_t *allowed,
                     const int32_t *banned, size_t n_banned)
{
    prepare(s, logits, allowed, banned, n_banned);
    int32_t id = largest(s);
    if (id < 0)
        id = first_allowed(s, allowed, banned, n_banned);
    else if (!is_greedy(s))
        id = sample(s, s->work[id]);
    if (id < 0)
        return id;

    s->recent[s->n_recent % REPEAT_WINDOW] = id;
    s->n_recent = s->n_recent + 1 < 2 * REPEAT_WINDOW ? s->n_recent + 1 : REPEAT_WINDOW;
    if (s->counts)
        s->counts[id]++;
    return id;
}

/* ---- log-probabilities ---- */

static void top_insert(struct token_logprob *top, size_t *n, size_t max, int32_t id, float logit)
{
    size_t at = *n;
    if (at == max) {
        if (!(logit > top[max - 1].logprob))
            return;
        at--;
    } else {
        (*n)++;
    }
    for (; at > 0 && logit > top[at - 1].logprob; at--)
        top[at] = top[at - 1];
    top[at] = (struct token_logprob){ .id = id, .logprob = logit };
}

float sampler_logprobs(struct sampler *s, const float *logits, int32_t id,
                       struct token_logprob *ret_top, size_t n_top)
{
    float max = -INFINITY;
    for (uint32_t i = 0; i < s->vocab; i++)
        max = tame(logits[i]) > max ? tame(logits[i]) : max;
    if (max == -INFINITY)
        max = 0; /* nothing is possible: every answer is `least` */

    double sum = 0;
    size_t n = 0;
    for (uint32_t i = 0; i < s->vocab; i++) {
        float logit = tame(logits[i]);
        sum += exp((double)logit - (double)max);
        if (n_top)
            top_insert(ret_top, &n, n_top, (int32_t)i, logit);
    }
    double log_sum = sum > 0 ? log(sum) + (double)max : (double)max;
    for (size_t i = 0; i < n_top; i++) {
        if (i >= n)
            ret_top[i] = (struct token_logprob){ .id = -1, .logprob = least };
        else
            ret_top[i].logprob = fmaxf((float)((double)ret_top[i].logprob - log_sum), least);
    }
    if (!id_known(s, id))
        return least;
    return fmaxf((float)((double)tame(logits[id]) - log_sum), least);
}

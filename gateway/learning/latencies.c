#include "gateway/learning/latencies.h"

#include <math.h>
#include <string.h>

#define LEAST_MS 0.001 /* a latency is above 0: ratios are taken */

static uint32_t rank_of(const struct latencies *l, uint32_t n, float ms)
{
    uint32_t i = 0;
    while (i < n && l->sorted[i] < ms)
        i++;
    return i;
}

static void take_out(struct latencies *l, float ms)
{
    uint32_t i = rank_of(l, l->n, ms);
    memmove(&l->sorted[i], &l->sorted[i + 1], (l->n - i - 1) * sizeof(float));
}

void latencies_add(struct latencies *l, double ms)
{
    if (!isfinite(ms) || ms < 0)
        return;
    float value = (float)fmax(ms, LEAST_MS);
    uint32_t sorted = l->n;
    if (l->n == LATENCIES_KEPT) {
        take_out(l, l->kept[l->next]);
        sorted--;
    } else {
        l->n++;
    }
    uint32_t i = rank_of(l, sorted, value);
    memmove(&l->sorted[i + 1], &l->sorted[i], (sorted - i) * sizeof(float));
    l->sorted[i] = value;
    l->kept[l->next] = value;
    l->next = (l->next + 1) % LATENCIES_KEPT;
}

double latencies_at(const struct latencies *l, unsigned percentile)
{
    if (l->n == 0)
        return 0;
    uint32_t rank = (l->n * (percentile < 100 ? percentile : 100) + 99) / 100;
    return (double)l->sorted[rank ? rank - 1 : 0];
}

#include "base/metrics.h"

#include <assert.h>
#include <inttypes.h>
#include <stdatomic.h>

enum metric_kind { KIND_counter, KIND_gauge, KIND_histogram };

static const struct {
    const char *name, *label, *help;
    enum metric_kind kind;
} rows[] = {
#define METRIC_ROW(name, kind, label, help) { #name, label, help, KIND_##kind },
    METRICS(METRIC_ROW)
#undef METRIC_ROW
};

/* Upper bounds of the histogram buckets in microseconds, 50 µs to 60 s. */
static const uint64_t bounds_us[] = { 50,     100,     250,     500,     1000,     2500,
                                      5000,   10000,   25000,   50000,   100000,   250000,
                                      500000, 1000000, 2500000, 5000000, 10000000, 60000000 };
enum { N_BOUNDS = ARRAY_LEN(bounds_us) };

struct cell {
    _Atomic int64_t v;
} __attribute__((aligned(64))); /* a cache line each: writers on different cores do not collide */

static struct cell cells[METRIC_N][METRICS_LABELS];
static _Atomic uint64_t buckets[METRIC_N][N_BOUNDS + 1];
static _Atomic uint64_t sums_us[METRIC_N];
static const char *const *label_values[METRIC_N];
static unsigned n_label_values[METRIC_N];

void metrics_label(enum metric m, const char *const *values, unsigned n)
{
    assert(n <= METRICS_LABELS);
    label_values[m] = values;
    n_label_values[m] = n;
}

void metrics_add_label(enum metric m, unsigned label, int64_t n)
{
    assert(label < METRICS_LABELS);
    atomic_fetch_add_explicit(&cells[m][label].v, n, memory_order_relaxed);
}

void metrics_add(enum metric m, int64_t n)
{
    metrics_add_label(m, 0, n);
}

void metrics_set(enum metric m, int64_t value)
{
    atomic_store_explicit(&cells[m][0].v, value, memory_order_relaxed);
}

void metrics_observe_us(enum metric m, uint64_t us)
{
    unsigned i = 0;
    while (i < N_BOUNDS && us > bounds_us[i])
        i++;
    atomic_fetch_add_explicit(&buckets[m][i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&sums_us[m], us, memory_order_relaxed);
    metrics_add(m, 1);
}

int64_t metrics_get(enum metric m, unsigned label)
{
    return atomic_load_explicit(&cells[m][label].v, memory_order_relaxed);
}

static void print_histogram(struct buf *b, enum metric m)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i <= N_BOUNDS; i++) {
        sum += atomic_load_explicit(&buckets[m][i], memory_order_relaxed);
        if (i < N_BOUNDS)
            buf_addf(b, "rootstock_%s_bucket{le=\"%g\"} %" PRIu64 "\n", rows[m].name,
                     (double)bounds_us[i] / 1e6, sum);
        else
            buf_addf(b, "rootstock_%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", rows[m].name, sum);
    }
    buf_addf(b, "rootstock_%s_sum %.6f\n", rows[m].name, (double)atomic_load(&sums_us[m]) / 1e6);
    buf_addf(b, "rootstock_%s_count %" PRIu64 "\n", rows[m].name, sum);
}

static void print_cells(struct buf *b, enum metric m)
{
    if (n_label_values[m] == 0) {
        buf_addf(b, "rootstock_%s %" PRId64 "\n", rows[m].name, metrics_get(m, 0));
        return;
    }
    for (unsigned i = 0; i < n_label_values[m]; i++)
        buf_addf(b, "rootstock_%s{%s=\"%s\"} %" PRId64 "\n", rows[m].name, rows[m].label,
                 label_values[m][i], metrics_get(m, i));
}

void metrics_print(struct buf *b)
{
    static const char *const kinds[] = { "counter", "gauge", "histogram" };
    for (unsigned m = 0; m < METRIC_N; m++) {
        buf_addf(b, "# HELP rootstock_%s %s\n# TYPE rootstock_%s %s\n", rows[m].name, rows[m].help,
                 rows[m].name, kinds[rows[m].kind]);
        if (rows[m].kind == KIND_histogram)
            print_histogram(b, (enum metric)m);
        else
            print_cells(b, (enum metric)m);
    }
}

#include "tests/support/test.h"

#include "base/limits.h"
#include "base/metrics.h"

static void the_page_shows_what_was_counted(void **state)
{
    static const char *const words[] = { "hit", "disk", "cold" };
    CLEANUP(buf_done) struct buf b = BUF_INIT(1 * MIB);
    (void)state;
    metrics_label(METRIC_adapter_hits_total, words, 3);
    metrics_add_label(METRIC_adapter_hits_total, 2, 5);
    metrics_add(METRIC_clients_gone_total, 2);
    metrics_set(METRIC_engine_running, 4);
    metrics_observe_us(METRIC_request_seconds, 60);
    metrics_observe_us(METRIC_request_seconds, 100000000);
    metrics_print(&b);
    static const char *const lines[] = {
        "# TYPE rootstock_adapter_hits_total counter\n",
        "rootstock_adapter_hits_total{residency=\"cold\"} 5\n",
        "rootstock_adapter_hits_total{residency=\"hit\"} 0\n",
        "rootstock_clients_gone_total 2\n",
        "rootstock_engine_running 4\n",
        "rootstock_request_seconds_bucket{le=\"5e-05\"} 0\n",
        "rootstock_request_seconds_bucket{le=\"0.0001\"} 1\n",
        "rootstock_request_seconds_bucket{le=\"60\"} 1\n",
        "rootstock_request_seconds_bucket{le=\"+Inf\"} 2\n",
        "rootstock_request_seconds_sum 100.000060\n",
        "rootstock_request_seconds_count 2\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(lines); i++)
        if (str_find(buf_str(&b), str_of(lines[i])) < 0)
            fail_msg("missing: %s", lines[i]);
    assert_int_equal(metrics_get(METRIC_adapter_hits_total, 2), 5);
}

int main(void)
{
    static const struct CMUnitTest tests[] = { cmocka_unit_test(the_page_shows_what_was_counted) };
    return TEST_RUN(tests);
}

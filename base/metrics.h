/*
 * Counters, gauges and histograms, declared in one table and printed as Prometheus text.
 *
 * Any thread. Labels are small integers into fixed word lists, so that no request can grow the
 * page.
 */
#pragma once

#include "base/buf.h"

#include <stdint.h>

/*
 * X(name, kind, label, help). Kinds: counter, gauge, histogram (microseconds in, seconds out).
 * label is "" or a label name; its values are registered by metrics_label before the first thread,
 * at most METRICS_LABELS.
 */
#define METRICS(X)                                                                                 \
    X(requests_total, counter, "status", "requests ended, by HTTP status class")                   \
    X(requests_active, gauge, "", "requests being answered")                                       \
    X(request_seconds, histogram, "", "whole request, accepted to last byte")                      \
    X(first_token_seconds, histogram, "", "accepted to first token")                               \
    X(overhead_seconds, histogram, "", "time in the gateway outside engine and adapter loads")     \
    X(queue_seconds, histogram, "", "submitted to admitted in the engine")                         \
    X(clients_gone_total, counter, "", "clients that left before their answer was complete")       \
    X(prompt_tokens_total, counter, "", "prompt tokens evaluated")                                 \
    X(cached_tokens_total, counter, "", "prompt tokens taken from the KV cache")                   \
    X(completion_tokens_total, counter, "", "tokens generated")                                    \
    X(cost_millionths_total, counter, "", "millionths of what answers cost, by `pricing`")         \
    X(embedding_inputs_total, counter, "", "texts embedded for clients")                           \
    X(embedding_tokens_total, counter, "", "tokens of them")                                       \
    X(engine_steps_total, counter, "", "batch steps")                                              \
    X(engine_rows_total, counter, "", "rows computed over all steps")                              \
    X(engine_running, gauge, "", "sequences decoding")                                             \
    X(engine_waiting, gauge, "", "sequences queued")                                               \
    X(upstream_attempts_total, counter, "provider", "requests sent to engines behind")             \
    X(upstream_retries_total, counter, "", "of them, after one that failed")                       \
    X(upstream_hedges_total, counter, "", "of them, beside one that was slow")                     \
    X(upstream_first_seconds, histogram, "", "an engine behind asked to its first token")          \
    X(adapters_known, gauge, "", "adapters in the local catalog page")                             \
    X(adapter_cached_bytes, gauge, "", "adapter files and packed revisions in the local cache")    \
    X(adapters_resident, gauge, "", "revisions packed in memory")                                  \
    X(adapter_resident_bytes, gauge, "", "bytes of them")                                          \
    X(adapters_active, gauge, "", "resident revisions that a request uses")                        \
    X(adapter_active_bytes, gauge, "", "bytes of them")                                            \
    X(adapter_leases, gauge, "", "leases held")                                                    \
    X(adapter_hits_total, counter, "residency", "acquisitions, by where the revision was")         \
    X(adapter_fetches_waiting, gauge, "", "loads queued to be fetched or packed")                  \
    X(adapter_loads_waiting, gauge, "", "loads queued for a look or for memory")                   \
    X(adapter_loads_total, counter, "source", "revisions loaded, by what they were read from")     \
    X(adapter_loaded_bytes_total, counter, "", "bytes of them")                                    \
    X(adapter_load_failures_total, counter, "", "loads that failed")                               \
    X(adapter_load_paced_total, counter, "", "times a loader waited for max_rate")                 \
    X(adapter_load_seconds, histogram, "", "one revision into memory, once its files are here")    \
    X(adapter_fetch_seconds, histogram, "", "fetching and packing one revision")                   \
    X(adapter_pack_seconds, histogram, "", "packing one revision")                                 \
    X(adapter_packed_stale_total, counter, "", "packed files of another layout, packed anew")      \
    X(adapter_evictions_total, counter, "for", "revisions evicted from memory, by what for")       \
    X(adapter_prefetches_total, counter, "why", "loads that no request waited for")                \
    X(adapter_wait_timeouts_total, counter, "", "requests whose adapter was not loaded in time")   \
    X(adapter_refused_waits_total, counter, "",                                                    \
      "requests told to come back, or answered by the base, while theirs loads")                   \
    X(catalog_connected, gauge, "", "1 while the catalog answers")                                 \
    X(catalog_lag_seconds, gauge, "", "age of the last word from the catalog")                     \
    X(canary_requests_total, counter, "of",                                                        \
      "requests of adapters that have a canary, by revision")                                      \
    X(canary_errors_total, counter, "of", "of them, failed by the revision's fault")               \
    X(canary_aborts_total, counter, "reason", "canaries taken back by themselves")                 \
    X(shadow_requests_total, counter, "outcome", "copies for shadow revisions, or left out")       \
    X(shadow_answers_total, counter, "agrees", "whole answers, by being the client's or not")      \
    X(shadow_first_token_seconds, histogram, "", "first token of a shadow")                        \
    X(shadow_seconds, histogram, "", "whole answer of a shadow")                                   \
    X(route_decisions_total, counter, "outcome", "routed requests, by matched or default")         \
    X(route_seconds, histogram, "", "signals to selection")                                        \
    X(plugin_blocks_total, counter, "stage", "requests and streams refused by a plugin")           \
    X(plugin_rewrites_total, counter, "stage", "texts changed by a plugin")                        \
    X(log_lines_lost_total, counter, "", "log lines that nobody took: a full pipe or disk")        \
    X(config_reloads_total, counter, "", "configuration reloads that took effect")                 \
    X(config_reload_failures_total, counter, "", "reloads refused; the old one keeps running")

enum metric {
#define METRIC_ENUM(name, kind, label, help) METRIC_##name,
    METRICS(METRIC_ENUM)
#undef METRIC_ENUM
        METRIC_N
};

enum { METRICS_LABELS = 16 };

/* Registers the values of a metric's label, in order; the words are borrowed for ever (literals).
 */
void metrics_label(enum metric m, const char *const *values, unsigned n);

void metrics_add(enum metric m, int64_t n); /* label 0 */
void metrics_add_label(enum metric m, unsigned label, int64_t n);
void metrics_set(enum metric m, int64_t value);      /* gauges */
void metrics_observe_us(enum metric m, uint64_t us); /* histograms */
int64_t metrics_get(enum metric m, unsigned label);  /* count of a histogram */
void metrics_print(struct buf *b); /* Prometheus text format 0.0.4, prefix rootstock_ */

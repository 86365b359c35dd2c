#include "router/accepted.h"

#include <errno.h>
#include <stdio.h>

#define MANY 1e15
#define PORT OPT_KNOWN_NUMBER("port", 65535)

/* ---- stores that several sections may name ---- */

static const struct option redis_options[] = {
    OPT_KNOWN_TEXT("address"),
    OPT_KNOWN_TEXT("password"),
    OPT_KNOWN_NUMBER("db", MANY),
    OPT_KNOWN_NUMBER("database", MANY),
    OPT_KNOWN_TEXT("key_prefix"),
    OPT_KNOWN_FLAG("use_tls"),
    OPT_KNOWN_FLAG("tls_skip_verify"),
    OPT_KNOWN_FLAG("cluster_mode"),
    OPT_KNOWN_TEXTS("cluster_addresses"),
    OPT_KNOWN_NUMBER("pool_size", MANY),
    OPT_KNOWN_NUMBER("min_idle_conns", MANY),
    OPT_KNOWN_NUMBER("max_retries", MANY),
    OPT_KNOWN_NUMBER("dial_timeout", MANY),
    OPT_KNOWN_NUMBER("read_timeout", MANY),
    OPT_KNOWN_NUMBER("write_timeout", MANY),
    OPT_KNOWN_FLAG("tls_enabled"),
    OPT_KNOWN_TEXT("tls_cert_path"),
    OPT_KNOWN_TEXT("tls_key_path"),
    OPT_KNOWN_TEXT("tls_ca_path"),
    OPT_KNOWN_TEXT("config_path"),
    OPT_KNOWN_ANY("connection"),
    OPT_KNOWN_ANY("index"),
    OPT_KNOWN_ANY("search"),
    OPT_KNOWN_ANY("development"),
    OPT_KNOWN_ANY("logging"),
    OPT_END,
};

static const struct option postgres_options[] = {
    OPT_KNOWN_TEXT("host"),
    PORT,
    OPT_KNOWN_TEXT("database"),
    OPT_KNOWN_TEXT("user"),
    OPT_KNOWN_TEXT("password"),
    OPT_KNOWN_TEXT("ssl_mode"),
    OPT_KNOWN_NUMBER("max_open_conns", MANY),
    OPT_KNOWN_NUMBER("max_idle_conns", MANY),
    OPT_KNOWN_NUMBER("conn_max_lifetime", MANY),
    OPT_KNOWN_TEXT("table_name"),
    OPT_END,
};

static const struct option milvus_options[] = {
    OPT_KNOWN_TEXT("address"),
    OPT_KNOWN_TEXT("username"),
    OPT_KNOWN_TEXT("password"),
    OPT_KNOWN_TEXT("collection_name"),
    OPT_KNOWN_TEXT("consistency_level"),
    OPT_KNOWN_NUMBER("shard_num", MANY),
    OPT_KNOWN_NUMBER("dimension", MANY),
    OPT_KNOWN_NUMBER("num_partitions", MANY),
    OPT_KNOWN_ANY("collection"), /* a name, or a map */
    OPT_KNOWN_ANY("connection"),
    OPT_KNOWN_ANY("search"),
    OPT_KNOWN_ANY("performance"),
    OPT_KNOWN_ANY("data_management"),
    OPT_KNOWN_ANY("logging"),
    OPT_KNOWN_ANY("development"),
    OPT_END,
};

static const struct option qdrant_options[] = {
    OPT_KNOWN_TEXT("host"),
    PORT,
    OPT_KNOWN_TEXT("api_key"),
    OPT_KNOWN_FLAG("use_tls"),
    OPT_KNOWN_NUMBER("connect_timeout", MANY),
    OPT_KNOWN_TEXT("collection"),
    OPT_KNOWN_TEXT("collection_name"),
    OPT_KNOWN_TEXT("collection_prefix"),
    OPT_KNOWN_NUMBER("dimension", MANY),
    OPT_END,
};

static const struct option valkey_options[] = {
    OPT_KNOWN_TEXT("host"),
    PORT,
    OPT_KNOWN_NUMBER("database", MANY),
    OPT_KNOWN_TEXT("password"),
    OPT_KNOWN_NUMBER("timeout", MANY),
    OPT_KNOWN_NUMBER("connect_timeout", MANY),
    OPT_KNOWN_TEXT("collection_prefix"),
    OPT_KNOWN_TEXT("index_name"),
    OPT_KNOWN_NUMBER("dimension", MANY),
    OPT_KNOWN_TEXT("metric_type"),
    OPT_KNOWN_NUMBER("index_m", MANY),
    OPT_KNOWN_NUMBER("index_ef_construction", MANY),
    OPT_KNOWN_FLAG("tls_enabled"),
    OPT_KNOWN_TEXT("tls_ca_path"),
    OPT_KNOWN_FLAG("tls_insecure_skip_verify"),
    OPT_END,
};

/* ---- services ---- */

static const struct option range_options[] = {
    OPT_KNOWN_NUMBER("min", MANY),
    OPT_KNOWN_NUMBER("max", MANY),
    OPT_KNOWN_TEXT("label"),
    OPT_END,
};

static const struct option batch_metrics_options[] = {
    OPT_KNOWN_FLAG("enabled"),
    OPT_KNOWN_REAL("sample_rate", 0, 1),
    OPT_KNOWN_LIST("batch_size_ranges", range_options),
    OPT_KNOWN_TEXTS("duration_buckets"),
    OPT_KNOWN_TEXTS("size_buckets"),
    OPT_KNOWN_FLAG("detailed_goroutine_tracking"),
    OPT_KNOWN_FLAG("high_resolution_timing"),
    OPT_END,
};

static const struct option batch_options[] = {
    OPT_KNOWN_NUMBER("max_batch_size", MANY),
    OPT_KNOWN_NUMBER("concurrency_threshold", MANY),
    OPT_KNOWN_NUMBER("max_concurrency", MANY),
    OPT_KNOWN_MAP("metrics", batch_metrics_options),
    OPT_END,
};

static const struct option api_options[] = {
    OPT_IGNORED_MAP("batch_classification", batch_options,
                    "classifiers are read in microseconds, one text at a time"),
    OPT_END,
};

static const struct option response_api_options[] = {
    OPT_KNOWN_FLAG("enabled"),
    OPT_KNOWN_TEXT("store_backend"),
    OPT_KNOWN_NUMBER("ttl_seconds", MANY),
    OPT_KNOWN_NUMBER("max_responses", MANY),
    OPT_KNOWN_MAP("redis", redis_options),
    OPT_KNOWN_MAP("milvus", milvus_options),
    OPT_END,
};

static const struct option exporter_options[] = {
    OPT_KNOWN_TEXT("type"),
    OPT_KNOWN_TEXT("endpoint"),
    OPT_KNOWN_FLAG("insecure"),
    OPT_END,
};

static const struct option sampling_options[] = {
    OPT_KNOWN_TEXT("type"),
    OPT_KNOWN_REAL("rate", 0, 1),
    OPT_END,
};

static const struct option resource_options[] = {
    OPT_KNOWN_TEXT("service_name"),
    OPT_KNOWN_TEXT("service_version"),
    OPT_KNOWN_TEXT("deployment_environment"),
    OPT_END,
};

static const struct option tracing_options[] = {
    OPT_KNOWN_FLAG("enabled"),
    OPT_KNOWN_TEXT("provider"),
    OPT_KNOWN_MAP("exporter", exporter_options),
    OPT_KNOWN_MAP("sampling", sampling_options),
    OPT_KNOWN_MAP("resource", resource_options),
    OPT_END,
};

static const struct option windowed_options[] = {
    OPT_KNOWN_FLAG("enabled"),
    OPT_KNOWN_TEXTS("time_windows"),
    OPT_KNOWN_TEXT("update_interval"),
    OPT_KNOWN_FLAG("model_metrics"),
    OPT_KNOWN_FLAG("queue_depth_estimation"),
    OPT_KNOWN_NUMBER("max_models", MANY),
    OPT_END,
};

static const struct option metrics_options[] = {
    OPT_KNOWN_FLAG("enabled"),
    OPT_KNOWN_MAP("windowed_metrics", windowed_options),
    OPT_END,
};

static const struct option observability_options[] = {
    OPT_IGNORED_MAP("tracing", tracing_options, "spans go to a container of theirs"),
    OPT_IGNORED_MAP("metrics", metrics_options, "/metrics is always there"),
    OPT_END,
};

static const struct option identity_options[] = {
    /* read by the gateway */
    OPT_KNOWN_TEXT("user_id_header"),
    OPT_KNOWN_TEXT("user_groups_header"),
    OPT_END,
};

static const struct option credential_options[] = {
    OPT_KNOWN_TEXT("type"),
    OPT_KNOWN_ANY("headers"),
    OPT_END,
};

static const struct option authz_options[] = {
    OPT_UNSERVED("fail_open",
                 "a caller whom nobody names has no role; it is never refused for that"),
    OPT_KNOWN_MAP("identity", identity_options),
    OPT_UNSERVED_MAP("providers", credential_options,
                     "credentials for models behind, which are not served either"),
    OPT_END,
};

static const struct option match_options[] = {
    OPT_KNOWN_TEXT("user"),
    OPT_KNOWN_TEXT("group"),
    OPT_KNOWN_TEXT("model"),
    OPT_END,
};

static const struct option limit_rule_options[] = {
    OPT_KNOWN_TEXT("name"),
    OPT_KNOWN_MAP("match", match_options),
    OPT_KNOWN_NUMBER("requests_per_unit", MANY),
    OPT_KNOWN_NUMBER("tokens_per_unit", MANY),
    OPT_KNOWN_TEXT("unit"),
    OPT_END,
};

static const struct option limiter_options[] = {
    OPT_KNOWN_TEXT("type"),
    OPT_KNOWN_TEXT("address"),
    OPT_KNOWN_TEXT("domain"),
    OPT_KNOWN_LIST("rules", limit_rule_options),
    OPT_END,
};

static const struct option ratelimit_options[] = {
    OPT_KNOWN_FLAG("fail_open"),
    OPT_KNOWN_LIST("providers", limiter_options),
    OPT_END,
};

static const struct option token_options[] = {
    OPT_KNOWN_TEXT("env"),
    OPT_KNOWN_TEXT("role"),
    OPT_END,
};

static const struct option management_auth_options[] = {
    OPT_KNOWN_TEXT("mode"),
    OPT_KNOWN_LIST("tokens", token_options),
    OPT_KNOWN_ANY("roles"),
    OPT_END,
};

static const struct option management_options[] = {
    OPT_KNOWN_TEXT("bind_address"),
    PORT,
    OPT_KNOWN_FLAG("remote_exposure"),
    OPT_KNOWN_MAP("auth", management_auth_options),
    OPT_END,
};

static const struct option startup_options[] = {
    OPT_KNOWN_TEXT("store_backend"),
    OPT_KNOWN_MAP("redis", redis_options),
    OPT_KNOWN_MAP("postgres", postgres_options),
    OPT_END,
};

static const char kept_in_memory[] = "records are kept in memory, in a bounded ring";

static const struct option replay_options[] = {
    OPT_KNOWN_FLAG("enabled"), /* read by the gateway */
    OPT_IGNORED("store_backend", kept_in_memory),
    OPT_IGNORED("ttl_seconds", kept_in_memory),
    OPT_IGNORED("async_writes", kept_in_memory),
    OPT_IGNORED_MAP("redis", redis_options, kept_in_memory),
    OPT_IGNORED_MAP("postgres", postgres_options, kept_in_memory),
    OPT_IGNORED_MAP("milvus", milvus_options, kept_in_memory),
    OPT_IGNORED_MAP("qdrant", qdrant_options, kept_in_memory),
    OPT_END,
};

const struct option accepted_services[] = {
    OPT_KNOWN_MAP("api", api_options),
    OPT_UNSERVED_MAP("response_api", response_api_options, "the Responses API"),
    OPT_KNOWN_MAP("observability", observability_options),
    OPT_KNOWN_MAP("authz", authz_options),
    OPT_UNSERVED_MAP("ratelimit", ratelimit_options, "requests are not counted by caller"),
    OPT_IGNORED_MAP("management_api", management_options, "the gateway has one listener"),
    OPT_IGNORED_MAP("startup_status", startup_options, "there are no models to fetch at start"),
    OPT_KNOWN_MAP("router_replay", replay_options),
    OPT_END,
};

/* ---- stores ---- */

static const struct option cache_options[] = {
    OPT_KNOWN_FLAG("enabled"),
    OPT_KNOWN_TEXT("backend_type"),
    OPT_KNOWN_REAL("similarity_threshold", 0, 1),
    OPT_KNOWN_NUMBER("max_entries", MANY),
    OPT_KNOWN_NUMBER("ttl_seconds", MANY),
    OPT_KNOWN_TEXT("eviction_policy"),
    OPT_KNOWN_TEXT("embedding_model"),
    OPT_KNOWN_TEXT("backend_config_path"),
    OPT_KNOWN_FLAG("use_hnsw"),
    OPT_KNOWN_NUMBER("hnsw_m", MANY),
    OPT_KNOWN_NUMBER("hnsw_ef_construction", MANY),
    OPT_KNOWN_NUMBER("hnsw_ef_search", MANY),
    OPT_KNOWN_NUMBER("max_memory_entries", MANY),
    OPT_KNOWN_MAP("milvus", milvus_options),
    OPT_KNOWN_MAP("redis", redis_options),
    OPT_KNOWN_MAP("valkey", valkey_options),
    OPT_KNOWN_MAP("qdrant", qdrant_options),
    OPT_END,
};

static const struct option quality_options[] = {
    OPT_KNOWN_NUMBER("initial_strength_days", MANY),
    OPT_KNOWN_REAL("prune_threshold", 0, 1),
    OPT_KNOWN_NUMBER("max_memories_per_user", MANY),
    OPT_END,
};

static const struct option reflection_options[] = {
    OPT_KNOWN_FLAG("enabled"),
    OPT_KNOWN_TEXT("algorithm"),
    OPT_KNOWN_NUMBER("max_inject_tokens", MANY),
    OPT_KNOWN_REAL("recency_decay_days", 0, MANY),
    OPT_KNOWN_REAL("dedup_threshold", 0, 1),
    OPT_KNOWN_TEXTS("block_patterns"),
    OPT_END,
};

static const struct option memory_cache_options[] = {
    OPT_KNOWN_FLAG("enabled"),
    OPT_KNOWN_TEXT("address"),
    OPT_KNOWN_NUMBER("ttl_seconds", MANY),
    OPT_KNOWN_NUMBER("db", MANY),
    OPT_KNOWN_TEXT("key_prefix"),
    OPT_KNOWN_TEXT("password"),
    OPT_END,
};

static const struct option memory_options[] = {
    OPT_KNOWN_FLAG("enabled"),
    OPT_KNOWN_TEXT("backend"),
    OPT_KNOWN_FLAG("auto_store"),
    OPT_KNOWN_TEXTS("disabled_routes"),
    OPT_KNOWN_TEXTS("disabled_models"),
    OPT_KNOWN_MAP("valkey", valkey_options),
    OPT_KNOWN_MAP("milvus", milvus_options),
    OPT_KNOWN_MAP("qdrant", qdrant_options),
    OPT_KNOWN_MAP("redis_cache", memory_cache_options),
    OPT_KNOWN_TEXT("embedding_model"),
    OPT_KNOWN_NUMBER("extraction_batch_size", MANY),
    OPT_KNOWN_NUMBER("default_retrieval_limit", MANY),
    OPT_KNOWN_REAL("default_similarity_threshold", 0, 1),
    OPT_KNOWN_FLAG("hybrid_search"),
    OPT_KNOWN_TEXT("hybrid_mode"),
    OPT_KNOWN_FLAG("adaptive_threshold"),
    OPT_KNOWN_MAP("quality_scoring", quality_options),
    OPT_KNOWN_MAP("reflection", reflection_options),
    OPT_END,
};

static const struct option entries_options[] = {
    OPT_KNOWN_NUMBER("max_entries_per_store", MANY),
    OPT_END,
};

static const struct option llama_stack_options[] = {
    OPT_KNOWN_TEXT("endpoint"),        OPT_KNOWN_TEXT("auth_token"),
    OPT_KNOWN_TEXT("embedding_model"), OPT_KNOWN_NUMBER("request_timeout_seconds", MANY),
    OPT_KNOWN_TEXT("search_type"),     OPT_END,
};

static const struct option vector_store_options[] = {
    OPT_KNOWN_FLAG("enabled"),
    OPT_KNOWN_TEXT("backend_type"),
    OPT_KNOWN_TEXT("file_storage_dir"),
    OPT_KNOWN_NUMBER("max_file_size_mb", MANY),
    OPT_KNOWN_TEXT("embedding_model"),
    OPT_KNOWN_NUMBER("embedding_dimension", MANY),
    OPT_KNOWN_NUMBER("ingestion_workers", MANY),
    OPT_KNOWN_NUMBER("ingestion_drain_timeout_seconds", MANY),
    OPT_KNOWN_TEXTS("supported_formats"),
    OPT_KNOWN_MAP("milvus", milvus_options),
    OPT_KNOWN_MAP("memory", entries_options),
    OPT_KNOWN_MAP("llama_stack", llama_stack_options),
    OPT_KNOWN_MAP("valkey", valkey_options),
    OPT_KNOWN_MAP("qdrant", qdrant_options),
    OPT_KNOWN_TEXT("metadata_store"),
    OPT_KNOWN_MAP("metadata_postgres", postgres_options),
    OPT_END,
};

const struct option accepted_stores[] = {
    OPT_UNSERVED_MAP("response_cache", cache_options, "answers are not kept"),
    OPT_UNSERVED_MAP("memory", memory_options, "conversations are not kept"),
    OPT_UNSERVED_MAP("vector_store", vector_store_options, "files are not searched"),
    OPT_END,
};

/* ---- integrations ---- */

static const struct option tool_weights[] = {
    OPT_KNOWN_REAL("embed", 0, MANY),    OPT_KNOWN_REAL("lexical", 0, MANY),
    OPT_KNOWN_REAL("tag", 0, MANY),      OPT_KNOWN_REAL("name", 0, MANY),
    OPT_KNOWN_REAL("category", 0, MANY), OPT_END,
};

static const struct option tool_history[] = {
    OPT_KNOWN_NUMBER("history_horizon", MANY),
    OPT_KNOWN_NUMBER("min_history_steps", MANY),
    OPT_KNOWN_REAL("history_confidence_threshold", 0, 1),
    OPT_KNOWN_REAL("weight_semantic", 0, MANY),
    OPT_KNOWN_REAL("weight_history_transition", 0, MANY),
    OPT_KNOWN_REAL("weight_decision_prior", 0, MANY),
    OPT_KNOWN_REAL("repetition_penalty_strength", 0, MANY),
    OPT_END,
};

static const struct option tool_filter[] = {
    OPT_KNOWN_FLAG("enabled"),
    OPT_KNOWN_TEXT("retrieval_strategy"),
    OPT_KNOWN_NUMBER("candidate_pool_size", MANY),
    OPT_KNOWN_NUMBER("min_lexical_overlap", MANY),
    OPT_KNOWN_REAL("min_combined_score", 0, MANY),
    OPT_KNOWN_MAP("weights", tool_weights),
    OPT_KNOWN_FLAG("use_category_filter"),
    OPT_KNOWN_REAL("category_confidence_threshold", 0, 1),
    OPT_KNOWN_TEXTS("allow_tools"),
    OPT_KNOWN_TEXTS("block_tools"),
    OPT_KNOWN_MAP("hybrid_history", tool_history),
    OPT_END,
};

static const struct option tool_options[] = {
    OPT_KNOWN_FLAG("enabled"),
    OPT_KNOWN_NUMBER("top_k", MANY),
    OPT_KNOWN_REAL("similarity_threshold", 0, 1),
    OPT_KNOWN_TEXT("tools_db_path"),
    OPT_KNOWN_FLAG("fallback_to_empty"),
    OPT_KNOWN_TEXT("strategy"),
    OPT_KNOWN_MAP("advanced_filtering", tool_filter),
    OPT_END,
};

static const struct option slug_options[] = {
    OPT_KNOWN_TEXTS("model_names"),
    OPT_END,
};

static const struct option flow_file_options[] = {
    OPT_KNOWN_TEXT("directory"),
    OPT_END,
};

static const struct option flow_state_options[] = {
    OPT_KNOWN_TEXT("store_backend"),
    OPT_KNOWN_NUMBER("ttl_seconds", MANY),
    OPT_KNOWN_MAP("file", flow_file_options),
    OPT_KNOWN_MAP("redis", redis_options),
    OPT_END,
};

static const struct option flow_options[] = {
    OPT_KNOWN_TEXTS("model_names"),
    OPT_KNOWN_MAP("state", flow_state_options),
    OPT_END,
};

static const char no_own_endpoint[] = "the gateway does not call itself over HTTP";
static const char several_models[] = "several models that answer together";

static const struct option looper_options[] = {
    OPT_IGNORED("endpoint", no_own_endpoint),
    OPT_IGNORED("grpc_max_msg_size_mb", no_own_endpoint),
    OPT_IGNORED("max_response_bytes_mb", no_own_endpoint),
    OPT_IGNORED("timeout_seconds", no_own_endpoint),
    OPT_IGNORED("retry_count", no_own_endpoint),
    OPT_IGNORED("headers", no_own_endpoint),
    OPT_UNSERVED_MAP("remom", slug_options, several_models),
    OPT_UNSERVED_MAP("fusion", slug_options, several_models),
    OPT_UNSERVED_MAP("flow", flow_options, several_models),
    OPT_END,
};

const struct option accepted_integrations[] = {
    OPT_UNSERVED_MAP("tools", tool_options, "a catalog of tools"),
    OPT_KNOWN_MAP("looper", looper_options),
    OPT_END,
};

/* ---- models ---- */

static const char own_models[] = "texts are compared and classified without their models";

static const struct option endpoint_options[] = {
    OPT_KNOWN_TEXT("base_url"),
    OPT_KNOWN_TEXT("model"),
    OPT_KNOWN_TEXT("api_key_env"),
    OPT_KNOWN_NUMBER("timeout_seconds", MANY),
    OPT_KNOWN_NUMBER("max_retries", MANY),
    OPT_KNOWN_NUMBER("dimensions", MANY),
    OPT_END,
};

static const struct option prototype_options[] = {
    OPT_KNOWN_FLAG("enabled"),
    OPT_KNOWN_REAL("cluster_similarity_threshold", 0, 1),
    OPT_KNOWN_NUMBER("max_prototypes", MANY),
    OPT_KNOWN_REAL("best_weight", 0, 1),
    OPT_KNOWN_NUMBER("top_m", MANY),
    OPT_KNOWN_REAL("margin_threshold", 0, 2),
    OPT_END,
};

/* Read by the family of embeddings, as the settings of classifiers below by theirs, where the
 * policy uses them: here they are checked where it does not. */
static const struct option embedding_options[] = {
    OPT_KNOWN_TEXT("backend"),
    OPT_KNOWN_TEXT("model_type"),
    OPT_KNOWN_FLAG("preload_embeddings"),
    OPT_KNOWN_NUMBER("target_dimension", MANY),
    OPT_KNOWN_NUMBER("target_layer", MANY),
    OPT_KNOWN_FLAG("enable_soft_matching"),
    OPT_KNOWN_NUMBER("top_k", MANY),
    OPT_KNOWN_REAL("min_score_threshold", 0, 1),
    OPT_KNOWN_MAP("prototype_scoring", prototype_options),
    OPT_END,
};

static const struct option semantic_options[] = {
    OPT_IGNORED("qwen3_model_path", own_models),
    OPT_IGNORED("gemma_model_path", own_models),
    OPT_IGNORED("mmbert_model_path", own_models),
    OPT_IGNORED("multimodal_model_path", own_models),
    OPT_IGNORED("bert_model_path", own_models),
    OPT_IGNORED("use_cpu", own_models),
    OPT_KNOWN_MAP("embedding_config", embedding_options),
    OPT_UNSERVED_MAP("endpoint", endpoint_options, "vectors from another server"),
    OPT_END,
};

static const struct option embeddings_options[] = {
    OPT_KNOWN_MAP("semantic", semantic_options),
    OPT_END,
};

static const struct option system_options[] = {
    OPT_KNOWN_TEXT("prompt_guard"),           OPT_KNOWN_TEXT("domain_classifier"),
    OPT_KNOWN_TEXT("pii_classifier"),         OPT_KNOWN_TEXT("fact_check_classifier"),
    OPT_KNOWN_TEXT("hallucination_detector"), OPT_KNOWN_TEXT("hallucination_explainer"),
    OPT_KNOWN_TEXT("feedback_detector"),      OPT_END,
};

static const struct option llm_endpoint_options[] = {
    OPT_KNOWN_TEXT("address"),
    PORT,
    OPT_KNOWN_TEXT("protocol"),
    OPT_KNOWN_TEXT("name"),
    OPT_KNOWN_FLAG("use_chat_template"),
    OPT_KNOWN_TEXT("prompt_template"),
    OPT_END,
};

static const struct option external_options[] = {
    OPT_KNOWN_TEXT("name"),
    OPT_KNOWN_TEXT("llm_provider"),
    OPT_KNOWN_TEXT("model_role"),
    OPT_KNOWN_MAP("llm_endpoint", llm_endpoint_options),
    OPT_KNOWN_TEXT("llm_model_name"),
    OPT_KNOWN_NUMBER("llm_timeout_seconds", MANY),
    OPT_KNOWN_TEXT("parser_type"),
    OPT_KNOWN_REAL("threshold", 0, 1),
    OPT_KNOWN_TEXT("access_key"),
    OPT_KNOWN_NUMBER("max_tokens", MANY),
    OPT_KNOWN_REAL("temperature", 0, 100),
    OPT_END,
};

static const struct option compression_options[] = {
    OPT_KNOWN_FLAG("enabled"),
    OPT_KNOWN_TEXT("profile"),
    OPT_KNOWN_NUMBER("max_tokens", MANY),
    OPT_KNOWN_NUMBER("min_length", MANY),
    OPT_KNOWN_TEXTS("skip_signals"),
    OPT_KNOWN_REAL("textrank_weight", 0, MANY),
    OPT_KNOWN_REAL("position_weight", 0, MANY),
    OPT_KNOWN_REAL("tfidf_weight", 0, MANY),
    OPT_KNOWN_REAL("novelty_weight", 0, MANY),
    OPT_KNOWN_REAL("position_depth", 0, MANY),
    OPT_KNOWN_NUMBER("preserve_first_n", MANY),
    OPT_KNOWN_NUMBER("preserve_last_n", MANY),
    OPT_END,
};

static const struct option mcp_options[] = {
    OPT_KNOWN_FLAG("enabled"),
    OPT_KNOWN_TEXT("transport_type"),
    OPT_KNOWN_TEXT("command"),
    OPT_KNOWN_TEXTS("args"),
    OPT_KNOWN_ANY("env"),
    OPT_KNOWN_TEXT("url"),
    OPT_KNOWN_TEXT("tool_name"),
    OPT_KNOWN_REAL("threshold", 0, 1),
    OPT_KNOWN_NUMBER("timeout_seconds", MANY),
    OPT_END,
};

static const struct option model_options[] = {
    /* of any one classifier */
    OPT_KNOWN_FLAG("enabled"),
    OPT_KNOWN_TEXT("model_ref"),
    OPT_KNOWN_TEXT("model_id"),
    OPT_KNOWN_REAL("threshold", 0, 1),
    OPT_KNOWN_FLAG("use_cpu"),
    OPT_KNOWN_FLAG("use_modernbert"),
    OPT_KNOWN_FLAG("use_mmbert_32k"),
    OPT_KNOWN_TEXT("variant"),
    OPT_KNOWN_TEXT("category_mapping_path"),
    OPT_KNOWN_TEXT("fallback_category"),
    OPT_KNOWN_TEXT("pii_mapping_path"),
    OPT_KNOWN_TEXT("jailbreak_mapping_path"),
    OPT_KNOWN_TEXT("feedback_mapping_path"),
    OPT_KNOWN_TEXTS("positive_labels"),
    OPT_KNOWN_TEXT("on_error"),
    OPT_END,
};

static const struct option preference_options[] = {
    OPT_KNOWN_FLAG("use_contrastive"),
    OPT_KNOWN_TEXT("embedding_model"),
    OPT_KNOWN_MAP("prototype_scoring", prototype_options),
    OPT_END,
};

static const struct option complexity_options[] = {
    OPT_KNOWN_MAP("prototype_scoring", prototype_options),
    OPT_END,
};

static const struct option modality_model_options[] = {
    OPT_KNOWN_TEXT("model_path"),
    OPT_KNOWN_FLAG("use_cpu"),
    OPT_END,
};

static const struct option modality_options[] = {
    OPT_KNOWN_FLAG("enabled"),
    OPT_KNOWN_TEXTS("prompt_prefixes"),
    OPT_KNOWN_TEXT("method"),
    OPT_KNOWN_MAP("classifier", modality_model_options),
    OPT_KNOWN_TEXTS("keywords"),
    OPT_KNOWN_TEXTS("both_keywords"),
    OPT_KNOWN_REAL("confidence_threshold", 0, 1),
    OPT_KNOWN_REAL("lower_threshold_ratio", 0, 1),
    OPT_END,
};

static const struct option classifier_options[] = {
    OPT_KNOWN_MAP("domain", model_options),
    OPT_UNSERVED_MAP("mcp", mcp_options, "a classifier of another program"),
    OPT_KNOWN_MAP("pii", model_options),
    OPT_KNOWN_MAP("preference", preference_options),
    OPT_END,
};

static const struct option detector_options[] = {
    OPT_KNOWN_TEXT("backend"),
    OPT_KNOWN_TEXT("endpoint"),
    OPT_KNOWN_FLAG("include_explanation"),
    OPT_KNOWN_TEXT("model_ref"),
    OPT_KNOWN_TEXT("model_id"),
    OPT_KNOWN_REAL("threshold", 0, 1),
    OPT_KNOWN_FLAG("use_cpu"),
    OPT_KNOWN_NUMBER("min_span_length", MANY),
    OPT_KNOWN_REAL("min_span_confidence", 0, 1),
    OPT_KNOWN_NUMBER("context_window_size", MANY),
    OPT_KNOWN_FLAG("enable_nli_filtering"),
    OPT_KNOWN_REAL("nli_entailment_threshold", 0, 1),
    OPT_END,
};

static const char no_halu[] = "answers are not checked against their sources";

static const struct option hallucination_options[] = {
    OPT_KNOWN_FLAG("enabled"),
    OPT_UNSERVED("on_hallucination_detected", no_halu),
    OPT_KNOWN_MAP("fact_check", model_options),
    OPT_UNSERVED_MAP("detector", detector_options, no_halu),
    OPT_UNSERVED_MAP("explainer", detector_options, no_halu),
    OPT_END,
};

static const struct option module_options[] = {
    OPT_IGNORED_MAP("prompt_compression", compression_options,
                    "signals read the whole text, which costs microseconds"),
    OPT_KNOWN_MAP("prompt_guard", model_options),
    OPT_KNOWN_MAP("classifier", classifier_options),
    OPT_KNOWN_MAP("complexity", complexity_options),
    OPT_KNOWN_MAP("hallucination_mitigation", hallucination_options),
    OPT_KNOWN_MAP("feedback_detector", model_options),
    OPT_KNOWN_MAP("modality_detector", modality_options),
    OPT_END,
};

const struct option accepted_catalog[] = {
    OPT_KNOWN_MAP("embeddings", embeddings_options),
    OPT_IGNORED_MAP("system", system_options, own_models),
    OPT_UNSERVED_MAP("external", external_options, "helper models"),
    OPT_KNOWN_ANY("kbs"), /* read by the family of knowledge bases */
    OPT_KNOWN_MAP("modules", module_options),
    OPT_END,
};

/* ---- router ---- */

const struct option accepted_streamed_body[] = {
    OPT_KNOWN_FLAG("enabled"),
    OPT_KNOWN_NUMBER("max_bytes", MANY),
    OPT_KNOWN_NUMBER("timeout_sec", MANY),
    OPT_END,
};

const struct option accepted_skip[] = {
    OPT_KNOWN_FLAG("enabled"),
    OPT_END,
};

/* ---- listeners ---- */

static const struct option listener_options[] = {
    OPT_KNOWN_TEXT("name"), OPT_KNOWN_TEXT("address"), PORT, OPT_KNOWN_TEXT("timeout"), OPT_END,
};

static const struct option listeners_options[] = {
    OPT_IGNORED_MAP("listeners", listener_options,
                    "ports of their proxy; this gateway listens on gateway.listen"),
    OPT_END,
};

int accepted_listeners(const struct config *c, struct arena *arena, struct problems *p)
{
    static const struct str key = { "listeners", 9 };
    union discarded nobody = { .number = 0 };
    if (!c->listeners)
        return 0;
    const struct node map = {
        .kind = NODE_map, .n = 1, .items = &c->listeners, .keys = &key, .key_nodes = &c->listeners
    };
    return schema_read(&nobody, listeners_options, &map, "", arena, p);
}

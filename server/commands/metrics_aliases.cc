// SPDX-License-Identifier: Apache-2.0
#include "server/commands/metrics_aliases.h"

#include <utility>

namespace hadal::commands {
namespace {

// Our name and vLLM's (its V1 engine's). Units agree: both count tokens, seconds, and use of the cache from 0 to 1.
constexpr std::pair<const char*, const char*> kVllmNames[] = {
    {"hadal_requests_waiting", "vllm:num_requests_waiting"},
    {"hadal_requests_running", "vllm:num_requests_running"},
    {"hadal_kv_cache_usage_ratio", "vllm:kv_cache_usage_perc"},
    {"hadal_kv_cache_info", "vllm:cache_config_info"},
    {"hadal_prompt_tokens_total", "vllm:prompt_tokens_total"},
    {"hadal_generation_tokens_total", "vllm:generation_tokens_total"},
    {"hadal_finished_choices_total", "vllm:request_success_total"},
    {"hadal_preemptions_total", "vllm:num_preemptions_total"},
    {"hadal_prefix_cache_query_tokens_total", "vllm:prefix_cache_queries_total"},
    {"hadal_prefix_cache_hit_tokens_total", "vllm:prefix_cache_hits_total"},
    {"hadal_time_to_first_token_seconds", "vllm:time_to_first_token_seconds"},
    {"hadal_inter_token_latency_seconds", "vllm:inter_token_latency_seconds"},
    {"hadal_request_duration_seconds", "vllm:e2e_request_latency_seconds"},
    {"hadal_queue_time_seconds", "vllm:request_queue_time_seconds"},
    {"hadal_prefill_time_seconds", "vllm:request_prefill_time_seconds"},
    {"hadal_decode_time_seconds", "vllm:request_decode_time_seconds"},
    {"hadal_request_prompt_tokens", "vllm:request_prompt_tokens"},
    {"hadal_request_generation_tokens", "vllm:request_generation_tokens"},
};

}  // namespace

void AddVllmAliases(const std::string& model, base::MetricRegistry* registry) {
  for (const auto& [source, name] : kVllmNames) {
    registry->AddAlias({source, name, {{"model_name", model}, {"engine", "0"}}});
  }
}

}  // namespace hadal::commands

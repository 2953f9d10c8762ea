// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/admission/admission_options.h"
#include "server/base/flag_set.h"
#include "server/base/log_options.h"
#include "server/batches/batch_options.h"
#include "server/commands/model_options.h"
#include "server/engine/engine_options.h"
#include "server/http/http_options.h"
#include "server/kv_events/kv_event_options.h"
#include "server/pipeline/pipeline_options.h"
#include "server/response_cache/response_cache_options.h"
#include "server/rpc/grpc_options.h"
#include "server/service/degradation_options.h"
#include "server/service/front_options.h"
#include "server/service/grammar_options.h"
#include "server/service/trace_options.h"
#include "server/tls/tls_options.h"
#include "server/upstream/upstream_options.h"

namespace hadal::commands {

// Other names under which /metrics exposes levels and times, too.
enum class MetricsAliases {
  kNone,
  kVllm,  // vLLM's, with its labels model_name and engine
};

// Everything that `hadal serve` and `hadal plan` can be told: the options of each part, which also say what the flags
// are called. docs/configuration.md explains them.
struct ServerConfig {
  ModelOptions model;
  engine::EngineOptions engine;
  admission::AdmissionOptions admission;
  service::GrammarOptions grammar;
  service::DegradationOptions degradation;
  response_cache::ResponseCacheOptions response_cache;
  upstream::UpstreamOptions upstream;
  service::FrontOptions front;  // parsing copies it into the parts that hold it, too
  http::HttpOptions http;
  rpc::GrpcOptions grpc;
  kv_events::KvEventOptions kv_events;
  pipeline::PipelineOptions pipeline;
  batches::BatchOptions batches;
  tls::TlsOptions tls;
  base::LogOptions log;
  service::TraceOptions trace;
  std::string api_key_file;
  bool insecure_public = false;  // a public address without keys
  MetricsAliases metrics_aliases = MetricsAliases::kNone;
  absl::Duration drain_timeout = absl::Seconds(30);

  void AddFlags(base::FlagSet* flags);
};

struct ParsedConfig {
  ServerConfig config;
  base::ParsedFlags flags;
};

// Parses the arguments after the subcommand, the HADAL_ variables and the file that --config names. Errors as
// of base::FlagSet::Parse.
absl::StatusOr<ParsedConfig> ParseServerConfig(std::string_view subcommand, const std::vector<std::string>& args);

}  // namespace hadal::commands

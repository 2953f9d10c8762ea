// SPDX-License-Identifier: Apache-2.0
#include "server/commands/server_config.h"

#include <algorithm>
#include <utility>

namespace hadal::commands {
namespace {

// Variables of scripts, tests and libraries of ours that are no flags.
const std::vector<std::string>& OtherVariables() {
  static const auto* const names = new std::vector<std::string>{"HADAL_BINARY",
                                                                "HADAL_BUILD_DIR",
                                                                "HADAL_CCACHE_DIR",
                                                                "HADAL_CONFIG",
                                                                "HADAL_CPU_ISA",
                                                                "HADAL_CUDA_TORCH_OPS",
                                                                "HADAL_DEEPSEEK_TOKENIZER",
                                                                "HADAL_DEMO_MODEL",
                                                                "HADAL_FUZZ_ITERATIONS",
                                                                "HADAL_PRESET",
                                                                "HADAL_REQUIRE_GPU",
                                                                "HADAL_SKIP_OS_CHECK",
                                                                "HADAL_SOURCE_DIR",
                                                                "HADAL_VENV"};
  return *names;
}

}  // namespace

void ServerConfig::AddFlags(base::FlagSet* flags) {
  flags->StartGroup("Models and their device");
  model.AddFlags(flags);
  flags->StartGroup("Batches of the engine, KV cache");
  engine.AddFlags(flags);
  flags->StartGroup("Admission and Retry-After");
  admission.AddFlags(flags);
  flags->StartGroup("Streams and drain");
  front.stream.AddFlags(flags);
  flags->AddDuration("drain-timeout", &drain_timeout, "how long running requests may take to finish after SIGTERM");
  flags->StartGroup("Constrained output");
  grammar.AddFlags(flags);
  flags->StartGroup("When the server is full: degraded answers");
  degradation.AddFlags(flags);
  flags->StartGroup("Response cache");
  response_cache.AddFlags(flags);
  flags->StartGroup("When the server is full: other servers");
  upstream.AddFlags(flags);
  flags->StartGroup("HTTP");
  front.AddFlags(flags);
  http.AddFlags(flags);
  flags->StartGroup("gRPC");
  grpc.AddFlags(flags);
  flags->StartGroup("KV events");
  kv_events.AddFlags(flags);
  flags->StartGroup("Several hosts for one model");
  pipeline.AddFlags(flags);
  flags->StartGroup("Files and batches");
  batches.AddFlags(flags);
  flags->StartGroup("TLS and keys");
  tls.AddFlags(flags);
  flags->AddText("api-key-file", &api_key_file, "bearer keys, one 'key tenant [class] [gateway]' a line", "none");
  flags->AddSwitch("insecure-public", &insecure_public, "allow a public address without API keys");
  flags->StartGroup("Metrics, logs, traces");
  flags->AddEnum("metrics-aliases", &metrics_aliases,
                 {{"none", MetricsAliases::kNone}, {"vllm", MetricsAliases::kVllm}},
                 "vllm: /metrics shows what vLLM exports under its names, too");
  log.AddFlags(flags);
  trace.AddFlags(flags);
}

absl::StatusOr<ParsedConfig> ParseServerConfig(std::string_view subcommand, const std::vector<std::string>& args) {
  ParsedConfig parsed;
  ServerConfig& config = parsed.config;
  base::FlagSet flags({.prefix = "HADAL_", .others = OtherVariables()});
  config.AddFlags(&flags);
  absl::StatusOr<base::ParsedFlags> values = flags.Parse("hadal " + std::string(subcommand), args);
  if (!values.ok()) return values.status();
  parsed.flags = *std::move(values);
  config.engine.stream = config.front.stream;
  config.http.front = config.front;
  config.grpc.front = config.front;
  config.batches.max_line_bytes = config.front.max_body_bytes;
  if (config.grpc.port == config.http.port && config.http.port != 0) config.grpc.port = -1;  // they share it
  // Every sequence of a batch has a token in a step: models, caches and scheduler all count with that.
  config.engine.max_batch_tokens = std::max(config.engine.max_batch_tokens, config.engine.max_batch_size);
  return parsed;
}

}  // namespace hadal::commands

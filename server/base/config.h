// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace hadal::base {

// One --model flag: NAME=DIR, or DIR with the folder's name.
struct ModelFlag {
  std::string name;
  std::string dir;
};

// Everything `hadal serve` and `hadal plan` can be told. Each member is the flag of the same name with dashes; each
// flag is also HADAL_NAME in the environment and a key in --config FILE.toml. Precedence: flag, environment, file,
// default.
struct ServerConfig {
  std::vector<ModelFlag> models;  // empty: the demo model
  std::string host = "127.0.0.1";
  int port = 8000;                     // 0 picks one and prints it
  int grpc_port = -1;                  // -1: gRPC shares `port`
  std::string device = "auto";         // auto, cpu, cuda, cuda:N
  std::string dtype = "auto";          // auto, bfloat16, float16, float32
  std::string load_format = "auto";    // auto, dummy, null
  std::string chat_template = "auto";  // auto, or the name of a style that every model is served with
  int threads = 0;                     // CPU compute threads; 0: one for each core
  int64_t memory_budget_bytes = 0;     // 0: auto
  int max_model_len = 0;               // 0: from config.json
  int kv_block_tokens = 64;
  int max_batch_size = 256;     // sequences per step
  int max_batch_tokens = 2048;  // tokens per step
  int batch_wait_us = 0;
  int max_queue_requests = 512;
  int64_t max_queue_tokens = 0;    // 0: off
  int overload_http_status = 503;  // 503 or 429
  absl::Duration drain_timeout = absl::Seconds(30);
  absl::Duration slow_reader_timeout = absl::Seconds(60);
  absl::Duration stall_timeout = absl::Seconds(30);  // /health/live fails when runnable work makes no step for so long
  absl::Duration request_timeout = absl::Seconds(60);  // for headers and body to arrive
  int64_t max_body_bytes = 16 << 20;
  int max_connections = 4096;
  std::string api_key_file;
  bool insecure_public = false;  // bind a public address without keys
  bool prefix_cache = true;
  int grammar_threads = 2;                               // schemas compiled at a time
  absl::Duration grammar_time_limit = absl::Seconds(5);  // for one of them
  int64_t grammar_cache_bytes = 64 << 20;
  int64_t grammar_max_schema_bytes = 64 << 10;
  std::string log_format = "auto";  // auto, text, json
  std::string log_level = "info";   // debug, info, warn, error
};

enum class ValueSource { kDefault, kFile, kEnvironment, kFlag };

struct ParsedConfig {
  ServerConfig config;
  bool print_config = false;                   // --print-config
  std::string help;                            // not empty: --help was asked for; print it and exit 0
  std::map<std::string, ValueSource> sources;  // by flag name without dashes in front
  std::map<std::string, std::string> values;   // effective values as text

  // The effective configuration as TOML, each line with where its value came from.
  std::string ToToml() const;
};

// Parses the arguments after the subcommand. InvalidArgument names the flag, variable or key, what it accepts and what
// was found; unknown names come with the nearest known one. Reads the environment and the config file.
absl::StatusOr<ParsedConfig> ParseServerConfig(std::string_view subcommand, const std::vector<std::string>& args);

// "24GiB", "512MB", "1000000": bytes. "30s", "500ms", "2m": a duration. InvalidArgument says what is accepted.
absl::StatusOr<int64_t> ParseBytes(std::string_view text);
absl::StatusOr<absl::Duration> ParseDuration(std::string_view text);

// The candidate with the smallest edit distance, or "" when none is near.
std::string NearestName(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace hadal::base

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/time/time.h"
#include "models/grammar/schema_limits.h"
#include "server/base/flag_set.h"
#include "server/base/metrics.h"

namespace hadal::service {

struct GrammarOptions {
  int threads = 2;                               // compilations at a time
  size_t max_waiting = 64;                       // grammars that wait for a thread; more are refused as busy
  absl::Duration time_limit = absl::Seconds(5);  // from the call; above: 400 when it ran, 503 when it waited
  int64_t cache_bytes = int64_t{64} << 20;       // of compiled grammars that nobody uses
  grammar::SchemaLimits limits;                  // of one schema
  base::MetricRegistry* metrics = nullptr;       // outlives the service; nullptr: not exported

  void AddFlags(base::FlagSet* flags) {
    flags->AddInt("grammar-threads", &threads, {1, 64}, "JSON schemas compiled concurrently");
    flags->AddDuration("grammar-time-limit", &time_limit, "maximum time to compile a JSON schema");
    flags->AddBytes("grammar-cache", &cache_bytes, "memory for the cache of compiled JSON schemas");
    flags->AddBytes("grammar-max-schema", &limits.max_bytes, "maximum size of a JSON schema");
  }
};

}  // namespace hadal::service

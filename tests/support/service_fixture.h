// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/time/time.h"
#include "server/base/clock.h"
#include "server/service/generate_service.h"
#include "tests/support/demo_tokenizer.h"
#include "tests/support/scripted_engine.h"

namespace hadal::testing {

// Service, admission and scripted engine with the demo tokenizer under the name "demo", all in one process.
class ServiceFixture {
 public:
  static constexpr int64_t kBlockBytes = 1000;

  struct Options {
    int64_t max_queue_requests = 64;
    int32_t max_model_len = 512;
    int32_t stream_capacity_tokens = 1024;
    int worker_threads = 2;
    size_t max_worker_jobs = 256;
    bool ready = true;
    std::optional<chat::ChatStyle> chat_style;  // left out: the demo model's
    service::GrammarService::Options grammars = {};
    service::BodyBudget::Options bodies = {};
    service::DegradationOptions degradation = {};
    response_cache::ResponseCacheOptions response_cache = {};
    int64_t pool_blocks = int64_t{1} << 30;
    bool second_model = false;                 // "other", which no engine runs
    base::Clock* clock = base::Clock::Real();  // the service's; admission and engine have the real one
  };

  explicit ServiceFixture(ScriptedEngine::MakeScript script) : ServiceFixture(std::move(script), Options()) {}
  ServiceFixture(ScriptedEngine::MakeScript script, Options options);
  ~ServiceFixture();

  // A script that says `text` and then ends with the end-of-sequence token.
  static ScriptedEngine::MakeScript Says(std::string text);

  // Everything was given back: no slot, no token, no byte is held.
  bool Empty() const;
  bool WaitEmpty(absl::Duration timeout = absl::Minutes(1)) const;

  base::MetricRegistry metrics;
  admission::KvPoolLedger pool;
  admission::KvPoolLedger other_pool{int64_t{1} << 40};
  service::ModelTable models;
  std::unique_ptr<admission::AdmissionController> admission;
  response_cache::ResponseCacheMetrics response_cache_metrics{&metrics};
  std::unique_ptr<response_cache::ResponseCache> response_cache;  // null: no options ask for it
  std::unique_ptr<service::GenerateService> service;
  std::unique_ptr<ScriptedEngine> engine;
};

}  // namespace hadal::testing

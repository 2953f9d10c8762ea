// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "server/admission/admission.h"
#include "server/base/metrics.h"
#include "server/engine/engine.h"
#include "server/engine/engine_observer.h"
#include "server/service/generate_service.h"

namespace hadal::commands {

// Counts what the engine reports. Called on engine threads; every update is an atomic operation. Thread-safe.
class EngineMetrics final : public engine::EngineObserver {
 public:
  explicit EngineMetrics(base::Metrics* metrics);

  void OnStep(const engine::StepFacts& facts) override;
  void OnStarted(request::Priority priority, absl::Duration queue_time) override;
  void OnFirstToken(request::Priority priority, absl::Duration since_arrival) override;
  void OnTokens(int32_t tokens) override;
  void OnInterToken(absl::Duration gap) override;
  void OnPrefixLookup(int32_t query_tokens, int32_t hit_tokens) override;
  void OnPreempted(int32_t lost_tokens) override;
  void OnRecomputed(int32_t tokens) override;
  void OnEnded(const engine::RequestFacts& facts) override;

 private:
  base::Metrics* const metrics_;
  // Series by class, looked up once.
  std::vector<base::Histogram*> queue_time_, first_token_, duration_;
};

// Makes admission count attempts and refusals.
void CountAdmission(base::Metrics* metrics, admission::AdmissionController::Options* options);

// What gauges are read from when somebody scrapes.
struct GaugeSources {
  const admission::AdmissionController* admission = nullptr;
  std::vector<const engine::Engine*> engines;
  int64_t memory_budget_bytes = 0;
  int64_t memory_fixed_bytes = 0;   // weights and workspace
  bool ready = false;
  bool draining = false;
};
void UpdateGauges(base::Metrics* metrics, const GaugeSources& sources);

// The same facts for GetLoad.
service::Load MakeLoad(const GaugeSources& sources);

}  // namespace hadal::commands

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "server/admission/admission.h"
#include "server/base/metrics.h"
#include "server/engine/engine.h"
#include "server/service/generate_service.h"

namespace hadal::commands {

// Makes admission count attempts and refusals.
void CountAdmission(base::Metrics* metrics, admission::AdmissionController::Options* options);

// What gauges are read from when somebody scrapes.
struct GaugeSources {
  const admission::AdmissionController* admission = nullptr;
  std::vector<const engine::Engine*> engines;
  int64_t memory_budget_bytes = 0;
  int64_t memory_fixed_bytes = 0;  // weights and workspace
  bool ready = false;
  bool draining = false;
};
void UpdateGauges(base::Metrics* metrics, const GaugeSources& sources);

// The same facts for GetLoad.
service::Load MakeLoad(const GaugeSources& sources);

}  // namespace hadal::commands

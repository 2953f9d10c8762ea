// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "server/admission/admission.h"
#include "server/engine/engine.h"
#include "server/service/generate_service.h"

namespace hadal::commands {

// Where the server's load is read from; borrowed.
struct LoadSources {
  const admission::AdmissionController* admission = nullptr;
  std::vector<const engine::Engine*> engines;
  int64_t memory_budget_bytes = 0;
  int64_t memory_fixed_bytes = 0;  // weights and workspace
  bool ready = false;
  bool draining = false;
};

// The load at this moment, for GetLoad and the metrics. Waits for nothing but the admission controller's short lock.
service::Load MakeLoad(const LoadSources& sources);

}  // namespace hadal::commands

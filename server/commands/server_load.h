// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "server/admission/admission.h"
#include "server/admission/memory_ledger.h"
#include "server/engine/engine.h"
#include "server/service/generate_service.h"

namespace hadal::commands {

// Where the server's load is read from; borrowed.
struct LoadSources {
  const admission::AdmissionController* admission = nullptr;
  std::vector<const engine::Engine*> engines;
  const admission::MemoryLedger* memory = nullptr;  // null until the models are loaded
  bool ready = false;
  bool draining = false;
};

// The current load, for GetLoad and the metrics. Only takes the admission controller's short lock.
service::Load MakeLoad(const LoadSources& sources);

}  // namespace hadal::commands

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "models/model.h"
#include "server/admission/admission.h"
#include "server/commands/memory_planner.h"
#include "server/engine/engine.h"

namespace hadal::commands {

// Creates the engine of a loaded model without starting it: registers the model with `admission`, allocates its caches
// as planned, logs their size, and warms the model up, which fails if the device cannot compute. `options` are those of
// every engine; name and cache sizes are set here, from `caches` and the index that admission gives. `admission`
// outlives the engine. `on_warm_up` is told the share of the warm-up that is done.
absl::StatusOr<std::unique_ptr<engine::Engine>> CreateEngine(engine::EngineOptions options,
                                                             std::shared_ptr<models::Model> model,
                                                             const CachePlan& caches,
                                                             admission::AdmissionController* admission,
                                                             const std::function<void(double)>& on_warm_up);

}  // namespace hadal::commands

// SPDX-License-Identifier: Apache-2.0
//
// Steps that nobody asked for, run while loading: they load kernels, choose algorithms, touch weights and grow what
// grows, so that the first request pays for none of it; and a device that cannot compute is found before "ready".
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "models/model.h"

namespace hadal::models {

struct WarmUpLimits {
  int32_t max_tokens = 0;     // of a step
  int32_t max_sequences = 0;  // of a step
  KvCacheSize cache;          // what AllocateKvCache was given
  // True: every batch size that decode steps are padded to, a single sequence again, and every chunk length by powers
  // of four, for a device that chooses kernels by them and records what it replays. False: one short prompt and one
  // token after it, for a processor, where longer ones only take longer.
  bool every_size = false;
};

// Equal sequences that each add `tokens` after `cached` others.
struct WarmUpStep {
  int32_t sequences = 1, cached = 0, tokens = 1;

  bool operator==(const WarmUpStep&) const = default;
};

// Which steps are run, in order: what a step reads, an earlier one has written.
std::vector<WarmUpStep> WarmUpSteps(const WarmUpLimits& limits, int32_t max_model_len);

// Runs them between Model::BeginWarmUp and EndWarmUp; gives their number. After AllocateKvCache and before the engine:
// the steps write over the caches. An error names the step. `on_step`, which may be empty, is told after each which
// share of the work is done, 1 at the end.
absl::StatusOr<int> WarmUp(Model& model, const WarmUpLimits& limits,
                           const std::function<void(double share)>& on_step = {});

}  // namespace hadal::models

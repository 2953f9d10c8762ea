// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "server/admission/wait_forecast.h"
#include "server/engine/batch_plan.h"
#include "server/engine/engine_options.h"

namespace hadal::engine {

// The token limit of a step: max_batch_tokens, but fewer while sequences decode, so that prefill chunks in the same
// step do not delay them for longer than step_time_target (stall-free chunked prefill: Agrawal et al., Sarathi-Serve,
// OSDI 2024). If decoding alone takes more than half the target, prefill gets as much time as decoding, so that it
// never starves. Learns the cost of prompt tokens from the steps that ran; until then nothing is cut. Not thread-safe.
//
// It applies a policy to the fit of admission's StepTimeModel and adds a cost per prompt token of its own. StepCost
// makes steps shorter for another reason: so that an urgent request does not wait long for the step that runs.
class StepTokenBudget {
 public:
  // Keeps the reference.
  explicit StepTokenBudget(const EngineOptions& options) : options_(options) {}

  // `plan` ran and took `seconds`; `time` is the current fit of the step time.
  void Record(const BatchPlan& plan, double seconds, const admission::StepTime& time);
  // The limit of a step in which that many sequences decode over `context_tokens` tokens of context in total.
  int32_t Limit(int32_t decoding_sequences, int64_t context_tokens) const;

 private:
  const EngineOptions& options_;
  admission::StepTime time_;
  // Seconds per prompt token, including its share of the cost of its sequence: the time by which steps exceeded
  // decoding alone. 0 until there was one.
  double prompt_token_s_ = 0;
};

}  // namespace hadal::engine

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "server/admission/wait_forecast.h"
#include "server/engine/batch_plan.h"
#include "server/engine/engine_options.h"

namespace hadal::engine {

// How many tokens a step may hold: max_batch_tokens, but fewer while sequences decode, so that the prompts beside them
// do not stall them for longer than step_time_target (chunked prefill within a time: Agrawal et al., Sarathi-Serve,
// OSDI 2024). Where decoding alone takes more than half the target, prompts get as long as it takes, so that they never
// starve. Learns what prompts cost from the steps that ran; until then nothing is cut. Not thread-safe.
class StepTokenBudget {
 public:
  // Keeps the reference.
  explicit StepTokenBudget(const EngineOptions& options) : options_(options) {}

  // `plan` ran and took `seconds`; `time` is what steps cost by now.
  void Record(const BatchPlan& plan, double seconds, const admission::StepTime& time);
  // Tokens for a step in which so many sequences decode, that look back on `context_tokens` together.
  int32_t Limit(int32_t decoding_sequences, int64_t context_tokens) const;

 private:
  const EngineOptions& options_;
  admission::StepTime time_;
  // Of a prompt token, with its share of what its sequence costs: what steps took longer than decoding alone would
  // have. 0 until there was one.
  double prompt_token_s_ = 0;
};

}  // namespace hadal::engine

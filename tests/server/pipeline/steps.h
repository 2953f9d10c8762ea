// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "models/model.h"
#include "server/pipeline/step_codec.h"
#include "tests/models/step_builder.h"

namespace hadal::pipeline::testing {

inline constexpr StepLimits kLimits = {
    .max_tokens = 32, .max_sequences = 4, .max_model_len = 64, .block_tokens = 4, .vocab_size = 100, .state_bytes = 8};

// A step with everything that a step may have.
inline models::StepInput FullStep() {
  models::testing::StepBuilder builder(4, 8, /*windowed=*/true);
  models::SamplingParams params;
  params.temperature = 0.5f;
  params.top_k = 7;
  params.top_p = 0.9f;
  params.min_p = 0.01f;
  params.repetition_penalty = 1.1f;
  params.frequency_penalty = -0.5f;
  params.presence_penalty = 0.25f;
  params.seed = 0x123456789abcdef0;
  params.logit_bias = {{3, 1.5f}, {99, -2.0f}};
  builder.Add(0, 0, {3, 4, 5, 6, 7});
  models::SampleRow& row = builder.Sample(params);
  row.top_logprobs = 20;
  row.penalties = {{4, 2, false}, {5, 0, true}};
  row.forbidden_tokens = {1, 2};
  row.allowed_tokens = std::make_shared<const std::vector<uint32_t>>(std::vector<uint32_t>{1, 2, 3, 0xf});
  builder.Score(1, 9);
  builder.Add(1, 5, {8}).Sample();
  return builder.Take();
}

}  // namespace hadal::pipeline::testing

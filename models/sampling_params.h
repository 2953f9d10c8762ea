// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace hadal::models {

// How the next token of a sequence is chosen from its logits. Plain data; validated by the front ends.
// Order of application: repetition, frequency and presence penalties, logit bias, temperature, top-k, top-p, min-p.
struct SamplingParams {
  float temperature = 1.0f;         // >= 0; 0 is greedy (ties go to the lowest id)
  int32_t top_k = 0;                // 0 is off
  float top_p = 1.0f;               // (0, 1]; 1 is off
  float min_p = 0.0f;               // [0, 1]; 0 is off; relative to the most likely token
  float repetition_penalty = 1.0f;  // > 0; 1 is off; over prompt and output
  float frequency_penalty = 0.0f;   // times the count in the output
  float presence_penalty = 0.0f;    // once for each token seen in the output
  uint64_t seed = 0;                // key of the counter-based generator; the counter is the token's position
  std::vector<std::pair<int32_t, float>> logit_bias;  // (token id, added to its logit)

  bool HasPenalties() const {
    return repetition_penalty != 1.0f || frequency_penalty != 0.0f || presence_penalty != 0.0f;
  }
};

}  // namespace hadal::models

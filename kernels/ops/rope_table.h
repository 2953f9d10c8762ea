// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace hadal::kernels {

enum class RopeScaling { kNone, kLinear, kDynamic, kLlama3, kYarn };

// What config.json says about rotary embeddings. YaRN: Peng et al., arXiv:2309.00071; the numbers agree with the
// float32 tables of Hugging Face transformers.
struct RopeConfig {
  RopeScaling scaling = RopeScaling::kNone;
  int64_t dim = 0;  // rotated values per head, even
  double theta = 10000.0;
  double factor = 1.0;  // linear, dynamic, llama3, yarn; >= 1
  // Position limit before scaling: llama3 and yarn's original_max_position_embeddings,
  // dynamic's max_position_embeddings.
  int64_t original_max_positions = 0;
  double low_freq_factor = 1.0;   // llama3
  double high_freq_factor = 4.0;  // llama3
  double beta_fast = 32.0;        // yarn
  double beta_slow = 1.0;         // yarn
  bool truncate = true;           // yarn: round the correction range outwards
  double mscale = 0.0;            // yarn; 0: not given
  double mscale_all_dim = 0.0;    // yarn, and MlaSoftmaxScaleFactor; 0: not given
  double attention_factor = 0.0;  // yarn; 0: derived from the two above, or from factor
  double attn_factor = 1.0;       // yarn: multiplies the derived factor (R1-0528-Qwen3-8B)
};

// InvalidArgument names the field and its value.
absl::Status CheckRopeConfig(const RopeConfig& config);

// Rotation frequencies f'_i, [dim / 2]. For kDynamic those of a sequence of `sequence_tokens` tokens.
std::vector<float> RopeInverseFrequencies(const RopeConfig& config, int64_t sequence_tokens = 0);

// The factor on cos and sin: 1 except for YaRN.
double RopeAttentionFactor(const RopeConfig& config);

// YaRN's m(factor, mscale) = 0.1 * mscale * ln(factor) + 1, or 1 when factor <= 1.
double YarnMscale(double factor, double mscale);

// What the softmax scale of multi-head latent attention is multiplied with: m(factor, mscale_all_dim)^2 for any scaling
// with mscale_all_dim, as in the published model code, else 1.
double MlaSoftmaxScaleFactor(const RopeConfig& config);

// [positions, dim / 2] each, row-major. Row p of kDynamic uses the frequencies of a sequence of p + 1 tokens, which is
// what decoding token by token gives; a table cannot follow implementations that rescale old keys' angles later.
struct RopeTable {
  int64_t positions = 0;
  int64_t half_dim = 0;
  std::vector<float> cos;
  std::vector<float> sin;
};

// Tables for positions 0..positions-1. InvalidArgument for a bad config or positions outside [0, 2^24] (float32 angles
// are exact up to there).
absl::StatusOr<RopeTable> BuildRopeTable(const RopeConfig& config, int64_t positions);

}  // namespace hadal::kernels

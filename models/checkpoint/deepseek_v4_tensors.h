// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "absl/strings/string_view.h"
#include "models/checkpoint/tensor_spec.h"
#include "models/config/config.h"

namespace hadal::checkpoint {

// DeepSeek-V4's tensors under their published names: no "model." prefix, w1 gate, w3 up, w2
// down. The configuration has v4_attention, hyper_connections and moe, and an indexer when a layer is sparse.

// The whole model.
std::vector<TensorSpec> DeepseekV4Tensors(const config::ModelConfig& config);

// What the tensors add up to, without listing every expert. The limits of ParseModelConfig keep parameters below 2^62.
struct DeepseekV4Totals {
  int64_t parameters = 0;  // entries of the tables of hash layers included
  int64_t active = 0;      // in matrices that one token multiplies with
};
DeepseekV4Totals CountDeepseekV4(const config::ModelConfig& config);
// One block for multi-token prediction as the preview checkpoints hold it: mtp.0.*.
int64_t DeepseekV4MtpParameters(const config::ModelConfig& config);
// Bytes held for a compute type. The configuration has been accepted by ParseModelConfig.
int64_t DeepseekV4WeightsBytes(const config::ModelConfig& config, kernels::DType compute_dtype);

// mtp.STAGE.*: what the published checkpoints hold for multi-token prediction, both of the preview (one block with
// e_proj and h_proj) and of DSpark (a drafter of three blocks with markov_head and confidence_head). Told by name:
// num_nextn_predict_layers does not say which of the two it is.
bool IsDeepseekV4MtpTensor(absl::string_view name);

// What transformers' save_pretrained calls the tensor of that published name: "model." before all but the head, and
// three tensors under names of their own.
std::string DeepseekV4SavedName(absl::string_view name);

}  // namespace hadal::checkpoint

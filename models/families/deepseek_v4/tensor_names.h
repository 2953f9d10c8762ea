// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "models/config/config.h"

namespace hadal::models {

// Names of DeepSeek-V4's tensors that no block declares.

// mtp.STAGE.*: what the published checkpoints hold for multi-token prediction, both of the preview (one block with
// e_proj and h_proj) and of DSpark (a drafter of three blocks with markov_head and confidence_head). Told by name:
// num_nextn_predict_layers does not say which of the two it is, so the configuration is not asked.
bool IsV4MtpTensor(const config::ModelConfig& config, absl::string_view name);

// What transformers' save_pretrained calls the tensor of that published name: "model." before all but the head, and
// three tensors under names of their own.
std::string V4SavedName(absl::string_view name);

}  // namespace hadal::models

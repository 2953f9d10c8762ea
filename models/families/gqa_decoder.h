// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "models/families/family.h"

namespace hadal::models {

// Grouped-query attention and a feed-forward part, dense or experts, in every layer: llama, qwen2, qwen3 and
// deepseek_moe, which differ in what their configuration says about biases, head norms, rotary scaling and experts.
absl::StatusOr<std::unique_ptr<Network>> LoadGqaDecoder(const LoadContext& context, const FamilyOptions& options);

KvLayout GqaDecoderKvLayout(const config::ModelConfig& config, kernels::DType dtype);

int64_t GqaDecoderWorkspaceBytes(const config::ModelConfig& config, kernels::DType dtype, int64_t tokens);

}  // namespace hadal::models

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "models/families/family.h"

namespace hadal::models {

// Latent attention and a feed-forward part, dense or experts, in every layer: deepseek_v2 and deepseek_v3, which differ
// in how their routers score and choose, and, where the configuration has an indexer, deepseek_v32.
absl::StatusOr<std::unique_ptr<Network>> LoadMlaDecoder(const LoadContext& context, const FamilyOptions& options);

KvLayout MlaDecoderKvLayout(const config::ModelConfig& config, kernels::DType dtype);

int64_t MlaDecoderWorkspaceBytes(const config::ModelConfig& config, kernels::DType dtype, int64_t tokens);

}  // namespace hadal::models

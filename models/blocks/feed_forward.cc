// SPDX-License-Identifier: Apache-2.0
#include "models/blocks/feed_forward.h"

#include <algorithm>

#include "models/blocks/mlp.h"
#include "models/blocks/moe.h"

namespace hadal::models {

absl::StatusOr<std::unique_ptr<FeedForwardBlock>> LoadFeedForward(const LoadContext& context, int64_t layer,
                                                                  const std::string& name) {
  if (context.config.IsMoeLayer(layer)) return Moe::Load(context, name);
  return Mlp::Load(context, name, context.config.intermediate_size, context.config.mlp_bias);
}

int64_t FeedForwardWorkspaceBytes(const config::ModelConfig& config, kernels::DType dtype, int64_t tokens) {
  const int64_t dense = Mlp::WorkspaceBytes(config.intermediate_size, dtype, tokens);
  return config.moe.has_value() ? std::max(dense, Moe::WorkspaceBytes(config, dtype, tokens)) : dense;
}

}  // namespace hadal::models

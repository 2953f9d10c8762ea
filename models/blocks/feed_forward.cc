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

}  // namespace hadal::models

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "models/blocks/layer_parts.h"

namespace hadal::models {

// The feed-forward block that the configuration gives a layer: experts where ModelConfig::IsMoeLayer says so, else a
// dense SwiGLU. Checkpoint names start with `name`.
absl::StatusOr<std::unique_ptr<FeedForwardBlock>> LoadFeedForward(const LoadContext& context, int64_t layer,
                                                                  const std::string& name);

}  // namespace hadal::models

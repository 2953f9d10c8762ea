// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/status.h"
#include "models/blocks/context.h"

namespace hadal::models {

// The token-mixing part of a decoder layer. Writes this step's rows into its layer's cache, then attends.
class AttentionBlock {
 public:
  virtual ~AttentionBlock() = default;
  // x [tokens, hidden] normalised input, not changed; out [tokens, hidden]. No overlap.
  virtual absl::Status Forward(const ForwardContext& context, const kernels::TensorView& x,
                               const kernels::TensorView& out) const = 0;
};

// The part of a decoder layer that treats each token by itself.
class FeedForwardBlock {
 public:
  virtual ~FeedForwardBlock() = default;
  // x [tokens, hidden] normalised input, not changed; out [tokens, hidden]. No overlap.
  virtual absl::Status Forward(const ForwardContext& context, const kernels::TensorView& x,
                               const kernels::TensorView& out) const = 0;
};

}  // namespace hadal::models

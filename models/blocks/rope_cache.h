// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/ops/rope_table.h"
#include "models/blocks/context.h"

namespace hadal::models {

// The cos and sin tables of a model on its device, shared by all layers. Immutable; the backend must outlive it.
//
// Dynamic NTK scaling has no natural meaning in a paged cache: the published rule picks the base from the length of the
// whole prompt, and turns keys that are already cached by other angles than a longer prompt would. Here a token's angle
// depends on its own position alone (the frequencies of a sequence that ends at it), so a key never changes once it is
// cached, and chunking, batching and prefix reuse give the same numbers. Up to the trained length this is the published
// rule exactly; beyond it, it is what decoding token by token gives.
class RopeCache {
 public:
  // Tables for positions 0..positions-1, declared to the loader.
  static absl::StatusOr<std::shared_ptr<const RopeCache>> Create(const LoadContext& context,
                                                                 const kernels::RopeConfig& config, int64_t positions);

  // The rotation of q and k in place, [tokens, heads, dim] each; either may be absent. `inverse` rotates back.
  kernels::RopeParams Rotation(const kernels::TensorView& positions, const kernels::TensorView& q,
                               const kernels::TensorView& k, kernels::RopeLayout layout, bool inverse = false) const;

  // Does it.
  absl::Status Apply(kernels::Backend& backend, const kernels::TensorView& positions, const kernels::TensorView& q,
                     const kernels::TensorView& k, kernels::RopeLayout layout, bool inverse = false) const;

 private:
  kernels::Buffer buffer_;
  kernels::TensorView cos_;  // f32 [positions, dim / 2]
  kernels::TensorView sin_;
};

}  // namespace hadal::models

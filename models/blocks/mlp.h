// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "models/blocks/layer_parts.h"
#include "models/blocks/linear.h"

namespace hadal::models {

// Names of a SwiGLU's matrices in a checkpoint.
struct SwigluNames {
  std::string gate = "gate_proj";
  std::string up = "up_proj";
  std::string down = "down_proj";
};

// SwiGLU: down(silu(gate(x)) * up(x)), with gate clamped at +limit and up to +-limit if there is one
// (MoeConfig::swiglu_limit). Checkpoint names: `name`.{gate,up,down}_proj or `names`. Immutable once loaded.
class Mlp : public FeedForwardBlock {
 public:
  static absl::StatusOr<std::unique_ptr<Mlp>> Load(const LoadContext& context, const std::string& name,
                                                   int64_t intermediate_size, bool bias, const SwigluNames& names = {},
                                                   double limit = 0);

  absl::Status Forward(const ForwardContext& context, const kernels::TensorView& x,
                       const kernels::TensorView& out) const override;

 private:
  Mlp() = default;

  kernels::DType dtype_ = kernels::DType::kBF16;
  float limit_ = 0;
  MergedLinear gate_up_;
  Linear down_;
};

}  // namespace hadal::models

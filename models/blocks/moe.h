// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "models/blocks/grouped_linear.h"
#include "models/blocks/layer_parts.h"
#include "models/blocks/linear.h"
#include "models/blocks/mlp.h"

namespace hadal::models {

// How a checkpoint names the parts of a mixture of experts, and whether this layer chooses by token id.
struct MoeOptions {
  SwigluNames swiglu;
  std::string correction_bias = "gate.e_score_correction_bias";
  bool hash_routing = false;  // experts from gate.tid2eid, no correction bias (first layers of V4)
};

// Mixture of experts with shared experts (DeepSeekMoE, arXiv:2401.06066): the router scores every expert in float32,
// each token goes to its best few, their outputs are added with the router's weights, and the shared experts' output is
// added. Checkpoint names: `name`.gate.weight, gate.e_score_correction_bias, experts.E.{gate,up,down}_proj,
// shared_experts; or those of `options`. Immutable once loaded.
class Moe : public FeedForwardBlock {
 public:
  static absl::StatusOr<std::unique_ptr<Moe>> Load(const LoadContext& context, const std::string& name,
                                                   const MoeOptions& options = {});

  absl::Status Forward(const ForwardContext& context, const kernels::TensorView& x,
                       const kernels::TensorView& out) const override;

 private:
  explicit Moe(const config::MoeConfig& config) : config_(config) {}

  // x [tokens, hidden] -> ids i32 and weights f32, [tokens, experts_per_token]
  absl::Status Route(const ForwardContext& context, const kernels::TensorView& x, const kernels::TensorView& ids,
                     const kernels::TensorView& weights) const;

  config::MoeConfig config_;
  kernels::DType dtype_ = kernels::DType::kBF16;
  Linear router_;
  checkpoint::LoadedTensor correction_bias_;  // absent view when there is none
  checkpoint::LoadedTensor expert_table_;     // i32 [vocab, experts_per_token] with hash routing
  GroupedLinear gate_up_;
  GroupedLinear down_;
  std::unique_ptr<Mlp> shared_;  // null without shared experts
};

}  // namespace hadal::models

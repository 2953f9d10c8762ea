// SPDX-License-Identifier: Apache-2.0
#include "models/blocks/mlp.h"

#include <optional>

#include "absl/strings/str_cat.h"
#include "models/status_macros.h"

namespace hadal::models {

absl::StatusOr<std::unique_ptr<Mlp>> Mlp::Load(const LoadContext& context, const std::string& name,
                                               int64_t intermediate_size, bool bias, const SwigluNames& names,
                                               double limit) {
  std::unique_ptr<Mlp> block(new Mlp());
  const int64_t hidden = context.config.hidden_size;
  block->dtype_ = context.dtype();
  block->limit_ = static_cast<float>(limit);
  HADAL_ASSIGN_OR_RETURN(block->gate_up_, MergedLinear::Load(context,
                                                             {{absl::StrCat(name, ".", names.gate), intermediate_size},
                                                              {absl::StrCat(name, ".", names.up), intermediate_size}},
                                                             {.in = hidden, .bias = bias}));
  HADAL_ASSIGN_OR_RETURN(block->down_, Linear::Load(context, absl::StrCat(name, ".", names.down),
                                                    {.out = hidden, .in = intermediate_size, .bias = bias}));
  return block;
}

absl::Status Mlp::Forward(const ForwardContext& context, const kernels::TensorView& x,
                          const kernels::TensorView& out) const {
  const Arena::Scope scope(context.arena);
  const int64_t inner = gate_up_.out_features() / 2;
  HADAL_ASSIGN_OR_RETURN(const kernels::TensorView gate_up, context.arena.Take(dtype_, {x.size(0), 2 * inner}));
  const kernels::TensorView gate = gate_up.Slice(1, 0, inner);
  const kernels::SiluMulParams activation = {
      .gate = gate, .up = gate_up.Slice(1, inner, inner), .out = gate, .limit = limit_};
  if (const std::optional<kernels::GemmParams> product = gate_up_.Product(x, gate_up); product.has_value()) {
    HADAL_RETURN_IF_ERROR(context.backend.GemmSiluMul({.product = *product, .activation = activation}));
  } else {
    HADAL_RETURN_IF_ERROR(gate_up_.Forward(context.backend, x, gate_up));
    HADAL_RETURN_IF_ERROR(context.backend.SiluMul(activation));
  }
  return down_.Forward(context.backend, gate, out);
}

}  // namespace hadal::models

// SPDX-License-Identifier: Apache-2.0
#include "models/blocks/moe.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "models/status_macros.h"

namespace hadal::models {
namespace {

using kernels::DType;
using kernels::TensorView;

kernels::MoeTopK TopKMethod(config::RouterSelection selection) {
  switch (selection) {
    case config::RouterSelection::kGreedy:
      return kernels::MoeTopK::kGreedy;
    case config::RouterSelection::kGroupLimitedGreedy:
      return kernels::MoeTopK::kGroupLimitedGreedy;
    case config::RouterSelection::kNoAuxTc:
      return kernels::MoeTopK::kNoauxTc;
  }
  return kernels::MoeTopK::kGreedy;
}

kernels::MoeScoring Scoring(config::RouterScoring scoring) {
  switch (scoring) {
    case config::RouterScoring::kSoftmax:
      return kernels::MoeScoring::kSoftmax;
    case config::RouterScoring::kSigmoid:
      return kernels::MoeScoring::kSigmoid;
    case config::RouterScoring::kSqrtSoftplus:
      return kernels::MoeScoring::kSqrtSoftplus;
  }
  return kernels::MoeScoring::kSoftmax;
}

// V2's two methods scale only weights that are not normalised; V3's scales always.
float RoutedScaling(const config::MoeConfig& config) {
  const bool v2_normalised = config.selection != config::RouterSelection::kNoAuxTc && config.norm_topk_prob;
  return v2_normalised ? 1.0f : static_cast<float>(config.routed_scaling_factor);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Moe>> Moe::Load(const LoadContext& context, const std::string& name,
                                               const MoeOptions& options) {
  const config::MoeConfig& config = *context.config.moe;
  std::unique_ptr<Moe> block(new Moe(config));
  const int64_t hidden = context.config.hidden_size;
  block->dtype_ = context.dtype();
  HADAL_ASSIGN_OR_RETURN(
      block->router_,
      Linear::Load(context, absl::StrCat(name, ".gate"),
                   {.out = config.routed_experts, .in = hidden, .role = checkpoint::TensorRole::kRouter}));
  if (options.hash_routing) {
    HADAL_ASSIGN_OR_RETURN(block->expert_table_,
                           context.loader.TakeExpertTable({absl::StrCat(name, ".gate.tid2eid"),
                                                           {context.config.vocab_size, config.experts_per_token},
                                                           checkpoint::TensorRole::kExpertTable},
                                                          config.routed_experts));
  } else if (config.correction_bias) {
    HADAL_ASSIGN_OR_RETURN(block->correction_bias_,
                           context.loader.Take({absl::StrCat(name, ".", options.correction_bias),
                                                {config.routed_experts},
                                                checkpoint::TensorRole::kRouterBias}));
  }
  const std::string experts = absl::StrCat(name, ".experts");
  HADAL_ASSIGN_OR_RETURN(
      block->gate_up_,
      GroupedLinear::Load(context, experts, {options.swiglu.gate, options.swiglu.up},
                          {.experts = config.routed_experts, .out = config.intermediate_size, .in = hidden}));
  HADAL_ASSIGN_OR_RETURN(
      block->down_,
      GroupedLinear::Load(context, experts, {options.swiglu.down},
                          {.experts = config.routed_experts, .out = hidden, .in = config.intermediate_size}));
  if (config.shared_experts > 0) {
    HADAL_ASSIGN_OR_RETURN(block->shared_,
                           Mlp::Load(context, absl::StrCat(name, ".shared_experts"), config.shared_intermediate_size(),
                                     false, options.swiglu, config.swiglu_limit));
  }
  return block;
}

absl::Status Moe::Route(const ForwardContext& context, const TensorView& x, const TensorView& ids,
                        const TensorView& weights) const {
  const Arena::Scope scope(context.arena);
  HADAL_ASSIGN_OR_RETURN(const TensorView logits, context.arena.Take(DType::kF32, {x.size(0), config_.routed_experts}));
  const bool hashed = expert_table_.view().present();
  return context.backend.MoeGate(
      {.gate = router_.Product(x, logits),
       .route = {.logits = logits,
                 .correction_bias = correction_bias_.view(),
                 .expert_table = expert_table_.view(),
                 .token_ids = hashed ? context.batch.token_ids : TensorView(),
                 .ids = ids,
                 .weights = weights,
                 .scoring = Scoring(config_.scoring),
                 .method = hashed ? kernels::MoeTopK::kGreedy : TopKMethod(config_.selection),
                 .n_group = config_.groups,
                 .topk_group = config_.groups_per_token,
                 .norm_topk_prob = config_.norm_topk_prob,
                 .routed_scaling = RoutedScaling(config_)}});
}

absl::Status Moe::Forward(const ForwardContext& context, const TensorView& x, const TensorView& out) const {
  kernels::Backend& backend = context.backend;
  Arena& arena = context.arena;
  const Arena::Scope scope(arena);
  const int64_t tokens = x.size(0);
  const int64_t hidden = x.size(1);
  const int64_t top_k = config_.experts_per_token;
  const int64_t pairs = tokens * top_k;
  const int64_t inner = config_.intermediate_size;

  HADAL_ASSIGN_OR_RETURN(const TensorView ids, arena.Take(DType::kI32, {tokens, top_k}));
  HADAL_ASSIGN_OR_RETURN(const TensorView weights, arena.Take(DType::kF32, {tokens, top_k}));
  HADAL_RETURN_IF_ERROR(Route(context, x, ids, weights));
  if (shared_ != nullptr) HADAL_RETURN_IF_ERROR(shared_->Forward(context, x, out));

  HADAL_ASSIGN_OR_RETURN(const TensorView row_of, arena.Take(DType::kI32, {tokens, top_k}));
  HADAL_ASSIGN_OR_RETURN(const TensorView expert_start, arena.Take(DType::kI32, {config_.routed_experts + 1}));
  HADAL_ASSIGN_OR_RETURN(const TensorView x_sorted, arena.Take(dtype_, {pairs, hidden}));
  HADAL_RETURN_IF_ERROR(
      backend.MoePermute({.ids = ids, .x = x, .x_sorted = x_sorted, .row_of = row_of, .expert_start = expert_start}));

  HADAL_ASSIGN_OR_RETURN(const TensorView gate_up, arena.Take(dtype_, {pairs, 2 * inner}));
  const TensorView gate = gate_up.Slice(1, 0, inner);
  const kernels::SiluMulParams activation = {.gate = gate,
                                             .up = gate_up.Slice(1, inner, inner),
                                             .out = gate,
                                             .limit = static_cast<float>(config_.swiglu_limit)};
  const std::optional<kernels::GroupedGemmParams> product = gate_up_.Product(x_sorted, expert_start, gate_up);
  if (product.has_value()) {
    HADAL_RETURN_IF_ERROR(backend.GroupedGemmSiluMul({.product = *product, .activation = activation}));
  } else {
    HADAL_RETURN_IF_ERROR(gate_up_.Forward(backend, x_sorted, expert_start, gate_up));
    HADAL_RETURN_IF_ERROR(backend.SiluMul(activation));
  }
  HADAL_ASSIGN_OR_RETURN(const TensorView y_sorted, arena.Take(dtype_, {pairs, hidden}));
  HADAL_RETURN_IF_ERROR(down_.Forward(backend, gate, expert_start, y_sorted));
  return backend.MoeUnpermute({.y_sorted = y_sorted,
                               .row_of = row_of,
                               .weights = weights,
                               .addend = shared_ != nullptr ? out : TensorView(),
                               .out = out});
}

}  // namespace hadal::models

// SPDX-License-Identifier: Apache-2.0
#include <ATen/ops/arange.h>
#include <ATen/ops/searchsorted.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/softplus.h>
#include <ATen/ops/topk.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <limits>

#include "kernels/torch/tensors.h"
#include "kernels/torch/torch_ops.h"

namespace hadal::kernels::torch {
namespace {

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

at::Tensor Scores(const MoeRouteParams& p, const at::Tensor& logits) {
  if (p.scoring == MoeScoring::kSigmoid) return logits.sigmoid();
  if (p.scoring == MoeScoring::kSqrtSoftplus) return at::softplus(logits).sqrt();
  return at::softmax(logits, 1);
}

// Columns of the `count` largest values, best first; ties to the lower column. NaN is last, where a descending sort has
// it first.
at::Tensor TopColumns(const at::Tensor& values, int64_t count) {
  return std::get<1>(values.neg().sort(/*stable=*/true, 1, /*descending=*/false)).narrow(1, 0, count);
}

at::Tensor WithinBestGroups(const MoeRouteParams& p, const at::Tensor& choice) {
  const int64_t tokens = choice.size(0), size = choice.size(1) / p.n_group;
  const bool by_maximum = p.method == MoeTopK::kGroupLimitedGreedy || size < 2;
  const at::Tensor groups = choice.view({tokens, p.n_group, size});
  const at::Tensor numbers = groups.masked_fill(groups.isnan(), kMinusInfinity);
  const at::Tensor best = std::get<0>(numbers.topk(by_maximum ? 1 : 2, 2)).sum(2);
  const at::Tensor kept = at::zeros({tokens, p.n_group}, choice.options().dtype(at::kBool))
                              .scatter(1, TopColumns(best, p.topk_group), true);
  const double masked = p.method == MoeTopK::kGroupLimitedGreedy ? 0.0 : kMinusInfinity;
  return groups.masked_fill(kept.logical_not().unsqueeze(2), masked).view_as(choice);
}

}  // namespace

void MoeRoute(const at::Device& device, const MoeRouteParams& p) {
  if (p.ids.numel() == 0) return;
  const at::Tensor scores = Scores(p, Wrap(device, p.logits));
  at::Tensor choice = scores;
  if (p.correction_bias.present()) choice = choice + Wrap(device, p.correction_bias);
  if (p.method != MoeTopK::kGreedy && p.n_group > 1) choice = WithinBestGroups(p, choice);
  const at::Tensor ids = p.expert_table.present()
                             ? Wrap(device, p.expert_table).index_select(0, Wrap(device, p.token_ids)).to(at::kLong)
                             : TopColumns(choice, p.ids.size(1));
  at::Tensor weights = (p.method == MoeTopK::kGroupLimitedGreedy ? choice : scores).gather(1, ids);
  if (p.norm_topk_prob) weights = weights / weights.sum(1, /*keepdim=*/true).add(1e-20);
  Wrap(device, p.ids).copy_(ids);
  Wrap(device, p.weights).copy_(weights * p.routed_scaling);
}

void MoePermute(const at::Device& device, const MoePermuteParams& p) {
  const at::Tensor ids = Wrap(device, p.ids).flatten(), starts = Wrap(device, p.expert_start);
  const auto [sorted, order] = ids.sort(/*stable=*/true, 0, /*descending=*/false);
  const at::Tensor experts = at::arange(starts.size(0), sorted.options());
  starts.copy_(at::searchsorted(sorted, experts));
  if (ids.numel() == 0) return;
  Wrap(device, p.row_of).flatten().index_copy_(0, order, at::arange(ids.numel(), ids.options()));
  Wrap(device, p.x_sorted).copy_(Wrap(device, p.x).index_select(0, order.floor_divide(p.ids.size(1))));
}

void MoeUnpermute(const at::Device& device, const MoeUnpermuteParams& p) {
  const at::Tensor out = Wrap(device, p.out), y = Wrap(device, p.y_sorted);
  const auto [rows, order] = Wrap(device, p.row_of).sort(1);
  const at::Tensor weights = Wrap(device, p.weights).gather(1, order);
  at::Tensor sum = at::zeros(out.sizes(), out.options().dtype(at::kFloat));
  if (p.addend.present()) sum.copy_(Wrap(device, p.addend));
  for (int64_t j = 0; j < rows.size(1); ++j) {  // in the order of the rows, which is that of the experts
    sum.addcmul_(weights.select(1, j).unsqueeze(1), y.index_select(0, rows.select(1, j)).to(at::kFloat));
  }
  out.copy_(sum);
}

}  // namespace hadal::kernels::torch

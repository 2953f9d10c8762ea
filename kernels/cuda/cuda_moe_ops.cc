// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/cuda_ops.h"

namespace hadal::kernels::cuda {
namespace {

MoeRouteLaunch ToLaunch(const MoeRouteParams& p) {
  MoeRouteLaunch launch;
  launch.logits = ToView(p.logits);
  launch.correction_bias = p.correction_bias.present() ? p.correction_bias.as<const float>() : nullptr;
  launch.ids = p.ids.as<int32_t>();
  launch.weights = p.weights.as<float>();
  launch.tokens = p.logits.size(0);
  launch.experts = p.logits.size(1);
  launch.top_k = p.ids.size(1);
  launch.n_group = p.n_group;
  launch.topk_group = p.topk_group;
  if (p.expert_table.present()) {
    launch.expert_table = p.expert_table.as<const int32_t>();
    launch.token_ids = p.token_ids.as<const int32_t>();
  }
  launch.scoring = p.scoring;
  launch.mask_groups = p.method != MoeTopK::kGreedy && p.n_group > 1;
  launch.group_by_two = p.method == MoeTopK::kNoauxTc;
  launch.masked_weights = p.method == MoeTopK::kGroupLimitedGreedy;
  launch.norm = p.norm_topk_prob;
  launch.scaling = p.routed_scaling;
  return launch;
}

}  // namespace

absl::Status CudaBackend::DoHyperCollapse(const HyperCollapseParams& p) {
  static_assert(kMaxStreams == kMaxHyperStreams);
  HyperCollapseLaunch launch;
  launch.streams = ToView(p.streams);
  launch.mixes = ToView(p.mixes);
  launch.out = ToView(p.out);
  launch.base = p.base.as<const float>();
  launch.scale = p.scale.as<const float>();
  if (p.post.present()) {
    launch.post = p.post.as<float>();
    launch.comb = p.comb.as<float>();
  }
  launch.norm_eps = p.norm_eps;
  launch.eps = p.eps;
  launch.sinkhorn_iterations = p.sinkhorn_iterations;
  return Queue([&] { return LaunchHyperCollapse(stream(), launch); }, "hyper_collapse");
}

absl::Status CudaBackend::DoHyperExpand(const HyperExpandParams& p) {
  return Queue(
      [&] {
        return LaunchHyperExpand(stream(), ToView(p.streams), ToView(p.x), p.post.as<const float>(),
                                 p.comb.as<const float>());
      },
      "hyper_expand");
}

absl::Status CudaBackend::DoMoeRoute(const MoeRouteParams& p) {
  const MoeRouteLaunch launch = ToLaunch(p);
  const int64_t shared = MoeRouteSharedBytes(launch.experts, launch.n_group, launch.top_k);
  if (absl::Status s = CheckShared("moe_route", shared); !s.ok()) return s;
  return Queue([&] { return LaunchMoeRoute(stream(), launch); }, "moe_route");
}

absl::Status CudaBackend::DoMoeGate(const MoeGateParams& p) {
  const GenericGemmLaunch gate = ToLaunch(p.gate);
  const MoeRouteLaunch route = ToLaunch(p.route);
  const std::optional<GemvPlan> gemv = TryGemv(gate);
  // A warp of the last block needs its own memory for each token.
  if (!gemv.has_value() || MoeGateSharedBytes(route) > kDefaultSharedBytes) return Backend::DoMoeGate(p);
  const absl::StatusOr<unsigned*> ended = EndedBlocks();
  if (!ended.ok()) return RecordError(ended.status());
  return Queue([&] { return LaunchMoeGate(stream(), gate, *gemv, route, *ended); }, "moe_gate");
}

absl::Status CudaBackend::DoMoePermute(const MoePermuteParams& p) {
  return Queue(
      [&] {
        return LaunchMoePermute(stream(), p.ids.as<const int32_t>(), p.ids.size(0), p.ids.size(1), ToView(p.x),
                                ToView(p.x_sorted), p.row_of.as<int32_t>(), p.expert_start.as<int32_t>(),
                                p.expert_start.size(0) - 1);
      },
      "moe_permute");
}

absl::Status CudaBackend::DoMoeUnpermute(const MoeUnpermuteParams& p) {
  const int64_t top_k = p.row_of.size(1);
  if (absl::Status s = CheckShared("moe_unpermute", MoeUnpermuteSharedBytes(top_k)); !s.ok()) return s;
  const View addend = p.addend.present() ? ToView(p.addend) : View();
  return Queue(
      [&] {
        return LaunchMoeUnpermute(stream(), ToView(p.y_sorted), p.row_of.as<const int32_t>(),
                                  p.weights.as<const float>(), top_k, addend, p.addend.present(), ToView(p.out));
      },
      "moe_unpermute");
}

}  // namespace hadal::kernels::cuda

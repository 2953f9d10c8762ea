// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/cutlass_grouped.h"

namespace hadal::kernels::cuda {
namespace {

// [rows, dim] as [rows, 1, dim].
View WithHeads(const TensorView& tensor) {
  View view = ToView(tensor);
  if (tensor.rank == 2) {
    view.size[2] = view.size[1];
    view.size[1] = 1;
    view.stride[1] = 0;
  }
  return view;
}

// What a fused norm does to its heads, whose columns begin at `begin`.
void FillNorm(const RmsNormParams& norm, int64_t begin, RopeHeads& heads) {
  heads.norm_begin = static_cast<int32_t>(begin);
  heads.norm_width = static_cast<int32_t>(norm.x.size(2));
  heads.has_weight = norm.weight.present();
  if (heads.has_weight) heads.weight = ToView(norm.weight);
  heads.float32_product = norm.float32_product;
  heads.eps = norm.eps;
}

}  // namespace

absl::Status CudaBackend::DoEmbedding(const EmbeddingParams& p) {
  return Queue(
      [&] {
        return LaunchEmbedding(stream(), p.ids.as<const int32_t>(), p.ids.size(0), ToView(p.table), ToView(p.out));
      },
      "embedding");
}

absl::Status CudaBackend::DoFeedTokens(const FeedTokensParams& p) {
  if (!feed_) return Backend::DoFeedTokens(p);
  return Queue(
      [&] {
        return LaunchFeedTokens(stream(), p.ids.as<int32_t>(), p.ids.size(0), p.sampled.as<const int32_t>(),
                                p.sampled.size(0));
      },
      "feed_tokens");
}

absl::Status CudaBackend::DoRmsNorm(const RmsNormParams& p) {
  RmsNormLaunch launch;
  launch.x = WithHeads(p.x);
  launch.has_residual = p.residual.present();
  launch.has_out = p.out.present();
  if (launch.has_residual) launch.residual = WithHeads(p.residual);
  if (launch.has_out) launch.out = WithHeads(p.out);
  launch.has_weight = p.weight.present();
  if (launch.has_weight) launch.weight = ToView(p.weight);
  launch.float32_product = p.float32_product;
  launch.eps = p.eps;
  return Queue([&] { return LaunchRmsNorm(stream(), launch); }, "rms_norm");
}

absl::Status CudaBackend::DoLayerNorm(const LayerNormParams& p) {
  return Queue(
      [&] { return LaunchLayerNorm(stream(), ToView(p.x), ToView(p.weight), ToView(p.bias), ToView(p.out), p.eps); },
      "layer_norm");
}

absl::StatusOr<bool> CudaBackend::TryCublas(const std::optional<GemmPlan>& plan) {
  if (!plan.has_value()) return false;
  if (absl::Status s = Enter(); !s.ok()) return RecordError(s);
  const absl::Status ran = cublas_->Run(*plan);
  if (ran.ok()) return true;
  if (!absl::IsUnimplemented(ran)) return RecordError(ran);
  NoteRefusal(plan->shape, ran);
  return false;
}

void CudaBackend::NoteRefusal(const GemmShape& shape, const absl::Status& why) {
  refused_products_.fetch_add(1, std::memory_order_relaxed);
  if (warn_ == nullptr || !refused_shapes_.insert(OfWeight(shape)).second) return;
  warn_(absl::StrCat("cuBLASLt refuses a product, ", ToString(shape), ": ", why.message(),
                     "; the generic kernel computes it"));
}

std::optional<GemvPlan> CudaBackend::TryGemv(const GenericGemmLaunch& launch) const {
  return gemv_ ? PlanGemv(launch, multiprocessors()) : std::nullopt;
}

absl::Status CudaBackend::DoGemm(const GemmParams& p) {
  if (p.out.numel() == 0) return absl::OkStatus();
  const GenericGemmLaunch launch = ToLaunch(p);
  if (const std::optional<GemvPlan> gemv = TryGemv(launch); gemv.has_value()) {
    return Queue([&] { return LaunchGemv(stream(), launch, *gemv); }, "gemm");
  }
  if (absl::StatusOr<bool> done = TryCublas(PlanGemm(p)); !done.ok() || *done) return done.status();
  return Queue([&] { return LaunchGenericGemm(stream(), launch); }, "gemm");
}

absl::Status CudaBackend::DoBatchedGemm(const BatchedGemmParams& p) {
  const TensorView& w = p.w.values;
  if (p.out.numel() == 0) return absl::OkStatus();
  GenericGemmLaunch launch;
  launch.x = ToView(p.x);
  launch.w = ToView(w);
  launch.out = ToView(p.out);
  launch.transposed_w = p.transpose_w;
  launch.m = p.x.size(0);
  launch.batch = p.x.size(1);
  launch.k = p.x.size(2);
  launch.n = p.out.size(2);
  launch.x_row = p.x.stride(0);
  launch.x_batch = p.x.stride(1);
  launch.w_batch = w.stride(0);
  launch.w_row = w.stride(1);
  launch.out_row = p.out.stride(0);
  launch.out_batch = p.out.stride(1);
  if (const std::optional<GemvPlan> gemv = TryGemv(launch); gemv.has_value()) {
    return Queue(
        [&] {
          return launch.transposed_w ? LaunchGemvTransposed(stream(), launch, *gemv)
                                     : LaunchGemv(stream(), launch, *gemv);
        },
        "batched_gemm");
  }
  if (absl::StatusOr<bool> done = TryCublas(PlanBatchedGemm(p)); !done.ok() || *done) return done.status();
  return Queue([&] { return LaunchGenericGemm(stream(), launch); }, "batched_gemm");
}

absl::Status CudaBackend::DoGroupedGemm(const GroupedGemmParams& p) {
  const GenericGemmLaunch launch = ToLaunch(p);
  if (const std::optional<GemvPlan> gemv = TryGemv(launch); gemv.has_value()) {
    return Queue([&] { return LaunchGemv(stream(), launch, *gemv); }, "grouped_gemm");
  }
  if (std::optional<CutlassGroupedLaunch> grouped = PlanGroupedGemm(p); grouped.has_value() && HaveCutlass()) {
    absl::StatusOr<char*> scratch = Scratch(CutlassGroupedBytes(grouped->experts));
    if (!scratch.ok()) return RecordError(scratch.status());
    grouped->workspace = *scratch;
    return Queue([&] { return LaunchCutlassGrouped(stream(), *grouped); }, "grouped_gemm");
  }
  return Queue([&] { return LaunchGenericGemm(stream(), launch); }, "grouped_gemm");
}

absl::Status CudaBackend::DoGemmSiluMul(const GemmSiluMulParams& p) {
  const GenericGemmLaunch launch = ToLaunch(p.product);
  const std::optional<GemvPlan> gemv = TryGemv(launch);
  if (!gemv.has_value()) return Backend::DoGemmSiluMul(p);
  const View activated = ToView(p.activation.out);
  return Queue([&] { return LaunchGemvSilu(stream(), launch, *gemv, activated, p.activation.limit); }, "gemm_silu_mul");
}

absl::Status CudaBackend::DoGroupedGemmSiluMul(const GroupedGemmSiluMulParams& p) {
  const GenericGemmLaunch launch = ToLaunch(p.product);
  const std::optional<GemvPlan> gemv = TryGemv(launch);
  if (!gemv.has_value()) return Backend::DoGroupedGemmSiluMul(p);
  const View activated = ToView(p.activation.out);
  return Queue([&] { return LaunchGemvSilu(stream(), launch, *gemv, activated, p.activation.limit); },
               "grouped_gemm_silu_mul");
}

absl::Status CudaBackend::DoRope(const RopeParams& p) {
  return Queue(
      [&] {
        for (const TensorView* x : {&p.q, &p.k}) {
          if (!x->present()) continue;
          const int error = LaunchRope(stream(), ToView(*x), p.positions.as<const int32_t>(), ToView(p.cos),
                                       p.sin.as<const float>(), p.layout == RopeLayout::kInterleaved, p.inverse);
          if (error != 0) return error;
        }
        return 0;
      },
      "rope");
}

absl::Status CudaBackend::DoKvAppend(const KvAppendParams& p) {
  return Queue(
      [&] {
        const int error = LaunchKvAppend(stream(), ToView(p.k), ToView(p.k_cache), ToView(p.slot_mapping));
        if (error != 0 || !p.v.present()) return error;
        return LaunchKvAppend(stream(), ToView(p.v), ToView(p.v_cache), ToView(p.slot_mapping));
      },
      "kv_append");
}

absl::Status CudaBackend::DoRopeKvAppend(const RopeKvAppendParams& p) {
  const TensorView &q = p.q_norm.x.present() ? p.q_norm.x : p.rope.q, &k = p.append.k;
  const int64_t heads = (q.present() ? q.size(1) : 0) + 2 * k.size(1);
  if (heads > kMaxGridRows) return Backend::DoRopeKvAppend(p);
  RopeKvAppendLaunch launch;
  launch.q.rows.size[1] = 0;
  if (q.present()) {
    const bool normed = p.q_norm.x.present();
    launch.q.rows = ToView(q);
    launch.q.rope_begin = normed ? static_cast<int32_t>(ColumnOf(p.rope.q, q)) : 0;
    launch.q.width = static_cast<int32_t>(normed ? q.size(2) : 2 * p.rope.cos.size(1));
    if (normed) FillNorm(p.q_norm, 0, launch.q);
  }
  launch.k.rows = ToView(k);
  launch.k.width = static_cast<int32_t>(k.size(2));
  launch.k.rope_begin = static_cast<int32_t>(ColumnOf(p.rope.k, k));
  if (p.k_norm.x.present()) FillNorm(p.k_norm, ColumnOf(p.k_norm.x, k), launch.k);
  launch.k_cache = ToView(p.append.k_cache);
  launch.has_v = p.append.v.present();
  if (launch.has_v) {
    launch.v = ToView(p.append.v);
    launch.v_cache = ToView(p.append.v_cache);
  }
  launch.slots = ToView(p.append.slot_mapping);
  launch.positions = p.rope.positions.as<const int32_t>();
  launch.cos = ToView(p.rope.cos);
  launch.sin = p.rope.sin.as<const float>();
  launch.interleaved = p.rope.layout == RopeLayout::kInterleaved;
  if (absl::Status s = CheckShared("rope_kv_append", RopeKvAppendSharedBytes(launch)); !s.ok()) return s;
  return Queue([&] { return LaunchRopeKvAppend(stream(), launch); }, "rope_kv_append");
}

absl::Status CudaBackend::DoSiluMul(const SiluMulParams& p) {
  return Queue([&] { return LaunchSiluMul(stream(), ToView(p.gate), ToView(p.up), ToView(p.out), p.limit); },
               "silu_mul");
}

absl::Status CudaBackend::DoCast(const CastParams& p) {
  return Queue([&] { return LaunchCast(stream(), ToViewRightAligned(p.in), ToViewRightAligned(p.out)); }, "cast");
}

}  // namespace hadal::kernels::cuda

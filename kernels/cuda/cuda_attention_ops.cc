// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstddef>
#include <vector>

#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/kernel_check.h"
#include "kernels/cuda/scratch_plan.h"

namespace hadal::kernels::cuda {
absl::Status CudaBackend::Attend(const char* op, const AttentionLaunch& launch) {
  const int64_t shared = AttentionSharedBytes(launch.a_dim + launch.b_dim, launch.v_dim);
  if (absl::Status s = CheckShared(op, shared); !s.ok()) return s;
  return Queue([&] { return LaunchAttention(stream(), launch); }, op);
}

absl::Status CudaBackend::DoPagedAttention(const PagedAttentionParams& p) {
  if (absl::StatusOr<bool> done = flash_.TryPaged(p, batch_invariant_); !done.ok() || *done)
    return RecordError(done.status());
  return Attend("paged_attention", PlanPagedAttention(p));
}

absl::Status CudaBackend::DoMlaAttention(const MlaAttentionParams& p) {
  // Lists of positions are read by the generic kernel only.
  if (batch_invariant_ && p.may_select) return Attend("mla_attention", PlanMlaAttention(p));
  absl::StatusOr<bool> done = flash_.TryMla(p, batch_invariant_);
  if (flash_.hopper_mla() && !batch_invariant_) {
    if (done.ok() && *done) {
      const absl::StatusOr<bool> agrees = AgreesWithGeneric("mla_attention", p.o_lat, PlanMlaAttention(p));
      if (!agrees.ok() || *agrees) return agrees.status();
    } else if (!done.ok() && warming_up_) {
      DropHopper("mla_attention", done.status().message());
    }
    if (!flash_.hopper_mla()) done = flash_.TryMla(p, batch_invariant_);
  }
  if (!done.ok() || *done) return RecordError(done.status());
  return Attend("mla_attention", PlanMlaAttention(p));
}

absl::Status CudaBackend::DoMlaPrefill(const MlaPrefillParams& p) {
  const absl::StatusOr<bool> done = flash_.TryPrefill(p);
  if (done.ok() && *done) {
    const absl::StatusOr<bool> agrees = AgreesWithGeneric("mla_prefill", p.out, PlanMlaPrefill(p));
    if (!agrees.ok() || *agrees) return agrees.status();
  } else if (!done.ok()) {
    if (!warming_up_) return RecordError(done.status());
    DropHopper("mla_prefill", done.status().message());
  }
  return Attend("mla_prefill", PlanMlaPrefill(p));
}

absl::StatusOr<bool> CudaBackend::AgreesWithGeneric(const char* op, const TensorView& out, AttentionLaunch generic) {
  if (!warming_up_ || recording() || !out.contiguous()) return true;
  if (!checked_.insert({op, generic.tokens, generic.sequences}).second) return true;
  const int64_t rows = std::min(generic.tokens, kCheckedRows);
  generic.first_row = generic.tokens - rows;
  generic.tokens = rows;
  const TensorView last = out.Slice(0, generic.first_row, rows);
  std::vector<std::byte> found(static_cast<size_t>(last.bytes())), expected(found.size());
  if (absl::Status s = Download(found.data(), last.data, last.bytes()); !s.ok()) {
    return absl::Status(s.code(), absl::StrCat(s.message(), "; after FlashInfer's ", op,
                                               " for Hopper, which HADAL_CUDA_HOPPER=off does without"));
  }
  if (absl::Status s = Attend(op, generic); !s.ok()) return s;
  if (absl::Status s = Download(expected.data(), last.data, last.bytes()); !s.ok()) return s;
  const auto difference = FindDifference(out.dtype, found.data(), expected.data(), last.numel());
  if (!difference.has_value()) return true;
  const int64_t width = out.size(1) * out.size(2), row = difference->index / width;
  DropHopper(op, absl::StrCat("it says ", difference->found, " where the generic kernel says ", difference->expected,
                              ", token ", generic.first_row + row, " of ", generic.first_row + rows, ", head ",
                              difference->index % width / out.size(2)));
  return false;
}

void CudaBackend::DropHopper(const char* op, absl::string_view why) {
  op == absl::string_view("mla_prefill") ? flash_.set_hopper_prefill(false) : flash_.set_hopper_mla(false);
  if (warn_ != nullptr) {
    warn_(absl::StrCat("cuda: FlashInfer's kernel for Hopper is not used for ", op, ": ", why));
  }
}

absl::Status CudaBackend::DoMlaGather(const MlaGatherParams& p) {
  return Queue(
      [&] {
        return LaunchMlaGather(stream(), ToView(p.cache), ToView(p.latent), p.kv_start.as<const int32_t>(),
                               p.batch.sequences(), p.batch.block_tables.as<const int32_t>(),
                               p.batch.block_tables.stride(0));
      },
      "mla_gather");
}

// Rows take turns in the scratch memory, as many at once as fit.
absl::Status CudaBackend::DoIndexTopK(const IndexTopKParams& p) {
  IndexTopKLaunch launch = PlanIndexTopK(p);
  const int64_t rows = p.q.size(0), row_bytes = launch.score_columns * int64_t{sizeof(float)};
  if (rows == 0) return absl::OkStatus();
  const int64_t at_once = std::clamp<int64_t>(kScoreScratchBytes / std::max<int64_t>(row_bytes, 1), 1, rows);
  absl::StatusOr<char*> scratch = Scratch(at_once * row_bytes);
  if (!scratch.ok()) return RecordError(scratch.status());
  launch.scores = reinterpret_cast<float*>(*scratch);
  for (launch.first_row = 0; launch.first_row < rows; launch.first_row += at_once) {
    launch.row_count = std::min(at_once, rows - launch.first_row);
    if (absl::Status s = Queue([&] { return LaunchIndexTopK(stream(), launch); }, "index_top_k"); !s.ok()) return s;
  }
  return absl::OkStatus();
}

absl::Status CudaBackend::DoHybridAttention(const HybridAttentionParams& p) {
  HybridAttentionLaunch launch;
  launch.q = ToView(p.q);
  launch.window = ToView(p.window);
  launch.out = ToView(p.out);
  launch.sink = p.sink.as<const float>();
  launch.window_tokens = p.window_tokens;
  launch.sequences = p.window_batch.sequences();
  launch.query_start = p.window_batch.query_start.as<const int32_t>();
  launch.context_lens = p.window_batch.context_lens.as<const int32_t>();
  launch.window_table = p.window_batch.block_tables.as<const int32_t>();
  launch.window_table_stride = p.window_batch.block_tables.stride(0);
  if (p.entries.present()) {
    launch.entries = ToView(p.entries);
    launch.tokens_per_entry = p.tokens_per_entry;
    launch.table = p.batch.block_tables.as<const int32_t>();
    launch.table_stride = p.batch.block_tables.stride(0);
  }
  if (p.selected.present()) {
    launch.selected = p.selected.as<const int32_t>();
    launch.selected_count = p.selected.size(1);
  }
  launch.scale = p.scale;
  if (absl::Status s = CheckShared("hybrid_attention", HybridAttentionSharedBytes(p.q.size(2))); !s.ok()) return s;
  return Queue([&] { return LaunchHybridAttention(stream(), launch); }, "hybrid_attention");
}

absl::Status CudaBackend::DoCompressPool(const CompressPoolParams& p) {
  CompressPoolLaunch launch;
  launch.rows = ToView(p.rows);
  launch.out = ToView(p.out);
  launch.position_bias = p.position_bias.as<const float>();
  launch.step_rows = ToView(p.step_rows);
  launch.block_tables = p.batch.block_tables.as<const int32_t>();
  launch.table_stride = p.batch.block_tables.stride(0);
  launch.block_tokens = p.block_tokens;
  launch.query_start = p.batch.query_start.as<const int32_t>();
  launch.context_lens = p.batch.context_lens.as<const int32_t>();
  launch.sequences = p.sequences.as<const int32_t>();
  launch.entries = p.entries.as<const int32_t>();
  launch.ratio = p.position_bias.size(0);
  launch.width = p.position_bias.size(1);
  launch.overlap = p.overlap;
  return Queue([&] { return LaunchCompressPool(stream(), launch); }, "compress_pool");
}

}  // namespace hadal::kernels::cuda

// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernels/cuda/cuda_ops.h"
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
  if (!batch_invariant_ || !p.may_select) {
    if (absl::StatusOr<bool> done = flash_.TryMla(p, batch_invariant_); !done.ok() || *done) {
      return RecordError(done.status());
    }
  }
  return Attend("mla_attention", PlanMlaAttention(p));
}

absl::Status CudaBackend::DoMlaPrefill(const MlaPrefillParams& p) { return Attend("mla_prefill", PlanMlaPrefill(p)); }

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

// SPDX-License-Identifier: Apache-2.0
#include <functional>

#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/scratch_plan.h"

namespace hadal::kernels::cuda {
namespace {

int64_t RoundUp(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

}  // namespace

std::optional<CudaBackend::PlacedRows> CudaBackend::FindSampleRows(absl::Span<const SampleRowParams> rows) const {
  const std::less_equal<const SampleRowParams*> not_behind;
  if (!not_behind(placed_of_.data(), rows.data()) ||
      !not_behind(rows.data() + rows.size(), placed_of_.data() + placed_of_.size())) {
    return std::nullopt;
  }
  PlacedRows found = placed_;
  found.rows += rows.data() - placed_of_.data();
  return found;
}

absl::Status CudaBackend::UploadSampleRows(absl::Span<const SampleRowParams> rows, int64_t vocab, int64_t more_bytes,
                                           PlacedRows& placed, char*& more) {
  sample_rows_.Build(rows, vocab);
  const auto bytes_of = [](const auto& list) { return static_cast<int64_t>(list.size() * sizeof(*list.data())); };
  const int64_t row_bytes = bytes_of(sample_rows_.rows()), token_bytes = bytes_of(sample_rows_.tokens());
  const int64_t mask_bytes = bytes_of(sample_rows_.mask_words());
  const int64_t tokens_at = RoundUp(row_bytes, 256), masks_at = tokens_at + RoundUp(token_bytes, 256);
  const int64_t more_at = masks_at + RoundUp(mask_bytes, 256);
  absl::StatusOr<char*> scratch = Scratch(more_at + more_bytes);
  if (!scratch.ok()) return scratch.status();
  for (const absl::Status& s : {Upload(*scratch, sample_rows_.rows().data(), row_bytes),
                                Upload(*scratch + tokens_at, sample_rows_.tokens().data(), token_bytes),
                                Upload(*scratch + masks_at, sample_rows_.mask_words().data(), mask_bytes)}) {
    if (!s.ok()) return s;
  }
  placed.rows = reinterpret_cast<const SampleRow*>(*scratch);
  placed.tokens = reinterpret_cast<const SampleToken*>(*scratch + tokens_at);
  placed.mask_words = reinterpret_cast<const uint32_t*>(*scratch + masks_at);
  more = *scratch + more_at;
  return absl::OkStatus();
}

absl::Status CudaBackend::SampleRowsOf(const SampleParams& p, int64_t first, int64_t count) {
  const int64_t vocab = p.logits.size(1);
  const absl::Span<const SampleRowParams> rows = p.rows.subspan(first, count);
  const int64_t top_columns = p.out_top_tokens.present() ? p.out_top_tokens.size(1) : 0;
  const SampleScratch layout = LayOutSample(count, vocab, top_columns);
  PlacedRows placed;
  char* work = nullptr;
  if (const std::optional<PlacedRows> found = FindSampleRows(rows); found.has_value()) {
    placed = *found;
    absl::StatusOr<char*> scratch = Scratch(layout.bytes);
    if (!scratch.ok()) return scratch.status();
    work = *scratch;
  } else if (absl::Status s = UploadSampleRows(rows, vocab, layout.bytes, placed, work); !s.ok()) {
    return s;
  }
  SampleLaunch launch;
  launch.logits = ToView(p.logits.Slice(0, first, count));
  launch.rows = placed.rows;
  launch.tokens = placed.tokens;
  launch.mask_words = placed.mask_words;
  launch.chunk_count = layout.chunk_count;
  launch.chunks = reinterpret_cast<SampleChunk*>(work);
  launch.states = reinterpret_cast<SampleState*>(work + layout.states);
  launch.bins = reinterpret_cast<uint64_t*>(work + layout.bins);
  launch.top_choices = reinterpret_cast<SampleChoice*>(work + layout.top_choices);
  for (const SampleRowParams& row : rows) {
    if (row.target_token >= 0 || row.temperature == 0) continue;
    launch.draws = true;
    launch.uses_top_k = launch.uses_top_k || (row.top_k > 0 && row.top_k < vocab);
    launch.uses_top_p = launch.uses_top_p || row.top_p < 1;
  }
  launch.top_columns = top_columns;
  launch.out_tokens = p.out_tokens.as<int32_t>() + first;
  launch.out_logprobs = p.out_logprobs.as<float>() + first;
  launch.out_status = p.out_status.as<int32_t>() + first;
  if (p.out_top_tokens.present()) {
    launch.out_top_tokens = p.out_top_tokens.as<int32_t>() + first * launch.top_columns;
    launch.out_top_logprobs = p.out_top_logprobs.as<float>() + first * launch.top_columns;
  }
  HADAL_CUDA_RETURN_IF_ERROR(LaunchSample(stream(), launch));
  return absl::OkStatus();
}

// Rows take turns in the scratch memory, as many at once as fit.
absl::Status CudaBackend::DoSample(const SampleParams& p) {
  const int64_t rows = static_cast<int64_t>(p.rows.size());
  for (int64_t first = 0, count = 0; first < rows; first += count) {
    count = SampleRowsAtOnce(p.rows.subspan(first), p.logits.size(1));
    if (absl::Status s = SampleRowsOf(p, first, count); !s.ok()) return RecordError(s);
  }
  return absl::OkStatus();
}

}  // namespace hadal::kernels::cuda

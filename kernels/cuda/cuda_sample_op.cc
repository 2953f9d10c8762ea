// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/scratch_plan.h"

namespace hadal::kernels::cuda {
namespace {

int64_t RoundUp(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

}  // namespace

absl::Status CudaBackend::SampleRowsOf(const SampleParams& p, int64_t first, int64_t count) {
  const int64_t vocab = p.logits.size(1);
  sample_rows_.Build(p.rows.subspan(first, count), vocab);
  const auto bytes_of = [](const auto& list) { return static_cast<int64_t>(list.size() * sizeof(*list.data())); };
  const int64_t row_bytes = bytes_of(sample_rows_.rows()), token_bytes = bytes_of(sample_rows_.tokens());
  const int64_t mask_bytes = bytes_of(sample_rows_.mask_words());
  const int64_t tokens_at = RoundUp(row_bytes, 256), masks_at = tokens_at + RoundUp(token_bytes, 256);
  const int64_t likelihood_at = masks_at + RoundUp(mask_bytes, 256);
  const int64_t adjusted_at = likelihood_at + RoundUp(count * vocab * int64_t{sizeof(double)}, 256);
  absl::StatusOr<char*> scratch = Scratch(adjusted_at + count * vocab * int64_t{sizeof(float)});
  if (!scratch.ok()) return scratch.status();
  for (const absl::Status& s : {Upload(*scratch, sample_rows_.rows().data(), row_bytes),
                                Upload(*scratch + tokens_at, sample_rows_.tokens().data(), token_bytes),
                                Upload(*scratch + masks_at, sample_rows_.mask_words().data(), mask_bytes)}) {
    if (!s.ok()) return s;
  }
  SampleLaunch launch;
  launch.logits = ToView(p.logits.Slice(0, first, count));
  launch.rows = reinterpret_cast<const SampleRow*>(*scratch);
  launch.tokens = reinterpret_cast<const SampleToken*>(*scratch + tokens_at);
  launch.mask_words = reinterpret_cast<const uint32_t*>(*scratch + masks_at);
  launch.likelihood = reinterpret_cast<double*>(*scratch + likelihood_at);
  launch.adjusted = reinterpret_cast<float*>(*scratch + adjusted_at);
  launch.out_tokens = p.out_tokens.as<int32_t>() + first;
  launch.out_logprobs = p.out_logprobs.as<float>() + first;
  launch.out_status = p.out_status.as<int32_t>() + first;
  if (p.out_top_tokens.present()) {
    launch.top_columns = p.out_top_tokens.size(1);
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

// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernels/cuda/cuda_ops.h"

namespace hadal::kernels::cuda {
namespace {

constexpr int64_t kSampleScratchBytes = int64_t{64} << 20;  // adjusted logits and likelihoods of the rows of one launch

int64_t RoundUp(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

}  // namespace

// Rows take turns in the scratch memory, as many at once as fit.
absl::Status CudaBackend::SampleRowsOf(const SampleParams& p) {
  const int64_t rows = p.logits.size(0), vocab = p.logits.size(1);
  sample_rows_.Build(p.rows, vocab);
  const auto bytes_of = [](const auto& list) { return static_cast<int64_t>(list.size() * sizeof(*list.data())); };
  const int64_t row_bytes = bytes_of(sample_rows_.rows()), token_bytes = bytes_of(sample_rows_.tokens());
  const int64_t mask_bytes = bytes_of(sample_rows_.mask_words());
  const int64_t each = vocab * static_cast<int64_t>(sizeof(float) + sizeof(double));
  const int64_t at_once = std::clamp<int64_t>(kSampleScratchBytes / each, 1, rows);
  const int64_t tokens_at = RoundUp(row_bytes, 256), masks_at = tokens_at + RoundUp(token_bytes, 256);
  const int64_t likelihood_at = masks_at + RoundUp(mask_bytes, 256);
  const int64_t adjusted_at = likelihood_at + RoundUp(at_once * vocab * int64_t{sizeof(double)}, 256);
  absl::StatusOr<char*> scratch = Scratch(adjusted_at + at_once * vocab * int64_t{sizeof(float)});
  if (!scratch.ok()) return scratch.status();
  for (const absl::Status& s : {Upload(*scratch, sample_rows_.rows().data(), row_bytes),
                                Upload(*scratch + tokens_at, sample_rows_.tokens().data(), token_bytes),
                                Upload(*scratch + masks_at, sample_rows_.mask_words().data(), mask_bytes)}) {
    if (!s.ok()) return s;
  }
  SampleLaunch launch;
  launch.logits = ToView(p.logits);
  launch.rows = reinterpret_cast<const SampleRow*>(*scratch);
  launch.tokens = reinterpret_cast<const SampleToken*>(*scratch + tokens_at);
  launch.mask_words = reinterpret_cast<const uint32_t*>(*scratch + masks_at);
  launch.likelihood = reinterpret_cast<double*>(*scratch + likelihood_at);
  launch.adjusted = reinterpret_cast<float*>(*scratch + adjusted_at);
  launch.out_tokens = p.out_tokens.as<int32_t>();
  launch.out_logprobs = p.out_logprobs.as<float>();
  launch.out_status = p.out_status.as<int32_t>();
  if (p.out_top_tokens.present()) {
    launch.out_top_tokens = p.out_top_tokens.as<int32_t>();
    launch.out_top_logprobs = p.out_top_logprobs.as<float>();
    launch.top_columns = p.out_top_tokens.size(1);
  }
  for (int64_t first = 0; first < rows; first += at_once) {
    launch.first_row = first;
    launch.row_count = std::min(at_once, rows - first);
    HADAL_CUDA_RETURN_IF_ERROR(LaunchSample(stream(), launch));
  }
  return absl::OkStatus();
}

absl::Status CudaBackend::DoSample(const SampleParams& p) {
  if (p.rows.empty()) return absl::OkStatus();
  return RecordError(SampleRowsOf(p));
}

}  // namespace hadal::kernels::cuda

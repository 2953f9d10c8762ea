// SPDX-License-Identifier: Apache-2.0
//
// The start of a step: what the host makes of its batches and rows goes to the device in one copy with its arrays.
#include <cuda_runtime_api.h>

#include <cstring>

#include "kernels/cuda/cuda_ops.h"

namespace hadal::kernels::cuda {

absl::Status CudaBackend::BeginStep(const StepLists& lists) {
  const int64_t array_bytes = static_cast<int64_t>(lists.arrays.size());
  area_.Begin(lists.room, lists.room_bytes, array_bytes);
  flash_.BeginStep(lists, batch_invariant_);
  PlaceSampleRows(lists.rows, lists.vocab);
  const absl::Span<const std::byte> own = area_.lists();
  if (own.empty()) return Upload(lists.room, lists.arrays.data(), array_bytes);
  if (absl::Status s = Enter(); !s.ok()) return RecordError(s);
  const int64_t bytes = area_.lists_offset() + static_cast<int64_t>(own.size());
  return RecordError(StageWith(bytes, [&](char* pinned) -> absl::Status {
    if (array_bytes > 0) std::memcpy(pinned, lists.arrays.data(), lists.arrays.size());
    std::memcpy(pinned + area_.lists_offset(), own.data(), own.size());
    HADAL_CUDA_RETURN_IF_ERROR(cudaMemcpyAsync(lists.room, pinned, static_cast<size_t>(bytes), cudaMemcpyHostToDevice,
                                               static_cast<cudaStream_t>(stream())));
    return absl::OkStatus();
  }));
}

absl::Status CudaBackend::Replay(absl::Span<const int64_t> key, absl::FunctionRef<absl::Status()> issue) {
  // Scratch memory stays where it is unless a step needs more than was reserved.
  const absl::StatusOr<char*> scratch = Scratch(0);
  GraphCache::Key whole(key.begin(), key.end());
  whole.push_back(reinterpret_cast<int64_t>(*scratch));
  if (!graphs_ || !flash_.AppendPlans(whole)) return issue();
  const GraphCache::Turn turn = graph_cache_.Next(whole);
  if (turn == GraphCache::Turn::kIssue) return issue();
  if (absl::Status s = Enter(); !s.ok()) return RecordError(s);
  if (turn == GraphCache::Turn::kRecord) {
    set_recording(true);
    const absl::Status recorded = graph_cache_.Record(stream(), issue);
    set_recording(false);
    if (!recorded.ok()) {
      if (warn_ != nullptr) warn_(recorded.message());
      flash_.ForgetPageIndices();
      return issue();
    }
  }
  return RecordError(graph_cache_.Replay(stream()));
}

void CudaBackend::PlaceSampleRows(absl::Span<const SampleRowParams> rows, int64_t vocab) {
  placed_of_ = {};
  if (rows.empty()) return;
  sample_rows_.Build(rows, vocab);
  const auto put = [&](const auto& list) {
    return area_.Put(list.data(), static_cast<int64_t>(list.size() * sizeof(*list.data())));
  };
  placed_.rows = reinterpret_cast<const SampleRow*>(put(sample_rows_.rows()));
  placed_.tokens = reinterpret_cast<const SampleToken*>(put(sample_rows_.tokens()));
  placed_.mask_words = reinterpret_cast<const uint32_t*>(put(sample_rows_.mask_words()));
  // Without room for one of the lists, Sample brings them itself.
  if (placed_.rows != nullptr && placed_.tokens != nullptr && placed_.mask_words != nullptr) placed_of_ = rows;
}

}  // namespace hadal::kernels::cuda

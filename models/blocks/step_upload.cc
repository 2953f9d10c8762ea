// SPDX-License-Identifier: Apache-2.0
#include "models/blocks/step_upload.h"

#include <algorithm>
#include <cstring>

#include "models/status_macros.h"

namespace hadal::models {
namespace {

constexpr size_t kEntryAlignmentBytes = 64;
constexpr int64_t kFirstBytes = 64 * 1024;

}  // namespace

StepUpload::Handle StepUpload::Add(absl::Span<const int32_t> values) {
  return AddBytes(values.data(), values.size() * sizeof(int32_t), kernels::DType::kI32);
}

StepUpload::Handle StepUpload::Add(absl::Span<const int64_t> values) {
  return AddBytes(values.data(), values.size() * sizeof(int64_t), kernels::DType::kI64);
}

StepUpload::Handle StepUpload::AddBytes(const void* values, size_t bytes, kernels::DType dtype) {
  const size_t offset = staging_.size();
  staging_.resize(offset + (bytes + kEntryAlignmentBytes - 1) / kEntryAlignmentBytes * kEntryAlignmentBytes);
  if (bytes > 0) std::memcpy(staging_.data() + offset, values, bytes);
  return {static_cast<int64_t>(offset), dtype};
}

absl::Status StepUpload::Reserve(int64_t bytes) {
  if (bytes <= device_.bytes()) return absl::OkStatus();
  device_.Reset();
  HADAL_ASSIGN_OR_RETURN(device_, backend_->Allocate(bytes));
  return absl::OkStatus();
}

absl::Status StepUpload::Place() {
  const int64_t bytes = static_cast<int64_t>(staging_.size());
  if (bytes <= device_.bytes()) return absl::OkStatus();
  return Reserve(std::max({bytes, 2 * device_.bytes(), kFirstBytes}));
}

absl::Status StepUpload::Commit(kernels::StepLists lists) {
  HADAL_RETURN_IF_ERROR(Place());
  lists.arrays = staging_;
  lists.room = device_.data();
  lists.room_bytes = device_.bytes();
  return backend_->BeginStep(lists);
}

kernels::TensorView StepUpload::View(Handle handle, std::initializer_list<int64_t> shape) const {
  return kernels::TensorView(static_cast<const char*>(device_.data()) + handle.offset_bytes, handle.dtype, shape);
}

}  // namespace hadal::models

// SPDX-License-Identifier: Apache-2.0
#include "models/blocks/arena.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "models/status_macros.h"

namespace hadal::models {
namespace {

constexpr int64_t kAlignmentBytes = 64;

}  // namespace

int64_t ArenaBytes(kernels::DType dtype, int64_t elements) {
  const int64_t bytes = elements * kernels::DTypeBytes(dtype);
  return (bytes + kAlignmentBytes - 1) / kAlignmentBytes * kAlignmentBytes;
}

absl::Status Arena::Reserve(int64_t bytes) {
  used_bytes_ = 0;
  if (bytes <= buffer_.bytes()) return absl::OkStatus();
  buffer_.Reset();  // first, so that old and new never count together
  HADAL_ASSIGN_OR_RETURN(buffer_, backend_->Allocate(bytes));
  return absl::OkStatus();
}

absl::StatusOr<kernels::TensorView> Arena::Take(kernels::DType dtype, std::initializer_list<int64_t> shape) {
  int64_t elements = 1;
  for (const int64_t size : shape) elements *= size;
  const int64_t bytes = ArenaBytes(dtype, elements);
  if (bytes > buffer_.bytes() - used_bytes_) {
    return absl::ResourceExhaustedError(
        absl::StrCat("workspace: ", bytes, " bytes wanted, ", used_bytes_, " of ", buffer_.bytes(), " in use"));
  }
  const kernels::TensorView view(static_cast<char*>(buffer_.data()) + used_bytes_, dtype, shape);
  used_bytes_ += bytes;
  peak_bytes_ = std::max(peak_bytes_, used_bytes_);
  return view;
}

}  // namespace hadal::models

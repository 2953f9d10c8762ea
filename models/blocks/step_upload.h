// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "kernels/backend.h"

namespace hadal::models {

// Gathers the small integer arrays of a step on the host and brings them to the device in one copy. Both sides are
// reused from step to step and only grow. Thread-compatible; the backend must outlive it.
class StepUpload {
 public:
  // Names an array added since the last Clear.
  struct Handle {
    int64_t offset_bytes = 0;
    kernels::DType dtype = kernels::DType::kI32;
  };

  explicit StepUpload(kernels::Backend* backend) : backend_(backend) {}

  // Makes room on the device for that many bytes, so that Place allocates nothing below them.
  absl::Status Reserve(int64_t bytes);

  void Clear() { staging_.clear(); }
  Handle Add(absl::Span<const int32_t> values);
  Handle Add(absl::Span<const int64_t> values);

  // Fixes where everything added lies on the device: nothing may be added after it, and views are known. The previous
  // step's work must be finished.
  absl::Status Place();

  // Begins the backend's step: brings everything there in one copy, with what the backend makes of the batches and rows
  // of `lists`. Places it first if that was not done.
  absl::Status Commit(kernels::StepLists lists = {});

  // The device array, after Place; filled in stream order by Commit.
  kernels::TensorView View(Handle handle, std::initializer_list<int64_t> shape) const;

 private:
  Handle AddBytes(const void* values, size_t bytes, kernels::DType dtype);

  kernels::Backend* backend_;
  std::vector<std::byte> staging_;
  kernels::Buffer device_;
};

}  // namespace hadal::models

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "kernels/backend.h"
#include "models/model.h"

namespace hadal::models {

// One paged cache of all layers, for example the keys: per layer [blocks, block_tokens, heads, width]. Each layer has a
// buffer of its own, so that no single allocation needs all the memory in one piece. Thread-compatible.
class PagedCache {
 public:
  PagedCache(std::string name, int32_t layers, int64_t heads, int64_t width, kernels::DType dtype)
      : name_(std::move(name)), layers_(layers), heads_(heads), width_(width), dtype_(dtype) {}

  KvCacheSpec spec() const { return {name_, layers_, heads_ * width_ * kernels::DTypeBytes(dtype_)}; }

  // Called once. ResourceExhausted from the backend names the size; nothing is kept then.
  absl::Status Allocate(kernels::Backend& backend, int32_t num_blocks, int32_t block_tokens);

  // [blocks, block_tokens, heads, width]
  const kernels::TensorView& Layer(int64_t layer) const { return views_[layer]; }

 private:
  std::string name_;
  int32_t layers_;
  int64_t heads_;
  int64_t width_;
  kernels::DType dtype_;
  std::vector<kernels::Buffer> buffers_;
  std::vector<kernels::TensorView> views_;
};

}  // namespace hadal::models

// SPDX-License-Identifier: Apache-2.0
#include "models/blocks/kv_cache.h"

#include <utility>

#include "models/status_macros.h"

namespace hadal::models {

absl::Status PagedCache::Allocate(kernels::Backend& backend, int32_t num_blocks, int32_t block_tokens) {
  if (!views_.empty()) return absl::FailedPreconditionError("the KV cache is already allocated");
  std::vector<kernels::Buffer> buffers;
  std::vector<kernels::TensorView> views;
  for (int32_t layer = 0; layer < layers_; ++layer) {
    kernels::TensorView view(nullptr, dtype_, {num_blocks, block_tokens, heads_, width_});
    HADAL_ASSIGN_OR_RETURN(kernels::Buffer buffer, backend.Allocate(view.bytes()));
    view.data = buffer.data();
    buffers.push_back(std::move(buffer));
    views.push_back(view);
  }
  buffers_ = std::move(buffers);
  views_ = std::move(views);
  return absl::OkStatus();
}

}  // namespace hadal::models

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "kernels/backend.h"
#include "models/kv_layout.h"

namespace hadal::models {

// What one paged cache of a family looks like.
struct CacheShape {
  std::string name;
  int32_t layers = 0;  // layers that own such a cache
  int64_t heads = 0;
  int64_t width = 0;  // values a head
  kernels::DType dtype = kernels::DType::kBF16;
  int32_t tokens_per_entry = 1;
  bool windowed = false;    // lies in the window pool
  int64_t first_layer = 0;  // what Layer() calls the first of them

  KvCacheSpec spec() const {
    return {name, layers, heads * width * kernels::DTypeBytes(dtype), tokens_per_entry, windowed};
  }
};

// The layout of those caches; `window_tokens` as in KvLayout.
KvLayout LayoutOf(absl::Span<const CacheShape> shapes, int32_t window_tokens = 0);

// One paged cache of all layers, for example the keys: per layer [blocks, block_tokens / tokens_per_entry, heads,
// width], with the blocks of the full-attention KV pool or of the window pool. Each layer has a buffer of its own, so
// that no single allocation needs all the memory in one piece. Thread-compatible.
class PagedCache {
 public:
  explicit PagedCache(CacheShape shape) : shape_(std::move(shape)) {}

  const CacheShape& shape() const { return shape_; }

  // Called once. InvalidArgument when a block would not hold whole entries, or there is no block; ResourceExhausted
  // from the backend names the size. Nothing is kept then.
  absl::Status Allocate(kernels::Backend& backend, const KvCacheSize& size);

  // [blocks, block_tokens / tokens_per_entry, heads, width]; `layer` counts the layers that own such a cache, from
  // CacheShape::first_layer on.
  const kernels::TensorView& Layer(int64_t layer) const { return views_[layer - shape_.first_layer]; }

 private:
  CacheShape shape_;
  std::vector<kernels::Buffer> buffers_;
  std::vector<kernels::TensorView> views_;
};

// A layer's cache of one head without the heads' dimension: [blocks, block_tokens, width].
inline kernels::TensorView WithoutHeads(const kernels::TensorView& cache) {
  return kernels::TensorView(cache.data, cache.dtype, {cache.size(0), cache.size(1), cache.size(3)});
}

}  // namespace hadal::models

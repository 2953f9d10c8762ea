// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "models/blocks/kv_cache.h"
#include "models/config/config.h"
#include "models/layer_range.h"

namespace hadal::models {

// The caches of DeepSeek-V4. A compressed entry lives as long as its sequence. What an entry is made from, and the keys
// of the sliding window, are rows of single tokens that only the newest tokens need: they lie in windowed caches, are
// the same however a prompt is cut into steps, and need no state of a sequence.
enum class V4Cache {
  kWindow,       // every layer: the key, normalised and rotated, [1, head_dim]
  kCsa,          // CSA layers: entries of csa_ratio tokens, [1, head_dim]
  kIndexKeys,    // CSA layers: the indexer's entries, [1, index_head_dim]
  kHca,          // HCA layers: entries of hca_ratio tokens, [1, head_dim]
  kCsaInputs,    // float32 values and gates that the entries pool, [2, 2 * head_dim]; a cycle of rows in each block
  kIndexInputs,  // the same for the indexer's entries, [2, 2 * index_head_dim]
  kHcaInputs,    // the same for HCA layers, [2, head_dim]; of every token
};
inline constexpr size_t kV4Caches = 7;

// Those that the configuration's layers use, in the order of V4Cache, with the memory of `layers` alone. One that other
// layers use has none, but says how many tokens make an entry: blocks are of one size for all.
std::vector<CacheShape> V4CacheShapes(const config::HybridAttentionConfig& config, kernels::DType dtype,
                                      const LayerRange& layers);

// How far back windowed rows are read by any layer: the sliding window, an HCA group, and a CSA group with the one
// before it.
int32_t V4WindowTokens(const config::HybridAttentionConfig& config);

// A CSA entry pools two groups, so a block needs no more rows than two groups have tokens. This is the number of tokens
// of a block for each row. Blocks hold whole HCA groups; without HCA layers it is 1.
int32_t V4CsaInputSpacing(const config::HybridAttentionConfig& config);

// Owns the caches. Thread-compatible.
class V4Caches {
 public:
  V4Caches(const config::HybridAttentionConfig& config, kernels::DType dtype, const LayerRange& layers);

  absl::Status Allocate(kernels::Backend& backend, const KvCacheSize& size);

  // [blocks, entries of a block, heads, width] of a decoder layer among `layers` that has such a cache.
  const kernels::TensorView& Layer(V4Cache cache, int64_t layer) const;
  // The same of a cache with one head, without the heads' dimension.
  kernels::TensorView Rows(V4Cache cache, int64_t layer) const;

 private:
  std::array<std::unique_ptr<PagedCache>, kV4Caches> caches_;  // null: no layer has one
  std::vector<int64_t> ordinals_;                              // [layers] a layer's number among those of its kind
};

}  // namespace hadal::models

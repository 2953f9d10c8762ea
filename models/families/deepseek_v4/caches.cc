// SPDX-License-Identifier: Apache-2.0
#include "models/families/deepseek_v4/caches.h"

#include <algorithm>
#include <optional>

#include "models/status_macros.h"

namespace hadal::models {
namespace {

using config::V4AttentionKind;
using kernels::DType;
using kernels::TensorView;

int32_t CountLayers(const config::V4AttentionConfig& attention, V4AttentionKind kind) {
  return static_cast<int32_t>(std::count(attention.layers.begin(), attention.layers.end(), kind));
}

// Absent when no layer has such a cache.
std::optional<CacheShape> ShapeOf(V4Cache cache, const config::ModelConfig& config, DType dtype) {
  const config::V4AttentionConfig& attention = *config.v4_attention;
  const int32_t sparse = CountLayers(attention, V4AttentionKind::kSparse);
  const int32_t heavy = CountLayers(attention, V4AttentionKind::kHeavy);
  const auto sparse_ratio = static_cast<int32_t>(attention.sparse_ratio);
  const auto heavy_ratio = static_cast<int32_t>(attention.heavy_ratio);
  const int64_t index_dim = config.indexer ? config.indexer->head_dim : 0;
  CacheShape shape;
  switch (cache) {
    case V4Cache::kWindow:
      shape = {"window", static_cast<int32_t>(config.layers), 1, attention.head_dim, dtype, 1, true};
      break;
    case V4Cache::kSparse:
      shape = {"compressed_sparse", sparse, 1, attention.head_dim, dtype, sparse_ratio, false};
      break;
    case V4Cache::kIndexKeys:
      shape = {"index_keys", sparse, 1, index_dim, dtype, sparse_ratio, false};
      break;
    case V4Cache::kHeavy:
      shape = {"compressed_heavy", heavy, 1, attention.head_dim, dtype, heavy_ratio, false};
      break;
    case V4Cache::kSparseInputs:
      shape = {"sparse_inputs", sparse, 2, 2 * attention.head_dim, DType::kF32, V4SparseInputSpacing(config), true};
      break;
    case V4Cache::kIndexInputs:
      shape = {"index_inputs", sparse, 2, 2 * index_dim, DType::kF32, V4SparseInputSpacing(config), true};
      break;
    case V4Cache::kHeavyInputs:
      shape = {"heavy_inputs", heavy, 2, attention.head_dim, DType::kF32, 1, true};
      break;
  }
  return shape.layers > 0 ? std::optional(shape) : std::nullopt;
}

}  // namespace

std::vector<CacheShape> V4CacheShapes(const config::ModelConfig& config, DType dtype) {
  std::vector<CacheShape> shapes;
  for (size_t i = 0; i < kV4Caches; ++i) {
    if (auto shape = ShapeOf(static_cast<V4Cache>(i), config, dtype)) shapes.push_back(*std::move(shape));
  }
  return shapes;
}

int32_t V4WindowTokens(const config::ModelConfig& config) {
  const config::V4AttentionConfig& attention = *config.v4_attention;
  int64_t tokens = attention.sliding_window;
  if (CountLayers(attention, V4AttentionKind::kSparse) > 0) tokens = std::max(tokens, 2 * attention.sparse_ratio);
  if (CountLayers(attention, V4AttentionKind::kHeavy) > 0) tokens = std::max(tokens, attention.heavy_ratio);
  return static_cast<int32_t>(tokens);
}

int32_t V4SparseInputSpacing(const config::ModelConfig& config) {
  const config::V4AttentionConfig& attention = *config.v4_attention;
  const int64_t needed = 2 * attention.sparse_ratio;
  const bool heavy = CountLayers(attention, V4AttentionKind::kHeavy) > 0;
  return heavy && attention.heavy_ratio % needed == 0 ? static_cast<int32_t>(attention.heavy_ratio / needed) : 1;
}

V4Caches::V4Caches(const config::ModelConfig& config, DType dtype) {
  for (size_t i = 0; i < kV4Caches; ++i) {
    if (auto shape = ShapeOf(static_cast<V4Cache>(i), config, dtype)) {
      caches_[i] = std::make_unique<PagedCache>(*std::move(shape));
    }
  }
  const std::vector<V4AttentionKind>& kinds = config.v4_attention->layers;
  for (auto kind = kinds.begin(); kind != kinds.end(); ++kind) {
    ordinals_.push_back(std::count(kinds.begin(), kind, *kind));
  }
}

absl::Status V4Caches::Allocate(kernels::Backend& backend, const KvCacheSize& size) {
  for (const std::unique_ptr<PagedCache>& cache : caches_) {
    if (cache != nullptr) HADAL_RETURN_IF_ERROR(cache->Allocate(backend, size));
  }
  return absl::OkStatus();
}

const TensorView& V4Caches::Layer(V4Cache cache, int64_t layer) const {
  return caches_[static_cast<size_t>(cache)]->Layer(cache == V4Cache::kWindow ? layer : ordinals_[layer]);
}

TensorView V4Caches::Rows(V4Cache cache, int64_t layer) const {
  const TensorView& view = Layer(cache, layer);
  return TensorView(view.data, view.dtype, {view.size(0), view.size(1), view.size(3)});
}

}  // namespace hadal::models

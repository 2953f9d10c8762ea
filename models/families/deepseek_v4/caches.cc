// SPDX-License-Identifier: Apache-2.0
#include "models/families/deepseek_v4/caches.h"

#include <algorithm>
#include <optional>

#include "models/status_macros.h"

namespace hadal::models {
namespace {

using config::HybridLayer;
using kernels::DType;
using kernels::TensorView;

// Of that kind before layer `end`.
int32_t CountLayers(const config::HybridAttentionConfig& config, HybridLayer kind, int64_t end) {
  return static_cast<int32_t>(std::count(config.layers.begin(), config.layers.begin() + end, kind));
}

int32_t CountLayers(const config::HybridAttentionConfig& config, HybridLayer kind) {
  return CountLayers(config, kind, static_cast<int64_t>(config.layers.size()));
}

// Of all layers; absent when none has such a cache.
std::optional<CacheShape> ShapeOf(V4Cache cache, const config::HybridAttentionConfig& config, DType dtype) {
  const int32_t csa = CountLayers(config, HybridLayer::kCsa);
  const int32_t hca = CountLayers(config, HybridLayer::kHca);
  const auto csa_ratio = static_cast<int32_t>(config.csa_ratio);
  const auto hca_ratio = static_cast<int32_t>(config.hca_ratio);
  const int64_t index_dim = config.indexer ? config.indexer->head_dim : 0;
  CacheShape shape;
  switch (cache) {
    case V4Cache::kWindow:
      shape = {"window", static_cast<int32_t>(config.layers.size()), 1, config.head_dim, dtype, 1, true};
      break;
    case V4Cache::kCsa:
      shape = {"csa_entries", csa, 1, config.head_dim, dtype, csa_ratio, false};
      break;
    case V4Cache::kIndexKeys:
      shape = {"index_keys", csa, 1, index_dim, dtype, csa_ratio, false};
      break;
    case V4Cache::kHca:
      shape = {"hca_entries", hca, 1, config.head_dim, dtype, hca_ratio, false};
      break;
    case V4Cache::kCsaInputs:
      shape = {"csa_inputs", csa, 2, 2 * config.head_dim, DType::kF32, V4CsaInputSpacing(config), true};
      break;
    case V4Cache::kIndexInputs:
      shape = {"index_inputs", csa, 2, 2 * index_dim, DType::kF32, V4CsaInputSpacing(config), true};
      break;
    case V4Cache::kHcaInputs:
      shape = {"hca_inputs", hca, 2, config.head_dim, DType::kF32, 1, true};
      break;
  }
  return shape.layers > 0 ? std::optional(shape) : std::nullopt;
}

// Those of `layers` that have such a cache.
void Restrict(CacheShape& shape, V4Cache cache, const config::HybridAttentionConfig& config, const LayerRange& layers) {
  int64_t begin = layers.begin, end = layers.end;
  if (cache != V4Cache::kWindow) {
    const bool hca = cache == V4Cache::kHca || cache == V4Cache::kHcaInputs;
    const HybridLayer kind = hca ? HybridLayer::kHca : HybridLayer::kCsa;
    begin = CountLayers(config, kind, layers.begin);
    end = CountLayers(config, kind, layers.end);
  }
  shape.first_layer = begin;
  shape.layers = static_cast<int32_t>(end - begin);
}

}  // namespace

std::vector<CacheShape> V4CacheShapes(const config::HybridAttentionConfig& config, DType dtype,
                                      const LayerRange& layers) {
  std::vector<CacheShape> shapes;
  for (size_t i = 0; i < kV4Caches; ++i) {
    const auto cache = static_cast<V4Cache>(i);
    auto shape = ShapeOf(cache, config, dtype);
    if (!shape.has_value()) continue;
    Restrict(*shape, cache, config, layers);
    shapes.push_back(*std::move(shape));
  }
  return shapes;
}

int32_t V4WindowTokens(const config::HybridAttentionConfig& config) {
  int64_t tokens = config.sliding_window;
  if (CountLayers(config, HybridLayer::kCsa) > 0) tokens = std::max(tokens, 2 * config.csa_ratio);
  if (CountLayers(config, HybridLayer::kHca) > 0) tokens = std::max(tokens, config.hca_ratio);
  return static_cast<int32_t>(tokens);
}

int32_t V4CsaInputSpacing(const config::HybridAttentionConfig& config) {
  const int64_t needed = 2 * config.csa_ratio;
  const bool hca = CountLayers(config, HybridLayer::kHca) > 0;
  return hca && config.hca_ratio % needed == 0 ? static_cast<int32_t>(config.hca_ratio / needed) : 1;
}

V4Caches::V4Caches(const config::HybridAttentionConfig& config, DType dtype, const LayerRange& layers) {
  for (size_t i = 0; i < kV4Caches; ++i) {
    const auto cache = static_cast<V4Cache>(i);
    auto shape = ShapeOf(cache, config, dtype);
    if (!shape.has_value()) continue;
    Restrict(*shape, cache, config, layers);
    caches_[i] = std::make_unique<PagedCache>(*std::move(shape));
  }
  for (size_t i = 0; i < config.layers.size(); ++i) {
    ordinals_.push_back(CountLayers(config, config.layers[i], static_cast<int64_t>(i)));
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

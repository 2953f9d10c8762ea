// SPDX-License-Identifier: Apache-2.0
#include "models/blocks/rope_cache.h"

#include "models/blocks/arena.h"
#include "models/status_macros.h"

namespace hadal::models {

absl::StatusOr<std::shared_ptr<const RopeCache>> RopeCache::Create(const LoadContext& context,
                                                                   const kernels::RopeConfig& config,
                                                                   int64_t positions) {
  kernels::Backend& backend = context.backend;
  const int64_t half_dim = config.dim / 2;
  const int64_t table_bytes = ArenaBytes(kernels::DType::kF32, positions * half_dim);
  auto cache = std::make_shared<RopeCache>();
  HADAL_ASSIGN_OR_RETURN(cache->buffer_, backend.Allocate(2 * table_bytes));
  char* base = static_cast<char*>(cache->buffer_.data());
  cache->cos_ = kernels::TensorView(base, kernels::DType::kF32, {positions, half_dim});
  cache->sin_ = kernels::TensorView(base + table_bytes, kernels::DType::kF32, {positions, half_dim});
  if (!context.loader.DeclareTable(cache->cos_.bytes() + cache->sin_.bytes())) return cache;
  HADAL_ASSIGN_OR_RETURN(const kernels::RopeTable table, kernels::BuildRopeTable(config, positions));
  HADAL_RETURN_IF_ERROR(backend.Upload(cache->cos_.data, table.cos.data(), cache->cos_.bytes()));
  HADAL_RETURN_IF_ERROR(backend.Upload(cache->sin_.data, table.sin.data(), cache->sin_.bytes()));
  return cache;
}

kernels::RopeParams RopeCache::Rotation(const kernels::TensorView& positions, const kernels::TensorView& q,
                                        const kernels::TensorView& k, kernels::RopeLayout layout, bool inverse) const {
  return {.q = q, .k = k, .positions = positions, .cos = cos_, .sin = sin_, .layout = layout, .inverse = inverse};
}

absl::Status RopeCache::Apply(kernels::Backend& backend, const kernels::TensorView& positions,
                              const kernels::TensorView& q, const kernels::TensorView& k, kernels::RopeLayout layout,
                              bool inverse) const {
  return backend.Rope(Rotation(positions, q, k, layout, inverse));
}

}  // namespace hadal::models

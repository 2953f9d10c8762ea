// SPDX-License-Identifier: Apache-2.0
#include "models/families/gqa_decoder.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "models/blocks/decoder.h"
#include "models/blocks/feed_forward.h"
#include "models/blocks/gqa_attention.h"
#include "models/blocks/rope_cache.h"
#include "models/status_macros.h"

namespace hadal::models {
namespace {

std::vector<CacheShape> Caches(const config::ModelConfig& config, kernels::DType dtype) {
  const int32_t layers = static_cast<int32_t>(config.layers);
  return {{"k", layers, config.attention.kv_heads, config.attention.head_dim, dtype},
          {"v", layers, config.attention.kv_heads, config.attention.head_dim, dtype}};
}

KvLayout Layout(const config::ModelConfig& config, kernels::DType dtype) { return LayoutOf(Caches(config, dtype)); }

absl::StatusOr<std::unique_ptr<Network>> Load(const LoadContext& context, const FamilyOptions& options) {
  const config::ModelConfig& config = context.config;
  HADAL_ASSIGN_OR_RETURN(const std::shared_ptr<const RopeCache> rope,
                         RopeCache::Create(context.backend, config.rope, options.max_model_len));
  Decoder::Parts parts;
  for (CacheShape& shape : Caches(config, context.dtype())) {
    parts.caches.push_back(std::make_unique<PagedCache>(std::move(shape)));
  }
  const PagedCache* keys = parts.caches[0].get();
  const PagedCache* values = parts.caches[1].get();
  parts.attention = [&context, rope, keys, values](int64_t layer, const std::string& name) {
    return GqaAttention::Load(context, absl::StrCat(name, ".self_attn"), layer, rope, keys, values);
  };
  parts.feed_forward = [&context](int64_t layer, const std::string& name) {
    return LoadFeedForward(context, layer, absl::StrCat(name, ".mlp"));
  };
  return Decoder::Load(context, std::move(parts));
}

int64_t TableBytes(const config::ModelConfig& config, int64_t max_model_len) {
  return RopeCache::Bytes(config.rope, max_model_len);
}

}  // namespace

Family GqaDecoderFamily(std::string name) {
  return {.name = std::move(name), .kv_layout = Layout, .table_bytes = TableBytes, .load = Load};
}

}  // namespace hadal::models

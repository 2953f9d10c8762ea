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
  const auto& attention = std::get<config::GqaConfig>(config.attention);
  return {{"k", layers, attention.kv_heads, attention.head_dim, dtype},
          {"v", layers, attention.kv_heads, attention.head_dim, dtype}};
}

KvLayout Layout(const config::ModelConfig& config, kernels::DType dtype) { return LayoutOf(Caches(config, dtype)); }

absl::StatusOr<std::unique_ptr<Network>> Load(const LoadContext& context, const FamilyOptions& options) {
  HADAL_ASSIGN_OR_RETURN(const config::GqaConfig* attention, AttentionOf<config::GqaConfig>(context.config));
  HADAL_ASSIGN_OR_RETURN(const std::shared_ptr<const RopeCache> rope,
                         RopeCache::Create(context.backend, attention->rope, options.max_model_len));
  Decoder::Parts parts;
  for (CacheShape& shape : Caches(context.config, context.dtype())) {
    parts.caches.push_back(std::make_unique<PagedCache>(std::move(shape)));
  }
  const PagedCache* keys = parts.caches[0].get();
  const PagedCache* values = parts.caches[1].get();
  parts.attention = [&context, attention, rope, keys, values](int64_t layer, const std::string& name) {
    return GqaAttention::Load(context, *attention, absl::StrCat(name, ".self_attn"), layer, rope, keys, values);
  };
  parts.feed_forward = [&context](int64_t layer, const std::string& name) {
    return LoadFeedForward(context, layer, absl::StrCat(name, ".mlp"));
  };
  return Decoder::Load(context, std::move(parts));
}

int64_t TableBytes(const config::ModelConfig& config, int64_t max_model_len) {
  return RopeCache::Bytes(std::get<config::GqaConfig>(config.attention).rope, max_model_len);
}

}  // namespace

Family GqaDecoderFamily(std::string name) {
  return {.name = std::move(name), .kv_layout = Layout, .table_bytes = TableBytes, .load = Load};
}

}  // namespace hadal::models

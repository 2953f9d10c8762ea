// SPDX-License-Identifier: Apache-2.0
#include "models/families/mla_decoder.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "models/blocks/decoder.h"
#include "models/blocks/feed_forward.h"
#include "models/blocks/mla_attention.h"
#include "models/blocks/rope_cache.h"
#include "models/status_macros.h"

namespace hadal::models {
namespace {

// One row a token for all heads.
std::vector<CacheShape> Caches(const config::ModelConfig& config, kernels::DType dtype) {
  const int32_t layers = static_cast<int32_t>(config.layers);
  const auto& attention = std::get<config::MlaConfig>(config.attention);
  std::vector<CacheShape> caches = {{"latent", layers, 1, attention.latent_dim(), dtype}};
  if (attention.indexer.has_value()) caches.push_back({"index_keys", layers, 1, attention.indexer->head_dim, dtype});
  return caches;
}

KvLayout Layout(const config::ModelConfig& config, kernels::DType dtype) { return LayoutOf(Caches(config, dtype)); }

absl::StatusOr<std::unique_ptr<Network>> Load(const LoadContext& context, const FamilyOptions& options) {
  HADAL_ASSIGN_OR_RETURN(const config::MlaConfig* attention, AttentionOf<config::MlaConfig>(context.config));
  HADAL_ASSIGN_OR_RETURN(const std::shared_ptr<const RopeCache> rope,
                         RopeCache::Create(context.backend, attention->rope, options.max_model_len));
  Decoder::Parts parts;
  for (CacheShape& shape : Caches(context.config, context.dtype())) {
    parts.caches.push_back(std::make_unique<PagedCache>(std::move(shape)));
  }
  const PagedCache* latents = parts.caches[0].get();
  const PagedCache* index_keys = attention->indexer.has_value() ? parts.caches[1].get() : nullptr;
  auto mla_planner = std::make_unique<MlaPlanner>(*attention, options.mla_form);
  const MlaPlanner* planner = mla_planner.get();
  parts.planner = std::move(mla_planner);
  parts.attention = [&context, attention, rope, planner, latents, index_keys](int64_t layer, const std::string& name) {
    return MlaAttention::Load(context, *attention, absl::StrCat(name, ".self_attn"), layer, rope, planner, latents,
                              index_keys);
  };
  parts.feed_forward = [&context](int64_t layer, const std::string& name) {
    return LoadFeedForward(context, layer, absl::StrCat(name, ".mlp"));
  };
  return Decoder::Load(context, std::move(parts));
}

int64_t TableBytes(const config::ModelConfig& config, int64_t max_model_len) {
  return RopeCache::Bytes(std::get<config::MlaConfig>(config.attention).rope, max_model_len);
}

}  // namespace

Family MlaDecoderFamily(std::string name) {
  return {.name = std::move(name), .kv_layout = Layout, .table_bytes = TableBytes, .load = Load};
}

}  // namespace hadal::models

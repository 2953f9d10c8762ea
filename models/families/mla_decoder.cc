// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "models/blocks/decoder.h"
#include "models/blocks/feed_forward.h"
#include "models/blocks/mla_attention.h"
#include "models/blocks/rope_cache.h"
#include "models/families/family.h"
#include "models/status_macros.h"

namespace hadal::models {
namespace {

absl::StatusOr<std::unique_ptr<Network>> LoadMlaDecoder(const LoadContext& context, const FamilyOptions& options) {
  HADAL_ASSIGN_OR_RETURN(const config::MlaConfig* attention, AttentionOf<config::MlaConfig>(context.config));
  HADAL_ASSIGN_OR_RETURN(const std::shared_ptr<const RopeCache> rope,
                         RopeCache::Create(context, attention->rope, options.max_model_len));
  // One row a token for all heads.
  const auto cache = [&](const char* name, int64_t width) {
    return CacheShape{.name = name, .heads = 1, .width = width, .dtype = context.dtype()};
  };
  Decoder::Parts parts;
  const PagedCache* latents = parts.AddCache(cache("latent", attention->latent_dim()), context.layers());
  const PagedCache* index_keys = nullptr;
  if (attention->indexer.has_value()) {
    index_keys = parts.AddCache(cache("index_keys", attention->indexer->head_dim), context.layers());
  }
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

}  // namespace

// Latent attention and a feed-forward part, dense or experts, in every layer: deepseek_v2 and deepseek_v3, which differ
// in how their routers score and choose, and, where the configuration has an indexer, deepseek_v32.
Family MlaDecoderFamily(std::string name) { return {.name = std::move(name), .load = LoadMlaDecoder}; }

}  // namespace hadal::models

// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "models/blocks/decoder.h"
#include "models/blocks/feed_forward.h"
#include "models/blocks/gqa_attention.h"
#include "models/blocks/rope_cache.h"
#include "models/families/family.h"
#include "models/status_macros.h"

namespace hadal::models {
namespace {

absl::StatusOr<std::unique_ptr<Network>> LoadGqaDecoder(const LoadContext& context, const FamilyOptions& options) {
  HADAL_ASSIGN_OR_RETURN(const config::GqaConfig* attention, AttentionOf<config::GqaConfig>(context.config));
  HADAL_ASSIGN_OR_RETURN(const std::shared_ptr<const RopeCache> rope,
                         RopeCache::Create(context, attention->rope, options.max_model_len));
  const auto cache = [&](const char* name) {
    return CacheShape{
        .name = name, .heads = attention->kv_heads, .width = attention->head_dim, .dtype = context.dtype()};
  };
  Decoder::Parts parts;
  const PagedCache* keys = parts.AddCache(cache("k"), context.layers());
  const PagedCache* values = parts.AddCache(cache("v"), context.layers());
  parts.attention = [&context, attention, rope, keys, values](int64_t layer, const std::string& name) {
    return GqaAttention::Load(context, *attention, absl::StrCat(name, ".self_attn"), layer, rope, keys, values);
  };
  parts.feed_forward = [&context](int64_t layer, const std::string& name) {
    return LoadFeedForward(context, layer, absl::StrCat(name, ".mlp"));
  };
  return Decoder::Load(context, std::move(parts));
}

}  // namespace

// Grouped-query attention and a feed-forward part, dense or experts, in every layer: llama, qwen2, qwen3 and
// deepseek_moe, which differ in what their configuration says about biases, head norms, rotary scaling and experts.
Family GqaDecoderFamily(std::string name) { return {.name = std::move(name), .load = LoadGqaDecoder}; }

}  // namespace hadal::models

// SPDX-License-Identifier: Apache-2.0
#include "models/families/dense_decoder.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "models/blocks/decoder.h"
#include "models/blocks/gqa_attention.h"
#include "models/blocks/mlp.h"
#include "models/status_macros.h"

namespace hadal::models {

absl::StatusOr<std::unique_ptr<Network>> LoadDenseDecoder(const LoadContext& context, const FamilyOptions& options) {
  const loader::ModelConfig& config = context.config;
  HADAL_ASSIGN_OR_RETURN(const std::shared_ptr<const RopeCache> rope,
                         RopeCache::Create(context.backend, config.rope, options.max_model_len));
  const int64_t kv_heads = context.parallel.Share(config.attention.kv_heads);
  const auto add_cache = [&](Decoder::Parts& parts, const char* name) {
    parts.caches.push_back(std::make_unique<PagedCache>(name, static_cast<int32_t>(config.layers), kv_heads,
                                                        config.attention.head_dim, context.dtype()));
    return parts.caches.back().get();
  };
  Decoder::Parts parts;
  const PagedCache* keys = add_cache(parts, "k");
  const PagedCache* values = add_cache(parts, "v");
  parts.attention = [&context, rope, keys, values](int64_t layer, const std::string& name) {
    return GqaAttention::Load(context, absl::StrCat(name, ".self_attn"), layer, rope, keys, values);
  };
  parts.feed_forward = [&context](int64_t layer, const std::string& name) {
    return Mlp::Load(context, absl::StrCat(name, ".mlp"), context.config.mlp_bias);
  };
  return Decoder::Load(context, std::move(parts));
}

int64_t DenseDecoderWorkspaceBytes(const loader::ModelConfig& config, kernels::DType dtype, int64_t tokens) {
  return Decoder::WorkspaceBytes(config, dtype, tokens,
                                 std::max(GqaAttention::WorkspaceBytes(config, dtype, tokens),
                                          Mlp::WorkspaceBytes(config.intermediate_size, dtype, tokens)));
}

}  // namespace hadal::models

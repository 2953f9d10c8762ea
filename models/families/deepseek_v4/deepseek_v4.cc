// SPDX-License-Identifier: Apache-2.0
#include "models/families/deepseek_v4/deepseek_v4.h"

#include <utility>

#include "models/blocks/rope_cache.h"
#include "models/checkpoint/deepseek_v4_tensors.h"
#include "models/families/deepseek_v4/caches.h"
#include "models/families/deepseek_v4/network.h"

namespace hadal::models {
namespace {

KvLayout Layout(const config::ModelConfig& config, kernels::DType dtype) {
  const auto& attention = std::get<config::HybridAttentionConfig>(config.attention);
  return LayoutOf(V4CacheShapes(attention, dtype), V4WindowTokens(attention));
}

absl::StatusOr<std::unique_ptr<Network>> Load(const LoadContext& context, const FamilyOptions& options) {
  return V4Network::Load(context, options);
}

int64_t TableBytes(const config::ModelConfig& config, int64_t max_model_len) {
  const auto& attention = std::get<config::HybridAttentionConfig>(config.attention);
  return RopeCache::Bytes(attention.sliding_rope, max_model_len) +
         RopeCache::Bytes(attention.compressed_rope, max_model_len);
}

// The preview checkpoints hold a sliding layer with a correction bias.
void MakeMtpBlock(config::ModelConfig& config) {
  std::get<config::HybridAttentionConfig>(config.attention).layers = {config::HybridLayer::kSliding};
}

}  // namespace

Family DeepseekV4Family(std::string name) {
  return {.name = std::move(name),
          .other_tensor_name = checkpoint::DeepseekV4SavedName,
          .kv_layout = Layout,
          .table_bytes = TableBytes,
          .make_mtp_block = MakeMtpBlock,
          .mtp_has_embedding = false,
          .load = Load};
}

}  // namespace hadal::models

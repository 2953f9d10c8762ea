// SPDX-License-Identifier: Apache-2.0
#include <utility>

#include "models/families/deepseek_v4/network.h"
#include "models/families/deepseek_v4/tensor_names.h"
#include "models/families/family.h"

namespace hadal::models {
namespace {

absl::StatusOr<std::unique_ptr<Network>> LoadDeepseekV4(const LoadContext& context, const FamilyOptions& options) {
  return V4Network::Load(context, options);
}

// The preview checkpoints hold a sliding layer with a correction bias.
void MakeMtpBlock(config::ModelConfig& config) {
  std::get<config::HybridAttentionConfig>(config.attention).layers = {config::HybridLayer::kSliding};
}

}  // namespace

// DeepseekV4ForCausalLM: V4-Flash, V4-Pro and their refreshes (arXiv:2606.19348). Hyper-connections around every
// sublayer; attention over a sliding window and compressed entries, chosen by an indexer or all of them; experts in
// every layer, in the first ones chosen by the token itself. mtp.* is ignored.
Family DeepseekV4Family(std::string name) {
  return {.name = std::move(name),
          .load = LoadDeepseekV4,
          .other_tensor_name = V4SavedName,
          .is_mtp_tensor = IsV4MtpTensor,
          .make_mtp_block = MakeMtpBlock,
          .mtp_has_embedding = false};
}

}  // namespace hadal::models

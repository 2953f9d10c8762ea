// SPDX-License-Identifier: Apache-2.0
#include <string>

#include "absl/strings/str_cat.h"
#include "models/config/config_families.h"

namespace hadal::config {

namespace {

// n_routed_experts null: the dense MLP in every layer, as in the published model code.
bool HasExperts(FieldReader& fields) { return fields.status().ok() && fields.Has("n_routed_experts"); }

// What the two families of softmax routers share. The published configuration classes have no experts by default, and
// no default that fits experts: sizes must be there.
MoeConfig ParseSoftmaxMoe(FieldReader& fields, const ModelConfig& config) {
  MoeConfig moe;
  moe.routed_experts = fields.Int("n_routed_experts", 1, kMaxExperts);
  moe.shared_experts = fields.IntOr("n_shared_experts", 0, 0, 64);
  moe.experts_per_token = fields.Int("num_experts_per_tok", 1, 256);
  moe.intermediate_size = fields.Int("moe_intermediate_size", 1, kMaxIntermediateSize);
  moe.first_dense_layers = fields.IntOr("first_k_dense_replace", 0, 0, kMaxLayers);
  moe.layer_freq = fields.IntOr("moe_layer_freq", 1, 1, kMaxLayers);
  // The published code normalises the weights of more than one expert only.
  moe.norm_topk_prob = fields.BoolOr("norm_topk_prob", false) && moe.experts_per_token > 1;
  if (auto scoring = fields.OptionalString("scoring_func"); scoring && *scoring != "softmax") {
    fields.Unsupported("scoring_func",
                       absl::StrCat(config.family, " has softmax, found \"", QuoteForError(*scoring), "\""));
  }
  return moe;
}

}  // namespace

void ParseDeepseekMoeFields(FieldReader& fields, ModelConfig& config) {
  GqaConfig& attention = ParseGqaFields(fields, config);
  attention.qkv_bias = attention.out_bias = fields.BoolOr("attention_bias", false);
  if (!HasExperts(fields)) return;
  const MoeConfig moe = ParseSoftmaxMoe(fields, config);
  if (!fields.status().ok()) return;
  CheckMoeFields(fields, config, moe, 1);
  config.moe = moe;
}

void ParseDeepseekV2Fields(FieldReader& fields, ModelConfig& config) {
  ParseMlaFields(fields, config);
  // transformers would build biases that no published model code has.
  if (fields.BoolOr("mlp_bias", false)) fields.Unsupported("mlp_bias", "deepseek_v2 has none, found true");
  // A missing field is not taken for null: the published class means no experts by it, transformers 64.
  if (!fields.HasKey("n_routed_experts")) {
    fields.Fail("n_routed_experts", "an integer, or null for dense layers only", "nothing");
  }
  if (!HasExperts(fields)) return;
  if (!fields.HasKey("n_shared_experts")) {
    fields.Fail("n_shared_experts", "an integer, or null for none", "nothing");
  }
  MoeConfig moe = ParseSoftmaxMoe(fields, config);
  moe.routed_scaling_factor = fields.DoubleOr("routed_scaling_factor", 1.0, 1e-6, 1e6);
  const std::string method = fields.OptionalString("topk_method").value_or("greedy");
  if (method == "group_limited_greedy") {
    moe.selection = RouterSelection::kGroupLimitedGreedy;
    moe.groups = fields.Int("n_group", 1, kMaxExperts);
    moe.groups_per_token = fields.Int("topk_group", 1, kMaxExperts);
  } else if (method == "greedy") {
    // Greedy routing has no groups, whatever these say.
    fields.IntOr("n_group", 1, 1, kMaxExperts);
    fields.IntOr("topk_group", 1, 1, kMaxExperts);
  } else {
    fields.Unsupported("topk_method", absl::StrCat("deepseek_v2 has greedy and group_limited_greedy, found \"",
                                                   QuoteForError(method), "\""));
  }
  if (!fields.status().ok()) return;
  CheckMoeFields(fields, config, moe, 1);
  config.moe = moe;
}

}  // namespace hadal::config

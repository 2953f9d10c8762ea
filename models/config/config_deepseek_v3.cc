// SPDX-License-Identifier: Apache-2.0
#include "absl/strings/str_cat.h"
#include "models/config/config_families.h"

namespace hadal::config {
namespace {

void ParseMoe(FieldReader& fields, ModelConfig& config) {
  MoeConfig moe;
  const char* experts_key = fields.Has("n_routed_experts") ? "n_routed_experts" : "num_local_experts";
  if (!fields.Has(experts_key)) experts_key = "n_routed_experts";
  moe.routed_experts = fields.Int(experts_key, 1, kMaxExperts);
  moe.shared_experts = fields.IntOr("n_shared_experts", 1, 0, 64);
  moe.experts_per_token = fields.IntOr("num_experts_per_tok", 8, 1, 256);
  moe.intermediate_size = fields.Int("moe_intermediate_size", 1, kMaxIntermediateSize);
  moe.first_dense_layers = fields.IntOr("first_k_dense_replace", 3, 0, kMaxLayers);
  moe.layer_freq = fields.IntOr("moe_layer_freq", 1, 1, kMaxLayers);
  // Defaults as in transformers; null means no groups.
  moe.groups = fields.IntOr("n_group", fields.HasKey("n_group") ? 1 : 8, 1, kMaxExperts);
  moe.groups_per_token = fields.IntOr("topk_group", moe.groups == 1 ? 1 : 4, 1, kMaxExperts);
  // As in transformers, null means false and nothing means true.
  moe.norm_topk_prob = fields.BoolOr("norm_topk_prob", !fields.HasKey("norm_topk_prob"));
  moe.routed_scaling_factor = fields.DoubleOr("routed_scaling_factor", 2.5, 1e-6, 1e6);
  moe.scoring = RouterScoring::kSigmoid;
  moe.selection = RouterSelection::kNoAuxTc;
  moe.correction_bias = true;
  if (auto scoring = fields.OptionalString("scoring_func"); scoring && *scoring != "sigmoid") {
    fields.Unsupported("scoring_func",
                       absl::StrCat(config.family, " has sigmoid, found \"", QuoteForError(*scoring), "\""));
  }
  if (auto method = fields.OptionalString("topk_method"); method && *method != "noaux_tc") {
    fields.Unsupported("topk_method",
                       absl::StrCat(config.family, " has noaux_tc, found \"", QuoteForError(*method), "\""));
  }
  if (!fields.status().ok()) return;
  CheckMoeFields(fields, config, moe, 2);
  config.moe = moe;
}

}  // namespace

void ParseDeepseekV3Fields(FieldReader& fields, ModelConfig& config) {
  ParseMlaFields(fields, config).rope_interleaved = fields.BoolOr("rope_interleave", !fields.HasKey("rope_interleave"));
  ParseMoe(fields, config);
  const char* mtp_key = fields.Has("num_nextn_predict_layers") ? "num_nextn_predict_layers" : "num_mtp_layers";
  config.mtp_layers = fields.IntOr(mtp_key, 1, 0, 64);
}

}  // namespace hadal::config

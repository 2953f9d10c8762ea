// SPDX-License-Identifier: Apache-2.0
#include "absl/strings/str_cat.h"
#include "models/config/config_families.h"

namespace hadal::config {

MlaConfig& ParseMlaFields(FieldReader& fields, ModelConfig& config) {
  MlaConfig& mla = config.attention.emplace<MlaConfig>();
  mla.heads = fields.Int("num_attention_heads", 1, kMaxHeads);
  const int64_t kv_heads = fields.IntOr("num_key_value_heads", mla.heads, 1, kMaxHeads);
  if (fields.status().ok() && kv_heads != mla.heads) {
    fields.Fail("num_key_value_heads", absl::StrCat("num_attention_heads, ", mla.heads, " (latent attention)"),
                absl::StrCat(kv_heads));
  }
  // A missing field is not taken for null: the two mean different tensors.
  if (!fields.HasKey("q_lora_rank")) {
    fields.Fail("q_lora_rank", "an integer, or null for a full q_proj", "nothing");
  }
  mla.q_lora_rank = fields.IntOr("q_lora_rank", 0, 1, kMaxLoraRank);
  mla.kv_lora_rank = fields.Int("kv_lora_rank", 1, kMaxLoraRank);
  mla.qk_nope_head_dim = fields.Int("qk_nope_head_dim", 1, kMaxHeadDim);
  mla.qk_rope_head_dim = fields.Int("qk_rope_head_dim", 2, kMaxHeadDim);
  mla.v_head_dim = fields.Int("v_head_dim", 1, kMaxHeadDim);
  mla.bias = fields.BoolOr("attention_bias", false);
  if (fields.status().ok() && mla.qk_rope_head_dim % 2 != 0) {
    fields.Fail("qk_rope_head_dim", "an even number (rotary pairs)", absl::StrCat(mla.qk_rope_head_dim));
  }
  if (fields.status().ok()) mla.rope = ParseRopeFields(fields, mla.qk_rope_head_dim, config);
  return mla;
}

}  // namespace hadal::config

// SPDX-License-Identifier: Apache-2.0
#include "absl/strings/str_cat.h"
#include "models/config/config_families.h"

namespace hadal::config {

GqaConfig& ParseGqaFields(FieldReader& fields, ModelConfig& config) {
  GqaConfig& attention = config.attention.emplace<GqaConfig>();
  attention.heads = fields.Int("num_attention_heads", 1, kMaxHeads);
  attention.kv_heads = fields.IntOr("num_key_value_heads", attention.heads, 1, kMaxHeads);
  if (!fields.status().ok()) return attention;
  if (attention.heads % attention.kv_heads != 0) {
    fields.Fail("num_key_value_heads", absl::StrCat("a divisor of num_attention_heads, ", attention.heads),
                absl::StrCat(attention.kv_heads));
  }
  if (fields.Has("head_dim")) {
    attention.head_dim = fields.Int("head_dim", 2, kMaxHeadDim);
  } else if (config.hidden_size % attention.heads != 0) {
    fields.Fail("num_attention_heads",
                absl::StrCat("a divisor of hidden_size, ", config.hidden_size, ", without head_dim"),
                absl::StrCat(attention.heads));
  } else {
    attention.head_dim = config.hidden_size / attention.heads;
    if (attention.head_dim > kMaxHeadDim) {
      fields.Fail("hidden_size / num_attention_heads", absl::StrCat("at most ", kMaxHeadDim),
                  absl::StrCat(attention.head_dim));
    }
  }
  if (fields.status().ok() && attention.head_dim % 2 != 0) {
    fields.Fail("head_dim", "an even number (rotary pairs)", absl::StrCat(attention.head_dim));
  }
  if (fields.status().ok()) attention.rope = ParseRopeFields(fields, attention.head_dim, config);
  return attention;
}

void ParseLlamaFields(FieldReader& fields, ModelConfig& config) {
  GqaConfig& attention = ParseGqaFields(fields, config);
  attention.qkv_bias = attention.out_bias = fields.BoolOr("attention_bias", false);
  config.mlp_bias = fields.BoolOr("mlp_bias", false);
}

}  // namespace hadal::config

// SPDX-License-Identifier: Apache-2.0
#include "absl/strings/str_cat.h"
#include "models/config/config_families.h"

namespace hadal::config {

namespace {

void RefuseSlidingWindows(FieldReader& fields, const ModelConfig& config) {
  // Present in every file; without use_sliding_window they have no effect.
  fields.IntOr("sliding_window", 0, 0, kMaxPositions);
  fields.IntOr("max_window_layers", 0, 0, kMaxLayers);
  if (fields.BoolOr("use_sliding_window", false)) {
    fields.Unsupported("use_sliding_window",
                       absl::StrCat("hadal offers full attention for ", config.family, " only, found true"));
  }
  for (const std::string& type : fields.StringList("layer_types", kMaxLayers)) {
    if (type == "full_attention") continue;
    fields.Unsupported("layer_types", absl::StrCat("hadal offers full_attention for ", config.family, " only, found \"",
                                                   QuoteForError(type), "\""));
    break;
  }
}

}  // namespace

void ParseQwen2Fields(FieldReader& fields, ModelConfig& config) {
  ParseGqaFields(fields, config).qkv_bias = true;
  RefuseSlidingWindows(fields, config);
}

void ParseQwen3Fields(FieldReader& fields, ModelConfig& config) {
  // transformers takes 128 for a missing head_dim whatever the other sizes are; the published files name it.
  if (!fields.Has("head_dim")) fields.Fail("head_dim", "an integer (qwen3 does not derive it)", "nothing");
  GqaConfig& attention = ParseGqaFields(fields, config);
  attention.qkv_bias = attention.out_bias = fields.BoolOr("attention_bias", false);
  attention.qk_norm = true;
  RefuseSlidingWindows(fields, config);
}

}  // namespace hadal::config

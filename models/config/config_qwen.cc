// SPDX-License-Identifier: Apache-2.0
#include "absl/strings/str_cat.h"
#include "models/config/config_families.h"

namespace hadal::config {

namespace {

// Whether a layer slides is decided as transformers does: by layer_types where that is given, else the layers from
// max_window_layers on slide if use_sliding_window is set and the window has a size.
void RefuseSlidingWindows(FieldReader& fields, const ModelConfig& config) {
  fields.IntOr("sliding_window", 0, 0, kMaxPositions);
  const int64_t full_layers = fields.IntOr("max_window_layers", 28, 0, kMaxLayers);
  const bool used = fields.BoolOr("use_sliding_window", false);
  const bool null_window = fields.HasKey("sliding_window") && !fields.Has("sliding_window");
  const std::vector<std::string> types = fields.StringList("layer_types", kMaxLayers);
  if (types.empty() && used && !null_window && full_layers < config.layers) {
    fields.Unsupported("use_sliding_window",
                       absl::StrCat("hadal offers full attention for ", config.family, " only, found true for layer ",
                                    full_layers, " (max_window_layers) and after"));
  }
  for (const std::string& type : types) {
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

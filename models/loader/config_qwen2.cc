// SPDX-License-Identifier: Apache-2.0
#include "absl/strings/str_cat.h"
#include "models/loader/config_families.h"

namespace hadal::loader {

void ParseQwen2Fields(FieldReader& fields, ModelConfig& config) {
  ParseGqaFields(fields, config);
  config.attention.qkv_bias = true;
  config.attention.out_bias = false;
  // Present in every file; without use_sliding_window they have no effect.
  fields.IntOr("sliding_window", 0, 0, kMaxPositions);
  fields.IntOr("max_window_layers", 0, 0, kMaxLayers);
  if (fields.BoolOr("use_sliding_window", false)) {
    fields.Unsupported("use_sliding_window", "hadal offers full attention for qwen2 only, found true");
  }
  for (const std::string& type : fields.StringList("layer_types", kMaxLayers)) {
    if (type == "full_attention") continue;
    fields.Unsupported("layer_types",
                       absl::StrCat("hadal offers full_attention for qwen2 only, found \"", QuoteForError(type), "\""));
    break;
  }
}

}  // namespace hadal::loader

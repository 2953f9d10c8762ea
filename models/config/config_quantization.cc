// SPDX-License-Identifier: Apache-2.0
#include "absl/strings/str_cat.h"
#include "models/config/config_families.h"

namespace hadal::config {
namespace {

struct OtherMethod {
  const char* name;
  const char* needs;  // what a reader of it would take
};

// Methods that checkpoints in circulation carry.
constexpr OtherMethod kOtherMethods[] = {
    {"awq", "4-bit integers in groups, a reader of qweight, qzeros and scales"},
    {"gptq", "4-bit integers in groups, a reader of qweight, qzeros, scales and g_idx"},
    {"compressed-tensors", "a reader of its schemes (weight_packed, weight_scale, weight_zero_point)"},
    {"bitsandbytes", "NF4 or int8 codes, a reader of absmax and quant_map"},
    {"mxfp4", "a reader of _blocks and _scales (E2M1 with an E8M0 scale per 32 values)"},
    {"modelopt", "a reader of NVFP4 (E2M1 with an E4M3 scale per 16 values and one per tensor)"},
    {"fbgemm_fp8", "a reader of one FP8 scale per row"},
};

void RefuseMethod(FieldReader& quant, const std::string& method) {
  std::string message = absl::StrCat("hadal offers fp8, found \"", QuoteForError(method), "\"");
  for (const OtherMethod& other : kOtherMethods) {
    if (method == other.name) absl::StrAppend(&message, ", which would need ", other.needs);
  }
  quant.Unsupported("quant_method", absl::StrCat(message, "; use the checkpoint in the format it was published in"));
}

// A string field that must have its one value when it is there.
void ExpectString(FieldReader& fields, const char* key, absl::string_view offered, absl::string_view otherwise) {
  const std::optional<std::string> value = fields.OptionalString(key);
  if (!fields.status().ok() || !value || *value == offered) return;
  fields.Unsupported(key, absl::StrCat("hadal offers ", offered, ", found \"", QuoteForError(*value), "\"", otherwise));
}

// The format of routed experts, in config.json (DeepSeek-V4) or inside quantization_config (as transformers 5 writes
// it).
bool ParseFp4Experts(FieldReader& fields) {
  const std::optional<std::string> name = fields.OptionalString("expert_dtype");
  if (!fields.status().ok() || !name || *name == "fp8") return false;
  if (*name != "fp4") {
    fields.Unsupported("expert_dtype", absl::StrCat("hadal offers fp4 and fp8, found \"", QuoteForError(*name), "\""));
  }
  return fields.status().ok();
}

}  // namespace

void ParseQuantization(FieldReader& fields, ModelConfig& config) {
  auto object = fields.OptionalObject("quantization_config");
  const bool fp4_outside = ParseFp4Experts(fields);
  if (fp4_outside && !object) {
    fields.Fail("quantization_config", "an object beside expert_dtype \"fp4\"", "nothing");
  }
  if (!object || !fields.status().ok()) return;
  FieldReader quant(*object);
  const std::string method = quant.OptionalString("quant_method").value_or("");
  if (quant.status().ok() && method != "fp8") RefuseMethod(quant, method);
  ExpectString(quant, "fmt", "e4m3", "");
  // Scales may be any float32 or E8M0 values: scale_fmt says how activations were quantised in training, and hadal
  // dequantises weights and leaves activations alone.
  ExpectString(quant, "scale_fmt", "ue8m0", "");
  ExpectString(quant, "activation_scheme", "dynamic", ", which would need stored activation scales");
  const std::vector<int32_t> block = quant.IntList("weight_block_size", 1, 65536);
  if (quant.status().ok() && block.size() != 2) {
    quant.Fail("weight_block_size", "[rows, columns]", absl::StrCat("a list of ", block.size()));
  }
  const bool fp4_inside = ParseFp4Experts(quant);
  if (quant.status().ok() && fields.Has("expert_dtype") && quant.Has("expert_dtype") && fp4_inside != fp4_outside) {
    quant.Fail("expert_dtype", "the same as expert_dtype outside", fp4_inside ? "\"fp4\"" : "\"fp8\"");
  }
  fields.Adopt(quant.status());
  if (fields.status().ok()) config.fp8 = Fp8Config{block[0], block[1], fp4_inside || fp4_outside};
}

}  // namespace hadal::config

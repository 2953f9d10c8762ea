// SPDX-License-Identifier: Apache-2.0
#include "models/config/config.h"

#include <algorithm>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/read_file.h"
#include "models/config/config_families.h"
#include "models/json/json_document.h"

namespace hadal::config {
namespace {

using kernels::DType;

constexpr int64_t kMaxConfigBytes = int64_t{4} << 20;

constexpr FamilyParser kFamilies[] = {
#define HADAL_FAMILY(name, architecture, model_type, parser, dense_mlp, network) \
  {architecture, model_type, Parse##parser##Fields, dense_mlp},
#include "models/config/families.def"
#undef HADAL_FAMILY
};

const FamilyParser* ChooseFamily(FieldReader& fields) {
  const std::vector<std::string> architectures = fields.StringList("architectures", 16);
  const std::optional<std::string> model_type = fields.OptionalString("model_type");
  if (!fields.status().ok()) return nullptr;
  const std::string known = absl::StrJoin(KnownArchitectures(), ", ");
  if (architectures.empty()) {
    if (!model_type) {
      fields.Fail("architectures", absl::StrCat("one of ", known), "nothing");
      return nullptr;
    }
    for (const FamilyParser& family : kFamilies) {
      if (*model_type == family.family) return &family;
    }
    fields.Unsupported("model_type", absl::StrCat("unknown model type \"", QuoteForError(*model_type),
                                                  "\"; known architectures: ", known));
    return nullptr;
  }
  for (const FamilyParser& family : kFamilies) {
    if (architectures[0] != family.architecture) continue;
    if (model_type && *model_type != family.family) {
      fields.Fail("model_type", absl::StrCat("\"", family.family, "\" for ", family.architecture),
                  absl::StrCat("\"", QuoteForError(*model_type), "\""));
      return nullptr;
    }
    return &family;
  }
  if (architectures[0] == "DeepseekV41ForCausalLM") {
    fields.Unsupported(
        "architectures",
        absl::StrCat("DeepseekV41ForCausalLM is not offered: it would need compressed caches that layers "
                     "share, the Engram memory and hyper-connections of one pass; known: ",
                     known));
    return nullptr;
  }
  fields.Unsupported("architectures",
                     absl::StrCat("unknown architecture \"", QuoteForError(architectures[0]), "\"; known: ", known));
  return nullptr;
}

void ParseDType(FieldReader& fields, ModelConfig& config) {
  const char* key = fields.Has("dtype") ? "dtype" : "torch_dtype";
  const std::optional<std::string> name = fields.OptionalString(key);
  if (!name || *name == "auto") return;
  if (*name == "bfloat16") {
    config.checkpoint_dtype = DType::kBF16;
  } else if (*name == "float16") {
    config.checkpoint_dtype = DType::kF16;
  } else if (*name == "float32") {
    config.checkpoint_dtype = DType::kF32;
  } else {
    fields.Fail(key, "bfloat16, float16 or float32", absl::StrCat("\"", QuoteForError(*name), "\""));
  }
}

void ParseCommon(FieldReader& fields, bool dense_mlp, ModelConfig& config) {
  config.vocab_size = fields.Int("vocab_size", 1, kMaxVocabSize);
  config.hidden_size = fields.Int("hidden_size", 1, kMaxHiddenSize);
  if (dense_mlp) config.intermediate_size = fields.Int("intermediate_size", 1, kMaxIntermediateSize);
  config.layers = fields.Int("num_hidden_layers", 1, kMaxLayers);
  config.max_position_embeddings = fields.Int("max_position_embeddings", 1, kMaxPositions);
  config.rms_norm_eps = fields.DoubleOr("rms_norm_eps", 1e-6, 0.0, 1.0);
  config.tie_word_embeddings = fields.BoolOr("tie_word_embeddings", false);
  const std::string act = fields.OptionalString("hidden_act").value_or("silu");
  if (fields.status().ok() && act != "silu" && act != "swish") {
    fields.Unsupported("hidden_act", absl::StrCat("hadal offers silu, found \"", QuoteForError(act), "\""));
  }
  if (fields.status().ok()) {
    config.bos_token_ids = fields.IntList("bos_token_id", 0, config.vocab_size - 1);
    config.eos_token_ids = fields.IntList("eos_token_id", 0, config.vocab_size - 1);
  }
  ParseDType(fields, config);
  ParseQuantization(fields, config);
}

absl::Status AddGenerationEos(absl::string_view text, ModelConfig& config) {
  constexpr absl::string_view kFile = "generation_config.json";
  auto document = json::JsonDocument::Parse(text, kFile);
  if (!document.ok()) return document.status();
  FieldReader fields((*document)->root());
  const std::vector<int32_t> eos = fields.IntList("eos_token_id", 0, config.vocab_size - 1);
  if (!fields.status().ok()) return fields.status();
  for (int32_t id : eos) {
    if (!absl::c_linear_search(config.eos_token_ids, id)) config.eos_token_ids.push_back(id);
  }
  return absl::OkStatus();
}

}  // namespace

DType ModelConfig::DefaultComputeDType() const { return checkpoint_dtype == DType::kF16 ? DType::kF16 : DType::kBF16; }

std::vector<std::string> KnownArchitectures() {
  std::vector<std::string> names;
  for (const FamilyParser& family : kFamilies) names.push_back(family.architecture);
  return names;
}

absl::StatusOr<ModelConfig> ParseModelConfig(absl::string_view text, absl::string_view file,
                                             absl::string_view generation_text) {
  if (text.size() > kMaxConfigBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, ": expected at most ", kMaxConfigBytes, " bytes, found ", text.size()));
  }
  auto document = json::JsonDocument::Parse(text, file);
  if (!document.ok()) return document.status();
  FieldReader fields((*document)->root());
  ModelConfig config;
  const FamilyParser* family = ChooseFamily(fields);
  if (family == nullptr) return fields.status();
  config.family = family->family;
  config.architecture = family->architecture;
  ParseCommon(fields, family->dense_mlp, config);
  if (fields.status().ok()) family->parse(fields, config);
  if (!fields.status().ok()) return fields.status();
  if (!generation_text.empty()) {
    if (absl::Status status = AddGenerationEos(generation_text, config); !status.ok()) return status;
  }
  config.source_text = std::string(text);
  return config;
}

absl::StatusOr<ModelConfig> ReadModelConfig(const std::string& directory) {
  const std::string path = absl::StrCat(directory, "/config.json");
  auto text = base::ReadFile(path, kMaxConfigBytes);
  if (!text.ok()) return text.status();
  auto generation = base::ReadFile(absl::StrCat(directory, "/generation_config.json"), kMaxConfigBytes);
  if (!generation.ok() && !absl::IsNotFound(generation.status())) return generation.status();
  return ParseModelConfig(*text, path, generation.ok() ? absl::string_view(*generation) : absl::string_view());
}

}  // namespace hadal::config

// SPDX-License-Identifier: Apache-2.0
#include "models/tokenizer/tokenizer_parts.h"

#include <utility>

#include "models/tokenizer/concat.h"
#include "models/tokenizer/status_macros.h"

namespace hadal::tokenizer {
namespace {

// bos_token and its relatives are a string, an object with "content", or null.
absl::Status ReadTokenName(const JsonField& root, std::string_view key, std::string* name) {
  HADAL_TOKENIZER_ASSIGN(const JsonField field, root.Get(key));
  if (field.IsNull()) return absl::OkStatus();
  if (field.IsObject()) {
    HADAL_TOKENIZER_ASSIGN(*name, field.StringAt("content"));
    return absl::OkStatus();
  }
  if (!field.IsString()) return field.Expected("a string or an object with \"content\"");
  HADAL_TOKENIZER_ASSIGN(*name, field.String());
  return absl::OkStatus();
}

// chat_template is a string, or a list of {name, template} of which "default" (or the only one) counts.
absl::Status ReadChatTemplate(const JsonField& root, std::string* text) {
  HADAL_TOKENIZER_ASSIGN(const JsonField field, root.Get("chat_template"));
  if (field.IsNull()) return absl::OkStatus();
  if (!field.IsArray()) {
    HADAL_TOKENIZER_ASSIGN(*text, field.String());
    return absl::OkStatus();
  }
  HADAL_TOKENIZER_ASSIGN(const simdjson::dom::array list, field.Array());
  size_t i = 0;
  for (const simdjson::dom::element element : list) {
    const JsonField entry = field.At(element, Concat("[", i++, "]"));
    HADAL_TOKENIZER_ASSIGN(const std::string_view name, entry.StringAt("name"));
    HADAL_TOKENIZER_ASSIGN(const std::string_view body, entry.StringAt("template"));
    if (name == "default" || text->empty()) *text = body;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<JsonField> ParseJsonText(std::string_view json, std::string_view file, simdjson::dom::parser* parser) {
  if (json.size() > kMaxTokenizerJsonBytes) {
    return absl::InvalidArgumentError(Concat(file, ": ", json.size(), " bytes, the limit is ", kMaxTokenizerJsonBytes));
  }
  simdjson::dom::element root;
  const simdjson::error_code error = parser->parse(json.data(), json.size(), true).get(root);
  if (error != simdjson::SUCCESS) {
    return absl::InvalidArgumentError(Concat(file, ": not valid JSON: ", simdjson::error_message(error)));
  }
  return JsonField(root, Concat(file, ":"));
}

absl::StatusOr<TokenizerParts> ParseTokenizerJson(std::string_view json) {
  simdjson::dom::parser parser;
  HADAL_TOKENIZER_ASSIGN(const JsonField root, ParseJsonText(json, "tokenizer.json", &parser));
  if (!root.IsObject()) return root.Expected("an object");
  TokenizerParts parts;
  HADAL_TOKENIZER_ASSIGN(const JsonField normalizer, root.Get("normalizer"));
  HADAL_TOKENIZER_RETURN_IF_ERROR(ReadNormalizer(normalizer, &parts.normalizer));
  HADAL_TOKENIZER_ASSIGN(const JsonField pretokenizer, root.Get("pre_tokenizer"));
  HADAL_TOKENIZER_RETURN_IF_ERROR(ReadPretokenizer(pretokenizer, &parts.pretokenizer));
  HADAL_TOKENIZER_ASSIGN(const JsonField decoder, root.Get("decoder"));
  HADAL_TOKENIZER_RETURN_IF_ERROR(CheckDecoder(decoder));
  HADAL_TOKENIZER_RETURN_IF_ERROR(ReadModel(root, &parts));
  HADAL_TOKENIZER_ASSIGN(const JsonField post_processor, root.Get("post_processor"));
  HADAL_TOKENIZER_RETURN_IF_ERROR(ReadPostProcessor(post_processor, &parts));
  return parts;
}

absl::Status ParseTokenizerConfig(std::string_view json, TokenizerConfig* config) {
  if (json.empty()) return absl::OkStatus();
  simdjson::dom::parser parser;
  HADAL_TOKENIZER_ASSIGN(const JsonField root, ParseJsonText(json, "tokenizer_config.json", &parser));
  HADAL_TOKENIZER_RETURN_IF_ERROR(ReadTokenName(root, "bos_token", &config->bos_token));
  HADAL_TOKENIZER_RETURN_IF_ERROR(ReadTokenName(root, "eos_token", &config->eos_token));
  HADAL_TOKENIZER_RETURN_IF_ERROR(ReadChatTemplate(root, &config->chat_template));
  HADAL_TOKENIZER_ASSIGN(const JsonField add_bos, root.Get("add_bos_token"));
  config->add_bos_token_given = !add_bos.IsNull();
  HADAL_TOKENIZER_ASSIGN(config->add_bos_token, root.BoolOr("add_bos_token", false));
  HADAL_TOKENIZER_ASSIGN(config->add_eos_token, root.BoolOr("add_eos_token", false));
  HADAL_TOKENIZER_ASSIGN(const JsonField tokenizer_class, root.Get("tokenizer_class"));
  if (!tokenizer_class.IsNull()) {
    HADAL_TOKENIZER_ASSIGN(config->tokenizer_class, tokenizer_class.String());
  }
  // Files without a limit hold 1e30 here, which is no integer.
  HADAL_TOKENIZER_ASSIGN(const JsonField length, root.Get("model_max_length"));
  if (const absl::StatusOr<int64_t> value = length.Integer(); value.ok() && *value > 0 && *value <= int64_t{1} << 40) {
    config->model_max_length = *value;
  }
  return absl::OkStatus();
}

absl::Status ParseGenerationConfig(std::string_view json, TokenizerConfig* config) {
  if (json.empty()) return absl::OkStatus();
  simdjson::dom::parser parser;
  HADAL_TOKENIZER_ASSIGN(const JsonField root, ParseJsonText(json, "generation_config.json", &parser));
  HADAL_TOKENIZER_ASSIGN(const JsonField bos, root.Get("bos_token_id"));
  if (!bos.IsNull() && !bos.IsArray()) {
    HADAL_TOKENIZER_ASSIGN(config->generation_bos_id, bos.Integer());
  }
  HADAL_TOKENIZER_ASSIGN(const JsonField eos, root.Get("eos_token_id"));
  if (eos.IsNull()) return absl::OkStatus();
  if (!eos.IsArray()) {
    HADAL_TOKENIZER_ASSIGN(const int64_t id, eos.Integer());
    config->generation_eos_ids.push_back(id);
    return absl::OkStatus();
  }
  HADAL_TOKENIZER_ASSIGN(const simdjson::dom::array list, eos.Array());
  size_t i = 0;
  for (const simdjson::dom::element element : list) {
    HADAL_TOKENIZER_ASSIGN(const int64_t id, eos.At(element, Concat("[", i++, "]")).Integer());
    config->generation_eos_ids.push_back(id);
  }
  return absl::OkStatus();
}

}  // namespace hadal::tokenizer

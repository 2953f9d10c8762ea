// SPDX-License-Identifier: Apache-2.0
#include "models/tokenizer/tokenizer_parts.h"

#include <utility>

#include "absl/strings/str_replace.h"
#include "models/concat.h"
#include "models/json/json_document.h"
#include "models/status_macros.h"

namespace hadal::tokenizer {
namespace {

// bos_token and its relatives are a string, an object with "content", or null.
absl::Status ReadTokenName(const JsonField& root, std::string_view key, std::string* name) {
  HADAL_ASSIGN_OR_RETURN(const JsonField field, root.Get(key));
  if (field.IsNull()) return absl::OkStatus();
  if (field.IsObject()) {
    HADAL_ASSIGN_OR_RETURN(*name, field.StringAt("content"));
    return absl::OkStatus();
  }
  if (!field.IsString()) return field.Expected("a string or an object with \"content\"");
  HADAL_ASSIGN_OR_RETURN(*name, field.String());
  return absl::OkStatus();
}

// chat_template is a string, or a list of {name, template} of which "default" (or the first one) counts, and "tool_use"
// for chats with tools.
absl::Status ReadChatTemplate(const JsonField& root, std::string* text, std::string* tool_text) {
  HADAL_ASSIGN_OR_RETURN(const JsonField field, root.Get("chat_template"));
  if (field.IsNull()) return absl::OkStatus();
  if (!field.IsArray()) {
    HADAL_ASSIGN_OR_RETURN(*text, field.String());
    return absl::OkStatus();
  }
  HADAL_ASSIGN_OR_RETURN(const simdjson::dom::array list, field.Array());
  size_t i = 0;
  for (const simdjson::dom::element element : list) {
    const JsonField entry = field.At(element, models::Concat("[", i++, "]"));
    HADAL_ASSIGN_OR_RETURN(const std::string_view name, entry.StringAt("name"));
    HADAL_ASSIGN_OR_RETURN(const std::string_view body, entry.StringAt("template"));
    if (name == "default" || text->empty()) *text = body;
    if (name == "tool_use") *tool_text = body;
  }
  return absl::OkStatus();
}

// The readers below check what they read, and a vocabulary has too many keys to check them twice.
absl::StatusOr<std::unique_ptr<json::JsonDocument>> Parse(std::string_view text, absl::string_view file) {
  return json::JsonDocument::Parse(json::ToAbsl(text), file,
                                   {.max_bytes = kMaxTokenizerJsonBytes, .max_depth = 1024, .repeated_keys = true});
}

}  // namespace

std::string WithSpaces(std::string_view text) {
  return absl::StrReplaceAll(json::ToAbsl(text), {{json::ToAbsl(kSpaceMark), " "}});
}

absl::StatusOr<TokenizerParts> ParseTokenizerJson(std::string_view json) {
  HADAL_ASSIGN_OR_RETURN(const std::unique_ptr<json::JsonDocument> document, Parse(json, "tokenizer.json"));
  const JsonField root = document->root();
  TokenizerParts parts;
  HADAL_ASSIGN_OR_RETURN(const JsonField decoder, root.Get("decoder"));
  HADAL_RETURN_IF_ERROR(ReadDecoder(decoder, &parts));
  HADAL_ASSIGN_OR_RETURN(const JsonField normalizer, root.Get("normalizer"));
  HADAL_RETURN_IF_ERROR(ReadNormalizer(normalizer, &parts));
  HADAL_ASSIGN_OR_RETURN(const JsonField pretokenizer, root.Get("pre_tokenizer"));
  HADAL_RETURN_IF_ERROR(ReadPretokenizer(pretokenizer, &parts));
  HADAL_RETURN_IF_ERROR(ReadModel(root, &parts));
  HADAL_ASSIGN_OR_RETURN(const JsonField post_processor, root.Get("post_processor"));
  HADAL_RETURN_IF_ERROR(ReadPostProcessor(post_processor, &parts));
  return parts;
}

absl::Status ParseTokenizerConfig(std::string_view json, TokenizerConfig* config) {
  if (json.empty()) return absl::OkStatus();
  HADAL_ASSIGN_OR_RETURN(const std::unique_ptr<json::JsonDocument> document, Parse(json, "tokenizer_config.json"));
  const JsonField root = document->root();
  HADAL_RETURN_IF_ERROR(ReadTokenName(root, "bos_token", &config->bos_token));
  HADAL_RETURN_IF_ERROR(ReadTokenName(root, "eos_token", &config->eos_token));
  for (const char* key : {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"}) {
    std::string token;
    HADAL_RETURN_IF_ERROR(ReadTokenName(root, key, &token));
    if (!token.empty()) config->special_tokens.emplace_back(key, std::move(token));
  }
  HADAL_RETURN_IF_ERROR(ReadChatTemplate(root, &config->chat_template, &config->tool_chat_template));
  HADAL_ASSIGN_OR_RETURN(const JsonField add_bos, root.Get("add_bos_token"));
  config->add_bos_token_given = !add_bos.IsNull();
  HADAL_ASSIGN_OR_RETURN(config->add_bos_token, root.BoolOr("add_bos_token", false));
  HADAL_ASSIGN_OR_RETURN(config->add_eos_token, root.BoolOr("add_eos_token", false));
  HADAL_ASSIGN_OR_RETURN(const JsonField tokenizer_class, root.Get("tokenizer_class"));
  if (!tokenizer_class.IsNull()) {
    HADAL_ASSIGN_OR_RETURN(config->tokenizer_class, tokenizer_class.String());
  }
  // Files without a limit hold 1e30 here, which is no integer.
  HADAL_ASSIGN_OR_RETURN(const JsonField length, root.Get("model_max_length"));
  if (const absl::StatusOr<int64_t> value = length.Integer(); value.ok() && *value > 0 && *value <= int64_t{1} << 40) {
    config->model_max_length = *value;
  }
  return absl::OkStatus();
}

absl::Status ParseChatTemplateJson(std::string_view json, TokenizerConfig* config) {
  if (json.empty()) return absl::OkStatus();
  HADAL_ASSIGN_OR_RETURN(const std::unique_ptr<json::JsonDocument> document, Parse(json, "chat_template.json"));
  std::string text;
  HADAL_RETURN_IF_ERROR(ReadChatTemplate(document->root(), &text, &config->tool_chat_template));
  if (text.empty()) return absl::OkStatus();
  config->chat_template = std::move(text);
  config->chat_template_file = "chat_template.json";
  return absl::OkStatus();
}

absl::Status ParseGenerationConfig(std::string_view json, TokenizerConfig* config) {
  if (json.empty()) return absl::OkStatus();
  HADAL_ASSIGN_OR_RETURN(const std::unique_ptr<json::JsonDocument> document, Parse(json, "generation_config.json"));
  const JsonField root = document->root();
  HADAL_ASSIGN_OR_RETURN(const JsonField bos, root.Get("bos_token_id"));
  if (!bos.IsNull() && !bos.IsArray()) {
    HADAL_ASSIGN_OR_RETURN(config->generation_bos_id, bos.Integer());
  }
  HADAL_ASSIGN_OR_RETURN(const JsonField eos, root.Get("eos_token_id"));
  if (eos.IsNull()) return absl::OkStatus();
  if (!eos.IsArray()) {
    HADAL_ASSIGN_OR_RETURN(const int64_t id, eos.Integer());
    config->generation_eos_ids.push_back(id);
    return absl::OkStatus();
  }
  HADAL_ASSIGN_OR_RETURN(const simdjson::dom::array list, eos.Array());
  size_t i = 0;
  for (const simdjson::dom::element element : list) {
    HADAL_ASSIGN_OR_RETURN(const int64_t id, eos.At(element, models::Concat("[", i++, "]")).Integer());
    config->generation_eos_ids.push_back(id);
  }
  return absl::OkStatus();
}

}  // namespace hadal::tokenizer

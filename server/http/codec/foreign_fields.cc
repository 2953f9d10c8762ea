// SPDX-License-Identifier: Apache-2.0
#include "server/http/codec/foreign_fields.h"

#include <simdjson.h>

#include <algorithm>
#include <array>
#include <string>

#include "absl/strings/str_cat.h"
#include "server/base/strings.h"
#include "server/http/codec/json_body.h"

namespace hadal::http {
namespace {

using base::View;
using simdjson::dom::element;
using Kind = service::ResponseFormat::Kind;

struct Refused {
  std::string_view name;
  std::string_view instead;
};
constexpr std::string_view kUseSchema = "use `response_format` with a JSON schema";
constexpr std::array kRefused = {
    Refused{"guided_grammar", kUseSchema},
    Refused{"grammar", kUseSchema},
    Refused{"ebnf", kUseSchema},
    Refused{"structural_tag", kUseSchema},
    Refused{"bad_words", "use `logit_bias`"},
    Refused{"bad_words_ids", "use `logit_bias`"},
    Refused{"allowed_token_ids", "use `logit_bias`"},
    Refused{"logits_processors", "use `logit_bias`"},
    Refused{"custom_logit_processor", "use `logit_bias`"},
    Refused{"banned_tokens", "use `logit_bias`"},
    Refused{"banned_strings", "use `logit_bias`"},
    Refused{"custom_token_bans", "use `logit_bias`"},
    Refused{"stop_regex", "use `stop`"},
    Refused{"regex_pattern", "use `guided_regex`"},
    Refused{"grammar_string", kUseSchema},
    Refused{"use_beam_search", "use `n` and choose yourself"},
    Refused{"include_stop_str_in_output", "a text ends before what matched `stop`"},
    Refused{"truncate_prompt_tokens", "shorten the prompt"},
    Refused{"prompt_logprobs", "use `echo` and `logprobs` of /v1/completions"},
    Refused{"chat_template", "start the server with `--chat-template`"},
    Refused{"functions", "use `tools`"},
    Refused{"function_call", "use `tools` and `tool_choice`"},
};

// What asks for nothing: "", [], {}, false, all tokens that fit (-1), and the words by which `function_call` leaves the
// choice to the model. As a schema {} does ask: for any JSON.
bool IsEmpty(std::string_view name, const element& value) {
  std::string_view text;
  if (value.get_string().get(text) == simdjson::SUCCESS) {
    return text.empty() || (name == "function_call" && (text == "auto" || text == "none"));
  }
  simdjson::dom::array array;
  if (value.get_array().get(array) == simdjson::SUCCESS) return array.size() == 0;
  simdjson::dom::object object;
  if (value.get_object().get(object) == simdjson::SUCCESS) return object.size() == 0;
  int64_t number = 0;
  if (name == "truncate_prompt_tokens" && value.get_int64().get(number) == simdjson::SUCCESS) return number == -1;
  bool flag = true;
  return value.get_bool().get(flag) == simdjson::SUCCESS && !flag;
}

absl::Status SetFormat(service::ResponseFormat said, std::string_view name, service::ResponseFormat* format) {
  if (format->kind != Kind::kText) {
    return InvalidField(name, absl::StrCat("`", View(name), "` and another field both say what form the answer has"));
  }
  *format = std::move(said);
  return absl::OkStatus();
}

absl::Status ReadSchema(const element& value, std::string_view name, service::ResponseFormat* format) {
  service::ResponseFormat said{.kind = Kind::kJsonSchema, .field = std::string(name)};
  if (absl::Status status = ReadSchemaText(value, name, &said.schema_json); !status.ok()) return status;
  return SetFormat(std::move(said), name, format);
}

absl::Status ReadRegex(const element& value, std::string_view name, service::ResponseFormat* format) {
  service::ResponseFormat said{.kind = Kind::kRegex, .field = std::string(name)};
  if (absl::Status status = ReadString(value, name, &said.regex); !status.ok()) return status;
  return SetFormat(std::move(said), name, format);
}

absl::Status ReadChoices(const element& value, std::string_view name, service::ResponseFormat* format) {
  service::ResponseFormat said{.kind = Kind::kChoice, .field = std::string(name)};
  simdjson::dom::array choices;
  if (value.get_array().get(choices) != simdjson::SUCCESS) return WrongType(name, "an array of strings", value);
  for (const element choice : choices) {
    std::string text;
    if (absl::Status status = ReadString(choice, name, &text); !status.ok()) return status;
    said.choices.push_back(std::move(text));
  }
  return SetFormat(std::move(said), name, format);
}

// Members that say how a grammar is compiled, or where it may have spaces.
bool IsCompilerOption(std::string_view name) {
  return name.starts_with("disable_") || name == "whitespace_pattern" || name == "backend" || name == "_backend";
}

absl::Status ReadStructuredOutputs(const element& value, service::ResponseFormat* format) {
  simdjson::dom::object object;
  if (value.get_object().get(object) != simdjson::SUCCESS) return WrongType("structured_outputs", "an object", value);
  for (const auto field : object) {
    const std::string path = absl::StrCat("structured_outputs.", View(field.key));
    const bool schema = field.key == "json" && field.value.is_object();
    if (field.value.is_null() || (!schema && IsEmpty(field.key, field.value))) continue;
    absl::Status status;
    if (field.key == "json") {
      status = ReadSchema(field.value, path, format);
    } else if (field.key == "json_object") {
      bool wanted = false;
      status = ReadBool(field.value, path, &wanted);
      if (status.ok() && wanted) status = SetFormat({.kind = Kind::kJsonObject}, path, format);
    } else if (field.key == "regex") {
      status = ReadRegex(field.value, path, format);
    } else if (field.key == "choice") {
      status = ReadChoices(field.value, path, format);
    } else if (field.key == "grammar" || field.key == "structural_tag") {
      status = InvalidField(path, absl::StrCat("`", path, "` is not offered; ", View(kUseSchema)));
    } else if (!IsCompilerOption(field.key)) {
      status =
          InvalidField(path, absl::StrCat("`", path, "` is not known; known are json, json_object, regex, choice"));
    }
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

// The constraint `name`, which stands at `path`.
absl::StatusOr<bool> ReadConstraint(std::string_view name, std::string_view path, const element& value,
                                    service::ResponseFormat* format) {
  const bool schema = name == "guided_json" || name == "json_schema";
  const bool regex = name == "guided_regex" || name == "regex", choice = name == "guided_choice";
  const auto refused =
      std::find_if(kRefused.begin(), kRefused.end(), [&](const Refused& field) { return field.name == name; });
  if (!schema && !regex && !choice && name != "structured_outputs" && refused == kRefused.end()) return false;
  if (IsEmpty(name, value) && !(schema && value.is_object())) return true;
  if (refused != kRefused.end()) {
    return InvalidField(path, absl::StrCat("`", View(path), "` is not offered; ", View(refused->instead)));
  }
  const absl::Status status = schema   ? ReadSchema(value, path, format)
                              : regex  ? ReadRegex(value, path, format)
                              : choice ? ReadChoices(value, path, format)
                                       : ReadStructuredOutputs(value, format);
  if (!status.ok()) return status;
  return true;
}

}  // namespace

absl::Status ReadSchemaText(const element& value, std::string_view path, std::string* out) {
  if (value.is_object()) {
    *out = simdjson::minify(value);
    return absl::OkStatus();
  }
  if (!ReadString(value, path, out).ok()) return WrongType(path, "an object or its JSON text", value);
  return absl::OkStatus();
}

absl::StatusOr<bool> ReadForeignConstraint(std::string_view name, const element& value,
                                           service::ResponseFormat* format) {
  simdjson::dom::object extension;
  if (name != "nvext" || value.get_object().get(extension) != simdjson::SUCCESS) {
    return ReadConstraint(name, name, value, format);
  }
  for (const auto field : extension) {
    if (field.value.is_null() || !std::string_view(field.key).starts_with("guided_")) continue;
    const absl::StatusOr<bool> read =
        ReadConstraint(field.key, absl::StrCat("nvext.", View(field.key)), field.value, format);
    if (!read.ok()) return read;
  }
  return true;
}

}  // namespace hadal::http

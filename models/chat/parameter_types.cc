// SPDX-License-Identifier: Apache-2.0
#include "models/chat/parameter_types.h"

#include <simdjson.h>

#include <algorithm>

#include "base/json_numbers.h"
#include "models/chat/marker_text.h"
#include "models/chat/python_json.h"

namespace hadal::chat {
namespace {

using simdjson::dom::element;

constexpr int kMaxSchemaDepth = 16;
constexpr std::string_view kStringConstraints[] = {"enum", "const", "pattern", "format", "minLength", "maxLength"};

constexpr std::pair<std::string_view, uint8_t> kTypeNames[] = {
    {"string", ParameterType::kString},   {"integer", ParameterType::kNumber}, {"number", ParameterType::kNumber},
    {"boolean", ParameterType::kBoolean}, {"null", ParameterType::kNull},      {"array", ParameterType::kArray},
    {"object", ParameterType::kObject}};

uint8_t BitsOfName(std::string_view name) {
  for (const auto& [known, bit] : kTypeNames) {
    if (known == name) return bit;
  }
  return 0;
}

// Of a JSON text that is well formed, by how it begins.
uint8_t BitsOfText(std::string_view json) {
  switch (json.empty() ? '\0' : json.front()) {
    case '"':
      return ParameterType::kString;
    case '{':
      return ParameterType::kObject;
    case '[':
      return ParameterType::kArray;
    case 't':
    case 'f':
      return ParameterType::kBoolean;
    case 'n':
      return ParameterType::kNull;
    default:
      return ParameterType::kNumber;
  }
}

uint8_t BitsOfValue(const element& value) { return BitsOfText(simdjson::minify(value)); }

// Reads schemas of one tool.
class SchemaTypes {
 public:
  explicit SchemaTypes(const element& root) : root_(root) {}

  ParameterType Of(const element& schema, int depth = 0) const {
    ParameterType out{.bits = 0};
    if (!schema.is_object() || depth > kMaxSchemaDepth) return {.bits = ParameterType::kAny};
    element part;
    for (const std::string_view keyword : kStringConstraints) out.constrained |= !schema[keyword].error();
    if (!schema["type"].get(part)) {
      ForEach(part, [&](const element& name) { out.bits |= name.is_string() ? BitsOfName(name.get_string()) : 0; });
      if (bool nullable = false; !schema["nullable"].get(nullable) && nullable) out.bits |= ParameterType::kNull;
    } else if (!schema["enum"].get(part)) {
      ForEach(part, [&](const element& value) { out.bits |= BitsOfValue(value); });
    } else if (!schema["const"].get(part)) {
      out.bits = BitsOfValue(part);
    } else if (element target; !schema["$ref"].get(part) && part.is_string() && Resolve(part.get_string(), &target)) {
      return Of(target, depth + 1);
    } else {
      for (const char* keyword : {"anyOf", "oneOf", "allOf"}) {
        if (schema[keyword].get(part)) continue;
        ForEach(part, [&](const element& branch) {
          const ParameterType type = Of(branch, depth + 1);
          out.bits |= type.bits;
          out.constrained |= type.constrained;
        });
        break;
      }
    }
    if (out.bits == 0) out.bits = ParameterType::kAny;
    return out;
  }

 private:
  // Every element of an array, or the one value.
  template <typename Function>
  static void ForEach(const element& value, Function function) {
    if (!value.is_array()) return function(value);
    const simdjson::dom::array array = value.get_array().value_unsafe();
    for (const element each : array) function(each);
  }

  bool Resolve(std::string_view reference, element* target) const {
    return reference.starts_with("#/") && !root_.at_pointer(reference.substr(1)).get(*target);
  }

  const element& root_;
};

std::string_view Trim(std::string_view text) {
  text.remove_prefix(CountSpaces(text));
  return text.substr(0, text.find_last_not_of(kSpaces) + 1);
}

bool IsWord(std::string_view text, std::string_view lower) {
  return std::equal(text.begin(), text.end(), lower.begin(), lower.end(),
                    [](char a, char b) { return (a >= 'A' && a <= 'Z' ? static_cast<char>(a - 'A' + 'a') : a) == b; });
}

}  // namespace

ParameterTypes::ParameterTypes(const std::vector<ChatTool>& tools) {
  for (const ChatTool& tool : tools) {
    simdjson::dom::parser parser;
    element root;
    simdjson::dom::object properties;
    simdjson::error_code error = parser.parse(tool.parameters_json).get(root);
    if (error == simdjson::NUMBER_ERROR) error = parser.parse(base::WidenJsonNumbers(tool.parameters_json)).get(root);
    if (error != simdjson::SUCCESS || root["properties"].get(properties)) continue;
    Parameters& parameters = tools_[tool.name];
    for (const auto& [name, schema] : properties) parameters.emplace(name, SchemaTypes(root).Of(schema));
  }
}

ParameterType ParameterTypes::Find(std::string_view tool, std::string_view parameter) const {
  const auto parameters = tools_.find(tool);
  if (parameters == tools_.end()) return {};
  const auto found = parameters->second.find(parameter);
  return found == parameters->second.end() ? ParameterType() : found->second;
}

std::string ParameterJson(std::string_view text, ParameterType type) {
  const std::string_view trimmed = Trim(text);
  const bool may_be_string = (type.bits & ParameterType::kString) != 0;
  if (IsJson(trimmed)) {
    const uint8_t bits = BitsOfText(trimmed);
    // Quotes belong to a text where a text may stand.
    if (bits != ParameterType::kString ? (type.bits & bits) != 0 : !may_be_string) return std::string(trimmed);
  }
  if ((type.bits & ParameterType::kBoolean) != 0) {
    if (IsWord(trimmed, "true")) return "true";
    if (IsWord(trimmed, "false")) return "false";
  }
  if ((type.bits & ParameterType::kNull) != 0 && (IsWord(trimmed, "none") || IsWord(trimmed, "null"))) return "null";
  return PythonJsonString(may_be_string && !type.constrained ? text : trimmed);
}

}  // namespace hadal::chat

// SPDX-License-Identifier: Apache-2.0
#include "models/chat/python_json.h"

#include <simdjson.h>

#include <charconv>
#include <cstdlib>
#include <unordered_map>

#include "base/json_numbers.h"
#include "models/concat.h"
#include "models/status_macros.h"

namespace hadal::chat {
namespace {

using simdjson::dom::element;
using simdjson::dom::element_type;

constexpr size_t kMaxDepth = 128;

void AppendString(std::string_view text, std::string* out) {
  out->push_back('"');
  AppendPythonJsonEscaped(text, out);
  out->push_back('"');
}

// Python's repr of a float: shortest digits, exponent form below 1e-4 and from 1e16 on.
void AppendDouble(double value, std::string* out) {
  char buffer[64];
  const auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific);
  const std::string_view text(buffer, static_cast<size_t>(end - buffer));
  const size_t e = text.find('e');
  const int exponent = std::atoi(std::string(text.substr(e + 1)).c_str());
  if (error != std::errc() || exponent < -4 || exponent >= 16) {
    out->append(text);  // to_chars writes at least two exponent digits, as Python does
    return;
  }
  const auto [fixed_end, fixed_error] = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::fixed);
  const std::string_view fixed(buffer, static_cast<size_t>(fixed_end - buffer));
  out->append(fixed);
  if (fixed_error == std::errc() && fixed.find('.') == fixed.npos) *out += ".0";
}

void Append(const element& value, std::string* out) {
  switch (value.type()) {
    case element_type::OBJECT: {
      bool first = true;
      out->push_back('{');
      const simdjson::dom::object object = value.get_object().value_unsafe();
      for (const auto& [key, member] : object) {
        if (!first) *out += ", ";
        first = false;
        AppendString(key, out);
        *out += ": ";
        Append(member, out);
      }
      out->push_back('}');
      return;
    }
    case element_type::ARRAY: {
      bool first = true;
      out->push_back('[');
      const simdjson::dom::array array = value.get_array().value_unsafe();
      for (const element member : array) {
        if (!first) *out += ", ";
        first = false;
        Append(member, out);
      }
      out->push_back(']');
      return;
    }
    case element_type::STRING:
      return AppendString(value.get_string().value_unsafe(), out);
    case element_type::INT64:
      *out += std::to_string(value.get_int64().value_unsafe());
      return;
    case element_type::UINT64:
      *out += std::to_string(value.get_uint64().value_unsafe());
      return;
    case element_type::DOUBLE:
      return AppendDouble(value.get_double().value_unsafe(), out);
    case element_type::BOOL:
      *out += value.get_bool().value_unsafe() ? "true" : "false";
      return;
    case element_type::NULL_VALUE:
      *out += "null";
      return;
  }
}

absl::StatusOr<element> Parse(std::string_view json, simdjson::dom::parser* parser) {
  element root;
  simdjson::error_code error = parser->allocate(json.size(), kMaxDepth);
  if (error == simdjson::SUCCESS) error = parser->parse(json.data(), json.size(), true).get(root);
  if (error == simdjson::NUMBER_ERROR) error = parser->parse(base::WidenJsonNumbers(json)).get(root);
  if (error != simdjson::SUCCESS) {
    return absl::InvalidArgumentError(
        models::Concat("not valid JSON (at most ", kMaxDepth, " levels deep): ", simdjson::error_message(error)));
  }
  return root;
}

}  // namespace

void AppendPythonJsonEscaped(std::string_view text, std::string* out) {
  for (const char c : text) {
    switch (c) {
      case '"':
        *out += "\\\"";
        break;
      case '\\':
        *out += "\\\\";
        break;
      case '\n':
        *out += "\\n";
        break;
      case '\r':
        *out += "\\r";
        break;
      case '\t':
        *out += "\\t";
        break;
      case '\b':
        *out += "\\b";
        break;
      case '\f':
        *out += "\\f";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          constexpr char kHex[] = "0123456789abcdef";
          *out += "\\u00";
          out->push_back(kHex[c >> 4]);
          out->push_back(kHex[c & 15]);
        } else {
          out->push_back(c);
        }
    }
  }
}

bool IsJson(std::string_view text) {
  simdjson::dom::parser parser;
  return Parse(text, &parser).ok();
}

absl::StatusOr<std::string> ToPythonJson(std::string_view json) {
  simdjson::dom::parser parser;
  HADAL_ASSIGN_OR_RETURN(const element root, Parse(json, &parser));
  std::string out;
  Append(root, &out);
  return out;
}

absl::StatusOr<std::vector<JsonMember>> PythonJsonMembers(std::string_view json) {
  simdjson::dom::parser parser;
  HADAL_ASSIGN_OR_RETURN(const element root, Parse(json, &parser));
  simdjson::dom::object object;
  if (root.get_object().get(object) != simdjson::SUCCESS) return absl::InvalidArgumentError("not a JSON object");
  std::vector<JsonMember> members;
  std::unordered_map<std::string_view, size_t> places;
  for (const auto& [key, value] : object) {
    const auto [place, is_new] = places.try_emplace(key, members.size());
    JsonMember& member = is_new ? members.emplace_back() : members[place->second];
    member = {.key = std::string(key), .value = {}, .is_string = value.is_string()};
    if (member.is_string) {
      member.value = value.get_string().value_unsafe();
    } else {
      Append(value, &member.value);
    }
  }
  return members;
}

std::string PythonJsonString(std::string_view text) {
  std::string out;
  AppendString(text, &out);
  return out;
}

}  // namespace hadal::chat

// SPDX-License-Identifier: Apache-2.0
#include "models/chat/call_object.h"

#include <simdjson.h>

#include "models/chat/python_json.h"

namespace hadal::chat {
namespace {

// A value as its text, a string as what stands in it.
bool ReadArguments(simdjson::ondemand::value value, std::optional<std::string>* out) {
  simdjson::ondemand::json_type type;
  if (value.type().get(type) != simdjson::SUCCESS) return false;
  if (type == simdjson::ondemand::json_type::null) {
    *out = "{}";
    return true;
  }
  std::string_view text;
  const bool is_string = type == simdjson::ondemand::json_type::string;
  if (is_string ? value.get_string().get(text) != simdjson::SUCCESS
                : simdjson::to_json_string(value).get(text) != simdjson::SUCCESS) {
    return false;
  }
  *out = std::string(text);
  return true;
}

}  // namespace

bool ReadCallObject(std::string_view text, CallObject* call) {
  // The parser below only looks at what it is asked for.
  if (!IsJson(text)) return false;
  simdjson::ondemand::parser parser;
  const simdjson::padded_string padded(text);
  simdjson::ondemand::document document;
  simdjson::ondemand::object object;
  if (parser.iterate(padded).get(document) != simdjson::SUCCESS) return false;
  if (document.get_object().get(object) != simdjson::SUCCESS) return false;
  for (auto field : object) {
    simdjson::ondemand::value value;
    std::string_view key;
    if (field.unescaped_key().get(key) != simdjson::SUCCESS) return false;
    if (field.value().get(value) != simdjson::SUCCESS) return false;
    if (key == "name") {
      std::string_view name;
      if (value.get_string().get(name) != simdjson::SUCCESS) return false;
      call->name = name;
    } else if (key == "arguments" || key == "parameters") {
      if (!ReadArguments(value, &call->arguments)) return false;
    }
  }
  return !call->name.empty();
}

size_t JsonExtent::Find(std::string_view text) {
  for (; seen_ < text.size(); ++seen_) {
    const char c = text[seen_];
    if (in_string_) {
      if (escaped_) {
        escaped_ = false;
      } else if (c == '\\') {
        escaped_ = true;
      } else if (c == '"') {
        in_string_ = false;
      }
    } else if (c == '"') {
      in_string_ = true;
    } else if (c == '{' || c == '[') {
      ++depth_;
    } else if (c == '}' || c == ']') {
      if (depth_ <= 1) return seen_ + 1;
      --depth_;
    }
  }
  return std::string_view::npos;
}

}  // namespace hadal::chat

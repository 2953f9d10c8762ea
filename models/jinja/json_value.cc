// SPDX-License-Identifier: Apache-2.0
#include "models/jinja/json_value.h"

#include <simdjson.h>

#include "base/json_numbers.h"
#include "models/concat.h"

namespace hadal::jinja {
namespace {

using simdjson::dom::element;
using simdjson::dom::element_type;

constexpr size_t kMaxDepth = 128;

Value Convert(const element& json, bool input) {
  switch (json.type()) {
    case element_type::OBJECT: {
      auto dict = std::make_shared<DictData>();
      const simdjson::dom::object object = json.get_object().value_unsafe();
      for (const auto field : object) {
        dict->Set(Value::String(std::string(field.key), input), Convert(field.value, input));
      }
      return Dict(std::move(dict));
    }
    case element_type::ARRAY: {
      std::vector<Value> items;
      const simdjson::dom::array array = json.get_array().value_unsafe();
      for (const element item : array) items.push_back(Convert(item, input));
      return MakeList(std::move(items));
    }
    case element_type::STRING:
      return Value::String(std::string(json.get_string().value_unsafe()), input);
    case element_type::INT64:
      return Value::Int(json.get_int64().value_unsafe());
    case element_type::UINT64:
      return Value::BigInt(json.get_uint64().value_unsafe());
    case element_type::DOUBLE:
      return Value::Float(json.get_double().value_unsafe());
    case element_type::BOOL:
      return Value::Bool(json.get_bool().value_unsafe());
    default:
      return Value::None{};
  }
}

}  // namespace

absl::StatusOr<Value> FromJson(std::string_view json, bool input) {
  simdjson::dom::parser parser;
  element root;
  simdjson::error_code error = parser.allocate(json.size(), kMaxDepth);
  if (error == simdjson::SUCCESS) error = parser.parse(json.data(), json.size(), true).get(root);
  if (error == simdjson::NUMBER_ERROR) error = parser.parse(base::WidenJsonNumbers(json)).get(root);
  if (error != simdjson::SUCCESS) {
    return absl::InvalidArgumentError(
        models::Concat("not valid JSON (at most ", kMaxDepth, " levels deep): ", simdjson::error_message(error)));
  }
  return Convert(root, input);
}

}  // namespace hadal::jinja

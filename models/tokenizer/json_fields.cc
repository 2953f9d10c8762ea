// SPDX-License-Identifier: Apache-2.0
#include "models/tokenizer/json_fields.h"

#include "base/utf8.h"
#include "models/concat.h"

namespace hadal::tokenizer {

using simdjson::dom::element_type;

namespace {

std::string Quoted(std::string_view text) {
  constexpr size_t kShown = 60;
  const std::string_view shown = base::Utf8Prefix(text, kShown);
  return models::Concat("the string \"", shown, shown.size() < text.size() ? "...\"" : "\"");
}

}  // namespace

std::string JsonField::Describe() const {
  if (!present_) return "nothing";
  switch (element_.type()) {
    case element_type::ARRAY:
      return "an array";
    case element_type::OBJECT:
      return "an object";
    case element_type::INT64:
      return models::Concat("the number ", int64_t(element_));
    case element_type::UINT64:
      return models::Concat("the number ", uint64_t(element_));
    case element_type::DOUBLE:
      return models::Concat("the number ", double(element_));
    case element_type::STRING:
      return Quoted(element_.get_string().value_unsafe());
    case element_type::BOOL:
      return bool(element_) ? "true" : "false";
    case element_type::NULL_VALUE:
      return "null";
  }
  return "an unknown value";
}

absl::Status JsonField::Error(std::string_view what) const {
  return absl::InvalidArgumentError(models::Concat(path_, path_.back() == ':' ? " " : ": ", what));
}

absl::Status JsonField::Expected(std::string_view what) const {
  return Error(models::Concat("expected ", what, ", found ", Describe()));
}

JsonField JsonField::At(simdjson::dom::element element, std::string_view suffix) const {
  return JsonField(element, models::Concat(path_, suffix));
}

absl::StatusOr<JsonField> JsonField::Get(std::string_view key) const {
  if (!IsObject()) return Expected("an object");
  simdjson::dom::element member;
  const std::string path = models::Concat(path_, path_.back() == ':' ? " " : ".", key);
  if (element_.at_key(key).get(member) != simdjson::SUCCESS) return JsonField(path);
  return JsonField(member, path);
}

absl::StatusOr<std::string_view> JsonField::String() const {
  if (!IsString()) return Expected("a string");
  return element_.get_string().value_unsafe();
}

absl::StatusOr<int64_t> JsonField::Integer() const {
  int64_t value = 0;
  if (!present_ || element_.get_int64().get(value) != simdjson::SUCCESS) return Expected("an integer");
  return value;
}

absl::StatusOr<bool> JsonField::Bool() const {
  if (!present_ || !element_.is_bool()) return Expected("true or false");
  return bool(element_);
}

absl::StatusOr<simdjson::dom::array> JsonField::Array() const {
  if (!IsArray()) return Expected("an array");
  return element_.get_array().value_unsafe();
}

absl::StatusOr<simdjson::dom::object> JsonField::Object() const {
  if (!IsObject()) return Expected("an object");
  return element_.get_object().value_unsafe();
}

absl::StatusOr<bool> JsonField::BoolOr(std::string_view key, bool fallback) const {
  absl::StatusOr<JsonField> field = Get(key);
  if (!field.ok()) return field.status();
  if (field->IsNull()) return fallback;
  return field->Bool();
}

absl::StatusOr<std::string_view> JsonField::StringAt(std::string_view key) const {
  absl::StatusOr<JsonField> field = Get(key);
  if (!field.ok()) return field.status();
  return field->String();
}

}  // namespace hadal::tokenizer

// SPDX-License-Identifier: Apache-2.0
#include "models/json/json_field.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/utf8.h"

namespace hadal::json {

using simdjson::dom::element_type;

std::string QuoteForError(absl::string_view text) {
  constexpr size_t kShown = 100;
  const absl::string_view shown = ToAbsl(base::Utf8Prefix(ToStd(text), kShown));
  return absl::StrCat(absl::Utf8SafeCHexEscape(shown), shown.size() < text.size() ? "..." : "");
}

std::string DescribeJson(simdjson::dom::element element) {
  switch (element.type()) {
    case element_type::ARRAY:
      return "an array";
    case element_type::OBJECT:
      return "an object";
    case element_type::INT64:
      return absl::StrCat(int64_t{element});
    case element_type::UINT64:
      return absl::StrCat(uint64_t{element});
    case element_type::DOUBLE: {
      // 32.0 is not an integer, and must not look like one where an integer is expected.
      std::string text = absl::StrFormat("%g", double{element});
      if (text.find_first_not_of("-0123456789") == text.npos) text += ".0";
      return text;
    }
    case element_type::STRING:
      return absl::StrCat("\"", QuoteForError(ToAbsl(element)), "\"");
    case element_type::BOOL:
      return bool{element} ? "true" : "false";
    case element_type::NULL_VALUE:
      return "null";
  }
  return "something else";
}

JsonField JsonField::Root(simdjson::dom::element element, std::string_view file) {
  return JsonField(element, absl::StrCat(ToAbsl(file), ":"));
}

std::string JsonField::PathOf(std::string_view key) const {
  return absl::StrCat(path_, IsRoot() ? " " : ".", ToAbsl(key));
}

std::string JsonField::Describe() const { return present_ ? DescribeJson(element_) : "nothing"; }

absl::Status JsonField::Error(std::string_view what) const {
  return absl::InvalidArgumentError(absl::StrCat(path_, IsRoot() ? " " : ": ", ToAbsl(what)));
}

absl::Status JsonField::Expected(std::string_view what) const {
  return Error(absl::StrCat("expected ", ToAbsl(what), ", found ", Describe()));
}

JsonField JsonField::At(simdjson::dom::element element, std::string_view suffix) const {
  return JsonField(element, absl::StrCat(path_, ToAbsl(suffix)));
}

absl::StatusOr<JsonField> JsonField::Get(std::string_view key) const {
  if (!IsObject()) return Expected("an object");
  simdjson::dom::element member;
  if (element_.at_key(key).get(member) != simdjson::SUCCESS) return JsonField(PathOf(key));
  return JsonField(member, PathOf(key));
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

}  // namespace hadal::json

// SPDX-License-Identifier: Apache-2.0
#include "models/config/json_fields.h"

#include <cmath>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/utf8.h"

namespace hadal::config {
namespace {

using simdjson::dom::element_type;

std::string_view ToStd(absl::string_view text) { return {text.data(), text.size()}; }

// The parser limits the depth, the text limits the rest.
absl::Status CheckNoRepeatedKeys(simdjson::dom::element element, absl::string_view file, const std::string& path) {
  if (element.type() == element_type::ARRAY) {
    for (simdjson::dom::element item : simdjson::dom::array(element)) {
      if (item.type() != element_type::OBJECT && item.type() != element_type::ARRAY) continue;
      if (absl::Status status = CheckNoRepeatedKeys(item, file, path); !status.ok()) return status;
    }
    return absl::OkStatus();
  }
  if (element.type() != element_type::OBJECT) return absl::OkStatus();
  absl::flat_hash_set<std::string_view> seen;
  for (simdjson::dom::key_value_pair field : simdjson::dom::object(element)) {
    if (!seen.insert(field.key).second) {
      return absl::InvalidArgumentError(
          absl::StrCat(file, ": ", path, QuoteForError(ToAbsl(field.key)), ": expected each key once, found it twice"));
    }
    if (field.value.type() != element_type::OBJECT && field.value.type() != element_type::ARRAY) continue;
    absl::Status status =
        CheckNoRepeatedKeys(field.value, file, absl::StrCat(path, QuoteForError(ToAbsl(field.key)), "."));
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace

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

absl::StatusOr<std::unique_ptr<JsonDocument>> JsonDocument::Parse(absl::string_view text, absl::string_view file) {
  auto document = std::unique_ptr<JsonDocument>(new JsonDocument());
  document->text_ = simdjson::padded_string(ToStd(text));
  if (document->parser_.allocate(text.size(), kMaxJsonDepth) != simdjson::SUCCESS) {
    return absl::ResourceExhaustedError(absl::StrCat(file, ": no memory for parsing ", text.size(), " bytes of JSON"));
  }
  simdjson::dom::element root;
  if (auto error = document->parser_.parse(document->text_).get(root); error != simdjson::SUCCESS) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, ": expected valid JSON, found: ", simdjson::error_message(error)));
  }
  if (root.get(document->root_) != simdjson::SUCCESS) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, ": expected a JSON object at the top, found ", DescribeJson(root)));
  }
  if (absl::Status status = CheckNoRepeatedKeys(root, file, ""); !status.ok()) return status;
  return document;
}

void FieldReader::Fail(absl::string_view key, absl::string_view expected, absl::string_view found) {
  status_.Update(
      absl::InvalidArgumentError(absl::StrCat(file_, ": ", path_, key, ": expected ", expected, ", found ", found)));
}

void FieldReader::Unsupported(absl::string_view key, absl::string_view message) {
  status_.Update(absl::UnimplementedError(absl::StrCat(file_, ": ", path_, key, ": ", message)));
}

bool FieldReader::HasKey(absl::string_view key) const {
  return object_.at_key(ToStd(key)).error() == simdjson::SUCCESS;
}

std::optional<simdjson::dom::element> FieldReader::Find(absl::string_view key) const {
  simdjson::dom::element element;
  if (object_.at_key(ToStd(key)).get(element) != simdjson::SUCCESS || element.is_null()) return std::nullopt;
  return element;
}

int64_t FieldReader::IntFrom(absl::string_view key, simdjson::dom::element element, int64_t min, int64_t max) {
  int64_t value = 0;
  if (element.type() != element_type::INT64 || element.get(value) != simdjson::SUCCESS || value < min || value > max) {
    Fail(key, absl::StrCat("an integer in [", min, ", ", max, "]"), DescribeJson(element));
    return min;
  }
  return value;
}

double FieldReader::DoubleFrom(absl::string_view key, simdjson::dom::element element, double min, double max) {
  double value = 0.0;
  const bool number = element.type() == element_type::INT64 || element.type() == element_type::UINT64 ||
                      element.type() == element_type::DOUBLE;
  if (!number || element.get(value) != simdjson::SUCCESS || !std::isfinite(value) || value < min || value > max) {
    Fail(key, absl::StrFormat("a number in [%g, %g]", min, max), DescribeJson(element));
    return min;
  }
  return value;
}

int64_t FieldReader::Int(absl::string_view key, int64_t min, int64_t max) {
  if (auto element = Find(key)) return IntFrom(key, *element, min, max);
  Fail(key, absl::StrCat("an integer in [", min, ", ", max, "]"), "nothing");
  return min;
}

int64_t FieldReader::IntOr(absl::string_view key, int64_t fallback, int64_t min, int64_t max) {
  auto element = Find(key);
  return element ? IntFrom(key, *element, min, max) : fallback;
}

double FieldReader::Double(absl::string_view key, double min, double max) {
  if (auto element = Find(key)) return DoubleFrom(key, *element, min, max);
  Fail(key, absl::StrFormat("a number in [%g, %g]", min, max), "nothing");
  return min;
}

double FieldReader::DoubleOr(absl::string_view key, double fallback, double min, double max) {
  auto element = Find(key);
  return element ? DoubleFrom(key, *element, min, max) : fallback;
}

bool FieldReader::BoolOr(absl::string_view key, bool fallback) {
  auto element = Find(key);
  if (!element) return fallback;
  bool value = fallback;
  if (element->get(value) != simdjson::SUCCESS) Fail(key, "true or false", DescribeJson(*element));
  return value;
}

std::optional<std::string> FieldReader::OptionalString(absl::string_view key) {
  auto element = Find(key);
  if (!element) return std::nullopt;
  std::string_view value;
  if (element->get(value) != simdjson::SUCCESS) {
    Fail(key, "a string", DescribeJson(*element));
    return std::nullopt;
  }
  return std::string(value);
}

std::optional<simdjson::dom::object> FieldReader::OptionalObject(absl::string_view key) {
  auto element = Find(key);
  if (!element) return std::nullopt;
  simdjson::dom::object value;
  if (element->get(value) != simdjson::SUCCESS) {
    Fail(key, "an object", DescribeJson(*element));
    return std::nullopt;
  }
  return value;
}

std::vector<int32_t> FieldReader::IntList(absl::string_view key, int64_t min, int64_t max, size_t limit) {
  auto element = Find(key);
  if (!element) return {};
  simdjson::dom::array array;
  if (element->get(array) != simdjson::SUCCESS) return {static_cast<int32_t>(IntFrom(key, *element, min, max))};
  std::vector<int32_t> values;
  for (simdjson::dom::element item : array) {
    if (values.size() == limit) {
      Fail(key, absl::StrCat("a list of at most ", limit, " integers"), "a longer one");
      break;
    }
    values.push_back(static_cast<int32_t>(IntFrom(key, item, min, max)));
  }
  return values;
}

std::vector<std::string> FieldReader::StringList(absl::string_view key, size_t limit) {
  auto element = Find(key);
  if (!element) return {};
  std::vector<std::string> values;
  simdjson::dom::array array;
  if (element->get(array) != simdjson::SUCCESS) {
    Fail(key, "a list of strings", DescribeJson(*element));
    return {};
  }
  for (simdjson::dom::element item : array) {
    std::string_view value;
    if (values.size() == limit) {
      Fail(key, absl::StrCat("a list of at most ", limit, " strings"), "a longer one");
      break;
    }
    if (item.get(value) != simdjson::SUCCESS) {
      Fail(key, "a list of strings", absl::StrCat("in it ", DescribeJson(item)));
      break;
    }
    values.emplace_back(value);
  }
  return values;
}

}  // namespace hadal::config

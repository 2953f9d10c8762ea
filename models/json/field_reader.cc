// SPDX-License-Identifier: Apache-2.0
#include "models/json/field_reader.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace hadal::json {

using simdjson::dom::element_type;

void FieldReader::Fail(absl::string_view key, absl::string_view expected, absl::string_view found) {
  status_.Update(absl::InvalidArgumentError(absl::StrCat(PathOf(key), ": expected ", expected, ", found ", found)));
}

void FieldReader::Unsupported(absl::string_view key, absl::string_view message) {
  status_.Update(absl::UnimplementedError(absl::StrCat(PathOf(key), ": ", message)));
}

bool FieldReader::HasKey(absl::string_view key) const {
  return object().at_key(ToStd(key)).error() == simdjson::SUCCESS;
}

std::optional<simdjson::dom::element> FieldReader::Find(absl::string_view key) const {
  simdjson::dom::element element;
  if (object().at_key(ToStd(key)).get(element) != simdjson::SUCCESS || element.is_null()) return std::nullopt;
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

std::optional<JsonField> FieldReader::OptionalObject(absl::string_view key) {
  auto element = Find(key);
  if (!element) return std::nullopt;
  if (!element->is_object()) {
    Fail(key, "an object", DescribeJson(*element));
    return std::nullopt;
  }
  return *object_.Get(ToStd(key));
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

}  // namespace hadal::json

// SPDX-License-Identifier: Apache-2.0
// "enum" and "const".
#include <algorithm>
#include <cmath>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "models/grammar/schema_reader.h"

namespace hadal::grammar {
namespace {

constexpr double kLargestWhole = 9007199254740992.0;  // 2^53
// Fractions are written as a range of one number, which the compiler rounds to 6 places.
constexpr int kMaxFractionDigits = 6;
constexpr double kLargestFraction = 1e9;  // with as many digits behind the point a double tells all of them apart

bool IsValueOfType(const Json& value, std::string_view type) {
  if (type == "string") return value.is_string();
  if (type == "integer") return value.is_number_integer();
  if (type == "number") return value.is_number();
  if (type == "boolean") return value.is_boolean();
  if (type == "null") return value.is_null();
  return type == "object" ? value.is_object() : value.is_array();
}

// 1.0 as 1, here and inside: to JSON Schema they are the same number.
Json WithWholeNumbers(Json value) {
  if (value.is_number_float()) {
    const double number = value.get<double>();
    if (std::abs(number) < kLargestWhole && number == std::floor(number)) return static_cast<int64_t>(number);
  } else if (value.is_structured()) {
    for (Json& part : value) part = WithWholeNumbers(std::move(part));
  }
  return value;
}

// Other numbers would have to be written exactly as they are printed here.
bool HoldsOnlyWholeNumbers(const Json& value) {
  if (value.is_number_float()) return false;
  if (value.is_number())
    return value.is_number_unsigned() ? value.get<uint64_t>() < (1ull << 53) : value.get<int64_t>() > -(1ll << 53);
  if (value.is_structured()) return std::all_of(value.begin(), value.end(), HoldsOnlyWholeNumbers);
  return true;
}

// Whether a number that is not whole is one of those that a range can stand for.
bool IsShortFraction(const Json& value) {
  if (!value.is_number_float() || std::abs(value.get<double>()) >= kLargestFraction) return false;
  const std::string written = absl::StrFormat("%.*f", kMaxFractionDigits, value.get<double>());
  double read = 0;
  return absl::SimpleAtod(written, &read) && read == value.get<double>();
}

// `values` as a schema that the compiler follows exactly.
Json SchemaOfValues(const Json& values) {
  Json others = Json::array(), branches = Json::array();
  for (const Json& value : values) {
    if (value.is_number_float()) {
      branches.push_back({{"type", "number"}, {"minimum", value}, {"maximum", value}});
    } else {
      others.push_back(value);
    }
  }
  if (branches.empty()) return {{"enum", values}};
  if (!others.empty()) branches.insert(branches.begin(), Json{{"enum", std::move(others)}});
  if (branches.size() == 1) return branches[0];
  return {{"anyOf", std::move(branches)}};
}

}  // namespace

absl::StatusOr<Json> SchemaReader::ReadValues(const Json& schema, const std::string& place) {
  if (absl::Status s = CheckKeywords(schema, place, {"enum", "const", "type"}); !s.ok()) return s;
  const bool is_enum = schema.contains("enum");
  const std::string here = Place(place, is_enum ? "enum" : "const");
  if (is_enum && schema.contains("const")) return SchemaError(here, "cannot stand beside const");
  Json values = is_enum ? schema["enum"] : Json::array({schema["const"]});
  if (!values.is_array() || values.empty()) return SchemaError(here, "must be an array that is not empty");
  if (absl::Status s =
          Count(&values_, static_cast<int64_t>(values.size()), limits_.max_enum_values, "enum values", here);
      !s.ok()) {
    return s;
  }
  for (size_t i = 0; i < values.size(); ++i) {
    const std::string value_place = is_enum ? absl::StrCat(here, "/", i) : here;
    values[i] = WithWholeNumbers(std::move(values[i]));
    if (!HoldsOnlyWholeNumbers(values[i]) && !IsShortFraction(values[i])) {
      const std::string written = values[i].dump(-1, ' ', false, Json::error_handler_t::replace).substr(0, 64);
      return SchemaError(value_place,
                         values[i].is_structured()
                             ? absl::StrCat("numbers inside must be whole and below 2^53 in size, in ", written)
                             : absl::StrCat("numbers must be whole and below 2^53 in size, or below 10^9 with at most ",
                                            kMaxFractionDigits, " digits behind the point; this is ", written));
    }
    if (!schema.contains("type")) continue;
    const Json types = TypeList(schema);
    const auto fits = [&](const Json& type) {
      return type.is_string() && IsValueOfType(values[i], type.get<std::string>());
    };
    if (!std::any_of(types.begin(), types.end(), fits)) {
      return SchemaError(value_place,
                         absl::StrCat("the value is not of the type ", schema["type"].dump().substr(0, 64)));
    }
  }
  return SchemaOfValues(values);
}

}  // namespace hadal::grammar

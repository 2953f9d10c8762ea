// SPDX-License-Identifier: Apache-2.0
// The keywords of objects, arrays, strings and numbers.
#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "models/grammar/pattern_check.h"
#include "models/grammar/schema_reader.h"

namespace hadal::grammar {
namespace {

// The formats that the compiler has rules for; the first five are those of strict tools.
constexpr std::string_view kFormats[] = {"email", "hostname", "ipv4",      "ipv6",     "uuid",
                                         "date",  "time",     "date-time", "duration", "uri"};
constexpr size_t kStrictFormats = 5;
// OpenAPI's words for how a text is shown or sent; any text has them.
constexpr std::string_view kFormatsOfAnyText[] = {"password", "binary"};
// The compiler tells rules apart by their text without annotations, wherever these words stand, also as names of
// properties.
constexpr std::string_view kNamesLikeAnnotations[] = {"title",    "default",   "description", "examples", "deprecated",
                                                      "readOnly", "writeOnly", "$comment",    "$schema"};
constexpr double kLargestBound = 9007199254740992.0;  // 2^53
constexpr int64_t kLargestLength = int64_t{1} << 53;
constexpr int kMaxMultipleRange = 10000;

absl::Status ReadLength(const Json& schema, const char* keyword, int64_t limit, const std::string& place, Json* out) {
  if (!schema.contains(keyword)) return absl::OkStatus();
  const std::string here = Place(place, keyword);
  const Json& value = schema[keyword];
  if (!value.is_number_integer() || value < 0) return SchemaError(here, "must be a whole number of 0 or more");
  if (value > limit)
    return SchemaError(here, absl::StrCat("is ", value.dump().substr(0, 32), "; at most ", limit, " is allowed"));
  (*out)[keyword] = value;
  return absl::OkStatus();
}

// The names in "required", each of which must be one of the properties.
absl::StatusOr<std::set<std::string>> RequiredNames(const Json& required, const Json& properties,
                                                    const std::string& place) {
  std::set<std::string> names;
  for (size_t i = 0; i < required.size(); ++i) {
    const std::string here = absl::StrCat(place, "/", i);
    if (!required[i].is_string()) return SchemaError(here, "must be a string");
    if (!properties.contains(required[i].get<std::string>())) {
      return SchemaError(here, absl::StrCat(required[i].dump().substr(0, 128), " is not among the properties"));
    }
    names.insert(required[i].get<std::string>());
  }
  return names;
}

// What strict tools demand of an object.
absl::Status CheckStrict(const Json& schema, const Json& properties, const std::set<std::string>& required,
                         const std::string& place) {
  if (!schema.contains("additionalProperties") || schema["additionalProperties"] != false) {
    return SchemaError(Place(place, "additionalProperties"), "must be false in strict tools");
  }
  for (const auto& [name, unused] : properties.items()) {
    if (required.contains(name)) continue;
    return SchemaError(Place(place, "required"),
                       absl::StrCat("\"", name.substr(0, 128), "\" is missing: strict tools require all properties"));
  }
  return absl::OkStatus();
}

}  // namespace

// Characters of a string: its minLength and maxLength, or what a pattern leaves of them.
struct SchemaReader::Lengths {
  int64_t min = 0, max = -1;  // -1: without a bound

  void Narrow(double shortest, double longest) {
    min = std::max(min, static_cast<int64_t>(shortest));
    if (std::isfinite(longest))
      max = max < 0 ? static_cast<int64_t>(longest) : std::min(max, static_cast<int64_t>(longest));
  }
  bool Hold(double shortest, double longest) const {
    return static_cast<double>(min) <= shortest && (max < 0 || longest <= static_cast<double>(max));
  }
  bool empty() const { return max >= 0 && min > max; }
  bool bounded() const { return min > 0 || max >= 0; }
};

absl::Status SchemaReader::ReadObject(const Json& schema, const std::string& place, int depth, Json* out) {
  const Json properties = schema.contains("properties") ? schema["properties"] : Json::object();
  const Json required = schema.contains("required") ? schema["required"] : Json::array();
  const std::string properties_place = Place(place, "properties"), required_place = Place(place, "required");
  if (!properties.is_object()) return SchemaError(properties_place, "must be an object");
  if (!required.is_array()) return SchemaError(required_place, "must be an array of strings");
  if (absl::Status s =
          Count(&properties_, static_cast<int64_t>(properties.size()), limits_.max_properties, "properties", place);
      !s.ok()) {
    return s;
  }
  Json read = Json::object();
  bool looks_like_annotation = false;
  for (const auto& [name, property] : properties.items()) {
    absl::StatusOr<Json> one = Read(property, Place(properties_place, name), depth + 1);
    if (!one.ok()) return one.status();
    read[name] = *std::move(one);
    looks_like_annotation |= std::find(std::begin(kNamesLikeAnnotations), std::end(kNamesLikeAnnotations), name) !=
                             std::end(kNamesLikeAnnotations);
  }
  const absl::StatusOr<std::set<std::string>> names = RequiredNames(required, properties, required_place);
  if (!names.ok()) return names.status();
  const int64_t optional = static_cast<int64_t>(properties.size() - names->size());
  if (optional > limits_.max_optional_properties) {
    return SchemaError(properties_place,
                       absl::StrCat(optional, " properties are not required; at most ", limits_.max_optional_properties,
                                    " may be optional in one object"));
  }
  // An object that names nothing is any object, one that names some holds those.
  absl::StatusOr<Json> additional = ReadAdditional(schema, place, depth, /*by_default=*/properties.empty());
  if (!additional.ok()) return additional.status();
  if (strict()) {
    if (absl::Status s = CheckStrict(schema, properties, *names, place); !s.ok()) return s;
  }
  (*out)["properties"] = std::move(read);
  (*out)["required"] = Json(*names);
  (*out)["additionalProperties"] = *std::move(additional);
  if (looks_like_annotation) (*out)["x-unique"] = ++unique_;
  return absl::OkStatus();
}

absl::StatusOr<Json> SchemaReader::ReadAdditional(const Json& schema, const std::string& place, int depth,
                                                  bool by_default) {
  if (!schema.contains("additionalProperties")) return Json(by_default);
  const Json& given = schema["additionalProperties"];
  if (given.is_boolean()) return given;
  return Read(given, Place(place, "additionalProperties"), depth + 1);
}

absl::Status SchemaReader::ReadArray(const Json& schema, const std::string& place, int depth, Json* out) {
  if (strict()) {
    for (const char* keyword : {"prefixItems", "minItems", "maxItems"}) {
      if (schema.contains(keyword))
        return SchemaError(Place(place, keyword), "this keyword is not supported in strict tools");
    }
  }
  for (const char* keyword : {"minItems", "maxItems"}) {
    if (absl::Status s = ReadLength(schema, keyword, limits_.max_items, place, out); !s.ok()) return s;
  }
  if (out->contains("minItems") && out->contains("maxItems") && (*out)["minItems"] > (*out)["maxItems"]) {
    return SchemaError(Place(place, "minItems"), "is above maxItems: no value can satisfy both");
  }
  // Draft 7 and older write the schemas of a tuple as a list of "items", and of what follows as "additionalItems".
  const bool old_tuple = schema.contains("items") && schema["items"].is_array();
  const char* const tuple = old_tuple ? "items" : "prefixItems";
  const char* const others = old_tuple ? "additionalItems" : "items";
  if (old_tuple && strict()) return SchemaError(Place(place, tuple), "a list is not supported in strict tools");
  if (old_tuple && schema.contains("prefixItems")) {
    return SchemaError(Place(place, tuple), "a list cannot stand beside prefixItems");
  }
  const bool closed = schema.contains(others) && schema[others] == false && !strict();
  if (schema.contains(tuple)) {
    if (absl::Status s = ReadTuple(schema, tuple, closed, place, depth, out); !s.ok()) return s;
  }
  if (closed) {
    (*out)["items"] = false;
  } else if (schema.contains(others)) {
    absl::StatusOr<Json> one = Read(schema[others], Place(place, others), depth + 1);
    if (!one.ok()) return one.status();
    (*out)["items"] = *std::move(one);
  } else if (strict()) {
    return SchemaError(Place(place, "items"), "a strict tool needs a schema for the items");
  } else {
    (*out)["items"] = Json::object();
  }
  return absl::OkStatus();
}

absl::Status SchemaReader::ReadTuple(const Json& schema, const char* keyword, bool closed, const std::string& place,
                                     int depth, Json* out) {
  const std::string here = Place(place, keyword);
  if (!schema[keyword].is_array()) return SchemaError(here, "must be an array");
  Json items = Json::array();
  for (size_t i = 0; i < schema[keyword].size(); ++i) {
    absl::StatusOr<Json> one = Read(schema[keyword][i], absl::StrCat(here, "/", i), depth + 1);
    if (!one.ok()) return one.status();
    items.push_back(*std::move(one));
  }
  const int64_t count = static_cast<int64_t>(items.size());
  if ((closed && out->contains("minItems") && (*out)["minItems"] > count) ||
      (out->contains("maxItems") && (*out)["maxItems"] < count)) {
    return SchemaError(here, absl::StrCat("has ", count, " schemas, which minItems or maxItems exclude"));
  }
  (*out)["prefixItems"] = std::move(items);
  return absl::OkStatus();
}

absl::Status SchemaReader::ReadString(const Json& schema, const std::string& place, Json* out) {
  Json written = Json::object();
  for (const char* keyword : {"minLength", "maxLength"}) {
    if (absl::Status s = ReadLength(schema, keyword, kLargestLength, place, &written); !s.ok()) return s;
  }
  Lengths lengths{written.value("minLength", int64_t{0}), written.value("maxLength", int64_t{-1})};
  const std::string lengths_place = Place(place, lengths.min > 0 ? "minLength" : "maxLength");
  if (lengths.empty()) return SchemaError(lengths_place, "is above maxLength: no value can satisfy both");
  if (schema.contains("pattern")) {
    if (absl::Status s = ReadPattern(schema, place, &lengths, out); !s.ok()) return s;
  }
  if (schema.contains("format")) {
    if (absl::Status s = ReadFormat(schema, place, &lengths, out); !s.ok()) return s;
  }
  if (lengths.bounded() && limits_.string_lengths == SchemaLimits::Lengths::kNone) {
    return SchemaError(schema.contains("pattern") ? Place(place, "pattern") : lengths_place,
                       "lengths of strings are not supported in the tool calls of this model");
  }
  if (lengths.min > 0) (*out)["minLength"] = lengths.min;
  if (lengths.max >= 0) (*out)["maxLength"] = lengths.max;
  return absl::OkStatus();
}

absl::Status SchemaReader::ReadPattern(const Json& schema, const std::string& place, Lengths* lengths, Json* out) {
  const std::string here = Place(place, "pattern");
  if (!schema["pattern"].is_string()) return SchemaError(here, "must be a string");
  if (schema.contains("format")) return SchemaError(here, "cannot stand beside format; leave out one of the two");
  const std::string pattern = schema["pattern"];
  if (static_cast<int>(pattern.size()) > limits_.max_pattern_bytes) {
    return SchemaError(
        here, absl::StrCat("has ", pattern.size(), " bytes; at most ", limits_.max_pattern_bytes, " are allowed"));
  }
  const PatternCheck check = CheckPattern(pattern);
  if (!check.problem.empty()) return SchemaError(here, check.problem);
  if (absl::Status s =
          Count(&pattern_states_, check.states, limits_.max_pattern_states, "characters of patterns", here);
      !s.ok()) {
    return s;
  }
  (*out)["pattern"] = check.compiled;
  if (lengths->Hold(check.shortest, check.longest) && !check.needs_counting) {
    *lengths = {};
  } else if (!check.repeated.empty()) {
    (*out)["pattern"] = check.repeated;
    lengths->Narrow(check.shortest, check.longest);
    if (lengths->empty()) return SchemaError(here, "excludes every length that minLength and maxLength allow");
  } else {
    return SchemaError(Place(place, lengths->min > 0 ? "minLength" : "maxLength"),
                       "is supported beside a pattern only when that is one class, repeated, or keeps to it anyway");
  }
  return absl::OkStatus();
}

absl::Status SchemaReader::ReadFormat(const Json& schema, const std::string& place, Lengths* lengths, Json* out) const {
  const std::string here = Place(place, "format");
  const auto end = std::begin(kFormats) + (strict() ? kStrictFormats : std::size(kFormats));
  if (!schema["format"].is_string()) return SchemaError(here, "must be a string");
  const std::string format = schema["format"];
  if (!strict() &&
      std::find(std::begin(kFormatsOfAnyText), std::end(kFormatsOfAnyText), format) != std::end(kFormatsOfAnyText)) {
    return absl::OkStatus();
  }
  if (std::find(std::begin(kFormats), end, format) == end) {
    std::string known;
    for (auto it = std::begin(kFormats); it != end; ++it)
      absl::StrAppend(&known, known.empty() ? "" : ", ", std::string(*it));
    return SchemaError(here, absl::StrCat("\"", format.substr(0, 64), "\" is not supported; known are ", known));
  }
  const std::string pattern(PatternOfFormat(format));
  PatternCheck check = CheckPattern(pattern);
  (*out)[pattern.empty() ? "format" : "pattern"] = pattern.empty() ? format : check.compiled;
  if (pattern.empty()) {
    check.shortest = format == "uuid" ? 36 : 0;
    check.longest = format == "uuid" ? 36 : INFINITY;
  }
  if (lengths->Hold(check.shortest, check.longest)) {
    *lengths = {};
    return absl::OkStatus();
  }
  const std::vector<std::string_view> endings = EndingsOfFormat(format);
  const bool too_long = static_cast<double>(lengths->min) <= check.shortest;
  if (endings.empty()) {
    return SchemaError(
        Place(place, too_long ? "maxLength" : "minLength"),
        absl::StrCat("is supported beside format only where every text keeps to it; those of \"", format, "\" have ",
                     std::isfinite(check.longest) ? "" : "at least ", check.shortest,
                     std::isfinite(check.longest) ? absl::StrCat(" to ", check.longest) : "", " characters"));
  }
  lengths->Narrow(check.shortest, check.longest);
  if (lengths->max < 0) return absl::OkStatus();
  // Before the last characters any text is allowed, and then what ends it; between the two the text has its minLength.
  int64_t room = 0;
  for (const std::string_view ending : endings) room = std::max(room, static_cast<int64_t>(ending.size()));
  if (lengths->max - room < lengths->min) {
    return SchemaError(
        Place(place, "maxLength"),
        absl::StrCat("is ", lengths->max, "; beside the format \"", format, "\", whose texts have ", "at least ",
                     check.shortest, " characters, it must be at least ", lengths->min + room));
  }
  for (const std::string_view ending : endings) (*out)["x-endings"].push_back(std::string(ending));
  return absl::OkStatus();
}

absl::Status SchemaReader::ReadNumber(const Json& schema, const std::string& place, bool integer, Json* out) {
  double low = -INFINITY, high = INFINITY;
  bool open = false;
  for (const char* keyword : {"minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"}) {
    if (!schema.contains(keyword)) continue;
    const std::string here = Place(place, keyword);
    const Json& value = schema[keyword];
    if (!value.is_number()) return SchemaError(here, "must be a number");
    const double number = value.get<double>();
    if (!(std::abs(number) <= kLargestBound)) return SchemaError(here, "must be at most 2^53 in size");
    if (integer && number != std::floor(number))
      return SchemaError(here, "must be a whole number for the type integer");
    const bool exclusive = std::string_view(keyword).starts_with("exclusive"),
               lower = std::string_view(keyword).ends_with("inimum");
    const double bound = integer && exclusive ? (lower ? number + 1 : number - 1) : number;
    if (lower) low = std::max(low, bound);
    if (!lower) high = std::min(high, bound);
    open |= exclusive && !integer;
    if (integer) {
      (*out)[keyword] = static_cast<int64_t>(number);
    } else {
      (*out)[keyword] = value;
    }
  }
  if (low > high || (open && low == high))
    return SchemaError(place, "the lower bound is above the upper one: no number fits");
  if (!schema.contains("multipleOf")) return absl::OkStatus();
  const std::string here = Place(place, "multipleOf");
  const Json& step = schema["multipleOf"];
  if (!integer) return SchemaError(here, "is supported for the type integer only");
  if (!step.is_number_integer() || step < 1 || step > limits_.max_multiple_of) {
    return SchemaError(here, absl::StrCat("must be a whole number from 1 to ", limits_.max_multiple_of));
  }
  // The compiler counts all multiples, or writes out those between two bounds; else it drops the keyword.
  if ((std::isfinite(low) || std::isfinite(high)) && !(high - low < kMaxMultipleRange)) {
    return SchemaError(here, absl::StrCat("beside a bound is supported only between two that are less than ",
                                          kMaxMultipleRange, " apart"));
  }
  if (absl::Status s =
          Count(&multiples_, step.get<int64_t>(), limits_.max_multiple_of, "multiples, by their sum,", here);
      !s.ok()) {
    return s;
  }
  const int64_t each = step;
  if (std::isfinite(low) && std::isfinite(high) &&
      std::floor(high / static_cast<double>(each)) < std::ceil(low / static_cast<double>(each))) {
    return SchemaError(here, absl::StrCat("no multiple of ", each, " lies between the bounds"));
  }
  (*out)["multipleOf"] = each;
  return absl::OkStatus();
}

}  // namespace hadal::grammar

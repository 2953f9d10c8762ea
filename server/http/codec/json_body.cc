// SPDX-License-Identifier: Apache-2.0
#include "server/http/codec/json_body.h"

#include <simdjson.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "base/json_fault.h"
#include "base/json_numbers.h"
#include "server/base/strings.h"
#include "server/request/refusal.h"

namespace hadal::http {
namespace {

using base::View;
using request::MakeError;
using request::Reason;
using simdjson::dom::element;
using simdjson::dom::element_type;

// Parsers larger than this are not kept for the thread's next body.
constexpr size_t kKeptCapacityBytes = 1 << 20;

std::string_view TypeName(element_type type) {
  switch (type) {
    case element_type::ARRAY:
      return "an array";
    case element_type::OBJECT:
      return "an object";
    case element_type::INT64:
    case element_type::UINT64:
      return "an integer";
    case element_type::DOUBLE:
      return "a number";
    case element_type::STRING:
      return "a string";
    case element_type::BOOL:
      return "a boolean";
    case element_type::NULL_VALUE:
      return "null";
  }
  return "something else";
}

}  // namespace

absl::Status WrongType(std::string_view path, std::string_view wanted, const element& found) {
  return MakeError(Reason::kOutOfRange,
                   absl::StrCat("`", View(path), "` must be ", View(wanted), ", not ", View(TypeName(found.type()))),
                   path);
}

absl::Status UnknownWord(std::string_view path, std::string_view word, std::string_view wanted) {
  return MakeError(
      Reason::kOutOfRange,
      absl::StrCat("`", View(path), "` is \"", View(word.substr(0, kShownWordBytes)), "\"; it must be ", View(wanted)),
      path);
}

absl::Status InvalidField(std::string_view path, std::string_view message) {
  return MakeError(Reason::kInvalidRequest, message, path);
}

absl::Status UnsupportedField(std::string_view path, std::string_view message) {
  return MakeError(Reason::kUnsupported, message, path);
}

absl::Status ReadString(const element& value, std::string_view path, std::string* out) {
  std::string_view text;
  if (value.get_string().get(text) != simdjson::SUCCESS) return WrongType(path, "a string", value);
  out->assign(text);
  return absl::OkStatus();
}

absl::Status ReadString(const element& value, std::string_view path, std::optional<std::string>* out) {
  return ReadString(value, path, &out->emplace());
}

absl::Status ReadBool(const element& value, std::string_view path, bool* out) {
  if (value.get_bool().get(*out) != simdjson::SUCCESS) return WrongType(path, "a boolean", value);
  return absl::OkStatus();
}

absl::Status ReadBool(const element& value, std::string_view path, std::optional<bool>* out) {
  return ReadBool(value, path, &out->emplace());
}

absl::Status ReadInt(const element& value, std::string_view path, int32_t* out) {
  int64_t integer = 0;
  if (value.get_int64().get(integer) != simdjson::SUCCESS) {
    double number = 0;
    if (!value.is_double() || value.get_double().get(number) != simdjson::SUCCESS) {
      if (value.is_uint64()) {
        return MakeError(
            Reason::kOutOfRange,
            absl::StrCat("`", View(path), "` is ", value.get_uint64().value_unsafe(), ", which no limit allows"), path);
      }
      return WrongType(path, "an integer", value);
    }
    if (std::floor(number) != number) return WrongType(path, "an integer", value);
    if (std::abs(number) > 9e15) {
      return MakeError(Reason::kOutOfRange, absl::StrCat("`", View(path), "` is ", number, ", which no limit allows"),
                       path);
    }
    integer = static_cast<int64_t>(number);
  }
  if (integer < std::numeric_limits<int32_t>::min() || integer > std::numeric_limits<int32_t>::max()) {
    return MakeError(Reason::kOutOfRange, absl::StrCat("`", View(path), "` is ", integer, ", which no limit allows"),
                     path);
  }
  *out = static_cast<int32_t>(integer);
  return absl::OkStatus();
}

absl::Status ReadInt(const element& value, std::string_view path, std::optional<int32_t>* out) {
  int32_t integer = 0;
  absl::Status status = ReadInt(value, path, &integer);
  if (status.ok()) *out = integer;
  return status;
}

absl::Status ReadFloat(const element& value, std::string_view path, std::optional<float>* out) {
  double number = 0;
  if (!value.is_number() || value.get_double().get(number) != simdjson::SUCCESS)
    return WrongType(path, "a number", value);
  *out = static_cast<float>(number);
  return absl::OkStatus();
}

absl::Status ReadSeed(const element& value, std::string_view path, std::optional<uint64_t>* out) {
  int64_t integer = 0;
  uint64_t large = 0;
  if (value.get_int64().get(integer) == simdjson::SUCCESS) {
    *out = static_cast<uint64_t>(integer);
  } else if (value.get_uint64().get(large) == simdjson::SUCCESS) {
    *out = large;
  } else if (value.is_double() && std::abs(value.get_double().value_unsafe()) > 9e15) {
    return MakeError(Reason::kOutOfRange, absl::StrCat("`", View(path), "` does not fit into 64 bits"), path);
  } else if (value.is_double() && std::floor(value.get_double().value_unsafe()) == value.get_double().value_unsafe()) {
    *out = static_cast<uint64_t>(static_cast<int64_t>(value.get_double().value_unsafe()));
  } else {
    return WrongType(path, "an integer", value);
  }
  return absl::OkStatus();
}

absl::Status ReadArray(const element& value, std::string_view path, simdjson::dom::array* out) {
  if (value.get_array().get(*out) != simdjson::SUCCESS) return WrongType(path, "an array", value);
  return absl::OkStatus();
}

absl::Status ReadObject(const element& value, std::string_view path, simdjson::dom::object* out) {
  if (value.get_object().get(*out) != simdjson::SUCCESS) return WrongType(path, "an object", value);
  return absl::OkStatus();
}

absl::Status ReadParts(const element& value, std::string_view path, std::string_view wanted,
                       absl::FunctionRef<absl::Status(const simdjson::dom::object&, const std::string&)> read) {
  simdjson::dom::array parts;
  if (value.get_array().get(parts) != simdjson::SUCCESS) return WrongType(path, wanted, value);
  size_t index = 0;
  for (const element part : parts) {
    const std::string here = absl::StrCat(View(path), "[", index++, "]");
    simdjson::dom::object object;
    absl::Status status = ReadObject(part, here, &object);
    if (status.ok()) status = read(object, here);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

std::optional<element> FindMember(const simdjson::dom::object& object, std::string_view key) {
  element value;
  if (object.at_key(key).get(value) != simdjson::SUCCESS || value.is_null()) return std::nullopt;
  return value;
}

absl::StatusOr<element> NeededMember(const simdjson::dom::object& object, std::string_view path, std::string_view key) {
  if (const std::optional<element> value = FindMember(object, key)) return *value;
  const std::string here = absl::StrCat(View(path), ".", View(key));
  return InvalidField(here, absl::StrCat("`", here, "` is missing"));
}

absl::Status ReadMember(const simdjson::dom::object& object, std::string_view path, std::string_view key,
                        std::string* out) {
  const absl::StatusOr<element> value = NeededMember(object, path, key);
  if (!value.ok()) return value.status();
  return ReadString(*value, absl::StrCat(View(path), ".", View(key)), out);
}

absl::Status ReadOptionalMember(const simdjson::dom::object& object, std::string_view path, std::string_view key,
                                std::string* out) {
  const std::optional<element> value = FindMember(object, key);
  if (!value.has_value()) return absl::OkStatus();
  return ReadString(*value, absl::StrCat(View(path), ".", View(key)), out);
}

absl::Status ParseObject(std::string_view body, int max_depth,
                         const std::function<absl::Status(std::string_view, const element&)>& visit) {
  thread_local std::unique_ptr<simdjson::dom::parser> kept;
  std::unique_ptr<simdjson::dom::parser> parser = std::move(kept);
  if (parser == nullptr) parser = std::make_unique<simdjson::dom::parser>();

  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  if (body.starts_with(kByteOrderMark)) body.remove_prefix(kByteOrderMark.size());
  element root;
  simdjson::error_code error = simdjson::CAPACITY;
  if (parser->capacity() < body.size() || parser->max_depth() != static_cast<size_t>(max_depth)) {
    error = parser->allocate(std::max(body.size(), size_t{4096}), max_depth);
  } else {
    error = simdjson::SUCCESS;
  }
  if (error == simdjson::SUCCESS) error = parser->parse(body.data(), body.size()).get(root);
  // What JSON allows and the parser does not.
  if (error == simdjson::NUMBER_ERROR || error == simdjson::STRING_ERROR) {
    error = parser->parse(base::WidenJsonNumbers(base::ReplaceLoneSurrogates(body))).get(root);
  }
  if (error == simdjson::MEMALLOC) return MakeError(Reason::kInternal, "out of memory while parsing the body");
  if (error == simdjson::EMPTY)
    return MakeError(Reason::kInvalidRequest, "the body is empty; a JSON object is expected");
  if (error == simdjson::DEPTH_ERROR) {
    return MakeError(Reason::kInvalidRequest,
                     absl::StrCat("the body's JSON is nested deeper than ", max_depth, " levels"));
  }
  if (error != simdjson::SUCCESS) {
    const std::string fault = base::DescribeJsonFault(body);
    return MakeError(
        Reason::kInvalidRequest,
        absl::StrCat("the body is not valid JSON: ", fault.empty() ? simdjson::error_message(error) : fault.c_str()));
  }
  simdjson::dom::object object;
  if (root.get_object().get(object) != simdjson::SUCCESS) {
    return MakeError(Reason::kInvalidRequest,
                     absl::StrCat("the body must be a JSON object, not ", View(TypeName(root.type()))));
  }
  for (const auto field : object) {
    if (field.value.is_null()) continue;
    if (absl::Status status = visit(field.key, field.value); !status.ok()) return status;
  }
  if (parser->capacity() <= kKeptCapacityBytes) kept = std::move(parser);
  return absl::OkStatus();
}

}  // namespace hadal::http

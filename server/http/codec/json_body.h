// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace simdjson::dom {
class array;
class element;
class object;
class parser;
}  // namespace simdjson::dom

namespace hadal::http {

// Bytes of a client's word that errors and the log repeat.
inline constexpr size_t kShownWordBytes = 32;

// Readers of one JSON value into a field, used by the codecs. `path` is the field's name in messages and in the error's
// "param". A value of the wrong type is OUT_OF_RANGE (422), as in the hosted API; null means "left out".
absl::Status ReadString(const simdjson::dom::element& value, std::string_view path, std::string* out);
absl::Status ReadString(const simdjson::dom::element& value, std::string_view path, std::optional<std::string>* out);
absl::Status ReadBool(const simdjson::dom::element& value, std::string_view path, bool* out);
absl::Status ReadBool(const simdjson::dom::element& value, std::string_view path, std::optional<bool>* out);
absl::Status ReadInt(const simdjson::dom::element& value, std::string_view path, int32_t* out);
absl::Status ReadInt(const simdjson::dom::element& value, std::string_view path, std::optional<int32_t>* out);
absl::Status ReadFloat(const simdjson::dom::element& value, std::string_view path, std::optional<float>* out);
// Any integer; negative ones wrap.
absl::Status ReadSeed(const simdjson::dom::element& value, std::string_view path, std::optional<uint64_t>* out);

absl::Status ReadArray(const simdjson::dom::element& value, std::string_view path, simdjson::dom::array* out);
absl::Status ReadObject(const simdjson::dom::element& value, std::string_view path, simdjson::dom::object* out);
// Calls `read` for each object of an array with its path, until one fails; `wanted` says what else the field could be.
absl::Status ReadParts(
    const simdjson::dom::element& value, std::string_view path, std::string_view wanted,
    absl::FunctionRef<absl::Status(const simdjson::dom::object& part, const std::string& path)> read);

// The member `key`, unless it is missing or null. Of a repeated one the first counts.
std::optional<simdjson::dom::element> FindMember(const simdjson::dom::object& object, std::string_view key);
// The same where it must be there: INVALID_REQUEST without it. `path` is the object's.
absl::StatusOr<simdjson::dom::element> NeededMember(const simdjson::dom::object& object, std::string_view path,
                                                    std::string_view key);
// A text that must be there, as with NeededMember.
absl::Status ReadMember(const simdjson::dom::object& object, std::string_view path, std::string_view key,
                        std::string* out);
// A text that may be left out.
absl::Status ReadOptionalMember(const simdjson::dom::object& object, std::string_view path, std::string_view key,
                                std::string* out);

absl::Status WrongType(std::string_view path, std::string_view wanted, const simdjson::dom::element& found);
// OUT_OF_RANGE for a word that is none of those `wanted` names; the message repeats its first bytes.
absl::Status UnknownWord(std::string_view path, std::string_view word, std::string_view wanted);
// INVALID_REQUEST and UNSUPPORTED about a field.
absl::Status InvalidField(std::string_view path, std::string_view message);
absl::Status UnsupportedField(std::string_view path, std::string_view message);

// Parses a body whose top level must be an object and calls `visit` for each field whose value is not null, in order;
// of a repeated field the last one counts. A byte order mark in front is skipped, and an escaped half of a surrogate
// pair is U+FFFD. INVALID_REQUEST (400) for text that is not JSON in UTF-8 (with the place), nested deeper than
// `max_depth`, or not an object. The elements live until the call returns. Any thread.
absl::Status ParseObject(
    std::string_view body, int max_depth,
    const std::function<absl::Status(std::string_view name, const simdjson::dom::element& value)>& visit);

}  // namespace hadal::http

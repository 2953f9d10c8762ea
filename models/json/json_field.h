// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <simdjson.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace hadal::json {

// simdjson's views in Abseil's terms and back.
inline absl::string_view ToAbsl(std::string_view text) { return {text.data(), text.size()}; }
inline std::string_view ToStd(absl::string_view text) { return {text.data(), text.size()}; }

// "\"abc\"", "1.5", "an object", ...: what was found, for errors; long strings are cut.
std::string DescribeJson(simdjson::dom::element element);

// A key or a name from a file, for errors: cut to 100 bytes, control characters escaped.
std::string QuoteForError(absl::string_view text);

// A JSON value with the path that leads to it, so that every error names file and field:
// "tokenizer.json: model.vocab: expected an object, found null". All errors are InvalidArgument. Cheap to copy; the
// document must outlive it.
class JsonField {
 public:
  // The value at the top of `file`.
  static JsonField Root(simdjson::dom::element element, std::string_view file);

  // The member `key`; a field that is not present (and reads as null) without one. An error when this is no object.
  absl::StatusOr<JsonField> Get(std::string_view key) const;
  // A value below this one: `suffix` leads from this one to it, for example "[3]".
  JsonField At(simdjson::dom::element element, std::string_view suffix) const;

  bool present() const { return present_; }
  bool IsNull() const { return !present_ || element_.is_null(); }
  bool IsString() const { return present_ && element_.is_string(); }
  bool IsArray() const { return present_ && element_.is_array(); }
  bool IsObject() const { return present_ && element_.is_object(); }

  absl::StatusOr<std::string_view> String() const;
  absl::StatusOr<int64_t> Integer() const;
  absl::StatusOr<bool> Bool() const;
  absl::StatusOr<simdjson::dom::array> Array() const;
  absl::StatusOr<simdjson::dom::object> Object() const;

  // The member `key` as a bool, `fallback` when it is missing or null.
  absl::StatusOr<bool> BoolOr(std::string_view key, bool fallback) const;
  absl::StatusOr<std::string_view> StringAt(std::string_view key) const;

  // "tokenizer.json: model.vocab"; of the root "tokenizer.json:".
  const std::string& path() const { return path_; }
  std::string PathOf(std::string_view key) const;
  // What was found, for errors; "nothing" for a field that is not present.
  std::string Describe() const;
  absl::Status Error(std::string_view what) const;
  absl::Status Expected(std::string_view what) const;

 private:
  JsonField(simdjson::dom::element element, std::string path)
      : element_(element), path_(std::move(path)), present_(true) {}
  explicit JsonField(std::string path) : path_(std::move(path)) {}
  bool IsRoot() const { return path_.back() == ':'; }

  simdjson::dom::element element_;
  std::string path_;
  bool present_ = false;
};

}  // namespace hadal::json

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <simdjson.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace hadal::tokenizer {

// A JSON value with the path that leads to it, so that every error names the place. Cheap to copy; the parser that owns
// the document must outlive it.
class JsonField {
 public:
  JsonField(simdjson::dom::element element, std::string path)
      : element_(element), path_(std::move(path)), present_(true) {}

  // The member `key`; a field that is not present (and reads as null) without one. InvalidArgument when this is no
  // object.
  absl::StatusOr<JsonField> Get(std::string_view key) const;
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

  const std::string& path() const { return path_; }
  absl::Status Error(std::string_view what) const;
  absl::Status Expected(std::string_view what) const;

 private:
  explicit JsonField(std::string path) : path_(std::move(path)) {}
  std::string Describe() const;

  simdjson::dom::element element_;
  std::string path_;
  bool present_ = false;
};

}  // namespace hadal::tokenizer

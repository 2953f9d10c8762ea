// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <simdjson.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "models/json/json_field.h"

namespace hadal::json {

// What Parse takes.
struct JsonLimits {
  size_t max_bytes = size_t{256} << 20;
  size_t max_depth = 32;       // of nested objects and arrays
  bool repeated_keys = false;  // allowed; the last one of an object counts
};

// A parsed JSON text whose top level is an object. Owns the memory of everything read from it. Not thread-safe.
class JsonDocument {
 public:
  // InvalidArgument names `file` and the place or the key.
  static absl::StatusOr<std::unique_ptr<JsonDocument>> Parse(absl::string_view text, absl::string_view file,
                                                             const JsonLimits& limits = {});
  JsonField root() const { return JsonField::Root(root_, ToStd(file_)); }

 private:
  JsonDocument() = default;
  std::string file_;
  simdjson::padded_string text_;
  simdjson::dom::parser parser_;
  simdjson::dom::element root_;
};

}  // namespace hadal::json

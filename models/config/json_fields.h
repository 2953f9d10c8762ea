// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <simdjson.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace hadal::config {

// Deepest nesting of objects and arrays that is read.
inline constexpr size_t kMaxJsonDepth = 32;

// simdjson's views in Abseil's terms.
inline absl::string_view ToAbsl(std::string_view text) { return {text.data(), text.size()}; }

// "\"abc\"", "1.5", "an object", ...: what was found, for errors; long strings are cut.
std::string DescribeJson(simdjson::dom::element element);

// A key or a name from a file, for errors: cut to 100 bytes, control characters escaped.
std::string QuoteForError(absl::string_view text);

// A parsed JSON text whose top level is an object and in which no object has a key twice. Owns the memory of everything
// read from it. Not thread-safe.
class JsonDocument {
 public:
  // InvalidArgument names `file`, and the place or the key.
  static absl::StatusOr<std::unique_ptr<JsonDocument>> Parse(absl::string_view text, absl::string_view file);
  simdjson::dom::object root() const { return root_; }

 private:
  JsonDocument() = default;
  simdjson::padded_string text_;
  simdjson::dom::parser parser_;
  simdjson::dom::object root_;
};

// Typed, range-checked reading of one object's fields. The first error is kept and reported by status(); reads after it
// give the lowest legal value or the fallback, so callers check once. A field that is null counts as absent.
class FieldReader {
 public:
  // `path` prefixes field names in errors, for example "rope_scaling.".
  FieldReader(absl::string_view file, absl::string_view path, simdjson::dom::object object)
      : file_(file), path_(path), object_(object) {}

  const absl::Status& status() const { return status_; }
  absl::string_view file() const { return file_; }
  simdjson::dom::object object() const { return object_; }
  // Present and not null.
  bool Has(absl::string_view key) const { return Find(key).has_value(); }
  // Present, perhaps null.
  bool HasKey(absl::string_view key) const;

  int64_t Int(absl::string_view key, int64_t min, int64_t max);
  int64_t IntOr(absl::string_view key, int64_t fallback, int64_t min, int64_t max);
  double DoubleOr(absl::string_view key, double fallback, double min, double max);
  double Double(absl::string_view key, double min, double max);
  bool BoolOr(absl::string_view key, bool fallback);
  std::optional<std::string> OptionalString(absl::string_view key);
  std::optional<simdjson::dom::object> OptionalObject(absl::string_view key);
  // An integer or a list of at most `limit`; empty when absent.
  std::vector<int32_t> IntList(absl::string_view key, int64_t min, int64_t max, size_t limit = 64);
  // Absent: empty. At most `limit` entries.
  std::vector<std::string> StringList(absl::string_view key, size_t limit);

  // Records "file: field: expected ..., found ..." unless an earlier error is held.
  void Fail(absl::string_view key, absl::string_view expected, absl::string_view found);
  void Unsupported(absl::string_view key, absl::string_view message);
  void Adopt(const absl::Status& status) { status_.Update(status); }

 private:
  std::optional<simdjson::dom::element> Find(absl::string_view key) const;
  int64_t IntFrom(absl::string_view key, simdjson::dom::element element, int64_t min, int64_t max);
  double DoubleFrom(absl::string_view key, simdjson::dom::element element, double min, double max);

  std::string file_;
  std::string path_;
  simdjson::dom::object object_;
  absl::Status status_;
};

}  // namespace hadal::config

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <simdjson.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "models/json/json_field.h"

namespace hadal::json {

// Typed, range-checked reading of one object's fields. The first error is kept and reported by status(); reads after it
// give the lowest legal value or the fallback, so callers check once. A field that is null counts as absent.
class FieldReader {
 public:
  // `object` is an object.
  explicit FieldReader(JsonField object) : object_(std::move(object)) {}

  const absl::Status& status() const { return status_; }
  // The path of a member, as errors name it.
  std::string PathOf(absl::string_view key) const { return object_.PathOf(ToStd(key)); }
  simdjson::dom::object object() const { return *object_.Object(); }
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
  std::optional<JsonField> OptionalObject(absl::string_view key);
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

  JsonField object_;
  absl::Status status_;
};

}  // namespace hadal::json

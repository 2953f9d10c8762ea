// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include "absl/time/time.h"

namespace hadal::base {

using LogValue = std::variant<int64_t, double, std::string_view>;

// One log line as a JSON object: "time" (UTC, milliseconds) first, then fields in the order in which they are added.
// Texts are UTF-8; control characters, quotes and line ends are escaped, so that a line stays one line.
class JsonLine {
 public:
  explicit JsonLine(absl::Time now);

  void Add(std::string_view key, const LogValue& value);
  // The object without a line end. Once, last.
  std::string Take();

 private:
  std::string text_;
};

}  // namespace hadal::base

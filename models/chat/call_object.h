// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace hadal::chat {

// A tool call as one JSON object: {"name": ..., "arguments": {...}}, or "parameters" for the arguments.
struct CallObject {
  std::string name;
  // As the model wrote them, or what stands in them when they were written as a string; {} for null.
  std::optional<std::string> arguments;
};

// False unless the text is one JSON object with a name.
bool ReadCallObject(std::string_view text, CallObject* call);

// Finds the end of a JSON object or array in a text that grows, by its strings and brackets. Linear however the text is
// cut: what was looked at is not looked at again.
class JsonExtent {
 public:
  // Bytes of the value at the begin of `text`, which holds what earlier calls saw; npos while it is not complete.
  size_t Find(std::string_view text);
  // Whether the text looked at ends inside a string.
  bool in_string() const { return in_string_; }

 private:
  size_t seen_ = 0;
  size_t depth_ = 0;
  bool in_string_ = false;
  bool escaped_ = false;
};

}  // namespace hadal::chat

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "models/chat/chat_template.h"

namespace hadal::chat {

// The JSON types that a parameter's schema allows.
struct ParameterType {
  enum Bit : uint8_t { kString = 1, kNumber = 2, kBoolean = 4, kNull = 8, kArray = 16, kObject = 32, kAny = 63 };
  uint8_t bits = kString;
  // A string that is more than free text (enum, pattern, format, ...): white space around it is none of its own.
  bool constrained = false;

  bool free_text() const { return bits == kString && !constrained; }
};

// What the parameters of a request's tools are, by their schemas: for calls in a syntax that writes no types.
// Immutable, thread-safe.
class ParameterTypes {
 public:
  explicit ParameterTypes(const std::vector<ChatTool>& tools);

  // Free text for a tool or parameter that no schema declares.
  ParameterType Find(std::string_view tool, std::string_view parameter) const;

 private:
  using Parameters = std::map<std::string, ParameterType, std::less<>>;
  std::map<std::string, Parameters, std::less<>> tools_;
};

// The value that `text` stands for where a parameter of this type is written without quotes, as JSON. True and None, as
// Python writes them, count; what fits no other type is a string.
std::string ParameterJson(std::string_view text, ParameterType type);

}  // namespace hadal::chat

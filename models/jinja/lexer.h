// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace hadal::jinja {

struct Token {
  enum class Kind : uint8_t {
    kText,           // what stands between the tags
    kBlockBegin,     // {%
    kBlockEnd,       // %}
    kVariableBegin,  // {{
    kVariableEnd,    // }}
    kName,
    kString,   // text is decoded
    kInteger,  // text as written, without underscores
    kFloat,
    kOperator,
    kEnd,
  };
  Kind kind = Kind::kEnd;
  std::string text;
  int line = 1;
};

// Cuts a template into tokens as Jinja does with trim_blocks and lstrip_blocks, raw blocks and comments resolved; the
// last token is kEnd. InvalidArgument "line N: ..." for what is no token or not closed.
absl::StatusOr<std::vector<Token>> Tokenize(std::string_view source);

// What a string literal stands for: the text between its quotes with Python's escapes decoded. InvalidArgument for an
// escape that is cut short or names a character.
absl::StatusOr<std::string> DecodeStringLiteral(std::string_view body);

}  // namespace hadal::jinja

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace hadal::redis {

// The words of a command.
using Words = std::vector<std::string>;

// What Redis answered.
struct Reply {
  enum class Kind : uint8_t { kNil, kInteger, kText, kError, kArray };

  Kind kind = Kind::kNil;
  int64_t integer = 0;
  std::string text;  // of a text, a status or an error
  std::vector<Reply> items;

  bool nil() const { return kind == Kind::kNil; }
  bool error() const { return kind == Kind::kError; }
};

}  // namespace hadal::redis

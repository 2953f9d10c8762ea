// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "models/tokenizer/tokenizer.h"

namespace hadal::testing {

// The demo model's tokenizer: small, byte-level, with DeepSeek's control tokens. Loaded once a process.
inline const std::shared_ptr<const tokenizer::Tokenizer>& DemoTokenizer() {
  static const auto tokenizer = [] {
    const char* root = std::getenv("HADAL_SOURCE_DIR");
    return tokenizer::Tokenizer::Load(std::string(root == nullptr ? "." : root) + "/models/demo").value();
  }();
  return tokenizer;
}

// Ids of a text in which control tokens may stand.
inline std::vector<int32_t> DemoEncode(std::string_view text) {
  return DemoTokenizer()->Encode(text, {.allow_added_tokens = true}).value();
}

}  // namespace hadal::testing

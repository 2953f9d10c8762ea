// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"

namespace hadal::tokenizer {

// An entry of tokenizer.json's added_tokens.
struct AddedToken {
  int32_t id = -1;
  std::string content;
  bool special = false;
  bool normalized = false;
  bool lstrip = false;
  bool rstrip = false;
  bool single_word = false;
};

// Finds added tokens in text: leftmost, and of those that start at one place the longest. Immutable after
// Add; thread-safe.
class AddedTokenMatcher {
 public:
  // `literal` is what to look for (the content, or its normalised form); not empty, at most kMaxLiteralBytes.
  void Add(const AddedToken& token, std::string_view literal);
  bool empty() const { return tokens_.empty(); }
  // From now on tokens are not widened over U+0020, which stands for a mark that is no space.
  void KeepBlanks() { keeps_blanks_ = true; }

  // Calls `text_part` and `token` for the stretches of `text` in order. lstrip and rstrip widen a token over the spaces
  // next to it; a single_word token next to a word character is left as text.
  void Split(std::string_view text, absl::FunctionRef<void(std::string_view)> text_part,
             absl::FunctionRef<void(int32_t)> token) const;

  static constexpr size_t kMaxLiteralBytes = 512;

 private:
  struct Token {
    int32_t id;
    bool lstrip, rstrip, single_word;
  };
  // Trie node; children are a linked list, which is short everywhere but at the root, and the root has first_.
  struct Node {
    int32_t token = -1;    // index into tokens_
    int32_t child = -1;    // first child
    int32_t sibling = -1;  // next child of the same parent
    char byte = 0;
  };

  int32_t Child(int32_t node, char byte) const;
  // Longest token at text[at], or -1; sets *end.
  int32_t LongestAt(std::string_view text, size_t at, size_t* end) const;

  bool keeps_blanks_ = false;
  std::vector<Token> tokens_;
  std::vector<Node> nodes_ = std::vector<Node>(1);
  int32_t first_[256] = {};  // child of the root by byte, 0 for none
};

}  // namespace hadal::tokenizer

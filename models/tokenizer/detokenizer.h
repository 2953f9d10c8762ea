// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "models/tokenizer/tokenizer.h"

namespace hadal::tokenizer {

// Turns a stream of token ids into text, one token at a time. Each piece of output is valid UTF-8 that ends at a
// character border; bytes that can never become valid give U+FFFD per maximal subpart, as Python's errors="replace"
// does. The outputs of Append and Flush joined are Tokenizer::Decode of all ids, with the space in front that Decode
// may drop: what is decoded here continues a prompt. Not thread-safe; owns its state of at most 3 bytes. The tokenizer
// must outlive it.
class Detokenizer {
 public:
  Detokenizer(const Tokenizer& tokenizer, bool skip_special_tokens)
      : tokenizer_(&tokenizer), skip_special_tokens_(skip_special_tokens) {}

  std::string Append(int32_t id);
  // What is left of an unfinished character, as U+FFFD. The object can be used again afterwards.
  std::string Flush();
  // Bytes held back until their character is complete.
  size_t pending_bytes() const { return tail_.size(); }

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_tokens_;
  std::string tail_;
};

}  // namespace hadal::tokenizer

// SPDX-License-Identifier: Apache-2.0
#include "models/grammar/vocabulary_info.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace hadal::grammar {
namespace {

constexpr std::string_view kKeptAsText = "｜DSML｜";

std::optional<int32_t> ControlToken(const tokenizer::Tokenizer& tokenizer, std::string_view content) {
  const std::optional<int32_t> id = tokenizer.TokenId(content);
  return id.has_value() && tokenizer.IsControl(*id) ? id : std::nullopt;
}

// Bytes that are in no UTF-8 text.
bool HoldsForeignByte(std::string_view token) {
  return std::any_of(token.begin(), token.end(), [](char c) { return static_cast<unsigned char>(c) >= 0xF8; });
}

}  // namespace

bool IsMatchedById(const tokenizer::Tokenizer& tokenizer, int32_t id) {
  return tokenizer.IsControl(id) && tokenizer.TokenBytes(id) != kKeptAsText;
}

VocabularyInfo MakeVocabularyInfo(const tokenizer::Tokenizer& tokenizer, int32_t vocab_size) {
  const int32_t known = std::min(tokenizer.vocab_size(), vocab_size);
  std::vector<std::string> bytes(known);
  std::vector<int32_t> ends;
  for (const int32_t id : tokenizer.eos_ids()) {
    if (id >= 0 && id < known) ends.push_back(id);
  }
  const size_t words = (static_cast<size_t>(vocab_size) + 31) / 32;
  models::TokenMask not_ending(words, 0u), leading_white_space(words, 0u);
  for (int32_t id = 0; id < known; ++id) {
    if (!tokenizer.IsValid(id)) continue;
    const std::string_view token = tokenizer.TokenBytes(id);
    // 0xFF is in no UTF-8 text; an empty text would make xgrammar refuse the token everywhere.
    const bool is_text = !IsMatchedById(tokenizer, id) && !HoldsForeignByte(token);
    bytes[id] = is_text ? std::string(token) : absl::StrCat("\xFF", id);
    if (std::find(ends.begin(), ends.end(), id) == ends.end()) Put(&not_ending, id);
    if (!token.empty() && (token[0] == ' ' || token[0] == '\n' || token[0] == '\t' || token[0] == '\r')) {
      Put(&leading_white_space, id);
    }
  }
  xgrammar::TokenizerInfo tokens(bytes, xgrammar::VocabType::RAW, vocab_size, ends);
  StringTokens strings(tokens.GetDecodedVocab(), vocab_size);
  return {std::move(tokens),
          vocab_size,
          std::move(not_ending),
          std::move(leading_white_space),
          std::move(strings),
          tokenizer.TokenId("\n"),
          ControlToken(tokenizer, "<think>"),
          ControlToken(tokenizer, "</think>")};
}

}  // namespace hadal::grammar

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <xgrammar/tokenizer_info.h>

#include <cstdint>
#include <optional>
#include <string_view>

#include "models/grammar/string_tokens.h"
#include "models/token_grammar.h"
#include "models/tokenizer/tokenizer.h"

namespace hadal::grammar {

// What the matcher must know of a tokenizer besides xgrammar's own tables. Immutable.
struct VocabularyInfo {
  xgrammar::TokenizerInfo tokens;
  int32_t vocab_size = 0;
  models::TokenMask not_ending;           // every token but the end tokens: what reasoning may hold
  models::TokenMask leading_white_space;  // tokens that begin with a space, tab or line break
  StringTokens strings;                   // views into `tokens`
  std::optional<int32_t> newline;         // the token "\n"
  std::optional<int32_t> think_begin, think_end;
};

// Control tokens get bytes that no text holds, so that only a grammar that names them allows them; so do tokens of
// bytes that are in no UTF-8 text, which are the code words of string_slots.h. Kept as text are control tokens that
// stand inside the literals of a tool syntax ("｜DSML｜").
VocabularyInfo MakeVocabularyInfo(const tokenizer::Tokenizer& tokenizer, int32_t vocab_size);

// Whether the token is matched by its id and not by its bytes.
bool IsMatchedById(const tokenizer::Tokenizer& tokenizer, int32_t id);

inline bool Holds(const models::TokenMask& mask, int32_t token) { return (mask[token / 32] >> (token % 32) & 1u) != 0; }
inline void Put(models::TokenMask* mask, int32_t token) { (*mask)[token / 32] |= 1u << (token % 32); }

}  // namespace hadal::grammar

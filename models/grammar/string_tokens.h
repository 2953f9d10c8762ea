// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "models/token_grammar.h"

namespace hadal::grammar {

// What each token of a vocabulary does inside JSON strings whose characters are counted: tables from which a mask is
// put together without looking at every token. Immutable.
class StringTokens {
 public:
  static constexpr int kTabulated = 32;  // characters of a token; few have more

  // Tokens that close a string begun between two characters: `content`, a quote, and one of the rests.
  struct Closer {
    struct Token {
      int32_t id, rest;
    };
    std::string content;
    int64_t characters = 0;
    std::vector<Token> tokens;
  };
  // Tokens in which a value's string may begin: `lead`, a quote, and what follows.
  struct Opener {
    struct Token {
      int32_t id;
      std::string_view after;
    };
    std::string lead;
    std::vector<Token> tokens;
  };

  // `bytes` by token, which outlive this; those that are no text hold bytes that no text holds, or are empty.
  StringTokens(const std::vector<std::string>& bytes, int32_t vocab_size);
  StringTokens(StringTokens&&) = default;  // views into the parts stay valid

  std::string_view bytes(int32_t token) const { return (*bytes_)[token]; }
  // Adds the tokens that stay within a string and add at most `room` characters, when the scan of it is plain.
  void AddWithin(int64_t room, models::TokenMask* mask) const { json_.Add(room, mask); }
  // The same for text between two characters, but for the tokens that hold a <, with which a marker may begin.
  void AddText(int64_t room, models::TokenMask* mask) const { text_.Add(room, mask); }
  // The tokens whose first byte is `byte`.
  const std::vector<int32_t>& StartingWith(unsigned char byte) const { return by_first_[byte]; }
  // Those that hold a <, and those that hold more behind a >.
  const std::vector<int32_t>& marked() const { return marked_; }
  const std::vector<int32_t>& past_markers() const { return past_markers_; }
  // Those that hold a quote anywhere.
  const std::vector<int32_t>& quoted() const { return quoted_; }
  const std::vector<Closer>& closers() const { return closers_; }
  const std::vector<Opener>& openers() const { return openers_; }
  // What may stand behind a quote in a token, in order.
  const std::vector<std::string>& rests() const { return rests_; }
  // Its place among the rests; of a text that stands behind a quote in a token.
  int32_t RestOf(std::string_view text) const { return rest_ids_.at(text); }

 private:
  // Tokens by the characters that they add.
  struct Table {
    std::vector<models::TokenMask> within;            // [kTabulated + 1], at most so many
    std::vector<std::pair<int32_t, int64_t>> longer;  // more, and how many

    explicit Table(size_t words) : within(kTabulated + 1, models::TokenMask(words, 0u)) {}
    void Put(int32_t token, int64_t characters);
    void Finish();
    void Add(int64_t room, models::TokenMask* mask) const;
  };

  void ReadRests();
  void ReadClosers();
  void ReadOpeners();
  void ReadContent();

  const std::vector<std::string>* bytes_;
  Table json_, text_;
  std::array<std::vector<int32_t>, 256> by_first_;
  std::vector<int32_t> quoted_, marked_, past_markers_;
  std::vector<Closer> closers_;
  std::vector<Opener> openers_;
  std::vector<std::string> rests_;
  std::unordered_map<std::string_view, int32_t> rest_ids_;
};

}  // namespace hadal::grammar

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "benchmarks/hadal_bench/workload/plan.h"

namespace hadal::bench {

// What a number of words costs at one server: tokens = overhead + words * per_word.
struct TokenScale {
  double overhead = 0;  // template and special tokens
  double per_word = 1.3;
  bool measured = false;  // false: the server reported no usage, and the default was taken

  int WordsFor(int tokens) const;
};

// Makes prompts. Random words stand for text where only the length matters; they must not be used for claims about MoE
// routing, speculation or prefix reuse, which depend on what is said. Immutable after construction; any thread.
class Prompts {
 public:
  Prompts();
  // Prompts from a file instead, used in turn: a JSON string or {"prompt": "..."} a line, or plain text lines.
  static absl::StatusOr<Prompts> FromFile(const std::string& path);

  // About `request.prompt_tokens` tokens of random words, the same for the same seed and salt. The blocks of a trace
  // become 512 tokens each that depend on the block's id and the salt alone. With a file: line number `index`, whatever
  // the length. Prompts of different salts share no prefix, so that one run finds nothing of another in a prefix cache.
  std::string Make(const PlannedRequest& request, size_t index, const TokenScale& scale, uint64_t salt) const;
  // A first word of the seed's own, as each prompt has, then every word that prompts are made of, `times` times over.
  // Words are drawn alike often, so this measures what one costs without an error of sampling.
  std::string EveryWord(int times, uint64_t seed) const;
  static int different_words();
  bool from_file() const { return !lines_.empty(); }

 private:
  void AppendWords(uint64_t seed, int words, std::string* out) const;

  std::string words_;             // a long text of random words; a prompt is a slice of it
  std::vector<uint32_t> starts_;  // where its words begin
  std::vector<std::string> lines_;
};

}  // namespace hadal::bench

// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/workload/prompts.h"

#include <simdjson.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <random>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/read_file.h"

namespace hadal::bench {
namespace {

constexpr int64_t kMaxFileBytes = int64_t{2} << 30;

// Short common words: in most vocabularies one token each.
constexpr const char* kWords[] = {
    "time",    "year",        "people", "way",       "day",     "man",       "thing",  "woman",   "life",
    "child",   "world",       "school", "state",     "family",  "student",   "group",  "country", "problem",
    "hand",    "part",        "place",  "case",      "week",    "company",   "system", "program", "question",
    "work",    "government",  "number", "night",     "point",   "home",      "water",  "room",    "mother",
    "area",    "money",       "story",  "fact",      "month",   "lot",       "right",  "study",   "book",
    "eye",     "job",         "word",   "business",  "issue",   "side",      "kind",   "head",    "house",
    "service", "friend",      "father", "power",     "hour",    "game",      "line",   "end",     "member",
    "law",     "car",         "city",   "community", "name",    "president", "team",   "minute",  "idea",
    "body",    "information", "back",   "parent",    "face",    "others",    "level",  "office",  "door",
    "health",  "person",      "art",    "war",       "history", "party",     "result", "change",  "morning",
    "reason",  "research",    "girl",   "guy",       "moment",  "air"};
constexpr int kTextWords = 1 << 17;
constexpr int kBlockTokens = 512;

// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014), of a seed and a salt.
uint64_t Mix(uint64_t seed, uint64_t salt) {
  uint64_t z = seed + (salt + 1) * 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

// The first word is the seed's own, so that two prompts share no prefix by chance.
std::string OwnWord(uint64_t seed) { return absl::StrCat(kWords[seed % std::size(kWords)], seed % 100003, " "); }

}  // namespace

int TokenScale::WordsFor(int tokens) const {
  return std::max(1, static_cast<int>(std::lround((tokens - overhead) / per_word)));
}

Prompts::Prompts() {
  std::mt19937_64 random(20260131);
  for (int i = 0; i < kTextWords; ++i) {
    starts_.push_back(static_cast<uint32_t>(words_.size()));
    absl::StrAppend(&words_, kWords[random() % std::size(kWords)], " ");
  }
}

absl::StatusOr<Prompts> Prompts::FromFile(const std::string& path) {
  const absl::StatusOr<std::string> text = base::ReadFile(path, kMaxFileBytes);
  if (!text.ok()) return text.status();
  Prompts prompts;
  simdjson::dom::parser parser;
  for (absl::string_view line : absl::StrSplit(*text, '\n')) {
    line = absl::StripAsciiWhitespace(line);
    if (line.empty()) continue;
    std::string_view value(line.data(), line.size());
    simdjson::dom::element root;
    if (line[0] == '{' || line[0] == '"') {
      if (parser.parse(line.data(), line.size()).get(root) || (root.get(value) && root["prompt"].get(value))) {
        return absl::InvalidArgumentError(absl::StrCat(
            path, ": expected a JSON string or an object with \"prompt\", found '", line.substr(0, 80), "'"));
      }
    }
    prompts.lines_.emplace_back(value);
  }
  if (prompts.lines_.empty()) return absl::InvalidArgumentError(absl::StrCat(path, ": holds no prompts"));
  return prompts;
}

int Prompts::different_words() { return static_cast<int>(std::size(kWords)); }

std::string Prompts::EveryWord(int times, uint64_t seed) const {
  std::string text = OwnWord(seed);
  for (int round = 0; round < times; ++round) {
    for (const char* word : kWords) absl::StrAppend(&text, word, " ");
  }
  text.pop_back();
  return text;
}

void Prompts::AppendWords(uint64_t seed, int words, std::string* out) const {
  out->append(OwnWord(seed));
  size_t at = (seed >> 20) % starts_.size();
  for (int left = words - 1; left > 0;) {
    const size_t count = std::min<size_t>(left, starts_.size() - at);
    const size_t end = at + count < starts_.size() ? starts_[at + count] : words_.size();
    out->append(words_, starts_[at], end - starts_[at]);
    left -= static_cast<int>(count);
    at = 0;
  }
}

std::string Prompts::Make(const PlannedRequest& request, size_t index, const TokenScale& scale, uint64_t salt) const {
  if (from_file()) return lines_[index % lines_.size()];
  std::string prompt;
  int words = scale.WordsFor(request.prompt_tokens);
  const int block_words = std::max(1, static_cast<int>(kBlockTokens / scale.per_word));
  for (const uint64_t block : request.prefix_blocks) {
    if (words <= block_words) break;  // what is left is a piece of a block: the request's own
    AppendWords(Mix(block, salt), block_words, &prompt);
    words -= block_words;
  }
  AppendWords(Mix(request.prompt_seed, salt), words, &prompt);
  prompt.pop_back();
  return prompt;
}

}  // namespace hadal::bench

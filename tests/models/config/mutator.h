// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/resource.h>

#include <cctype>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace hadal::config {

// HADAL_FUZZ_ITERATIONS, or 10,000.
inline int64_t FuzzIterations() {
  const char* text = std::getenv("HADAL_FUZZ_ITERATIONS");
  const int64_t count = text == nullptr ? 0 : std::atoll(text);
  return count > 0 ? count : 10'000;
}

// Largest resident size of this process so far.
inline int64_t PeakRssBytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

// What a run of mutations may add to the resident size; the address sanitizer keeps freed memory back.
#if defined(__SANITIZE_ADDRESS__)
inline constexpr int64_t kAllowedGrowthBytes = int64_t{512} << 20;
#else
inline constexpr int64_t kAllowedGrowthBytes = int64_t{64} << 20;
#endif

// Seeded damage to JSON-like text: bytes, slices, and whole numbers and tokens.
class Mutator {
 public:
  explicit Mutator(uint64_t seed) : random_(seed) {}

  // 1 to 4 changes.
  std::string Mutate(std::string text) {
    for (uint64_t count = 1 + Below(4); count > 0 && !text.empty(); --count) Change(text);
    return text;
  }
  uint64_t Below(uint64_t limit) { return limit == 0 ? 0 : random_() % limit; }

 private:
  void Change(std::string& text) {
    const size_t at = Below(text.size());
    const size_t length = 1 + Below(std::min<size_t>(text.size() - at, Below(4) == 0 ? 64 : 4));
    switch (Below(8)) {
      case 0:
        text[at] = static_cast<char>(static_cast<unsigned char>(text[at]) ^ (1u << Below(8)));
        break;
      case 1:
        text[at] = static_cast<char>(random_());
        break;
      case 2:
        text.erase(at, length);
        break;
      case 3:
        text.insert(at, text.substr(at, length));
        break;
      case 4:
        text.insert(Below(text.size() + 1), Interesting());
        break;
      case 5:
      case 6:
        ReplaceToken(text);
        break;
      case 7:
        SwapTokens(text);
        break;
    }
  }

  std::string Interesting() {
    static const std::vector<std::string> values = {"0",
                                                    "1",
                                                    "-1",
                                                    "2",
                                                    "3",
                                                    "127",
                                                    "2147483648",
                                                    "4294967296",
                                                    "9223372036854775807",
                                                    "-9223372036854775808",
                                                    "18446744073709551615",
                                                    "1e308",
                                                    "1e999",
                                                    "-0.0",
                                                    "0.5",
                                                    "null",
                                                    "true",
                                                    "[]",
                                                    "{}",
                                                    "\"\"",
                                                    "[[[[[[[[",
                                                    "{\"a\":",
                                                    "\"BF16\"",
                                                    "\"F8_E4M3\"",
                                                    "\"yarn\"",
                                                    "\"dynamic\"",
                                                    "[1,2]",
                                                    "\\u0000",
                                                    "\xff"};
    return values[Below(values.size())];
  }

  // A number, a word or a quoted string around or after a random place: [begin, end).
  std::pair<size_t, size_t> Token(const std::string& text) {
    auto part = [&](size_t i) {
      const unsigned char c = static_cast<unsigned char>(text[i]);
      return std::isalnum(c) || c == '.' || c == '_' || c == '-' || c == '"';
    };
    size_t begin = Below(text.size());
    while (begin < text.size() && !part(begin)) ++begin;
    while (begin > 0 && begin < text.size() && part(begin - 1)) --begin;
    size_t end = begin;
    while (end < text.size() && part(end)) ++end;
    return {begin, end};
  }

  void ReplaceToken(std::string& text) {
    const auto [begin, end] = Token(text);
    text.replace(begin, end - begin, Interesting());
  }

  void SwapTokens(std::string& text) {
    auto first = Token(text), second = Token(text);
    if (first.first > second.first) std::swap(first, second);
    if (first.second > second.first) return;
    const std::string a = text.substr(first.first, first.second - first.first);
    const std::string b = text.substr(second.first, second.second - second.first);
    text.replace(second.first, b.size(), a);
    text.replace(first.first, a.size(), b);
  }

  std::mt19937_64 random_;
};

}  // namespace hadal::config

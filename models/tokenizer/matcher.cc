// SPDX-License-Identifier: Apache-2.0
#include "models/tokenizer/matcher.h"

#include <string>
#include <utility>

#include "base/utf8.h"
#include "models/tokenizer/class_run.h"
#include "models/tokenizer/known_patterns.h"
#include "models/tokenizer/unicode/unicode.h"

namespace hadal::tokenizer {
namespace {

class LiteralMatcher final : public Matcher {
 public:
  explicit LiteralMatcher(std::string_view literal) : literal_(literal) {}

  absl::Status FindMatches(std::string_view text, std::vector<Match>* matches) const override {
    if (literal_.empty()) return absl::OkStatus();
    for (size_t at = text.find(literal_); at != text.npos; at = text.find(literal_, at + literal_.size())) {
      matches->push_back({static_cast<uint32_t>(at), static_cast<uint32_t>(at + literal_.size())});
    }
    return absl::OkStatus();
  }

 private:
  std::string literal_;
};

class NumericMatcher final : public Matcher {
 public:
  absl::Status FindMatches(std::string_view text, std::vector<Match>* matches) const override {
    const unicode::CharTable& table = unicode::CharTable::Get();
    for (size_t i = 0; i < text.size();) {
      int length = 0;
      const char32_t c = base::DecodeUtf8(text.data() + i, &length);
      if (table[c] & (unicode::kNumber | unicode::kExtraNumber)) {
        matches->push_back({static_cast<uint32_t>(i), static_cast<uint32_t>(i + length)});
      }
      i += length;
    }
    return absl::OkStatus();
  }
};

}  // namespace

absl::StatusOr<std::unique_ptr<Matcher>> MakeRegexMatcher(std::string_view pattern) {
  if (auto known = MakeKnownPatternMatcher(pattern)) return known;
  if (auto run = MakeClassRunMatcher(pattern)) return run;
  return MakeEngineMatcher(pattern);
}

std::unique_ptr<Matcher> MakeLiteralMatcher(std::string_view literal) {
  return std::make_unique<LiteralMatcher>(literal);
}

std::unique_ptr<Matcher> MakeNumericMatcher() { return std::make_unique<NumericMatcher>(); }

}  // namespace hadal::tokenizer

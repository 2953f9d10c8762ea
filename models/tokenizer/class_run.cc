// SPDX-License-Identifier: Apache-2.0
#include "models/tokenizer/class_run.h"

#include <algorithm>
#include <bitset>
#include <charconv>
#include <optional>
#include <utility>

#include "base/utf8.h"
#include "models/tokenizer/unicode/unicode.h"

namespace hadal::tokenizer {
namespace {

using Ranges = std::vector<unicode::CodePointRange>;

// A set of code points: a bit each for the basic plane, ranges above.
class CodePointSet {
 public:
  explicit CodePointSet(const Ranges& ranges) {
    for (const unicode::CodePointRange& range : ranges) {
      for (uint32_t c = range.first; c <= range.last && c < 0x10000; ++c) plane_.set(c);
      if (range.last >= 0x10000) above_.push_back({std::max(range.first, 0x10000u), range.last});
    }
    std::sort(above_.begin(), above_.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  }
  bool Contains(char32_t c) const {
    if (c < 0x10000) return plane_[c];
    return std::any_of(above_.begin(), above_.end(), [&](const auto& r) { return c >= r.first && c <= r.last; });
  }

 private:
  std::bitset<0x10000> plane_;
  Ranges above_;
};

Ranges Complement(Ranges ranges) {
  std::sort(ranges.begin(), ranges.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  Ranges out;
  uint32_t next = 0;
  for (const unicode::CodePointRange& range : ranges) {
    if (range.first > next) out.push_back({next, range.first - 1});
    next = std::max(next, range.last + 1);
  }
  if (next <= 0x10FFFF) out.push_back({next, 0x10FFFF});
  return out;
}

// Reads the pattern from the front; every function returns nullopt or false for a form it does not know.
class PatternReader {
 public:
  explicit PatternReader(std::string_view text) : text_(text) {}

  bool AtEnd() const { return text_.empty(); }
  bool Skip(std::string_view prefix) {
    if (text_.substr(0, prefix.size()) != prefix) return false;
    text_.remove_prefix(prefix.size());
    return true;
  }

  std::optional<Ranges> ReadClass() {
    if (Skip("[")) return ReadBracket();
    if (text_.substr(0, 1) == "\\") return ReadEscape();
    return std::nullopt;
  }

  // Highest number of repetitions; 0 means without limit.
  std::optional<int> ReadQuantifier() {
    if (AtEnd()) return 1;
    if (Skip("+")) return AtEnd() ? std::optional<int>(0) : std::nullopt;
    if (!Skip("{1,") || text_.empty()) return std::nullopt;
    int count = 0;
    const auto [end, error] = std::from_chars(text_.data(), text_.data() + text_.size(), count);
    if (error != std::errc() || count < 1 || std::string_view(end, text_.data() + text_.size() - end) != "}")
      return std::nullopt;
    text_ = {};
    return count;
  }

 private:
  std::optional<Ranges> ReadBracket() {
    const bool negated = Skip("^");
    Ranges all;
    bool first = true;
    while (!Skip("]")) {
      std::optional<Ranges> item = ReadItem(first);
      if (!item) return std::nullopt;
      first = false;
      const bool single = item->size() == 1 && item->front().first == item->front().last;
      if (single && text_.size() >= 2 && text_[0] == '-' && text_[1] != ']') {
        text_.remove_prefix(1);
        std::optional<Ranges> high = ReadItem(false);
        if (!high || high->size() != 1 || high->front().first != high->front().last) return std::nullopt;
        if (high->front().first < item->front().first) return std::nullopt;
        item->front().last = high->front().last;
      }
      all.insert(all.end(), item->begin(), item->end());
    }
    if (all.empty()) return std::nullopt;
    return negated ? Complement(std::move(all)) : all;
  }

  std::optional<Ranges> ReadItem(bool first) {
    if (text_.empty() || text_[0] == '[' || text_[0] == '&') return std::nullopt;
    if (text_[0] == '-' && !first && text_.substr(0, 2) != "-]") return std::nullopt;
    if (text_[0] == '\\') return ReadEscape();
    int length = 0;
    const char32_t c = base::DecodeUtf8(text_.data(), &length);
    text_.remove_prefix(length);
    return Ranges{{c, c}};
  }

  std::optional<Ranges> ReadEscape() {
    if (text_.size() < 2) return std::nullopt;
    const char c = text_[1];
    text_.remove_prefix(2);
    if (c == 'r') return Ranges{{'\r', '\r'}};
    if (c == 'n') return Ranges{{'\n', '\n'}};
    if (c == 't') return Ranges{{'\t', '\t'}};
    if (c == 's') return unicode::SpaceRanges();
    if (c == 'p') {
      const size_t close = text_.find('}');
      if (!Skip("{") || close == text_.npos) return std::nullopt;
      Ranges ranges = unicode::CategoryRanges(text_.substr(0, close - 1));
      text_.remove_prefix(close);
      if (ranges.empty()) return std::nullopt;
      return ranges;
    }
    const bool word = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c <= ' ';
    if (word || static_cast<unsigned char>(c) >= 0x7F) return std::nullopt;
    return Ranges{{static_cast<uint32_t>(c), static_cast<uint32_t>(c)}};
  }

  std::string_view text_;
};

enum class Prefix { kNone, kAnySpace, kBlank };

class ClassRunMatcher final : public Matcher {
 public:
  ClassRunMatcher(Prefix prefix, const Ranges& ranges, int max_count)
      : prefix_(prefix), set_(ranges), max_count_(max_count) {}

  absl::Status FindMatches(std::string_view text, std::vector<Match>* matches) const override {
    const char* begin = text.data();
    const char* end = begin + text.size();
    const unicode::CharTable& table = unicode::CharTable::Get();
    for (const char* p = begin; p < end;) {
      int length = 0;
      const char32_t c = base::DecodeUtf8(p, &length);
      const bool is_prefix =
          prefix_ == Prefix::kAnySpace ? (table[c] & unicode::kSpace) != 0 : prefix_ == Prefix::kBlank && c == ' ';
      const char* match_end = is_prefix ? RunEnd(p + length, end) : nullptr;
      if (match_end == nullptr) match_end = RunEnd(p, end);
      if (match_end == nullptr) {
        p += length;
        continue;
      }
      matches->push_back({static_cast<uint32_t>(p - begin), static_cast<uint32_t>(match_end - begin)});
      p = match_end;
    }
    return absl::OkStatus();
  }

 private:
  const char* RunEnd(const char* p, const char* end) const {
    const char* start = p;
    for (int count = 0; p < end && (max_count_ == 0 || count < max_count_); ++count) {
      int length = 0;
      if (!set_.Contains(base::DecodeUtf8(p, &length))) break;
      p += length;
    }
    return p == start ? nullptr : p;
  }

  Prefix prefix_;
  CodePointSet set_;
  int max_count_;
};

}  // namespace

std::unique_ptr<Matcher> MakeClassRunMatcher(std::string_view pattern) {
  PatternReader reader(pattern);
  const Prefix prefix = reader.Skip("\\s?") ? Prefix::kAnySpace : reader.Skip(" ?") ? Prefix::kBlank : Prefix::kNone;
  const std::optional<Ranges> ranges = reader.ReadClass();
  if (!ranges) return nullptr;
  const std::optional<int> max_count = reader.ReadQuantifier();
  if (!max_count) return nullptr;
  return std::make_unique<ClassRunMatcher>(prefix, *ranges, *max_count);
}

}  // namespace hadal::tokenizer

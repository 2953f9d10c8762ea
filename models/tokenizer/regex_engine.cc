// SPDX-License-Identifier: Apache-2.0
// Split patterns through Oniguruma with Ruby syntax, which is what Hugging Face `tokenizers` uses.
#include <oniguruma.h>

#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "absl/strings/str_format.h"
#include "base/utf8.h"
#include "models/concat.h"
#include "models/tokenizer/matcher.h"
#include "models/tokenizer/unicode/unicode.h"

namespace hadal::tokenizer {
namespace {

// A match that backtracks more than this many times a byte of text (plus a base) fails the request. The patterns in use
// need fewer than 10; Hugging Face gives up silently at 10,000,000 for one match.
constexpr unsigned long kRetriesPerByte = 200;
constexpr unsigned long kRetriesBase = 1000000;

std::string EngineError(int code, OnigErrorInfo* info) {
  OnigUChar text[ONIG_MAX_ERROR_MESSAGE_LEN];
  const int size = info ? onig_error_code_to_str(text, code, info) : onig_error_code_to_str(text, code);
  return std::string(reinterpret_cast<const char*>(text), static_cast<size_t>(size));
}

std::string ClassText(std::string_view category, bool negated) {
  std::string out = negated ? "[^" : "[";
  for (const unicode::CodePointRange& range : unicode::CategoryRanges(category)) {
    absl::StrAppendFormat(&out, "\\x{%X}-\\x{%X}", range.first, range.last);
  }
  return out + "]";
}

// Writes \p{..} of general categories out as code points, so that the result does not depend on the Unicode
// version that the installed engine carries. Nested brackets are a union in this syntax, so the same text serves
// inside a class.
std::string WithOwnCategories(std::string_view pattern) {
  std::string out;
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] != '\\' || i + 1 == pattern.size()) {
      out.push_back(pattern[i]);
      continue;
    }
    const char kind = pattern[i + 1];
    const size_t close = pattern.find('}', i);
    if ((kind == 'p' || kind == 'P') && pattern.substr(i + 2, 1) == "{" && close != pattern.npos) {
      std::string_view name = pattern.substr(i + 3, close - i - 3);
      bool negated = kind == 'P';
      if (!name.empty() && name[0] == '^') {
        negated = !negated;
        name.remove_prefix(1);
      }
      if (name != "Cs" && !unicode::CategoryRanges(name).empty()) {
        out += ClassText(name, negated);
        i = close;
        continue;
      }
    }
    out.append(pattern.substr(i, 2));
    ++i;
  }
  return out;
}

class EngineMatcher final : public Matcher {
 public:
  EngineMatcher(regex_t* regex, std::string_view pattern) : regex_(regex), pattern_(pattern) {}
  ~EngineMatcher() override { onig_free(regex_); }

  absl::Status FindMatches(std::string_view text, std::vector<Match>* matches) const override {
    std::unique_ptr<OnigRegion, void (*)(OnigRegion*)> region(onig_region_new(),
                                                              [](OnigRegion* r) { onig_region_free(r, 1); });
    std::unique_ptr<OnigMatchParam, void (*)(OnigMatchParam*)> param(onig_new_match_param(), onig_free_match_param);
    onig_initialize_match_param(param.get());
    const unsigned long limit = kRetriesBase + kRetriesPerByte * text.size();
    onig_set_retry_limit_in_match_of_match_param(param.get(), limit);
    onig_set_retry_limit_in_search_of_match_param(param.get(), limit);

    const auto* begin = reinterpret_cast<const OnigUChar*>(text.data());
    const OnigUChar* end = begin + text.size();
    size_t position = 0;
    size_t last_end = std::string_view::npos;
    while (position <= text.size()) {
      const int found = onig_search_with_param(regex_, begin, end, begin + position, end, region.get(),
                                               ONIG_OPTION_NONE, param.get());
      if (found == ONIG_MISMATCH) break;
      if (found < 0) {
        return absl::InvalidArgumentError(models::Concat("split pattern ", pattern_, " fails on a text of ",
                                                         text.size(), " bytes at byte ", position, ": ",
                                                         EngineError(found, nullptr)));
      }
      const auto match_begin = static_cast<size_t>(region->beg[0]);
      const auto match_end = static_cast<size_t>(region->end[0]);
      if (match_begin == match_end && match_end == last_end) {
        // An empty match right after the last one does not count; go on one character later.
        position += position < text.size() ? base::Utf8Length(static_cast<unsigned char>(text[position])) : 1;
        continue;
      }
      matches->push_back({static_cast<uint32_t>(match_begin), static_cast<uint32_t>(match_end)});
      position = last_end = match_end;
    }
    return absl::OkStatus();
  }

 private:
  regex_t* regex_;
  std::string pattern_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Matcher>> MakeEngineMatcher(std::string_view pattern) {
  static const int initialized = [] {
    OnigEncoding encodings[] = {ONIG_ENCODING_UTF8};
    return onig_initialize(encodings, 1);
  }();
  if (initialized != ONIG_NORMAL) return absl::InternalError("the regular expression engine does not start");
  const std::string rewritten = WithOwnCategories(pattern);
  const auto* begin = reinterpret_cast<const OnigUChar*>(rewritten.data());
  regex_t* regex = nullptr;
  OnigErrorInfo info;
  const int code =
      onig_new(&regex, begin, begin + rewritten.size(), ONIG_OPTION_NONE, ONIG_ENCODING_UTF8, ONIG_SYNTAX_RUBY, &info);
  if (code != ONIG_NORMAL) {
    return absl::InvalidArgumentError(
        models::Concat("split pattern ", pattern, " does not compile: ", EngineError(code, &info)));
  }
  return std::make_unique<EngineMatcher>(regex, pattern);
}

}  // namespace hadal::tokenizer

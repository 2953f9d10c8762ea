// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <xgrammar/matcher.h>

#include <string>
#include <string_view>

namespace hadal::grammar {

// A text that a matcher takes for as long as this lives.
class MatcherTrial {
 public:
  MatcherTrial(xgrammar::GrammarMatcher& matcher, std::string_view text)
      : matcher_(matcher),
        taken_(!text.empty() && matcher.AcceptString(std::string(text))),
        ok_(taken_ || text.empty()) {}
  ~MatcherTrial() {
    if (taken_) matcher_.Rollback(1);
  }
  MatcherTrial(const MatcherTrial&) = delete;

  bool ok() const { return ok_; }

 private:
  xgrammar::GrammarMatcher& matcher_;
  const bool taken_, ok_;
};

}  // namespace hadal::grammar

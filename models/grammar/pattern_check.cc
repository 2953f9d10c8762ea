// SPDX-License-Identifier: Apache-2.0
#include "models/grammar/pattern_check.h"

#include <xgrammar/grammar.h>

#include <algorithm>
#include <cmath>
#include <exception>
#include <limits>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/utf8.h"
#include "models/grammar/pattern_atom.h"

namespace hadal::grammar {
namespace {

constexpr size_t kMaxCompiledBytes = 16384;
constexpr double kWrittenOut = 16;  // counts that are cheap enough as states
constexpr double kInfinite = std::numeric_limits<double>::infinity();
constexpr char kInnerEnd[] = "$ stands inside the pattern";

double Times(double count, double length) { return count == 0 || length == 0 ? 0 : count * length; }

// One pass over the pattern that knows atoms, groups and repetitions, and nothing of their meaning.
class Scanner {
 public:
  Scanner(std::string_view pattern, PatternText kind) : text_(pattern), kind_(kind) {
    if (base::FindInvalidUtf8(pattern) != std::string_view::npos) problem_ = "the pattern is not valid UTF-8";
  }

  PatternCheck Run() {
    while (problem_.empty() && at_ < text_.size()) Step();
    PatternCheck check;
    EndAlternative();
    check.shortest = open_.front().shortest;
    check.longest = open_.front().longest;
    if (problem_.empty() && kind_ == PatternText::kJsonString && atoms_ == 1 && quantifiers_ <= 1 && is_flat_) {
      const double counts = std::isfinite(check.longest) ? check.longest : check.shortest;
      check.needs_counting = !wide_problem_.empty() || counts > kWrittenOut;
      check.repeated = last_atom_ + "*";
      if (check.needs_counting) {
        check.states = 1;
        check.compiled = check.repeated;
        return check;
      }
    }
    if (problem_.empty()) problem_ = wide_problem_;
    check.states = static_cast<int>(std::min(open_.front().states, 1e6));
    if (problem_.empty() && (check.states > kMaxPatternStates || out_.size() > kMaxCompiledBytes)) {
      problem_ = absl::StrCat("with its repetitions written out the pattern has ", check.states,
                              " characters; at most ", kMaxPatternStates, " are allowed");
    }
    check.problem = std::move(problem_);
    check.compiled = std::move(out_);
    return check;
  }

 private:
  struct Part {
    double states = 0;
    bool wide = false;   // holds a class of most characters
    bool group = false;  // in brackets
    size_t begin = 0;    // in out_
    // Characters of the shortest and the longest text of the alternatives so far, and of the one that is being read.
    double shortest = kInfinite, longest = 0;
    double low = 0, high = 0;
    // Of the alternative that is being read: whether something stands in it, and whether a $ has ended it.
    bool begun = false, ended = false;
    bool anchored = false;  // holds ^ or $
    bool may_end = false;   // an earlier alternative ends with $
  };

  char Peek(size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }
  // An anchor inside of a text never holds. Where an optional part stands before it, it would hold sometimes.
  bool AtTextBegin() const {
    return std::none_of(open_.begin(), open_.end(), [](const Part& part) { return part.begun; });
  }
  void Anchor() {
    for (Part& part : open_) part.anchored = true;
    can_repeat_ = false;
    Copy(1);
  }

  void Step() {
    const char c = text_[at_];
    switch (c) {
      case '^':
        if (!AtTextBegin()) problem_ = "^ stands inside the pattern";
        return Anchor();
      case '$':
        open_.back().ended = true;
        return Anchor();
      case '(':
        is_flat_ = false;
        can_repeat_ = false;
        if (open_.back().ended) problem_ = kInnerEnd;
        if (Peek(1) == '?' && Peek(2) != ':') problem_ = GroupProblem();
        open_.push_back({.group = true, .begin = out_.size()});
        return Copy(Peek(1) == '?' ? 3 : 1);
      case ')':
        Copy(1);
        if (open_.size() == 1) return;  // xgrammar says what is wrong with it
        EndAlternative();
        last_ = open_.back();
        last_.low = last_.shortest;
        last_.high = last_.longest;
        open_.pop_back();
        can_repeat_ = true;
        return Add();
      case '?':
      case '*':
      case '+':
      case '{':
        return Quantifier();
      case '|':
        is_flat_ = false;
        can_repeat_ = false;
        EndAlternative();
        return Copy(1);
      default:
        return Atom();
    }
  }

  // At a "(?" that is no "(?:".
  std::string GroupProblem() const {
    const std::string_view rest = text_.substr(at_);
    for (const std::string_view look : {"(?=", "(?!", "(?<=", "(?<!"}) {
      if (rest.starts_with(look)) {
        return absl::StrCat("look-ahead and look-behind, here ", std::string(look), "...), are not supported",
                            kind_ == PatternText::kJsonString
                                ? R"(; for an e-mail address use "format": "email" without a pattern)"
                                : "");
      }
    }
    return "groups of the form (?... other than (?: are not supported";
  }
  void Copy(size_t bytes) {
    out_.append(text_.substr(at_, bytes));
    at_ += bytes;
  }
  void Add() {
    open_.back().states += last_.states;
    open_.back().wide |= last_.wide;
    open_.back().low += last_.low;
    open_.back().high += last_.high;
    open_.back().begun = true;
    open_.back().ended = last_.may_end;
  }
  void EndAlternative() {
    Part& part = open_.back();
    part.shortest = std::min(part.shortest, part.low);
    part.longest = std::max(part.longest, part.high);
    part.low = part.high = 0;
    part.may_end |= part.ended;
    part.begun = part.ended = false;
  }
  void Atom() {
    PatternAtom atom = ReadPatternAtom(text_.substr(at_), kind_);
    problem_ = std::move(atom.problem);
    if (open_.back().ended) problem_ = kInnerEnd;
    can_repeat_ = true;
    last_ = {.states = 1, .wide = atom.wide, .begin = out_.size(), .low = 1, .high = 1};
    ++atoms_;
    last_atom_ = atom.compiled;
    out_.append(atom.compiled);
    at_ += atom.length;
    Add();
  }

  // Reads "{2}", "{2,}" or "{2,5}"; `high` is -1 without a bound.
  bool ReadBraces(int* low, int* high) {
    const size_t end = text_.find('}', at_);
    if (end == std::string_view::npos) return false;
    const std::string_view body = text_.substr(at_ + 1, end - at_ - 1);
    const size_t comma = body.find(',');
    const auto number = [](std::string_view digits, int* out) {
      return digits.size() <= 9 && absl::SimpleAtoi(absl::string_view(digits.data(), digits.size()), out) && *out >= 0;
    };
    if (!number(body.substr(0, comma), low)) return false;
    *high = *low;
    if (comma != std::string_view::npos) *high = -1;
    if (comma != std::string_view::npos && comma + 1 < body.size() && !number(body.substr(comma + 1), high))
      return false;
    at_ = end + 1;
    return true;
  }

  void Quantifier() {
    int low = Peek() == '+' ? 1 : 0, high = Peek() == '?' ? 1 : -1;
    const size_t begin = at_;
    if (Peek() != '{') {
      ++at_;
    } else if (!ReadBraces(&low, &high)) {
      problem_ = "{ is no repetition of the form {2}, {2,} or {2,5}";
      return;
    }
    const std::string_view written = text_.substr(begin, at_ - begin);
    if (Peek() == '?') ++at_;  // lazy
    ++quantifiers_;
    if (!can_repeat_) {
      problem_ = absl::StrCat(std::string(written), " has nothing to repeat");
      return;
    }
    can_repeat_ = false;
    if (high >= 0 && high < low) {
      problem_ = absl::StrCat(std::string(written), " ends before it begins");
      return;
    }
    if (last_.anchored && (high < 0 || high > 1)) {
      problem_ = "a group with ^ or $ is repeated";
      return;
    }
    open_.back().low += Times(low, last_.low) - last_.low;
    // An infinite length stays one, also of a part that comes no time: too long is safe.
    if (std::isfinite(last_.high))
      open_.back().high += (high < 0 ? Times(kInfinite, last_.high) : Times(high, last_.high)) - last_.high;
    const double extra = last_.states * std::max({low - 1, high - 1, 0});
    if (last_.wide && std::max(low, high) > 1) {
      wide_problem_ =
          "a bounded repetition of a class that holds most characters must be the whole pattern; use * or + here";
    }
    open_.back().states += extra;
    if (!last_.group) {
      out_.append(written);
      return;
    }
    const std::string group = out_.substr(last_.begin);
    if (low == 0 && high == 1) {
      out_.insert(out_.size() - 1, "|");
    } else if (low == 0 && high < 0) {
      out_.append("*");
    } else if (high < 0) {
      if (low > 1) out_.append(absl::StrCat("{", low, "}"));
      out_.append(group).append("*");
      open_.back().states += last_.states;
      last_.states *= 2;  // should this stand at the end of a group that is repeated
    } else {
      out_.append(written);
    }
    if (out_.size() > kMaxCompiledBytes) problem_ = "the pattern is too large when its repetitions are written out";
  }

  const std::string_view text_;
  const PatternText kind_;
  size_t at_ = 0;
  std::string out_;
  Part last_;                      // what a quantifier follows
  std::vector<Part> open_ = {{}};  // the whole, then the open groups
  // For a pattern that is one atom, repeated.
  int atoms_ = 0, quantifiers_ = 0;
  bool can_repeat_ = false;  // something that a quantifier may follow was read last
  bool is_flat_ = true;      // without groups and alternatives
  std::string last_atom_;
  std::string wide_problem_;  // unless it is
  std::string problem_;
};

PatternCheck Check(std::string_view pattern, PatternText kind) {
  PatternCheck check = Scanner(pattern, kind).Run();
  if (!check.problem.empty()) return check;
  try {
    xgrammar::Grammar::FromRegex(check.compiled);
  } catch (const std::exception& error) {
    check.problem = error.what();
  }
  return check;
}

}  // namespace

PatternCheck CheckPattern(std::string_view pattern) { return Check(pattern, PatternText::kJsonString); }

PatternCheck CheckTextPattern(std::string_view pattern) { return Check(pattern, PatternText::kPlain); }

std::string_view PatternOfFormat(std::string_view format) {
#define HADAL_DATE                                                                             \
  "[1-9][0-9]{3}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)" \
  "|02-(0[1-9]|1[0-9]|2[0-8]))"
#define HADAL_TIME "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6}|)(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
#define HADAL_LABELS "[a-zA-Z0-9]+(-[a-zA-Z0-9]+)*(\\.[a-zA-Z0-9]+(-[a-zA-Z0-9]+)*)"
#define HADAL_OCTET "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9][0-9]|[0-9])"
#define HADAL_HEX "[0-9a-fA-F]{1,4}"
#define HADAL_URI_CHARACTER "[a-zA-Z0-9._~!$&'()*+,;=:@-]|%[0-9A-F][0-9A-F]"
  if (format == "date") return "^" HADAL_DATE "$";
  if (format == "time") return "^" HADAL_TIME "$";
  if (format == "date-time") return "^" HADAL_DATE "T" HADAL_TIME "$";
  if (format == "hostname") return "^" HADAL_LABELS "*$";
  if (format == "email") return "^[a-zA-Z0-9_+-]+(\\.[a-zA-Z0-9_+-]+)*@" HADAL_LABELS "+$";
  if (format == "ipv4") return "^(" HADAL_OCTET "\\.){3}" HADAL_OCTET "$";
  if (format == "ipv6")
    return "^((" HADAL_HEX ":){7}" HADAL_HEX "|(" HADAL_HEX ":){1,5}(:" HADAL_HEX "|:)|::(" HADAL_HEX "|))$";
  if (format == "uri") {
    return "^[a-z][a-z0-9+.-]*://[a-zA-Z0-9]+([.-][a-zA-Z0-9]+)*(:[0-9]{1,4}|)(/(" HADAL_URI_CHARACTER
           ")*)*"
           "(\\?(" HADAL_URI_CHARACTER "|[/?])*|)$";
  }
#undef HADAL_DATE
#undef HADAL_TIME
#undef HADAL_LABELS
#undef HADAL_OCTET
#undef HADAL_HEX
#undef HADAL_URI_CHARACTER
  return "";
}

std::vector<std::string_view> EndingsOfFormat(std::string_view format) {
  if (format == "hostname") return {"", "a"};
  if (format == "email") return {"", "a", ".a", "a.a", "@a.a", "a@a.a"};
  if (format == "uri") return {"", "a", "0", "00", "/a", "//a", "://a", "a://a"};
  return {};
}

}  // namespace hadal::grammar

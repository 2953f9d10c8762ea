// SPDX-License-Identifier: Apache-2.0
#include "models/grammar/slot_codes.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace hadal::grammar {
namespace {

using Json = nlohmann::json;

// Kinds of expressions, as xgrammar 0.2.8 numbers them (GrammarExprType).
enum Expression { kByteString = 0, kCharacterClass = 1, kRuleRef = 4, kSequence = 5, kChoices = 6 };

constexpr char kOneSlot = '\xFE', kOneText = '\xFC';
constexpr char kManySlots = '\xFD';
constexpr char kNo = '\x01', kYes = '\x02';

// The serialized grammar's expressions: each its kind, the number of its parts, and the parts.
class Expressions {
 public:
  explicit Expressions(Json* grammar) : grammar_(*grammar) {
    data_ = grammar_["grammar_expr_data"].get<std::vector<int32_t>>();
    begins_ = grammar_["grammar_expr_indptr"].get<std::vector<int32_t>>();
  }
  void Store() {
    grammar_["grammar_expr_data"] = data_;
    grammar_["grammar_expr_indptr"] = begins_;
  }

  size_t size() const { return begins_.size(); }
  std::optional<std::string> Bytes(size_t expression) const {
    const auto begin = data_.begin() + begins_[expression];
    if (begin[0] != kByteString) return std::nullopt;
    return std::string(begin + 2, begin + 2 + begin[1]);
  }
  // `parts` are no more than those that the expression has.
  void Replace(size_t expression, Expression kind, const std::vector<int32_t>& parts) {
    const auto begin = data_.begin() + begins_[expression];
    begin[0] = kind;
    begin[1] = static_cast<int32_t>(parts.size());
    std::copy(parts.begin(), parts.end(), begin + 2);
  }
  int32_t Add(Expression kind, const std::vector<int32_t>& parts) {
    begins_.push_back(static_cast<int32_t>(data_.size()));
    data_.push_back(kind);
    data_.push_back(static_cast<int32_t>(parts.size()));
    data_.insert(data_.end(), parts.begin(), parts.end());
    return static_cast<int32_t>(begins_.size()) - 1;
  }
  int32_t AddRule(const std::string& name, int32_t body) {
    // Like a rule that nothing is said about but its body.
    grammar_["rules"].push_back({name, body, -1, false, -1, -1, "", false, nullptr});
    return static_cast<int32_t>(grammar_["rules"].size()) - 1;
  }

 private:
  Json& grammar_;
  std::vector<int32_t> data_, begins_;
};

std::vector<int32_t> BytesOf(std::string_view text) {
  std::vector<int32_t> bytes;
  for (const char c : text) bytes.push_back(static_cast<unsigned char>(c));
  return bytes;
}

char Digit(int value) { return static_cast<char>(value + 1); }

}  // namespace

std::string SlotCodes::Group(int group, Writing writing) {
  return {writing == Writing::kJson ? kOneSlot : kOneText, Digit(group)};
}
std::string SlotCodes::InGroup(int slot) { return {Digit(slot % kGroup)}; }

std::string SlotCodes::Word(const std::vector<int>& fitting, Writing writing) const {
  if (fitting.size() == 1) return Group(fitting[0] / kGroup, writing) + InGroup(fitting[0]);
  std::string word(1 + slots_, kNo);
  word[0] = kManySlots;
  for (const int slot : fitting) word[1 + slot] = kYes;
  return word;
}

absl::StatusOr<std::string> SlotCodes::Write(const std::string& serialized_grammar) const {
  Json grammar = Json::parse(serialized_grammar, nullptr, /*allow_exceptions=*/false);
  if (!grammar.is_object()) return absl::InternalError("the serialized grammar is no JSON");
  Expressions expressions(&grammar);
  std::vector<int32_t> rules(slots_, -1);
  const auto rule_of = [&](int slot) {
    if (rules[slot] >= 0) return rules[slot];
    const int32_t alone = expressions.Add(kByteString, BytesOf(Word({slot})));
    std::vector<int32_t> beside = {expressions.Add(kByteString, BytesOf({&kManySlots, 1}))};
    for (int other = 0; other < static_cast<int>(slots_); ++other) {
      beside.push_back(other == slot ? expressions.Add(kByteString, {kYes})
                                     : expressions.Add(kCharacterClass, {/*negated=*/0, kNo, kYes}));
    }
    const int32_t one = expressions.Add(kSequence, {alone}), many = expressions.Add(kSequence, beside);
    return rules[slot] = expressions.AddRule(absl::StrCat("slot_", slot), expressions.Add(kChoices, {one, many}));
  };
  const size_t count = expressions.size();
  for (size_t i = 0; i < count; ++i) {
    const std::optional<std::string> bytes = expressions.Bytes(i);
    if (!bytes.has_value() || bytes->find(kSlotMarker) == std::string::npos) continue;
    std::string_view number = *bytes;
    int slot = -1;
    const bool quoted = number.starts_with('"') && number.ends_with('"') && number.size() > 2;
    if (quoted) number = number.substr(1, number.size() - 2);
    if (!number.starts_with(kSlotMarker) ||
        !absl::SimpleAtoi(absl::string_view(number.data() + kSlotMarker.size(), number.size() - kSlotMarker.size()),
                          &slot) ||
        slot < 0 || slot >= static_cast<int>(slots_)) {
      return absl::InternalError("the grammar holds a marker of a string that is not whole");
    }
    if (shared_ && quoted) {
      expressions.Replace(i, kRuleRef, {rule_of(slot)});
    } else {
      expressions.Replace(i, kByteString, BytesOf(Word({slot}, quoted ? Writing::kJson : Writing::kText)));
    }
  }
  expressions.Store();
  return grammar.dump();
}

}  // namespace hadal::grammar

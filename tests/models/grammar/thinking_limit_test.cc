// SPDX-License-Identifier: Apache-2.0
#include "models/grammar/thinking_limit.h"

#include <string>
#include <utility>
#include <vector>

#include "tests/models/grammar/demo_grammar.h"

namespace hadal::grammar {
namespace {

class ThinkingLimitTest : public DemoGrammarTest {
 protected:
  struct Case {
    int32_t max_tokens = 3;
    bool starts_in_reasoning = true;
    std::string closing = "</think>";
    std::shared_ptr<const models::TokenGrammar> grammar;
    std::shared_ptr<const std::atomic<bool>> end_now;
  };

  std::unique_ptr<models::TokenConstraint> Start(Case options) {
    ThinkingLimit::Options limit{.tokenizer = tokenizer_,
                                 .vocab_size = kVocab,
                                 .max_tokens = options.max_tokens,
                                 .closing = Encode(options.closing),
                                 .grammar = std::move(options.grammar),
                                 .cuts = cuts_,
                                 .end_now = std::move(options.end_now)};
    limit.parser.starts_in_reasoning = options.starts_in_reasoning;
    return std::make_shared<const ThinkingLimit>(std::move(limit))->Start();
  }

  // The only token that may come; -1 when several may.
  static int32_t Forced(models::TokenConstraint& constraint) {
    auto mask = constraint.Mask();
    EXPECT_TRUE(mask.ok());
    if (*mask == nullptr) return -1;
    int32_t forced = -1;
    for (int32_t token = 0; token < kVocab; ++token) {
      if (!Allows(**mask, token)) continue;
      if (forced >= 0) return -1;
      forced = token;
    }
    return forced;
  }
  static void Take(models::TokenConstraint& constraint, const std::vector<int32_t>& tokens) {
    for (const int32_t token : tokens) {
      EXPECT_EQ(Forced(constraint), -1) << token;
      EXPECT_TRUE(constraint.Accept(token).ok());
    }
  }
  // Follows what is forced until nothing is.
  std::string TakeForced(models::TokenConstraint& constraint) {
    std::vector<int32_t> tokens;
    for (int32_t token = Forced(constraint); token >= 0 && tokens.size() < 100; token = Forced(constraint)) {
      EXPECT_TRUE(constraint.Accept(token).ok());
      tokens.push_back(token);
    }
    return tokenizer_->Decode(tokens, false);
  }

  const std::vector<int32_t> words_ = Encode("one two three four five six");
  const std::shared_ptr<std::atomic<int32_t>> cuts_ = std::make_shared<std::atomic<int32_t>>(0);
};

TEST_F(ThinkingLimitTest, ReasoningEndsAfterSoManyTokens) {
  ASSERT_GE(words_.size(), 6u);
  auto constraint = Start({});
  Take(*constraint, {words_.begin(), words_.begin() + 3});
  EXPECT_EQ(*cuts_, 0);
  EXPECT_EQ(TakeForced(*constraint), "</think>");
  EXPECT_EQ(*cuts_, 1);
  Take(*constraint, words_);  // the answer has no limit
  EXPECT_FALSE(constraint->ended());
}

TEST_F(ThinkingLimitTest, AFamilysSentenceStandsInFront) {
  const std::string closing = "\n\nConsidering the limited time, I answer now.\n</think>";
  auto constraint = Start({.closing = closing});
  Take(*constraint, {words_.begin(), words_.begin() + 3});
  EXPECT_EQ(TakeForced(*constraint), closing);
  Take(*constraint, words_);
}

TEST_F(ThinkingLimitTest, ReasoningThatEndsByItselfIsLeftAlone) {
  auto constraint = Start({});
  Take(*constraint, {words_[0], words_[1]});
  Take(*constraint, Encode("</think>"));
  Take(*constraint, words_);
  EXPECT_EQ(*cuts_, 0);
  // Spelt in several tokens it ends for the parser of answers, too.
  constraint = Start({.max_tokens = 40});
  Take(*constraint, *tokenizer_->Encode("x</think>"));
  Take(*constraint, std::vector<int32_t>(60, words_[0]));
  EXPECT_EQ(*cuts_, 0);
}

TEST_F(ThinkingLimitTest, OnlyReasoningIsCounted) {
  // The model opens it itself: spaces and the marker before it are not reasoning.
  auto constraint = Start({.starts_in_reasoning = false});
  Take(*constraint, Encode("\n<think>"));
  Take(*constraint, {words_.begin(), words_.begin() + 3});
  EXPECT_EQ(TakeForced(*constraint), "</think>");
  // Or it does not think at all.
  constraint = Start({.starts_in_reasoning = false});
  Take(*constraint, words_);
  Take(*constraint, Encode("<think>"));
  Take(*constraint, words_);
  EXPECT_EQ(*cuts_, 1);
}

TEST_F(ThinkingLimitTest, ALimitOfZeroClosesAtOnce) {
  auto constraint = Start({.max_tokens = 0});
  EXPECT_EQ(TakeForced(*constraint), "</think>");
  Take(*constraint, words_);
}

TEST_F(ThinkingLimitTest, ItEndsWhenItIsTold) {
  const auto end_now = std::make_shared<std::atomic<bool>>(false);
  auto constraint =
      Start({.max_tokens = ThinkingLimit::kNoLimit, .closing = "\nEnough.\n</think>", .end_now = end_now});
  Take(*constraint, words_);
  // The token that is being sampled meanwhile is the model's own.
  EXPECT_EQ(Forced(*constraint), -1);
  end_now->store(true);
  EXPECT_TRUE(constraint->Accept(words_[0]).ok());
  EXPECT_EQ(*cuts_, 0);
  EXPECT_EQ(TakeForced(*constraint), "\nEnough.\n</think>");
  EXPECT_EQ(*cuts_, 1);
  Take(*constraint, words_);
}

TEST_F(ThinkingLimitTest, BeingToldTooLateChangesNothing) {
  const auto end_now = std::make_shared<std::atomic<bool>>(false);
  auto constraint = Start({.max_tokens = ThinkingLimit::kNoLimit, .end_now = end_now});
  Take(*constraint, Encode("one</think>two"));
  end_now->store(true);
  Take(*constraint, words_);
  EXPECT_EQ(*cuts_, 0);
}

TEST_F(ThinkingLimitTest, AGrammarGoesOnBehindTheReasoning) {
  const std::string schema = R"({"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]})";
  auto constraint = Start({.grammar = CompileSchema(schema, Reasoning::kOpen)});
  Take(*constraint, {words_.begin(), words_.begin() + 3});
  EXPECT_EQ(Forced(*constraint), *tokenizer_->TokenId("</think>"));
  for (const int32_t token : Encode("</think>{\"a\": 42}")) {
    ASSERT_TRUE(Allows(MaskOf(*constraint), token)) << token;
    ASSERT_TRUE(constraint->Accept(token).ok());
  }
  EXPECT_TRUE(Allows(MaskOf(*constraint), kEnd));
  EXPECT_FALSE(Allows(MaskOf(*constraint), words_[0]));
  ASSERT_TRUE(constraint->Accept(kEnd).ok());
  EXPECT_TRUE(constraint->ended());
}

TEST_F(ThinkingLimitTest, EveryChoiceHasItsOwnCount) {
  ThinkingLimit::Options options{
      .tokenizer = tokenizer_, .vocab_size = kVocab, .max_tokens = 2, .closing = Encode("</think>"), .cuts = cuts_};
  options.parser.starts_in_reasoning = true;
  auto limit = std::make_shared<const ThinkingLimit>(std::move(options));
  auto first = limit->Start(), second = limit->Start();
  limit.reset();  // each keeps what it needs
  Take(*first, {words_[0], words_[1]});
  Take(*second, {words_[0]});
  EXPECT_EQ(TakeForced(*first), "</think>");
  EXPECT_EQ(Forced(*second), -1);
  EXPECT_EQ(*cuts_, 1);
}

}  // namespace
}  // namespace hadal::grammar

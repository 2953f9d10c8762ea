// SPDX-License-Identifier: Apache-2.0
// Sequences that follow a grammar, in the whole engine loop: masks, endings, neighbours, preemption, faults.
#include "server/engine/token_masks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/grammar/thinking_limit.h"
#include "server/request/refusal.h"
#include "tests/support/demo_tokenizer.h"
#include "tests/support/loop_fixture.h"

namespace hadal::testing {
namespace {

using ::testing::HasSubstr;

constexpr int32_t kVocab = 1000;
constexpr int32_t kEnd = 999;

// Output token i must be i modulo 7; after `length` of them only the end token may come.
struct ModuloGrammar : models::TokenGrammar {
  explicit ModuloGrammar(int32_t length, int32_t fail_at = -1, int32_t refuse_at = -1)
      : length(length), fail_at(fail_at), refuse_at(refuse_at) {}
  std::unique_ptr<models::TokenConstraint> Start() const override { return std::make_unique<Follower>(this); }

  struct Follower : models::TokenConstraint {
    explicit Follower(const ModuloGrammar* grammar) : grammar(grammar) {}
    bool Allows(int32_t token) const {
      return at == grammar->length ? token == kEnd : token != kEnd && token % 7 == at % 7;
    }
    absl::StatusOr<std::shared_ptr<const models::TokenMask>> Mask() override {
      if (at == grammar->fail_at) return absl::InternalError("the grammar broke");
      auto mask = std::make_shared<models::TokenMask>((kVocab + 31) / 32, 0u);
      for (int32_t t = 0; t < kVocab; ++t) {
        if (Allows(t)) (*mask)[t / 32] |= 1u << (t % 32);
      }
      return mask;
    }
    absl::Status Accept(int32_t token) override {
      EXPECT_TRUE(Allows(token)) << "token " << token << " at " << at;
      if (at == grammar->refuse_at) return absl::InvalidArgumentError("token does not fit");
      done = token == kEnd;
      ++at;
      return absl::OkStatus();
    }
    bool ended() const override { return done; }
    const ModuloGrammar* grammar;
    int32_t at = 0;
    bool done = false;
  };
  int32_t length, fail_at, refuse_at;
};

std::unique_ptr<request::Request> Constrained(std::shared_ptr<const models::TokenGrammar> grammar, int32_t max_tokens,
                                              int32_t first = 1) {
  auto request = LoopFixture::MakeRequest(LoopFixture::Prompt(9, first), max_tokens);
  request->stop_token_ids = {kEnd};
  request->grammar = std::move(grammar);
  return request;
}

void ExpectFollows(const std::vector<int32_t>& tokens, int32_t length) {
  ASSERT_EQ(tokens.size(), static_cast<size_t>(length));
  for (int32_t i = 0; i < length; ++i) EXPECT_EQ(tokens[i] % 7, i % 7) << "token " << i;
}

TEST(TokenMasks, AChoiceFollowsItsGrammarAndEndsWithIt) {
  LoopFixture fixture;
  Received got = fixture.Finish(fixture.Submit(Constrained(std::make_shared<ModuloGrammar>(20), 100)));
  EXPECT_OK(got.status);
  ExpectFollows(got.tokens[0], 20);
  EXPECT_EQ(got.ends[0].reason, request::FinishReason::kStop);
  EXPECT_EQ(got.ends[0].stop_token, kEnd);
  EXPECT_EQ(fixture.observer.mask_rows, 21);
  fixture.ExpectEmpty();
}

TEST(TokenMasks, TheLengthLimitCutsWithReasonLength) {
  LoopFixture fixture;
  Received got = fixture.Finish(fixture.Submit(Constrained(std::make_shared<ModuloGrammar>(20), 12)));
  ExpectFollows(got.tokens[0], 12);
  EXPECT_EQ(got.ends[0].reason, request::FinishReason::kLength);
}

TEST(TokenMasks, NeighboursAreNotMasked) {
  LoopFixture fixture;
  auto free = fixture.Submit(LoopFixture::Prompt(9, 3), 40);
  auto bound = fixture.Submit(Constrained(std::make_shared<ModuloGrammar>(30), 100));
  fixture.RunUntilIdle();
  Received got_free, got_bound;
  got_free.Read(*free);
  got_bound.Read(*bound);
  EXPECT_EQ(got_free.tokens[0], fixture.Expected(LoopFixture::Prompt(9, 3), 40));
  ExpectFollows(got_bound.tokens[0], 30);
  EXPECT_EQ(fixture.observer.mask_rows, 31);
}

TEST(TokenMasks, EveryChoiceHasAMatcherOfItsOwn) {
  LoopFixture fixture;
  auto request = Constrained(std::make_shared<ModuloGrammar>(15), 50);
  request->n = 3;
  request->sampling.temperature = 1;
  Received got = fixture.Finish(fixture.Submit(std::move(request)));
  for (int32_t choice = 0; choice < 3; ++choice) ExpectFollows(got.tokens[choice], 15);
  EXPECT_NE(got.tokens[0], got.tokens[1]);
}

TEST(TokenMasks, PreemptionChangesNothing) {
  const auto run = [](int32_t blocks, int64_t* preemptions) {
    LoopFixture fixture({.blocks = blocks, .max_preemptions = 3, .ledger_blocks = 1000});
    std::vector<std::shared_ptr<request::TokenStream>> streams;
    for (int32_t i = 0; i < 4; ++i) {
      streams.push_back(fixture.Submit(Constrained(std::make_shared<ModuloGrammar>(40), 60, i + 1)));
    }
    fixture.RunUntilIdle();
    std::vector<std::vector<int32_t>> tokens;
    for (const auto& stream : streams) {
      Received got;
      got.Read(*stream);
      EXPECT_OK(got.status);
      tokens.push_back(got.tokens[0]);
    }
    *preemptions = fixture.observer.preemptions;
    return tokens;
  };
  int64_t none = 0, some = 0;
  const auto expected = run(1000, &none);
  EXPECT_EQ(run(30, &some), expected);
  EXPECT_EQ(none, 0);
  EXPECT_GT(some, 0);
  for (const auto& tokens : expected) ExpectFollows(tokens, 40);
}

// The tokens before the limit are those of a request without one, then come the closing's; whatever is preempted.
TEST(TokenMasks, ALimitOnThinkingHoldsInCompanyAndAfterPreemption) {
  constexpr int32_t kLimit = 12;
  const std::vector<int32_t> closing = {5, 6};
  const auto run = [&](int32_t blocks, int64_t* preemptions) {
    LoopFixture fixture({.blocks = blocks, .max_preemptions = 3, .ledger_blocks = 1000});
    std::vector<std::shared_ptr<request::TokenStream>> streams;
    for (int32_t i = 0; i < 4; ++i) {
      grammar::ThinkingLimit::Options limit{
          .tokenizer = DemoTokenizer(), .vocab_size = kVocab, .max_tokens = kLimit, .closing = closing};
      limit.parser.starts_in_reasoning = true;
      auto request = LoopFixture::MakeRequest(LoopFixture::Prompt(9, i + 1), 60);
      request->grammar = std::make_shared<const grammar::ThinkingLimit>(std::move(limit));
      streams.push_back(fixture.Submit(std::move(request)));
    }
    fixture.RunUntilIdle();
    std::vector<std::vector<int32_t>> tokens;
    for (int32_t i = 0; i < 4; ++i) {
      Received got;
      got.Read(*streams[i]);
      EXPECT_OK(got.status);
      std::vector<int32_t> begin = fixture.Expected(LoopFixture::Prompt(9, i + 1), kLimit);
      begin.insert(begin.end(), closing.begin(), closing.end());
      const std::vector<int32_t>& own = got.tokens[0];
      EXPECT_EQ(own.size(), 60u);
      EXPECT_EQ(std::vector<int32_t>(own.begin(), own.begin() + kLimit + 2), begin);
      tokens.push_back(own);
    }
    *preemptions = fixture.observer.preemptions;
    return tokens;
  };
  int64_t none = 0, some = 0;
  const auto expected = run(1000, &none);
  EXPECT_EQ(run(30, &some), expected);
  EXPECT_EQ(none, 0);
  EXPECT_GT(some, 0);
}

TEST(TokenMasks, TheGrammarsEndWinsOverMinTokensAndIgnoreEos) {
  LoopFixture fixture;
  auto request = Constrained(std::make_shared<ModuloGrammar>(5), 50);
  request->min_tokens = 30;
  Received got = fixture.Finish(fixture.Submit(std::move(request)));
  ExpectFollows(got.tokens[0], 5);
  EXPECT_EQ(got.ends[0].reason, request::FinishReason::kStop);

  request = Constrained(std::make_shared<ModuloGrammar>(5), 50);
  request->ignore_eos = true;
  request->stop_token_ids.clear();
  got = fixture.Finish(fixture.Submit(std::move(request)));
  ExpectFollows(got.tokens[0], 5);
  EXPECT_EQ(got.ends[0].reason, request::FinishReason::kStop);
}

TEST(TokenMasks, AFailingGrammarEndsItsRequestAlone) {
  LoopFixture fixture;
  auto free = fixture.Submit(LoopFixture::Prompt(9, 3), 40);
  auto broken = fixture.Submit(Constrained(std::make_shared<ModuloGrammar>(30, /*fail_at=*/4), 100));
  auto refused = fixture.Submit(Constrained(std::make_shared<ModuloGrammar>(30, -1, /*refuse_at=*/6), 100));
  fixture.RunUntilIdle();
  Received got, got_free;
  got.Read(*broken);
  EXPECT_EQ(request::GetErrorDetail(got.status).reason, request::Reason::kInternal);
  EXPECT_THAT(std::string(got.status.message()), HasSubstr("choice 0: the grammar broke"));
  got = Received();
  got.Read(*refused);
  EXPECT_THAT(std::string(got.status.message()), HasSubstr("token does not fit"));
  got_free.Read(*free);
  EXPECT_EQ(got_free.tokens[0], fixture.Expected(LoopFixture::Prompt(9, 3), 40));
  fixture.ExpectEmpty();
}

TEST(TokenMasks, ARowWithNothingLeftEndsWithAClearError) {
  LoopFixture fixture;
  auto request = Constrained(std::make_shared<ModuloGrammar>(0), 50);
  fixture.model.script = [](const std::vector<int32_t>&) { return ScriptedModel::kFaulty; };
  Received got = fixture.Finish(fixture.Submit(std::move(request)));
  EXPECT_THAT(std::string(got.status.message()), HasSubstr("the grammar and logit_bias left none to choose from"));
}

TEST(TokenMasks, WithoutAGrammarNothingIsComputed) {
  LoopFixture fixture;
  fixture.Finish(fixture.Submit(LoopFixture::Prompt(9, 3), 40));
  EXPECT_EQ(fixture.observer.mask_rows, 0);
}

}  // namespace
}  // namespace hadal::testing

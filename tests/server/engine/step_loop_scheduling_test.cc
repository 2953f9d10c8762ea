// SPDX-License-Identifier: Apache-2.0
//
// Who is in a step: chunked prefill, order, batches, shortage of blocks.
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/step_loop.h"
#include "tests/support/loop_fixture.h"

namespace hadal::engine {
namespace {

using hadal::testing::LoopFixture;
using hadal::testing::Received;
using request::Priority;
using request::Reason;

TEST(StepLoopSchedulingTest, PrefillIsChunkedAndNeverStarvesDecode) {
  LoopFixture f({.max_batch_size = 8, .max_batch_tokens = 16});
  auto decoding = f.Submit(LoopFixture::Prompt(4), 40);
  f.Round();
  f.Round();
  Received got;
  got.Read(*decoding);
  const size_t before = got.tokens[0].size();
  const size_t step = f.model.shapes().size();
  f.Submit(LoopFixture::Prompt(200, 3), 1);
  for (int i = 0; i < 12; ++i) f.Round();
  got.Read(*decoding);
  EXPECT_EQ(got.tokens[0].size(), before + 12) << "one token in every step, beside the prefill";
  for (size_t i = step + 1; i < f.model.shapes().size(); ++i) {
    EXPECT_EQ(f.model.shapes()[i].tokens, 16) << "the rest of the step is prefill";
  }
  f.RunUntilIdle();
  f.ExpectEmpty();
}

TEST(StepLoopSchedulingTest, UrgentPromptsGoFirst) {
  LoopFixture f({.max_batch_size = 8, .max_batch_tokens = 16});
  auto low = f.Submit(LoopFixture::Prompt(150, 1), 2, Priority::kLow);
  f.Round();
  auto high = f.Submit(LoopFixture::Prompt(30, 2), 2, Priority::kHigh);
  for (int i = 0; i < 6; ++i) f.Round();
  Received got_high, got_low;
  got_high.Read(*high);
  got_low.Read(*low);
  EXPECT_TRUE(got_high.closed);
  EXPECT_TRUE(got_low.tokens.empty());
  f.RunUntilIdle();
}

TEST(StepLoopSchedulingTest, WhoComesWhileAStepRunsIsInTheNextIfItIsMoreUrgent) {
  // The next step has been planned when it comes. It takes the place of the less urgent prompts there.
  const auto steps_to_first_token = [](Priority priority) {
    LoopFixture f({.max_batch_size = 8, .max_batch_tokens = 16});
    auto decoding = f.Submit(LoopFixture::Prompt(4), 40);
    for (int i = 0; i < 3; ++i) f.Round();
    auto first = f.Submit(LoopFixture::Prompt(60, 1), 3);
    auto second = f.Submit(LoopFixture::Prompt(40, 2), 3);
    for (int i = 0; i < 2; ++i) f.Round();
    std::shared_ptr<request::TokenStream> late;
    f.model.on_wait = [&] {
      if (late == nullptr) late = f.Submit(LoopFixture::Prompt(10, 3), 3, priority);
      return absl::OkStatus();
    };
    Received got;
    int rounds = 0;
    while (got.tokens.empty() && rounds < 100) {
      f.Round();
      ++rounds;
      got.Read(*late);
    }
    f.RunUntilIdle();
    got.Read(*late);
    Received others[3];
    others[0].Read(*decoding);
    others[1].Read(*first);
    others[2].Read(*second);
    EXPECT_EQ(got.tokens[0], f.Expected(LoopFixture::Prompt(10, 3), 3));
    EXPECT_EQ(others[0].tokens[0], f.Expected(LoopFixture::Prompt(4), 40));
    EXPECT_EQ(others[1].tokens[0], f.Expected(LoopFixture::Prompt(60, 1), 3));
    EXPECT_EQ(others[2].tokens[0], f.Expected(LoopFixture::Prompt(40, 2), 3));
    f.ExpectEmpty();
    return rounds;
  };
  EXPECT_EQ(steps_to_first_token(Priority::kHigh), 2) << "the step in which it came, and its own";
  EXPECT_GE(steps_to_first_token(Priority::kNormal), 7) << "100 prompt tokens go before it";
}

TEST(StepLoopSchedulingTest, ATenantThatAsksForLessThanItsShareDoesNotWaitForAFloodsPrompts) {
  const auto steps_to_first_token = [](const char* tenant) {
    LoopFixture f({.max_batch_size = 8, .max_batch_tokens = 16});
    const auto submit = [&](const char* name, int32_t prompt, int32_t first) {
      auto request = LoopFixture::MakeRequest(LoopFixture::Prompt(prompt, first), 3);
      request->tenant = name;
      return f.Submit(std::move(request));
    };
    std::vector<std::shared_ptr<request::TokenStream>> flood;
    for (int32_t i = 0; i < 20; ++i) flood.push_back(submit("noisy", 60, 10 + i));
    for (int i = 0; i < 10; ++i) f.Round();
    auto late = submit(tenant, 10, 3);
    Received got;
    int rounds = 0;
    for (; got.tokens.empty() && rounds < 200; ++rounds) {
      f.Round();
      got.Read(*late);
    }
    got.Read(*late);
    f.RunUntilIdle();
    for (int32_t i = 0; i < 20; ++i) {
      Received one;
      one.Read(*flood[i]);
      EXPECT_EQ(one.tokens[0], f.Expected(LoopFixture::Prompt(60, 10 + i), 3));
    }
    f.ExpectEmpty();
    return rounds;
  };
  EXPECT_LE(steps_to_first_token("quiet"), 3) << "the step that runs, and its own";
  EXPECT_GE(steps_to_first_token("noisy"), 60) << "1000 prompt tokens go before it";
}

// Steps that differ, by which the engine learns how long they take.
void LearnStepTime(LoopFixture& f) {
  for (int32_t i = 0; i < 160; ++i) {
    auto stream = f.Submit(LoopFixture::Prompt(4 * (1 + i % 16), 200 + i), 1);
    while (!stream->Read().closed) f.Round();
  }
}

// A step takes 1 ms and 1 ms for each of its tokens.
TEST(StepLoopSchedulingTest, StepsAreShortWhileMoreUrgentRequestsCome) {
  LoopFixture f({.blocks = 10000, .max_batch_size = 4, .max_batch_tokens = 204});
  f.model.on_wait = [&] {
    f.admission.clock.Advance(absl::Milliseconds(1 + f.model.shapes().back().tokens));
    return absl::OkStatus();
  };
  const auto largest = [&](int rounds) {
    int32_t tokens = 0;
    for (int i = 0; i < rounds; ++i) {
      f.Round();
      tokens = std::max(tokens, f.model.shapes().back().tokens);
    }
    return tokens;
  };
  LearnStepTime(f);
  std::vector<std::shared_ptr<request::TokenStream>> streams;
  for (int32_t i = 0; i < 40; ++i) streams.push_back(f.Submit(LoopFixture::Prompt(500, i), 2));
  EXPECT_EQ(largest(20), 204) << "nothing urgent has come";
  f.Submit(LoopFixture::Prompt(150, 77), 2, Priority::kHigh);
  EXPECT_GE(largest(3), 150) << "its own prompt may fill a step";
  const int32_t shortened = largest(20);
  EXPECT_LE(shortened, 204 / 4)
      << "an eighth of the tokens that decoding leaves, or 15 ms for the one that a step costs";
  EXPECT_GE(shortened, 25);
  f.admission.clock.Advance(absl::Seconds(10));
  f.Round();
  EXPECT_EQ(largest(5), 204);
  for (const auto& stream : streams) stream->Cancel();
  f.RunUntilIdle();
}

TEST(StepLoopSchedulingTest, StepsThatTakeAsLongWhateverTheyHoldAreNotShortened) {
  LoopFixture f({.blocks = 10000, .max_batch_size = 4, .max_batch_tokens = 204});
  f.model.on_wait = [&] {
    f.admission.clock.Advance(absl::Milliseconds(20));
    return absl::OkStatus();
  };
  LearnStepTime(f);
  std::vector<std::shared_ptr<request::TokenStream>> streams;
  for (int32_t i = 0; i < 40; ++i) streams.push_back(f.Submit(LoopFixture::Prompt(500, i), 2));
  for (int i = 0; i < 20; ++i) f.Round();
  f.Submit(LoopFixture::Prompt(10, 77), 2, Priority::kHigh);
  int full = 0;
  for (int i = 0; i < 31; ++i) {
    f.Round();
    full += f.model.shapes().back().tokens == 204;
  }
  EXPECT_GE(full, 30) << "one is short to see whether that has changed";
  for (const auto& stream : streams) stream->Cancel();
  f.RunUntilIdle();
}

TEST(StepLoopSchedulingTest, StartsFifoWithinAClass) {
  LoopFixture f({.max_batch_size = 1, .max_batch_tokens = 8});
  std::vector<std::shared_ptr<request::TokenStream>> streams;
  for (int i = 0; i < 5; ++i) streams.push_back(f.Submit(LoopFixture::Prompt(3, i), 2));
  for (int done = 0; done < 5; ++done) {
    for (int i = 0; i < 100; ++i) {
      Received got;
      got.Read(*streams[done]);
      if (got.closed) break;
      for (int later = done + 1; later < 5; ++later) EXPECT_FALSE(streams[later]->Read().closed);
      f.Round();
    }
  }
  f.RunUntilIdle();
  f.ExpectEmpty();
}

TEST(StepLoopSchedulingTest, GathersABatchWhenIdle) {
  LoopFixture f({.batch_wait = absl::Milliseconds(5)});
  f.Submit(LoopFixture::Prompt(3), 1);
  const StepLoop::Round round = f.Round();
  EXPECT_FALSE(round.progressed);
  EXPECT_EQ(round.wake_at, f.admission.clock.Now() + absl::Milliseconds(5));
  f.Submit(LoopFixture::Prompt(3, 2), 1);
  f.admission.clock.Advance(absl::Milliseconds(5));
  EXPECT_TRUE(f.Round().progressed);
  EXPECT_EQ(f.model.shapes()[0].sequences, 2);
  f.RunUntilIdle();
}

TEST(StepLoopSchedulingTest, AnImpossibleHeadIsFailedAtOnce) {
  LoopFixture f({.blocks = 10, .ledger_blocks = 1000});
  auto impossible = f.Submit(LoopFixture::Prompt(60), 1);
  auto bad_token = LoopFixture::MakeRequest({1, 1000}, 1);
  auto bad = f.Submit(std::move(bad_token));
  auto next = f.Submit(LoopFixture::Prompt(4), 1);
  f.RunUntilIdle();
  Received got, got_bad, got_next;
  got.Read(*impossible);
  got_bad.Read(*bad);
  got_next.Read(*next);
  EXPECT_REASON(got.status, Reason::kRequestNeverFits);
  EXPECT_REASON(got_bad.status, Reason::kInvalidRequest);
  EXPECT_OK(got_next.status);
  f.ExpectEmpty();
}

TEST(StepLoopSchedulingTest, PreemptionGivesTheSameTokens) {
  // 12 blocks of 4 tokens for 4 sequences that grow to 6 blocks each.
  LoopFixture tight({.blocks = 12, .max_batch_size = 4, .ledger_blocks = 1000});
  std::vector<std::shared_ptr<request::TokenStream>> streams;
  for (int i = 0; i < 4; ++i) streams.push_back(tight.Submit(LoopFixture::Prompt(6, i), 18));
  tight.RunUntilIdle();
  EXPECT_GT(tight.observer.preemptions, 0);
  EXPECT_LE(tight.observer.preemptions, 4 * 2);
  EXPECT_GT(tight.observer.recomputed_tokens, 0);
  for (int i = 0; i < 4; ++i) {
    Received got;
    got.Read(*streams[i]);
    EXPECT_EQ(got.tokens[0], tight.Expected(LoopFixture::Prompt(6, i), 18)) << i;
    EXPECT_EQ(got.usage.completion_tokens, 18);
    EXPECT_OK(got.status);
  }
  tight.ExpectEmpty();
}

TEST(StepLoopSchedulingTest, TheLessUrgentIsPreempted) {
  LoopFixture f({.blocks = 8, .max_batch_size = 4, .ledger_blocks = 1000});
  auto low = f.Submit(LoopFixture::Prompt(8, 1), 14, Priority::kLow);
  auto high = f.Submit(LoopFixture::Prompt(4, 2), 20, Priority::kHigh);
  Received got_low, got_high;
  for (int i = 0; i < 400 && !got_high.closed; ++i) {
    f.Round();
    got_high.Read(*high);
    got_low.Read(*low);
    if (!got_high.closed && f.observer.preemptions > 0) {
      EXPECT_FALSE(got_low.closed);
    }
  }
  EXPECT_GT(f.observer.preemptions, 0);
  f.RunUntilIdle();
  got_low.Read(*low);
  EXPECT_EQ(got_low.tokens[0], f.Expected(LoopFixture::Prompt(8, 1), 14));
  EXPECT_EQ(got_high.tokens[0], f.Expected(LoopFixture::Prompt(4, 2), 20));
  f.ExpectEmpty();
}

// Who has been preempted as often as is fair goes on where others would be chosen, but needs no more memory for that
// than what it has so far: most answers never become as long as they may.
TEST(StepLoopSchedulingTest, AnAnswerThatIsSparedHoldsOnlyWhatItHas) {
  LoopFixture f({.blocks = 24, .max_batch_size = 4, .max_preemptions = 1, .ledger_blocks = 1000});
  auto first = f.Submit(LoopFixture::Prompt(8, 1), 28), second = f.Submit(LoopFixture::Prompt(8, 2), 60);
  auto spared = f.Submit(LoopFixture::Prompt(8, 3), 60);
  Received got_first, got_second, got_spared;
  while (!got_first.closed) {
    f.Round();
    got_first.Read(*first);
  }
  ASSERT_EQ(f.observer.preemptions, 1);
  for (int i = 0; i < 3; ++i) f.Round();
  EXPECT_EQ(f.state().running, 2) << "15 blocks are free, of which it needs 9 now, and 17 at most";
  while (!got_second.closed || !got_spared.closed) {
    f.Round();
    got_second.Read(*second);
    got_spared.Read(*spared);
    ASSERT_TRUE(got_spared.closed || !got_second.closed) << "the other one is preempted, and ends last";
  }
  EXPECT_EQ(f.observer.preemptions, 2);
  EXPECT_EQ(got_second.tokens[0], f.Expected(LoopFixture::Prompt(8, 2), 60));
  EXPECT_EQ(got_spared.tokens[0], f.Expected(LoopFixture::Prompt(8, 3), 60));
  f.ExpectEmpty();
}

TEST(StepLoopSchedulingTest, WhereAllAreSparedTheFirstGetsToItsEnd) {
  LoopFixture f({.blocks = 12, .max_batch_size = 4, .max_preemptions = 1, .ledger_blocks = 1000});
  std::vector<std::shared_ptr<request::TokenStream>> streams;
  for (int i = 0; i < 4; ++i) streams.push_back(f.Submit(LoopFixture::Prompt(6, i), 36));
  f.RunUntilIdle();
  EXPECT_GT(f.observer.preemptions, 4) << "each of them once, and then some again";
  for (int i = 0; i < 4; ++i) {
    Received got;
    got.Read(*streams[i]);
    EXPECT_OK(got.status);
    EXPECT_EQ(got.tokens[0], f.Expected(LoopFixture::Prompt(6, i), 36)) << i;
  }
  f.ExpectEmpty();
}

TEST(StepLoopSchedulingTest, PinnedFromTheStartNeverPreempts) {
  LoopFixture f({.blocks = 12, .max_batch_size = 4, .max_preemptions = 0, .ledger_blocks = 1000});
  std::vector<std::shared_ptr<request::TokenStream>> streams;
  for (int i = 0; i < 4; ++i) streams.push_back(f.Submit(LoopFixture::Prompt(6, i), 18));
  f.RunUntilIdle();
  EXPECT_EQ(f.observer.preemptions, 0);
  for (int i = 0; i < 4; ++i) {
    Received got;
    got.Read(*streams[i]);
    EXPECT_EQ(got.tokens[0].size(), 18u);
  }
  f.ExpectEmpty();
}

}  // namespace
}  // namespace hadal::engine

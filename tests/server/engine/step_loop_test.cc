// SPDX-License-Identifier: Apache-2.0
#include "server/engine/step_loop.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/loop_fixture.h"

namespace hadal::engine {
namespace {

using hadal::testing::LoopFixture;
using hadal::testing::Received;
using hadal::testing::ScriptedModel;
using request::FinishReason;
using request::Priority;
using request::Reason;

TEST(StepLoopTest, AnswersWithTheModelsTokens) {
  LoopFixture f;
  const auto prompt = LoopFixture::Prompt(10);
  const Received got = f.Finish(f.Submit(prompt, 7));
  EXPECT_EQ(got.tokens.at(0), f.Expected(prompt, 7));
  EXPECT_EQ(got.ends.at(0).reason, FinishReason::kLength);
  EXPECT_TRUE(got.started);
  EXPECT_TRUE(got.closed);
  EXPECT_OK(got.status);
  EXPECT_EQ(got.usage.prompt_tokens, 10);
  EXPECT_EQ(got.usage.completion_tokens, 7);
  f.ExpectEmpty();
}

TEST(StepLoopTest, ManyAtOnceAnswerAsAlone) {
  LoopFixture f;
  std::vector<std::shared_ptr<request::TokenStream>> streams;
  for (int i = 0; i < 30; ++i) streams.push_back(f.Submit(LoopFixture::Prompt(3 + i * 2, i), 5 + i));
  f.RunUntilIdle();
  for (int i = 0; i < 30; ++i) {
    Received got;
    got.Read(*streams[i]);
    EXPECT_EQ(got.tokens[0], f.Expected(LoopFixture::Prompt(3 + i * 2, i), 5 + i)) << i;
    EXPECT_TRUE(got.closed);
  }
  f.ExpectEmpty();
}

TEST(StepLoopTest, PlansTheNextStepWhileOneIsInFlight) {
  LoopFixture f;
  f.Submit(LoopFixture::Prompt(4), 4);
  // The request that arrives while step 1 computes is in the very next step: it was planned before Wait(1) returned.
  bool submitted = false;
  f.model.on_wait = [&] {
    if (!submitted) {
      submitted = true;
      f.Submit(LoopFixture::Prompt(6, 2), 1);
    }
    return absl::OkStatus();
  };
  f.Round();  // launches 1
  EXPECT_EQ(f.model.calls(), std::vector<std::string>{"L1"});
  f.Round();  // plans 2, waits for 1, launches 2
  EXPECT_EQ(f.model.calls(), (std::vector<std::string>{"L1", "W1", "L2"}));
  EXPECT_EQ(f.model.shapes()[1].sequences, 1)
      << "it arrived during Wait: too late for step 2, which was planned already";
  f.Round();
  EXPECT_EQ(f.model.shapes()[2].sequences, 2);
  f.RunUntilIdle();
  EXPECT_EQ(f.model.calls().back(), "W" + std::to_string(f.model.steps()));
}

TEST(StepLoopTest, APlannedRowOfAnEndedSequenceIsLeftOut) {
  LoopFixture f;
  const auto prompt = LoopFixture::Prompt(4);
  const auto answer = f.Expected(prompt, 3);
  auto stopping = LoopFixture::MakeRequest(prompt, 50);
  stopping->stop_token_ids = {answer[1]};
  auto stream = f.Submit(std::move(stopping));
  auto other = f.Submit(LoopFixture::Prompt(5, 9), 6);
  f.RunUntilIdle();
  Received got;
  got.Read(*stream);
  EXPECT_EQ(got.tokens[0], std::vector<int32_t>{answer[0]});
  EXPECT_EQ(got.ends[0].reason, FinishReason::kStop);
  EXPECT_EQ(got.ends[0].stop_token, answer[1]);
  EXPECT_EQ(got.usage.completion_tokens, 2) << "the stop token counts";
  Received rest;
  rest.Read(*other);
  EXPECT_EQ(rest.tokens[0], f.Expected(LoopFixture::Prompt(5, 9), 6));
  f.ExpectEmpty();
}

TEST(StepLoopTest, MinTokensForbidsTheStop) {
  LoopFixture f;
  const auto prompt = LoopFixture::Prompt(4);
  f.model.script = [](const std::vector<int32_t>&) { return 77; };
  auto request = LoopFixture::MakeRequest(prompt, 10);
  request->stop_token_ids = {77, 5000};
  request->min_tokens = 3;
  const Received got = f.Finish(f.Submit(std::move(request)));
  EXPECT_EQ(got.tokens.at(0), (std::vector<int32_t>{78, 78, 78}));
  EXPECT_EQ(got.ends.at(0).reason, FinishReason::kStop);
}

TEST(StepLoopTest, ChoicesDifferBySeedAndShareThePrompt) {
  LoopFixture f;
  const auto prompt = LoopFixture::Prompt(13);
  auto request = LoopFixture::MakeRequest(prompt, 6);
  request->n = 3;
  request->sampling.temperature = 1;
  request->sampling.seed = 40;
  const Received got = f.Finish(f.Submit(std::move(request)));
  EXPECT_EQ(got.ends.size(), 3u);
  EXPECT_EQ(got.usage.completion_tokens, 18);
  EXPECT_EQ(got.usage.prompt_tokens, 13);
  EXPECT_EQ(f.observer.hit_tokens, 2 * 12) << "the later choices find the three full blocks of the prompt";
  for (int choice = 0; choice < 3; ++choice) {
    auto alone = LoopFixture::MakeRequest(prompt, 6);
    alone->sampling.temperature = 1;
    alone->sampling.seed = 40 + choice;
    LoopFixture fresh;
    EXPECT_EQ(got.tokens.at(choice), fresh.Finish(fresh.Submit(std::move(alone))).tokens.at(0)) << choice;
  }
  f.ExpectEmpty();
}

TEST(StepLoopTest, MoreChoicesThanPlacesInABatch) {
  LoopFixture f({.max_batch_size = 2, .max_batch_tokens = 8});
  auto request = LoopFixture::MakeRequest(LoopFixture::Prompt(9), 5);
  request->n = 7;
  const Received got = f.Finish(f.Submit(std::move(request)));
  EXPECT_EQ(got.ends.size(), 7u);
  for (int choice = 0; choice < 7; ++choice) EXPECT_EQ(got.tokens.at(choice), f.Expected(LoopFixture::Prompt(9), 5));
  f.ExpectEmpty();
}

TEST(StepLoopTest, PenaltiesSeeEveryTokenSoFar) {
  LoopFixture f;
  auto request = LoopFixture::MakeRequest(LoopFixture::Prompt(4), 6);
  request->sampling.frequency_penalty = 0.5f;
  std::vector<std::vector<models::PenaltyEntry>> seen;
  f.model.on_launch = [&](const models::StepInput& input) {
    for (const auto& row : input.samples) seen.push_back(row.penalties);
    return absl::OkStatus();
  };
  const Received got = f.Finish(f.Submit(std::move(request)));
  ASSERT_EQ(seen.size(), 6u);
  for (size_t i = 0; i < seen.size(); ++i) {
    std::map<int32_t, int32_t> expected;
    for (size_t k = 0; k < i; ++k) ++expected[got.tokens.at(0)[k]];
    ASSERT_EQ(seen[i].size(), expected.size());
    for (const auto& entry : seen[i]) EXPECT_EQ(entry.output_count, expected[entry.token_id]);
  }
}

TEST(StepLoopTest, RepetitionPenaltyHoldsThePrompt) {
  LoopFixture f;
  auto request = LoopFixture::MakeRequest({5, 6, 5}, 1);
  request->sampling.repetition_penalty = 1.2f;
  size_t entries = 0;
  f.model.on_launch = [&](const models::StepInput& input) {
    entries = input.samples[0].penalties.size();
    EXPECT_TRUE(input.samples[0].penalties[0].in_prompt);
    return absl::OkStatus();
  };
  f.Finish(f.Submit(std::move(request)));
  EXPECT_EQ(entries, 2u);
}

TEST(StepLoopTest, LogprobsTravelWithTheTokens) {
  LoopFixture f;
  auto request = LoopFixture::MakeRequest(LoopFixture::Prompt(4), 3);
  request->top_logprobs = 2;
  const Received got = f.Finish(f.Submit(std::move(request)));
  ASSERT_EQ(got.events.size(), 3u);
  EXPECT_EQ(got.events[0].logprob, -0.5f);
  ASSERT_EQ(got.events[0].top.size(), 2u);
  EXPECT_EQ(got.events[0].top[0].token_id, got.events[0].token_id);
}

TEST(StepLoopTest, PromptIsScoredInChunksAndWithoutCacheHits) {
  LoopFixture f({.max_batch_size = 5, .max_batch_tokens = 64});
  const auto prompt = LoopFixture::Prompt(23);
  f.Finish(f.Submit(prompt, 1));  // fills the prefix cache
  auto request = LoopFixture::MakeRequest(prompt, 2);
  request->prompt_logprobs = true;
  request->top_logprobs = 1;
  const size_t before = f.model.shapes().size();
  const Received got = f.Finish(f.Submit(std::move(request)));
  ASSERT_EQ(got.prompt_scores.size(), 22u);
  for (size_t i = 0; i < 22; ++i) EXPECT_EQ(got.prompt_scores[i].token_id, prompt[i + 1]);
  EXPECT_EQ(got.usage.cached_tokens, 0);
  EXPECT_EQ(got.tokens.at(0), f.Expected(prompt, 2));
  for (size_t i = before; i < f.model.shapes().size(); ++i) EXPECT_LE(f.model.shapes()[i].samples, 5);
  f.ExpectEmpty();
}

TEST(StepLoopTest, MaxTokensZeroOnlyScores) {
  LoopFixture f;
  auto request = LoopFixture::MakeRequest(LoopFixture::Prompt(9), 0);
  request->prompt_logprobs = true;
  request->n = 2;
  const Received got = f.Finish(f.Submit(std::move(request)));
  EXPECT_EQ(got.prompt_scores.size(), 8u);
  EXPECT_TRUE(got.tokens.empty());
  EXPECT_EQ(got.ends.size(), 2u);
  EXPECT_EQ(got.ends.at(1).reason, FinishReason::kLength);
  EXPECT_EQ(got.usage.completion_tokens, 0);
  EXPECT_OK(got.status);
  f.ExpectEmpty();
}

TEST(StepLoopTest, OneTokenPromptWorks) {
  LoopFixture f;
  auto request = LoopFixture::MakeRequest({3}, 3);
  request->prompt_logprobs = true;
  const Received got = f.Finish(f.Submit(std::move(request)));
  EXPECT_EQ(got.tokens.at(0), f.Expected({3}, 3));
  f.ExpectEmpty();
}

TEST(StepLoopTest, PrefixHitsGiveIdenticalTokens) {
  LoopFixture f;
  auto prompt = LoopFixture::Prompt(40);
  f.Finish(f.Submit(prompt, 4));
  const int64_t rows = f.model.rows();
  const Received again = f.Finish(f.Submit(prompt, 8));
  EXPECT_EQ(again.usage.cached_tokens, 36) << "at least one prompt token is computed";
  EXPECT_EQ(again.tokens.at(0), f.Expected(prompt, 8));
  EXPECT_EQ(f.model.rows() - rows, 4 + 7);
  // A longer prompt that begins with prompt and answer finds the blocks that the answer filled, too.
  auto longer = prompt;
  const auto answer = f.Expected(prompt, 8);
  longer.insert(longer.end(), answer.begin(), answer.end());
  longer.push_back(5);
  const Received grown = f.Finish(f.Submit(longer, 2));
  EXPECT_EQ(grown.usage.cached_tokens, 44) << "47 tokens were computed: 11 full blocks";
  EXPECT_EQ(grown.tokens.at(0), f.Expected(longer, 2));
  // Another salt shares nothing.
  auto salted = LoopFixture::MakeRequest(prompt, 2);
  salted->cache_salt = 99;
  EXPECT_EQ(f.Finish(f.Submit(std::move(salted))).usage.cached_tokens, 0);
  f.ExpectEmpty();
}

TEST(StepLoopTest, PrefillIsChunkedAndNeverStarvesDecode) {
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

TEST(StepLoopTest, UrgentPromptsGoFirst) {
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

TEST(StepLoopTest, StartsFifoWithinAClass) {
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

TEST(StepLoopTest, GathersABatchWhenIdle) {
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

TEST(StepLoopTest, FaultyRowEndsItsRequestAlone) {
  LoopFixture f;
  const auto bad = LoopFixture::Prompt(9, 4);
  f.model.script = [&](const std::vector<int32_t>& context) {
    return context.size() >= 11 && std::equal(bad.begin(), bad.end(), context.begin()) ? ScriptedModel::kFaulty : -1;
  };
  auto failing = f.Submit(bad, 10);
  auto fine = f.Submit(LoopFixture::Prompt(6, 5), 10);
  f.RunUntilIdle();
  Received got, other;
  got.Read(*failing);
  other.Read(*fine);
  EXPECT_REASON(got.status, Reason::kInternal);
  EXPECT_EQ(got.ends.at(0).reason, FinishReason::kError);
  EXPECT_EQ(got.tokens.at(0).size(), 2u);
  EXPECT_OK(other.status);
  EXPECT_EQ(other.tokens.at(0).size(), 10u);
  // What it wrote is not found by others.
  EXPECT_EQ(f.Finish(f.Submit(bad, 1)).usage.cached_tokens, 0);
  EXPECT_FALSE(f.loop->device_fault());
  f.ExpectEmpty();
}

TEST(StepLoopTest, ARefusedStepEndsOnlyItsRequests) {
  LoopFixture f;
  bool refuse = true;
  f.model.on_launch = [&](const models::StepInput&) {
    return refuse ? absl::InvalidArgumentError("bad input") : absl::OkStatus();
  };
  const Received got = f.Finish(f.Submit(LoopFixture::Prompt(4), 3));
  EXPECT_REASON(got.status, Reason::kInternal);
  refuse = false;
  EXPECT_OK(f.Finish(f.Submit(LoopFixture::Prompt(4), 3)).status);
  f.ExpectEmpty();
}

TEST(StepLoopTest, DeviceFaultEndsEverythingWithATypedError) {
  LoopFixture f({.max_batch_size = 2, .max_batch_tokens = 16});
  std::vector<std::shared_ptr<request::TokenStream>> streams;
  for (int i = 0; i < 4; ++i) streams.push_back(f.Submit(LoopFixture::Prompt(4, i), 10));
  f.Round();
  f.model.on_wait = [] { return absl::InternalError("the device fell off the bus"); };
  f.RunUntilIdle();
  for (auto& stream : streams) {
    Received got;
    got.Read(*stream);
    EXPECT_TRUE(got.closed);
    EXPECT_REASON(got.status, Reason::kDeviceFault);
  }
  EXPECT_TRUE(f.state().device_fault);
  auto late = LoopFixture::MakeRequest(LoopFixture::Prompt(4), 1);
  EXPECT_REASON(f.admission.Submit(late), Reason::kDeviceFault);
  f.ExpectEmpty();
}

TEST(StepLoopTest, AnImpossibleHeadIsFailedAtOnce) {
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

TEST(StepLoopTest, PreemptionGivesTheSameTokens) {
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

TEST(StepLoopTest, TheLessUrgentIsPreempted) {
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

TEST(StepLoopTest, PinnedFromTheStartNeverPreempts) {
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

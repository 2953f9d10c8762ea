// SPDX-License-Identifier: Apache-2.0
// Who starts next while more urgent requests and busier tenants want every slot of the batch.
#include <algorithm>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/loop_fixture.h"

namespace hadal::engine {
namespace {

using hadal::testing::LoopFixture;
using hadal::testing::Received;
using request::Priority;
using request::Reason;

constexpr absl::Duration kRound = absl::Milliseconds(10);

// Calls with short prompts, whose answers are read after each round.
class Calls {
 public:
  // `pause` passes after each round.
  explicit Calls(LoopFixture& fixture, absl::Duration pause = 10 * kRound) : f_(fixture), pause_(pause) {}

  std::shared_ptr<request::TokenStream> Submit(Priority priority, int32_t output) {
    return Keep(f_.Submit(Prompt(), output, priority));
  }
  std::shared_ptr<request::TokenStream> Submit(const char* tenant, int32_t output) {
    auto request = LoopFixture::MakeRequest(Prompt(), output);
    request->tenant = tenant;
    return Keep(f_.Submit(std::move(request)));
  }
  void Rounds(int count) {
    for (int i = 0; i < count; ++i) {
      f_.Round();
      f_.admission.clock.Advance(pause_);
      for (const auto& stream : streams_) stream->Read();
    }
  }
  request::TokenStream& stream(size_t index) { return *streams_[index]; }
  void CancelAll() {
    for (const auto& stream : streams_) stream->Cancel();
    f_.RunUntilIdle();
  }

 private:
  std::vector<int32_t> Prompt() const { return LoopFixture::Prompt(4, static_cast<int32_t>(streams_.size())); }
  std::shared_ptr<request::TokenStream> Keep(std::shared_ptr<request::TokenStream> stream) {
    streams_.push_back(std::move(stream));
    return streams_.back();
  }

  LoopFixture& f_;
  const absl::Duration pause_;
  std::vector<std::shared_ptr<request::TokenStream>> streams_;
};

// Requests of a class, high ones, that fill the batch; 60 more of them wait, or `waiting`.
class Flood {
 public:
  explicit Flood(LoopFixture& fixture, int32_t prompt = 4, int32_t output = 5, int32_t waiting = 60,
                 Priority priority = Priority::kHigh)
      : f_(fixture), prompt_(prompt), output_(output), waiting_(waiting), priority_(priority) {}

  void Round() {
    while (f_.admission.controller->GetLoad().waiting_by_class[static_cast<size_t>(priority_)] < waiting_) {
      streams_.push_back(f_.Submit(LoopFixture::Prompt(prompt_, next_++), output_, priority_));
    }
    f_.Round();
    f_.admission.clock.Advance(kRound);
    std::erase_if(streams_, [&](const auto& stream) {
      const bool closed = stream->Read().closed;
      finished += closed;
      return closed;
    });
  }
  int finished = 0;

 private:
  LoopFixture& f_;
  const int32_t prompt_, output_, waiting_;
  const Priority priority_;
  int next_ = 0;
  std::vector<std::shared_ptr<request::TokenStream>> streams_;
};

TEST(SchedulerStartTest, ALowRequestStartsWithinItsBoundWhileHighOnesFillTheBatch) {
  LoopFixture f;
  Flood flood(f);
  for (int i = 0; i < 100; ++i) flood.Round();
  const absl::Time arrived = f.admission.clock.Now();
  auto stream = f.Submit(LoopFixture::Prompt(4), 3, Priority::kLow);
  Received got;
  while (!got.started && f.admission.clock.Now() < arrived + absl::Seconds(60)) {
    flood.Round();
    got.Read(*stream);
  }
  // Two ranks of 8 s, then the high requests that came within them: 60 of them wait, three or four start a round.
  EXPECT_GE(f.admission.clock.Now() - arrived, absl::Seconds(16)) << "high went first until then";
  EXPECT_LE(f.admission.clock.Now() - arrived, absl::Seconds(16) + 30 * kRound);
}

// What low requests that have aged get, and what is left to those that they pass.
void ExpectShareOfAged(Priority passed, int share) {
  const auto finished_beside = [&](int lows) {
    LoopFixture f({.blocks = 100000, .max_batch_size = 64, .max_batch_tokens = 320});
    Flood flood(f, 4, 5, 70, passed);            // more than places come free at a time
    for (int i = 0; i < 10; ++i) flood.Round();  // they have every place: none is the lows' own
    std::vector<std::shared_ptr<request::TokenStream>> streams;
    for (int i = 0; i < lows; ++i) streams.push_back(f.Submit(LoopFixture::Prompt(4, i), 30, Priority::kLow));
    f.admission.clock.Advance(absl::Seconds(20));  // all of them are aged
    std::vector<Received> got(streams.size());
    for (int i = 0; i < 400; ++i) {
      flood.Round();
      int running = 0;
      for (size_t k = 0; k < streams.size(); ++k) {
        if (!got[k].closed) got[k].Read(*streams[k]);
        running += got[k].started && !got[k].closed;
      }
      EXPECT_LE(running, share);
    }
    const auto ended = std::count_if(got.begin(), got.end(), [](const Received& one) { return one.closed; });
    EXPECT_GE(ended, std::min(lows, 10 * share)) << share << " at a time, 33 rounds each";
    return flood.finished;
  };
  const int alone = finished_beside(0);
  EXPECT_GE(finished_beside(100), alone * (64 - share) / 64 * 98 / 100);
}

TEST(SchedulerStartTest, AgedRequestsHaveATenthOfTheBatchBesideNormalOnes) { ExpectShareOfAged(Priority::kNormal, 6); }

TEST(SchedulerStartTest, AgedRequestsHaveAThirtySecondOfTheBatchBesideHighOnes) {
  ExpectShareOfAged(Priority::kHigh, 2);
}

// What the more urgent ones leave is a class's own; age adds to it only up to its share.
TEST(SchedulerStartTest, AgeAddsNothingToAClassThatHasMoreThanItsShare) {
  LoopFixture f({.blocks = 100000, .max_batch_size = 64, .max_batch_tokens = 512});
  Calls calls(f, kRound);
  const auto first_low = calls.Submit(Priority::kLow, 2000);  // nothing else runs: it had its turn
  calls.Submit(Priority::kLow, 2000);
  calls.Rounds(5);
  for (int i = 0; i < 62; ++i) calls.Submit(Priority::kHigh, 1000);
  calls.Rounds(5);
  EXPECT_EQ(f.state().running, 64);
  const auto waiting = calls.Submit(Priority::kLow, 5);
  f.admission.clock.Advance(absl::Seconds(20));
  for (int i = 0; i < 4; ++i) calls.Submit(Priority::kHigh, 1000);
  calls.stream(10).Cancel();  // a place comes free
  calls.Rounds(5);
  EXPECT_EQ(f.admission.controller->GetLoad().waiting_by_class[0], 3) << "a high request has it, as two low ones run";
  EXPECT_EQ(f.admission.controller->GetLoad().waiting_by_class[2], 1);
  first_low->Cancel();
  calls.Rounds(5);
  EXPECT_EQ(f.admission.controller->GetLoad().waiting_by_class[2], 0)
      << "one runs, which is less than the share of two";
  calls.CancelAll();
}

TEST(SchedulerStartTest, ASixtyFourthOfTheBatchIsLeftToMoreUrgentRequestsWhileTheyCome) {
  LoopFixture f({.blocks = 100000, .max_batch_size = 128, .max_batch_tokens = 512});
  Calls calls(f);
  calls.Submit(Priority::kHigh, 2);
  calls.Rounds(5);
  for (int i = 0; i < 200; ++i) calls.Submit(Priority::kNormal, 500);
  calls.Rounds(15);  // an eighth of a step's tokens at a time
  EXPECT_EQ(f.state().running, 126);
  calls.Submit(Priority::kHigh, 100);
  calls.Submit(Priority::kHigh, 100);
  calls.Submit(Priority::kHigh, 100);
  calls.Rounds(3);
  EXPECT_EQ(f.state().running, 128) << "no place stays empty for long, and two of three found one";
  EXPECT_EQ(f.admission.controller->GetLoad().waiting_by_class[0], 1);
  calls.Rounds(102);
  EXPECT_EQ(f.admission.controller->GetLoad().waiting_by_class[0], 0) << "it took the place of the first that ended";
  calls.Rounds(115);
  EXPECT_EQ(f.state().running, 128) << "nothing urgent has come for 10 s";
  calls.CancelAll();
}

// Less than a sixty-fourth of it would be none, and whoever is urgent would wait until an answer ends.
TEST(SchedulerStartTest, ASmallBatchKeepsOnePlaceForMoreUrgentRequests) {
  for (const auto& [size, kept] : {std::pair{31, 0}, {32, 1}, {63, 1}, {128, 2}}) {
    LoopFixture f({.blocks = 100000, .max_batch_size = size, .max_batch_tokens = 512});
    Calls calls(f);
    calls.Submit(Priority::kHigh, 2);
    calls.Rounds(5);
    for (int i = 0; i < 200; ++i) calls.Submit(Priority::kNormal, 500);
    calls.Rounds(15);
    EXPECT_EQ(f.state().running, size - kept) << size;
    calls.Submit(Priority::kHigh, 20);
    calls.Rounds(2);
    EXPECT_EQ(f.admission.controller->GetLoad().waiting_by_class[0], kept > 0 ? 0 : 1) << size;
    calls.Rounds(135);
    EXPECT_EQ(f.state().running, size) << "nothing urgent has come for 10 s";
    calls.CancelAll();
  }
}

TEST(SchedulerStartTest, ASixtyFourthOfTheBatchIsLeftToTenantsThatAskForLessThanTheirShare) {
  LoopFixture f({.blocks = 100000, .max_batch_size = 128, .max_batch_tokens = 512});
  Calls calls(f);
  for (int i = 0; i < 100; ++i) calls.Submit("noisy", 500);
  calls.Rounds(2);
  for (int i = 0; i < 150; ++i) calls.Submit("noisy", 500);
  calls.Submit("quiet", 2);
  calls.Rounds(5);
  EXPECT_EQ(f.state().running, 126) << "its one request has been served";
  calls.Submit("quiet", 30);
  calls.Rounds(2);
  EXPECT_EQ(f.state().running, 127) << "it did not wait for a place";
  calls.Rounds(135);
  EXPECT_EQ(f.state().running, 128) << "nothing of a quiet tenant has come for 10 s";
  calls.CancelAll();
}

TEST(SchedulerStartTest, AnAgedPromptGetsAThirtySecondOfTheStepsTokens) {
  LoopFixture f({.blocks = 100000, .max_batch_size = 16, .max_batch_tokens = 192});
  auto stream = f.Submit(LoopFixture::Prompt(300, 77), 1, Priority::kLow);
  f.admission.clock.Advance(absl::Seconds(20));
  // Prompts of 160 for one token: they would take the tokens of every step.
  Flood flood(f, /*prompt=*/160, /*output=*/1);
  Received got;
  int rounds = 0;
  for (; !got.closed && rounds < 200; ++rounds) {
    flood.Round();
    got.Read(*stream);
  }
  EXPECT_EQ(got.tokens[0], f.Expected(LoopFixture::Prompt(300, 77), 1));
  EXPECT_GE(rounds, 45) << "6 of 192 tokens, and leftovers";
  EXPECT_LE(rounds, 60);
  EXPECT_GE(flood.finished, rounds * 8 / 10) << "186 of 192 tokens were theirs";
}

TEST(SchedulerStartTest, AQuietTenantStartsBesideANoisyOnesBacklog) {
  LoopFixture f({.max_batch_size = 4});
  const auto submit = [&](const char* tenant, int i) {
    auto request = LoopFixture::MakeRequest(LoopFixture::Prompt(4, i), 10);
    request->tenant = tenant;
    return f.Submit(std::move(request));
  };
  std::vector<std::shared_ptr<request::TokenStream>> noisy;
  for (int i = 0; i < 200; ++i) noisy.push_back(submit("noisy", i));
  for (int i = 0; i < 50; ++i) {
    f.Round();
    f.admission.clock.Advance(kRound);
  }
  for (int i = 0; i < 5; ++i) {
    auto quiet = submit("quiet", 1000 + i);
    Received got;
    int rounds = 0;
    for (; !got.closed && rounds < 100; ++rounds) {
      f.Round();
      f.admission.clock.Advance(kRound);
      got.Read(*quiet);
    }
    EXPECT_LE(rounds, 26) << "10 tokens of its own, after one of the four that run, whose backlog is 500 rounds long";
  }
  f.RunUntilIdle();
  f.ExpectEmpty();
}

TEST(SchedulerStartTest, WorkThatCannotBeDoneInTimeIsNotBegun) {
  LoopFixture f({.max_batch_size = 1});
  f.model.on_wait = [&] {
    f.admission.clock.Advance(absl::Milliseconds(50));  // a step
    return absl::OkStatus();
  };
  f.Submit(LoopFixture::Prompt(4), 10);
  auto late = LoopFixture::MakeRequest(LoopFixture::Prompt(4, 2), 3);
  auto fine = LoopFixture::MakeRequest(LoopFixture::Prompt(4, 3), 3);
  // The place is free after 0.5 s.
  late->first_token_by = f.admission.clock.Now() + absl::Milliseconds(540);
  fine->first_token_by = f.admission.clock.Now() + absl::Seconds(5);
  auto late_stream = f.Submit(std::move(late));
  auto fine_stream = f.Submit(std::move(fine));
  f.RunUntilIdle();
  Received got;
  got.Read(*late_stream);
  EXPECT_REASON(got.status, Reason::kDeadlineInfeasible);
  EXPECT_FALSE(got.started);
  Received other;
  other.Read(*fine_stream);
  EXPECT_OK(other.status);
  EXPECT_EQ(other.tokens[0].size(), 3u);
  f.ExpectEmpty();
}

// A step takes a millisecond for each prompt token, which the engine learns: 40 of them are too many for the limit, but
// the prefix cache has most.
TEST(SchedulerStartTest, WhatThePrefixCacheHasNeedsNoTime) {
  LoopFixture f;
  int32_t tokens = 0;
  f.model.on_wait = [&] {
    f.admission.clock.Advance(absl::Milliseconds(1) * tokens);
    return absl::OkStatus();
  };
  for (int32_t i = 0; i < 160; ++i) {
    tokens = 4 * (1 + i % 16);
    f.Finish(f.Submit(LoopFixture::Prompt(tokens, 10 + i), 1));
  }
  tokens = 1;
  f.Finish(f.Submit(LoopFixture::Prompt(40), 1));
  const auto ask = [&](int32_t first) {
    auto request = LoopFixture::MakeRequest(LoopFixture::Prompt(40, first), 1);
    request->first_token_by = f.admission.clock.Now() + absl::Milliseconds(20);
    return f.Finish(f.Submit(std::move(request))).status;
  };
  EXPECT_REASON(ask(7), Reason::kDeadlineInfeasible);
  EXPECT_OK(ask(1));
}

// With answers of other lengths than predicted, what two backlogged tenants were served stays within a bound: the cost
// of one request, and of what runs at a time.
TEST(SchedulerStartTest, BackloggedTenantsGetEqualTokens) {
  LoopFixture f({.max_batch_size = 8, .max_batch_tokens = 128});
  struct Tenant {
    const char* name;
    int32_t prompt, output;
    int64_t served = 0;
    std::vector<std::shared_ptr<request::TokenStream>> streams = {};
  };
  std::vector<Tenant> tenants = {{"chat", 4, 8}, {"essay", 12, 60}};
  int next = 0;
  for (int i = 0; i < 4000; ++i) {
    for (Tenant& tenant : tenants) {
      while (tenant.streams.size() < 12) {  // more than the batch has slots
        auto request = LoopFixture::MakeRequest(LoopFixture::Prompt(tenant.prompt, next++), tenant.output);
        request->tenant = tenant.name;
        tenant.streams.push_back(f.Submit(std::move(request)));
      }
    }
    f.Round();
    f.admission.clock.Advance(kRound);
    for (Tenant& tenant : tenants) {
      std::erase_if(tenant.streams, [&](const auto& stream) {
        const request::StreamBatch batch = stream->Read();
        if (batch.closed) tenant.served += batch.usage.prompt_tokens + 2 * batch.usage.completion_tokens;
        return batch.closed;
      });
    }
    if (i < 200) continue;  // until lengths are known
    ASSERT_LE(std::abs(tenants[0].served - tenants[1].served), 2 * 8 * (12 + 2 * 60)) << "after " << i;
  }
  EXPECT_GT(tenants[0].served, 20000);
}

}  // namespace
}  // namespace hadal::engine

// SPDX-License-Identifier: Apache-2.0
// Random storms over a pool that is far too small: whatever happens to requests, everything they held goes back, each
// gets exactly one end, and whoever finishes has the tokens that it would have had alone.
#include <random>

#include "gtest/gtest.h"
#include "server/engine/step_loop.h"
#include "tests/support/loop_fixture.h"

namespace hadal::engine {
namespace {

using hadal::testing::LoopFixture;
using hadal::testing::Received;
using hadal::testing::ScriptedModel;
using request::FinishReason;
using request::Priority;
using request::Reason;

struct Caller {
  std::shared_ptr<request::TokenStream> stream;
  std::vector<int32_t> prompt;
  int32_t max_tokens = 0;
  int32_t n = 1;
  bool reads = true;
  Received got;
};

class Storm {
 public:
  Storm(LoopFixture& fixture, uint64_t seed) : f_(fixture), random_(seed) {}

  int Uniform(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }

  void Arrive() {
    Caller caller;
    // Few distinct openings, so that prefixes are shared.
    caller.prompt = LoopFixture::Prompt(Uniform(1, 60), Uniform(0, 5));
    caller.max_tokens = Uniform(0, 9) == 0 ? 0 : Uniform(1, 40);
    caller.n = Uniform(0, 9) == 0 ? Uniform(2, 4) : 1;
    caller.reads = Uniform(0, 19) != 0;
    auto request = LoopFixture::MakeRequest(caller.prompt, caller.max_tokens, static_cast<Priority>(Uniform(0, 3)));
    request->n = caller.n;
    request->prompt_logprobs = Uniform(0, 9) == 0;
    request->cache_salt = Uniform(0, 3) == 0;
    request->stream = std::make_shared<request::TokenStream>(Uniform(2, 20));
    if (Uniform(0, 9) == 0) request->deadline = f_.admission.clock.Now() + absl::Milliseconds(Uniform(1, 80));
    caller.stream = request->stream;
    const absl::Status status = f_.admission.Submit(request);
    if (status.ok()) {
      callers.push_back(std::move(caller));
    } else {
      EXPECT_NE(request, nullptr) << "consumed though refused";
      ++refused;
    }
  }

  void Act() {
    if (callers.empty()) return;
    Caller& caller = callers[Uniform(0, static_cast<int>(callers.size()) - 1)];
    if (caller.got.closed) return;
    switch (Uniform(0, 3)) {
      case 0:
        caller.stream->Cancel();
        break;
      case 1:
        caller.stream->StopChoice(Uniform(0, caller.n));
        break;
      default:
        break;
    }
  }

  void ReadSome() {
    for (Caller& caller : callers) {
      if (caller.reads && !caller.got.closed && Uniform(0, 2) != 0) caller.got.Read(*caller.stream);
    }
  }

  void Judge() {
    for (Caller& caller : callers) {
      caller.got.Read(*caller.stream);
      ASSERT_TRUE(caller.got.closed);
      ASSERT_EQ(caller.got.ends.size(), static_cast<size_t>(caller.n)) << caller.got.status;
      const std::vector<int32_t> expected = f_.Expected(caller.prompt, caller.max_tokens);
      for (auto& [choice, tokens] : caller.got.tokens) {
        ASSERT_LE(tokens.size(), expected.size());
        ASSERT_TRUE(std::equal(tokens.begin(), tokens.end(), expected.begin())) << "wrong tokens";
      }
      for (auto& [choice, end] : caller.got.ends) {
        if (end.reason == FinishReason::kLength) {
          ASSERT_EQ(caller.got.tokens[choice].size(), expected.size());
          ++finished;
        }
      }
      ++reasons[request::GetErrorDetail(caller.got.status).reason];
    }
  }

  std::vector<Caller> callers;
  std::map<Reason, int> reasons;
  int refused = 0;
  int finished = 0;

 private:
  LoopFixture& f_;
  std::mt19937_64 random_;
};

void RunStorm(uint64_t seed, int requests, bool prefix_cache, int32_t window_tokens = 0,
              int64_t max_queue_requests = 40, int64_t ledger_blocks = 200,
              AsyncScheduling async_scheduling = AsyncScheduling::kOff, int overlapped_steps = 1) {
  LoopFixture f({.blocks = 60,
                 .block_tokens = 4,
                 .max_batch_size = 12,
                 .max_batch_tokens = 48,
                 .max_queue_requests = max_queue_requests,
                 .ledger_blocks = ledger_blocks,
                 .slow_reader_timeout = absl::Milliseconds(150),
                 .prefix_cache = prefix_cache,
                 .window_tokens = window_tokens,
                 .extra_window_blocks = window_tokens > 0 ? static_cast<int32_t>(seed % 5) * 3 : 0,
                 .async_scheduling = async_scheduling,
                 .overlapped_steps = overlapped_steps});
  Storm storm(f, seed);
  int arrived = 0;
  while (arrived < requests) {
    for (int burst = storm.Uniform(0, 3); burst > 0 && arrived < requests; --burst, ++arrived) storm.Arrive();
    storm.Act();
    storm.ReadSome();
    for (int part = 0; part < overlapped_steps; ++part) f.Round();  // each has a part of the sequences
    ASSERT_LE(f.admission.controller->GetLoad().waiting, max_queue_requests);
    f.admission.clock.Advance(absl::Milliseconds(storm.Uniform(0, 4)));
  }
  for (int i = 0; i < 20000 && !(f.loop->idle() && f.admission.controller->GetLoad().waiting == 0); ++i) {
    storm.ReadSome();
    f.Round();
    f.admission.clock.Advance(absl::Milliseconds(2));
  }
  f.ExpectEmpty();
  storm.Judge();
  EXPECT_EQ(storm.callers.size() + storm.refused, static_cast<size_t>(requests));
  EXPECT_GT(storm.finished, requests / 10);
  EXPECT_GT(f.observer.preemptions, 0);
  if (requests >= 1000) {  // a small storm may miss one kind
    EXPECT_GT(storm.reasons[Reason::kCancelled], 0);
    EXPECT_GT(storm.reasons[Reason::kDeadlineExpired], 0);
    EXPECT_GT(storm.reasons[Reason::kSlowReader], 0);
  }
  EXPECT_EQ(f.observer.ended, static_cast<int64_t>(storm.callers.size()));
  // Eight slots are taken most of the time, so that classes claim their floors.
  EXPECT_EQ(storm.reasons[Reason::kPreemptedInQueue] > 0, max_queue_requests == 8);
}

TEST(StormTest, TwoThousandRequestsAreAllAccountedFor) { RunStorm(1, 2000, true); }

TEST(StormTest, NothingIsLostWhenRequestsLoseTheirSlots) {
  for (uint64_t seed = 41; seed < 44; ++seed) {
    RunStorm(seed, 2000, true, /*window_tokens=*/0, /*max_queue_requests=*/8);
  }
}

// Steps launched before the tokens of the step before are known; half of them with windows, too.
TEST(StormTest, FedStepsChangeNothing) {
  constexpr auto kOn = AsyncScheduling::kOn;
  for (uint64_t seed = 61; seed < 65; ++seed) {
    RunStorm(seed, 2000, true, /*window_tokens=*/seed % 2 == 0 ? 6 : 0, /*max_queue_requests=*/40,
             /*ledger_blocks=*/200, kOn);
  }
  for (uint64_t seed = 65; seed < 71; ++seed) {
    RunStorm(seed, 400, seed % 2 == 0, /*window_tokens=*/0, /*max_queue_requests=*/40, /*ledger_blocks=*/200, kOn);
  }
  RunStorm(71, 2000, true, /*window_tokens=*/0, /*max_queue_requests=*/40, /*ledger_blocks=*/60, kOn);
}

// Steps of different sequences in flight at the same time, as through the hosts of a pipeline.
TEST(StormTest, OverlappedStepsChangeNothing) {
  constexpr auto kOff = AsyncScheduling::kOff;
  for (uint64_t seed = 81; seed < 89; ++seed) {
    RunStorm(seed, 2000, true, /*window_tokens=*/seed % 2 == 0 ? 6 : 0, /*max_queue_requests=*/40,
             /*ledger_blocks=*/200, kOff, /*overlapped_steps=*/2 + seed % 4);
  }
  for (uint64_t seed = 89; seed < 97; ++seed) {
    RunStorm(seed, 400, seed % 2 == 0, /*window_tokens=*/seed % 3 == 0 ? 9 : 0, /*max_queue_requests=*/40,
             /*ledger_blocks=*/200, kOff, /*overlapped_steps=*/2 + seed % 3);
  }
  RunStorm(97, 2000, true, /*window_tokens=*/0, /*max_queue_requests=*/40, /*ledger_blocks=*/60, kOff,
           /*overlapped_steps=*/3);
}

TEST(StormTest, OtherSeeds) {
  for (uint64_t seed = 2; seed < 12; ++seed) RunStorm(seed, 400, seed % 2 == 0);
}

TEST(StormTest, NobodyWaitsForeverWhenLeasesAreAsShortAsBlocks) {
  // Who lost a share of a prompt waits for bytes or for the one that computes it, who may be paused, preempted or gone.
  for (uint64_t seed = 52; seed < 55; ++seed) {
    RunStorm(seed, 2000, true, /*window_tokens=*/0, /*max_queue_requests=*/40, /*ledger_blocks=*/60);
  }
}

TEST(StormTest, WindowsHoldTheRightRowsWhateverHappens) {
  RunStorm(21, 2000, true, 6);
  uint64_t seed = 22;
  for (const int32_t window_tokens : {1, 2, 4, 5, 9, 16, 33}) {
    RunStorm(seed, 300, true, window_tokens);
    RunStorm(seed + 1, 200, false, window_tokens);
    seed += 2;
  }
}

void RunFaultyRows(AsyncScheduling async_scheduling, int overlapped_steps = 1) {
  LoopFixture f({.blocks = 80,
                 .max_batch_size = 8,
                 .max_batch_tokens = 32,
                 .ledger_blocks = 1000,
                 .async_scheduling = async_scheduling,
                 .overlapped_steps = overlapped_steps});
  f.model.script = [](const std::vector<int32_t>& context) {
    return context.front() == 131 && context.size() % 7 == 0 ? ScriptedModel::kFaulty : -1;
  };
  std::vector<std::shared_ptr<request::TokenStream>> bad, good;
  for (int i = 0; i < 100; ++i) {
    bad.push_back(f.Submit(LoopFixture::Prompt(5 + i % 9, 1), 30));
    good.push_back(f.Submit(LoopFixture::Prompt(5 + i % 9, 2), 10));
    for (int k = 0; k < 3; ++k) f.Round();
  }
  f.RunUntilIdle();
  for (auto& stream : bad) {
    Received got;
    got.Read(*stream);
    EXPECT_REASON(got.status, Reason::kInternal);
  }
  for (int i = 0; i < 100; ++i) {
    Received got;
    got.Read(*good[i]);
    EXPECT_OK(got.status);
    EXPECT_EQ(got.tokens[0].size(), 10u);
  }
  f.ExpectEmpty();
}

TEST(StormTest, FaultyRowsTakeNobodyWithThem) { RunFaultyRows(AsyncScheduling::kOff); }

TEST(StormTest, FaultyRowsOfFedStepsTakeNobodyWithThem) { RunFaultyRows(AsyncScheduling::kOn); }

TEST(StormTest, FaultyRowsOfOverlappedStepsTakeNobodyWithThem) { RunFaultyRows(AsyncScheduling::kOff, 3); }

// With memory for all, a sequence that has its first token gets one in every further step, whatever arrives.
TEST(StormTest, DecodeIsNeverStarvedOverTenThousandSteps) {
  LoopFixture f({.blocks = 20000, .block_tokens = 4, .max_batch_size = 16, .max_batch_tokens = 32});
  std::mt19937_64 random(7);
  struct Running {
    std::shared_ptr<request::TokenStream> stream;
    size_t tokens = 0;
    bool started = false;
  };
  std::vector<Running> running;
  int64_t checked = 0;
  while (f.model.steps() < 10000) {
    if (random() % 8 == 0 && running.size() < 60) {
      running.push_back({f.Submit(LoopFixture::Prompt(1 + random() % 120, random() % 50), 1 + random() % 60)});
    }
    f.Round();
    for (Running& one : running) {
      const request::StreamBatch batch = one.stream->Read();
      if (one.started && !batch.closed) {
        ASSERT_EQ(batch.tokens.size(), 1u) << "after " << f.model.steps() << " steps";
        ++checked;
      }
      one.started = one.started || !batch.tokens.empty();
      one.tokens += batch.tokens.size();
      if (batch.closed) one.stream = nullptr;
    }
    std::erase_if(running, [](const Running& one) { return one.stream == nullptr; });
  }
  EXPECT_GT(checked, 20000);
  f.RunUntilIdle();
  f.ExpectEmpty();
}

}  // namespace
}  // namespace hadal::engine

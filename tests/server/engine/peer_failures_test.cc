// SPDX-License-Identifier: Apache-2.0
// What other servers do badly (docs/overload.md), as far as an engine and its admission are concerned. Each scenario
// gives one figure and runs twice: on a naive policy, where the figure is beyond the bound, and on ours, where it is
// not. The other failures: peer_failures_test.cc of tests/models/chat, tests/benchmarks/sim and tests/server/commands.
#include <algorithm>
#include <functional>
#include <optional>
#include <random>
#include <thread>

#include "gtest/gtest.h"
#include "server/engine/engine.h"
#include "tests/support/loop_fixture.h"
#include "tests/support/naive_engine.h"

namespace hadal::engine {
namespace {

using hadal::testing::AdmissionFixture;
using hadal::testing::FakeClock;
using hadal::testing::LoopFixture;
using hadal::testing::NaiveEngine;
using hadal::testing::Received;
using hadal::testing::ScriptedModel;
using request::Reason;

// A server as the scenarios see it.
class Server {
 public:
  virtual ~Server() = default;
  // The call's number; nullopt: refused.
  virtual std::optional<size_t> Submit(std::vector<int32_t> prompt, int32_t max_tokens) = 0;
  virtual void Cancel(size_t call) = 0;
  // One step; false when nothing moved.
  virtual bool Round() = 0;
  virtual std::vector<int32_t> Output(size_t call) = 0;
  virtual bool Finished(size_t call) = 0;
  virtual int32_t blocks_in_use() = 0;
  virtual int64_t waiting() = 0;
  virtual void SetBudget(int32_t blocks) = 0;
  virtual std::vector<int32_t> Alone(std::vector<int32_t> prompt, int32_t tokens) = 0;

  void RunUntilIdle(int limit = 20000) {
    for (int i = 0; i < limit && Round(); ++i) continue;
  }
};

class Naive : public Server {
 public:
  explicit Naive(NaiveEngine::Options options) : engine_(options) {}
  std::optional<size_t> Submit(std::vector<int32_t> prompt, int32_t max_tokens) override {
    return engine_.Submit(std::move(prompt), max_tokens);
  }
  void Cancel(size_t call) override { engine_.Cancel(call); }
  bool Round() override { return engine_.Round(); }
  std::vector<int32_t> Output(size_t call) override { return engine_.output(call); }
  bool Finished(size_t call) override { return engine_.finished(call); }
  int32_t blocks_in_use() override { return engine_.blocks_in_use(); }
  int64_t waiting() override { return engine_.waiting(); }
  void SetBudget(int32_t blocks) override { engine_.SetBudget(blocks); }
  std::vector<int32_t> Alone(std::vector<int32_t> prompt, int32_t tokens) override {
    std::vector<int32_t> answer;
    for (int32_t i = 0; i < tokens; ++i) {
      answer.push_back(engine_.model().NextToken(prompt));
      prompt.push_back(answer.back());
    }
    return answer;
  }

 private:
  NaiveEngine engine_;
};

class Ours : public Server {
 public:
  explicit Ours(LoopFixture::Config config) : f_(config) {}
  std::optional<size_t> Submit(std::vector<int32_t> prompt, int32_t max_tokens) override {
    auto request = LoopFixture::MakeRequest(std::move(prompt), max_tokens);
    auto stream = request->stream;
    if (last_refusal = f_.admission.Submit(request); !last_refusal.ok()) {
      refused_for_memory += request::GetErrorDetail(last_refusal).reason == Reason::kGpuMemoryExhausted;
      return std::nullopt;
    }
    calls_.push_back({stream, {}});
    return calls_.size() - 1;
  }
  void Cancel(size_t call) override { calls_[call].stream->Cancel(); }
  bool Round() override {
    f_.admission.clock.Advance(absl::Milliseconds(1));
    return f_.Round().progressed;
  }
  std::vector<int32_t> Output(size_t call) override { return Read(call).tokens[0]; }
  bool Finished(size_t call) override { return Read(call).closed && calls_[call].got.status.ok(); }
  int32_t blocks_in_use() override { return f_.state().leased_blocks; }
  int64_t waiting() override { return f_.admission.controller->GetLoad().waiting; }
  void SetBudget(int32_t blocks) override { f_.admission.pool.SetLimit(blocks * AdmissionFixture::kBlockBytes); }
  std::vector<int32_t> Alone(std::vector<int32_t> prompt, int32_t tokens) override {
    return f_.Expected(std::move(prompt), tokens);
  }
  LoopFixture& fixture() { return f_; }

  absl::Status last_refusal;
  int refused_for_memory = 0;

 private:
  struct Call {
    std::shared_ptr<request::TokenStream> stream;
    Received got;
  };
  Received& Read(size_t call) {
    if (!calls_[call].got.closed) calls_[call].got.Read(*calls_[call].stream);
    return calls_[call].got;
  }
  LoopFixture f_;
  std::vector<Call> calls_;
};

// 1. Hangs while health is green. Seconds until a model that never returns from a step is noticed; 600 if it is not.
int SecondsUntilNoticed(const std::function<bool(const Engine&)>& is_live) {
  FakeClock clock;
  admission::KvPoolLedger pool(1'000'000);
  admission::AdmissionController::Options admission_options;
  admission_options.clock = &clock;
  auto admission = *admission::AdmissionController::Create(std::move(admission_options));
  admission->AddModel({"test", 100000, 4, 1000, &pool}).value();
  admission->SetReady();
  auto model = std::make_shared<ScriptedModel>();
  model->Hold();
  EngineOptions options;
  options.clock = &clock;
  options.num_blocks = 1000;
  options.block_tokens = 4;
  auto engine = *Engine::Create(options, model, admission.get(), 0);
  engine->Start();
  auto request = AdmissionFixture::MakeRequest(5, 4);
  request->arrival = clock.Now();
  auto ticket = admission->TryAdmit({request->priority, "", request->id, 0});
  EXPECT_OK(ticket);
  EXPECT_OK(ticket->Finalize(*request, 0));
  EXPECT_OK(admission->Enqueue(0, std::move(request), *std::move(ticket)));
  while (!engine->snapshot().step_in_flight) std::this_thread::yield();
  int seconds = 0;
  while (is_live(*engine) && seconds < 600) {
    clock.Advance(absl::Seconds(1));
    ++seconds;
  }
  model->LetGo();
  engine->Stop();
  return seconds;
}

TEST(PeerFailuresTest, HealthIsGreenWhileNothingMoves) {
  // Health as it is often written: the process answers, and its engine has reported no error.
  const int naive = SecondsUntilNoticed([](const Engine& engine) { return !engine.snapshot().device_fault; });
  const int ours = SecondsUntilNoticed([](const Engine& engine) { return engine.Health().live; });
  EXPECT_GT(naive, 31) << "the scenario no longer shows the failure";
  EXPECT_LE(ours, 31);
  RecordProperty("naive", naive);
  RecordProperty("ours", ours);
}

// 3. Wrong text under concurrency. Of 64 requests together, those whose text is not what each gets alone. Their first
// blocks have the same hash in pairs, as an attacker or a poor hash function brings it about.
int WrongTexts(Server& server) {
  std::vector<std::vector<int32_t>> prompts;
  for (const int32_t twin : {0, 1}) {
    for (int32_t i = 0; i < 32; ++i) {
      std::vector<int32_t> prompt = {10 + 2 * i + twin, 200 + i - 31 * twin, 5, 6, i, 8, 9, i, 11, 12};
      prompts.push_back(std::move(prompt));
    }
  }
  std::vector<size_t> calls;
  for (const std::vector<int32_t>& prompt : prompts) calls.push_back(server.Submit(prompt, 8).value());
  server.RunUntilIdle();
  int wrong = 0;
  for (size_t i = 0; i < calls.size(); ++i) wrong += server.Output(calls[i]) != server.Alone(prompts[i], 8);
  return wrong;
}

TEST(PeerFailuresTest, TextsAreMixedUp) {
  Naive naive({});
  Ours ours({}), preempting({.blocks = 40, .ledger_blocks = 1000});
  const int wrong = WrongTexts(naive);
  EXPECT_EQ(wrong, 32) << "the scenario no longer shows the failure";
  EXPECT_EQ(WrongTexts(ours), 0);
  EXPECT_EQ(WrongTexts(preempting), 0);
  EXPECT_GT(preempting.fixture().observer.preemptions, 0);
  RecordProperty("naive", wrong);
}

// 7. Aborts leak KV blocks. Those that are held after 2,000 callers, of whom all go away at some moment, are gone.
int LeakedBlocks(Server& server) {
  std::mt19937 random(7);
  std::vector<size_t> open;
  for (int i = 0; i < 2000; ++i) {
    const auto call = server.Submit(LoopFixture::Prompt(1 + random() % 60, i), 1 + random() % 40);
    if (call.has_value()) open.push_back(*call);
    while (open.size() > 24 || (!open.empty() && random() % 3 == 0)) {
      const size_t victim = random() % open.size();
      server.Cancel(open[victim]);
      open.erase(open.begin() + static_cast<std::ptrdiff_t>(victim));
    }
    server.Round();
  }
  for (const size_t call : open) server.Cancel(call);
  server.RunUntilIdle();
  return server.blocks_in_use();
}

TEST(PeerFailuresTest, AbortsLeakBlocks) {
  Naive naive({.blocks = 64, .max_batch_tokens = 16, .on_cancel = NaiveEngine::OnCancel::kLeaks});
  Ours ours({.blocks = 64, .max_batch_tokens = 16});
  const int leaked = LeakedBlocks(naive);
  EXPECT_GT(leaked, 32) << "the scenario no longer shows the failure";
  EXPECT_EQ(LeakedBlocks(ours), 0);
  ours.fixture().ExpectEmpty();
  // What is lost is not only a number: a request that would fit does not start any more.
  const size_t next = naive.Submit(LoopFixture::Prompt(120), 4).value();
  naive.RunUntilIdle();
  EXPECT_FALSE(naive.Finished(next));
  const size_t same = ours.Submit(LoopFixture::Prompt(120), 4).value();
  ours.RunUntilIdle();
  EXPECT_TRUE(ours.Finished(same));
  RecordProperty("naive", leaked);
}

// 8. A cancel is ignored. Steps until a request that was cancelled in its decoding, in its prefill and in the queue
// holds nothing any more; the largest of the three.
int StepsAfterCancel(const std::function<std::unique_ptr<Server>()>& make) {
  int most = 0;
  for (const char* state : {"decode", "prefill", "queue"}) {
    SCOPED_TRACE(state);
    const std::unique_ptr<Server> server = make();
    const bool queued = std::string(state) == "queue";
    if (queued) server->Submit(LoopFixture::Prompt(4), 300);
    const size_t call = server->Submit(LoopFixture::Prompt(std::string(state) == "decode" ? 4 : 200, 2), 200).value();
    for (int i = 0; i < 4; ++i) server->Round();
    EXPECT_GT(queued ? server->waiting() : server->blocks_in_use(), 0);
    server->Cancel(call);
    int steps = 0;
    while ((queued ? server->waiting() : server->blocks_in_use()) > 0 && steps < 1000) {
      server->Round();
      ++steps;
    }
    most = std::max(most, steps);
  }
  return most;
}

TEST(PeerFailuresTest, CancelledRequestsRunOn) {
  const int naive = StepsAfterCancel(
      [] { return std::make_unique<Naive>(NaiveEngine::Options{.max_batch_size = 1, .max_batch_tokens = 8}); });
  const int ours = StepsAfterCancel(
      [] { return std::make_unique<Ours>(LoopFixture::Config{.max_batch_size = 1, .max_batch_tokens = 8}); });
  EXPECT_GT(naive, 1) << "the scenario no longer shows the failure";
  EXPECT_LE(ours, 1);
  RecordProperty("naive", naive);
}

// 10. Impossible requests wait for ever. Of 20 small requests behind one that the whole pool cannot hold, those served
// within 2,000 steps.
int ServedBehindAnImpossibleOne(Server& server) {
  server.Submit(LoopFixture::Prompt(500), 8);
  std::vector<size_t> small;
  for (int i = 0; i < 20; ++i) small.push_back(server.Submit(LoopFixture::Prompt(8, i), 8).value());
  for (int i = 0; i < 2000; ++i) server.Round();
  return static_cast<int>(
      std::count_if(small.begin(), small.end(), [&](size_t call) { return server.Finished(call); }));
}

TEST(PeerFailuresTest, AnImpossibleRequestBlocksTheQueue) {
  Naive naive({.blocks = 60});
  Ours ours({.blocks = 60});
  ours.Submit(LoopFixture::Prompt(500), 8);
  EXPECT_REASON(ours.last_refusal, Reason::kRequestNeverFits) << "a 400 before it queues";
  const int served = ServedBehindAnImpossibleOne(naive);
  EXPECT_LT(served, 20) << "the scenario no longer shows the failure";
  EXPECT_EQ(ServedBehindAnImpossibleOne(ours), 20);
  RecordProperty("naive", served);
}

// 10. The memory that a server may use becomes less while it runs: requests that were accepted and never end, of those
// that run when it happens and of those that come while it lasts.
int LostToASmallerBudget(Server& server) {
  std::vector<size_t> accepted;
  const auto come = [&](int requests) {
    for (int i = 0; i < requests; ++i) {
      if (const auto call = server.Submit(LoopFixture::Prompt(8, static_cast<int32_t>(accepted.size())), 40)) {
        accepted.push_back(*call);
      }
    }
  };
  come(12);
  for (int i = 0; i < 6; ++i) server.Round();
  EXPECT_GT(server.blocks_in_use(), 30);
  server.SetBudget(30);
  for (int i = 0; i < 8; ++i) {
    come(2);
    for (int k = 0; k < 10; ++k) server.Round();
  }
  server.RunUntilIdle();
  server.SetBudget(200);
  come(1);
  server.RunUntilIdle();
  EXPECT_TRUE(server.Finished(accepted.back())) << "it serves again once there is memory";
  return static_cast<int>(
      std::count_if(accepted.begin(), accepted.end(), [&](size_t call) { return !server.Finished(call); }));
}

TEST(PeerFailuresTest, ASmallerBudgetEndsWhatRuns) {
  Naive naive({.blocks = 200});
  Ours ours({.blocks = 200});
  const int lost = LostToASmallerBudget(naive);
  EXPECT_GT(lost, 0) << "the scenario no longer shows the failure";
  EXPECT_EQ(LostToASmallerBudget(ours), 0);
  EXPECT_GT(ours.refused_for_memory, 0);
  ours.fixture().ExpectEmpty();
  RecordProperty("naive", lost);
}

// 10. Limits are checked, the prompt is tokenised, and only then is it counted: requests in the queue after a burst of
// 300 that arrives within the time that a prompt takes, where 166 are allowed.
class CountsAfterTokenising {
 public:
  explicit CountsAfterTokenising(int64_t limit) : limit_(limit) {}
  bool Check() const { return waiting_ < limit_; }
  void Count() { ++waiting_; }
  int64_t waiting() const { return waiting_; }

 private:
  const int64_t limit_;
  int64_t waiting_ = 0;
};

TEST(PeerFailuresTest, ABurstOvershootsTheLimit) {
  CountsAfterTokenising naive(166);
  AdmissionFixture ours(/*blocks=*/100000, /*max_queue_requests=*/166);
  int tokenised_by_naive = 0;
  std::vector<admission::Ticket> tickets;
  for (int i = 0; i < 300; ++i) {
    tokenised_by_naive += naive.Check();
    absl::StatusOr<admission::Ticket> ticket = ours.Admit(20);
    if (ticket.ok()) tickets.push_back(*std::move(ticket));
  }
  for (int i = 0; i < tokenised_by_naive; ++i) naive.Count();
  EXPECT_GT(naive.waiting(), 166) << "the scenario no longer shows the failure";
  EXPECT_EQ(ours.controller->GetLoad().waiting, 166);
  EXPECT_EQ(tickets.size(), 166u) << "and no more are tokenised";
  RecordProperty("naive", static_cast<int>(naive.waiting()));
}

}  // namespace
}  // namespace hadal::engine

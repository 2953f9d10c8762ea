// SPDX-License-Identifier: Apache-2.0
// What overlapped steps are for: two stages that sleep in place of computing, and how long the engine takes with one
// step at a time and with two. The ratio of both, in the same process, is what counts.
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "models/model_runner.h"
#include "server/engine/engine.h"
#include "tests/support/admission_fixture.h"

namespace hadal::engine {
namespace {

using hadal::testing::AdmissionFixture;

// What a stage takes of a step.
struct Cost {
  std::chrono::microseconds step{0};
  std::chrono::microseconds row{0};
};

constexpr int32_t kSequences = 8;
constexpr int32_t kTokens = 16;

// Sleeps for what a step costs; how long that was.
double Sleep(Cost cost, const models::StepInput& input) {
  const auto begin = std::chrono::steady_clock::now();
  std::this_thread::sleep_for(cost.step + cost.row * input.tokens());
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

models::StepOutput Ones(const models::StepInput& input) {
  models::StepOutput output;
  output.samples.resize(input.samples.size());
  for (models::SampleResult& sample : output.samples) sample.token_id = 1;
  return output;
}

class SleepingPart : public models::ModelPart {
 public:
  SleepingPart(Cost cost, std::atomic<double>* busy) : cost_(cost), busy_(*busy) {
    info_.name = info_.fingerprint = "sleeping";
    info_.vocab_size = 100;
    info_.max_model_len = 1000;
    layout_.caches.push_back({.name = "tokens", .layers = 1, .bytes_per_entry_layer = 8});
  }
  const models::ModelInfo& info() const override { return info_; }
  const models::LayerRange& layers() const override { return layers_; }
  const models::KvLayout& kv_layout() const override { return layout_; }
  models::DeviceCounters device_counters() const override { return {}; }
  int64_t WorkspaceBytes(int32_t, int32_t) const override { return 0; }
  absl::Status AllocateKvCache(const models::KvCacheSize&) override { return absl::OkStatus(); }
  int64_t state_bytes() const override { return 1; }
  bool takes_state() const override { return false; }
  bool gives_state() const override { return true; }
  absl::Status Check(const models::StepInput&, int32_t) override { return absl::OkStatus(); }
  absl::StatusOr<models::StepOutput> Run(const models::StepInput& input, absl::Span<const std::byte>,
                                         std::vector<std::byte>* state) override {
    busy_ = busy_ + Sleep(cost_, input);
    state->resize(input.tokens());
    return models::StepOutput();
  }
  absl::StatusOr<std::unique_ptr<models::IssuedStep>> Issue(const models::StepInput&) override {
    return absl::UnimplementedError("a part of a model");
  }

 private:
  const Cost cost_;
  std::atomic<double>& busy_;  // seconds
  models::ModelInfo info_;
  models::LayerRange layers_{0, 1};
  models::KvLayout layout_;
};

// A worker: its steps are computed in their order on a thread of its own.
class SleepingRest : public models::ModelRest {
 public:
  explicit SleepingRest(Cost cost) : cost_(cost), thread_([this] { Compute(); }) {}
  ~SleepingRest() override {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }
  absl::StatusOr<models::KvCacheSize> FitKvCache(const models::KvCacheSize& wanted) override { return wanted; }
  absl::Status AllocateKvCache(const models::KvCacheSize&) override { return absl::OkStatus(); }
  absl::Status Send(const models::StepInput& input, absl::Span<const std::byte>, std::chrono::nanoseconds) override {
    std::lock_guard<std::mutex> lock(mutex_);
    sent_.push_back(input);
    changed_.notify_all();
    return absl::OkStatus();
  }
  absl::StatusOr<models::StepOutput> Receive() override {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return !outputs_.empty(); });
    models::StepOutput output = std::move(outputs_.front());
    outputs_.pop_front();
    return output;
  }

 private:
  void Compute() {
    std::unique_lock<std::mutex> lock(mutex_);
    while (true) {
      changed_.wait(lock, [this] { return stopping_ || !sent_.empty(); });
      if (sent_.empty()) return;
      const models::StepInput input = std::move(sent_.front());
      sent_.pop_front();
      lock.unlock();
      Sleep(cost_, input);
      lock.lock();
      outputs_.push_back(Ones(input));
      changed_.notify_all();
    }
  }

  const Cost cost_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  std::deque<models::StepInput> sent_;
  std::deque<models::StepOutput> outputs_;
  std::thread thread_;
};

struct Result {
  double seconds = 1e9;
  double idle_share = 0;  // of the first stage
};

// How long the answers of `sequences` requests take, all of them there from the start.
Result Run(int32_t sequences, int32_t max_batch_size, Cost cost, int overlapped_steps) {
  admission::KvPoolLedger pool(1000 * 1000);
  auto controller = *admission::AdmissionController::Create({});
  controller->AddModel({"test", 1000, 4, 1000, &pool}).value();
  std::atomic<double> busy{0};
  auto model = std::make_shared<models::ModelRunner>(std::make_unique<SleepingPart>(cost, &busy),
                                                     std::make_unique<SleepingRest>(cost), overlapped_steps);
  EngineOptions options;
  options.num_blocks = 1000;
  options.block_tokens = 4;
  options.max_batch_size = max_batch_size;
  options.max_batch_tokens = 64;
  options.prefix_cache = false;
  auto engine = *Engine::Create(options, model, controller.get(), 0);
  controller->SetReady();
  std::vector<std::shared_ptr<request::TokenStream>> streams;
  for (int32_t i = 0; i < sequences; ++i) {
    auto request = AdmissionFixture::MakeRequest(1, kTokens);
    request->arrival = options.clock->Now();
    streams.push_back(request->stream);
    auto ticket = controller->TryAdmit({request->priority, "", request->id, 0});
    EXPECT_OK(ticket.status());
    EXPECT_OK(ticket->Finalize(*request, 0));
    EXPECT_OK(controller->Enqueue(0, std::move(request), *std::move(ticket)));
  }
  const absl::Time begin = absl::Now();
  engine->Start();
  for (auto& stream : streams) {
    size_t tokens = 0;
    for (bool closed = false; !closed;) {
      const request::StreamBatch batch = stream->ReadBlocking(absl::Seconds(60));
      tokens += batch.tokens.size();
      closed = batch.closed;
    }
    EXPECT_EQ(tokens, static_cast<size_t>(kTokens));
  }
  const double seconds = absl::ToDoubleSeconds(absl::Now() - begin);
  engine->Stop();
  return {seconds, 1 - busy / seconds};
}

// The best of three of each, in turn.
double Ratio(int32_t sequences, int32_t batch_alone, int32_t batch_overlapped, Cost cost) {
  Result alone, overlapped;
  for (int i = 0; i < 3; ++i) {
    const Result one = Run(sequences, batch_alone, cost, 1), two = Run(sequences, batch_overlapped, cost, 2);
    if (one.seconds < alone.seconds) alone = one;
    if (two.seconds < overlapped.seconds) overlapped = two;
  }
  const double ratio = alone.seconds / overlapped.seconds;
  std::printf("%d sequences: %.3f s one step at a time, a stage idle %.2f; %.3f s with two, idle %.2f; ratio %.2f\n",
              sequences, alone.seconds, alone.idle_share, overlapped.seconds, overlapped.idle_share, ratio);
  EXPECT_GT(alone.idle_share, 0.45);  // while the other one computes
  EXPECT_LT(overlapped.idle_share, alone.idle_share);
  return ratio;
}

// Two stages that cost by the row: the ideal is 2, less the first step and the last.
TEST(OverlapThroughputTest, TwoStagesThatCostByTheRowAreBothBusy) {
  const Cost cost = {.row = std::chrono::milliseconds(1)};
  EXPECT_GT(Ratio(kSequences, kSequences, kSequences, cost), 1.25);
}

// Two stages that cost the same whatever a step holds: halves of a batch take as long as the whole, and nothing is lost
// by them.
TEST(OverlapThroughputTest, StagesThatCostByTheStepLoseNothing) {
  const Cost cost = {.step = std::chrono::milliseconds(5)};
  EXPECT_GT(Ratio(kSequences, kSequences, kSequences, cost), 0.6);
}

// With room for as many sequences in each of the steps the throughput doubles, too.
TEST(OverlapThroughputTest, ABatchForEachStageDoublesTheThroughputOfStagesThatCostByTheStep) {
  const Cost cost = {.step = std::chrono::milliseconds(5)};
  EXPECT_GT(Ratio(2 * kSequences, kSequences, 2 * kSequences, cost), 1.25);
}

}  // namespace
}  // namespace hadal::engine

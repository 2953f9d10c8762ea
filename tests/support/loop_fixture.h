// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "server/engine/engine_observer.h"
#include "server/engine/step_loop.h"
#include "tests/fakes/scripted_model.h"
#include "tests/support/admission_fixture.h"
#include "tests/support/block_recorder.h"

namespace hadal::testing {

// What a consumer has received of one request.
struct Received {
  std::map<int32_t, std::vector<int32_t>> tokens;  // by choice
  std::map<int32_t, request::ChoiceEnd> ends;
  std::vector<request::TokenEvent> events;
  std::vector<request::TokenEvent> prompt_scores;
  bool started = false;
  bool closed = false;
  absl::Status status;
  request::StreamUsage usage;

  void Read(request::TokenStream& stream) {
    request::StreamBatch batch = stream.Read();
    for (request::TokenEvent& event : batch.tokens) {
      EXPECT_FALSE(ends.contains(event.choice)) << "a token after the end of choice " << event.choice;
      tokens[event.choice].push_back(event.token_id);
      events.push_back(std::move(event));
    }
    for (const request::ChoiceEnd& end : batch.ends) {
      EXPECT_TRUE(ends.emplace(end.choice, end).second) << "a second end of choice " << end.choice;
    }
    if (!batch.prompt_scores.empty()) {
      EXPECT_TRUE(prompt_scores.empty()) << "prompt scores twice";
      prompt_scores = std::move(batch.prompt_scores);
    }
    started = started || batch.started;
    closed = batch.closed;
    status = batch.status;
    usage = batch.usage;
  }
};

class CountingObserver : public engine::EngineObserver {
 public:
  void OnStep(const engine::StepFacts& facts) override { last_step = facts; }
  void OnMasks(const engine::MaskFacts& facts) override { mask_rows += facts.rows; }
  void OnPreempted(int32_t) override { ++preemptions; }
  void OnSetAside(int32_t sequences) override { set_aside += sequences; }
  void OnRecomputed(int32_t tokens) override { recomputed_tokens += tokens; }
  void OnDiscarded(int32_t rows) override { discarded_rows += rows; }
  void OnPrefixLookup(int32_t query, int32_t hit) override {
    query_tokens += query;
    hit_tokens += hit;
  }
  void OnEnded(const engine::RequestFacts& facts) override {
    ++ended;
    good += facts.good ? 1 : 0;
    last_ended = facts;
  }
  engine::StepFacts last_step;
  engine::RequestFacts last_ended;
  int64_t preemptions = 0, set_aside = 0, recomputed_tokens = 0, query_tokens = 0, hit_tokens = 0, ended = 0, good = 0,
          mask_rows = 0, discarded_rows = 0;
};

// A StepLoop over a scripted model, turned by the test's own thread on a virtual clock.
class LoopFixture {
 public:
  struct Config {
    int32_t blocks = 1000;
    int32_t block_tokens = 4;
    int32_t max_batch_size = 16;
    int32_t max_batch_tokens = 64;
    int32_t max_preemptions = 2;
    int64_t max_queue_requests = 512;
    int64_t ledger_blocks = 0;  // 0: as many as blocks; more: leases never refuse, so that preemption can be provoked
    absl::Duration batch_wait = absl::ZeroDuration();
    absl::Duration step_time_target = absl::ZeroDuration();
    absl::Duration wait_limit = absl::InfiniteDuration();  // of every class
    absl::Duration slow_reader_timeout = absl::Seconds(30);
    bool prefix_cache = true;
    int32_t window_tokens = 0;        // > 0: the model has a windowed cache
    int32_t extra_window_blocks = 0;  // beyond what the batch needs
    admission::SurplusRetry surplus_retry = admission::SurplusRetry::kOnce;
    engine::AsyncScheduling async_scheduling = engine::AsyncScheduling::kOff;
    int overlapped_steps = 1;
  };

  explicit LoopFixture(Config config)
      : admission(config.ledger_blocks > 0 ? config.ledger_blocks : config.blocks, config.max_queue_requests, 0, 100000,
                  config.block_tokens, config.surplus_retry, config.wait_limit),
        model({.max_tokens = config.max_batch_tokens,
               .max_sequences = config.max_batch_size,
               .window_tokens = config.window_tokens,
               .overlapped_steps = config.overlapped_steps}) {
    options.clock = &admission.clock;
    options.step_time_target = config.step_time_target;
    options.num_blocks = config.blocks;
    options.block_tokens = config.block_tokens;
    options.num_window_blocks = static_cast<int32_t>(model.kv_layout().window_blocks_for(
                                    config.block_tokens, config.max_batch_size, config.max_batch_tokens)) +
                                config.extra_window_blocks;
    options.max_batch_size = config.max_batch_size;
    options.max_batch_tokens = config.max_batch_tokens;
    options.max_preemptions = config.max_preemptions;
    options.batch_wait = config.batch_wait;
    options.stream.slow_reader_timeout = config.slow_reader_timeout;
    options.prefix_cache = config.prefix_cache;
    options.async_scheduling = config.async_scheduling;
    options.observer = &observer;
    options.block_events = &blocks;
    EXPECT_OK(options.Validate());
    EXPECT_OK(model.AllocateKvCache({config.blocks, config.block_tokens, options.num_window_blocks}));
    loop = std::make_unique<engine::StepLoop>(options, &model, admission.controller.get(), 0, wake, published);
  }
  LoopFixture() : LoopFixture(Config()) {}
  ~LoopFixture() { EXPECT_EQ(model.errors(), std::vector<std::string>()); }

  static std::vector<int32_t> Prompt(int32_t length, int32_t first = 1) {
    std::vector<int32_t> prompt(length);
    for (int32_t i = 0; i < length; ++i) prompt[i] = (first * 131 + i * 7) % 1000;
    return prompt;
  }
  static std::unique_ptr<request::Request> MakeRequest(std::vector<int32_t> prompt, int32_t max_tokens,
                                                       request::Priority priority = request::Priority::kNormal) {
    auto request = AdmissionFixture::MakeRequest(1, max_tokens, priority);
    request->prompt = std::move(prompt);
    request->sampling.temperature = 0;
    return request;
  }

  // Queues a request; its stream. The request must be admitted.
  std::shared_ptr<request::TokenStream> Submit(std::unique_ptr<request::Request> request) {
    auto stream = request->stream;
    EXPECT_OK(admission.Submit(request));
    return stream;
  }
  std::shared_ptr<request::TokenStream> Submit(std::vector<int32_t> prompt, int32_t max_tokens,
                                               request::Priority priority = request::Priority::kNormal) {
    return Submit(MakeRequest(std::move(prompt), max_tokens, priority));
  }

  engine::StepLoop::Round Round() {
    round = loop->RunOnce(wake->Take());
    if (!round.progressed && round.wake_at > admission.clock.Now()) {
      EXPECT_FALSE(loop->RunOnce(0).progressed)
          << "there was work left, and nothing would have woken the engine for it";
    }
    CheckAccounts();
    return round;
  }
  // Turns the loop until nothing moves, at most `limit` rounds.
  void RunUntilIdle(int limit = 100000) {
    for (int i = 0; i < limit; ++i) {
      if (!Round().progressed) return;
      admission.clock.Advance(absl::Milliseconds(1));
    }
    FAIL() << "still busy after " << limit << " rounds";
  }
  Received Finish(std::shared_ptr<request::TokenStream> stream) {
    Received received;
    RunUntilIdle();
    received.Read(*stream);
    return received;
  }
  // The greedy answer of that prompt, computed without the engine.
  std::vector<int32_t> Expected(std::vector<int32_t> prompt, int32_t tokens) const {
    std::vector<int32_t> answer;
    for (int32_t i = 0; i < tokens; ++i) {
      answer.push_back(model.NextToken(prompt));
      prompt.push_back(answer.back());
    }
    return answer;
  }

  engine::PublishedState& state() { return *published; }
  void CheckAccounts() {
    const int32_t sum = published->free_blocks + published->leased_blocks + published->cached_blocks;
    ASSERT_EQ(sum, options.num_blocks);
    const int32_t windows =
        published->free_window_blocks + published->leased_window_blocks + published->cached_window_blocks;
    ASSERT_EQ(windows, options.num_window_blocks);
    ASSERT_LE(admission.pool.leased_bytes(), admission.pool.capacity_bytes());
  }
  // Everything went back: tickets, leases, blocks.
  void ExpectEmpty() {
    EXPECT_TRUE(loop->idle());
    EXPECT_EQ(published->leased_blocks, 0);
    EXPECT_EQ(published->leased_window_blocks, 0);
    EXPECT_EQ(published->running, 0);
    EXPECT_EQ(published->running_sequences, 0);
    EXPECT_EQ(published->preempted_sequences, 0);
    EXPECT_EQ(published->paused_requests, 0);
    EXPECT_EQ(admission.controller->GetLoad().waiting, 0);
    EXPECT_EQ(admission.controller->GetLoad().waiting_tokens, 0);
    EXPECT_EQ(admission.pool.leased_bytes(), 0);
    EXPECT_EQ(admission.pool.active_leases(), 0);
    EXPECT_EQ(static_cast<int32_t>(blocks.blocks.size()), published->cached_blocks)
        << "others were told of other blocks";
  }

  AdmissionFixture admission;
  ScriptedModel model;
  CountingObserver observer;
  BlockRecorder blocks{/*first_loss=*/50};
  engine::EngineOptions options;
  std::shared_ptr<request::WakeSignal> wake = std::make_shared<request::WakeSignal>();
  std::shared_ptr<engine::PublishedState> published = std::make_shared<engine::PublishedState>();
  std::unique_ptr<engine::StepLoop> loop;
  engine::StepLoop::Round round;
};

}  // namespace hadal::testing

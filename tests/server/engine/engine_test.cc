// SPDX-License-Identifier: Apache-2.0
// The engine with its thread.
#include "server/engine/engine.h"

#include <future>
#include <random>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "models/null_model.h"
#include "tests/fakes/scripted_model.h"
#include "tests/support/admission_fixture.h"

namespace hadal::engine {
namespace {

using hadal::testing::AdmissionFixture;
using hadal::testing::FakeClock;
using hadal::testing::ScriptedModel;
using request::FinishReason;
using request::Priority;
using request::Reason;

// Controller, model and engine on the real clock unless a fake one is given.
struct Server {
  explicit Server(int32_t blocks = 2000, base::Clock* clock = base::Clock::Real(), int64_t queue = 512,
                  int overlapped_steps = 1)
      : pool(int64_t{1000} * blocks) {
    admission::AdmissionController::Options admission_options;
    admission_options.clock = clock;
    admission_options.max_queue_requests = queue;
    controller = *admission::AdmissionController::Create(std::move(admission_options));
    controller->AddModel({"test", 100000, 4, 1000, &pool}).value();
    model = std::make_shared<ScriptedModel>(ScriptedModel::Options{.overlapped_steps = overlapped_steps});
    EngineOptions options;
    options.clock = clock;
    options.num_blocks = blocks;
    options.block_tokens = 4;
    options.max_batch_size = 16;
    options.max_batch_tokens = 64;
    engine = *Engine::Create(options, model, controller.get(), 0);
    controller->SetReady();
  }
  ~Server() {
    engine->Stop();
    EXPECT_EQ(model->errors(), std::vector<std::string>());
    EXPECT_EQ(pool.leased_bytes(), 0);
    EXPECT_EQ(controller->GetLoad().waiting, 0);
    EXPECT_EQ(engine->snapshot().leased_blocks, 0);
  }

  absl::Status Submit(std::unique_ptr<request::Request>& request) {
    request->arrival = controller->options().clock->Now();
    auto ticket = controller->TryAdmit({request->priority, "", request->id, 0});
    if (!ticket.ok()) return ticket.status();
    if (absl::Status status = ticket->Finalize(*request, 0); !status.ok()) return status;
    return controller->Enqueue(0, std::move(request), *std::move(ticket));
  }
  std::shared_ptr<request::TokenStream> Start(int32_t prompt_tokens, int32_t max_tokens) {
    auto request = AdmissionFixture::MakeRequest(prompt_tokens, max_tokens);
    auto stream = request->stream;
    EXPECT_OK(Submit(request));
    return stream;
  }

  admission::KvPoolLedger pool;
  std::unique_ptr<admission::AdmissionController> controller;
  std::shared_ptr<ScriptedModel> model;
  std::unique_ptr<Engine> engine;
};

request::StreamBatch ReadAll(request::TokenStream& stream) {
  request::StreamBatch all;
  while (!all.closed) {
    request::StreamBatch batch = stream.ReadBlocking(absl::Seconds(20));
    if (batch.tokens.empty() && batch.ends.empty() && !batch.closed && !batch.started) break;
    for (auto& token : batch.tokens) all.tokens.push_back(token);
    for (auto& end : batch.ends) all.ends.push_back(end);
    all.closed = batch.closed;
    all.status = batch.status;
    all.usage = batch.usage;
  }
  return all;
}

TEST(EngineTest, OptionsAreChecked) {
  EngineOptions options;
  EXPECT_EQ(options.Validate().message(), "engine: num_blocks is 0, allowed 1 to 1073741824");
  options.num_blocks = 4;
  EXPECT_OK(options.Validate());
  options.max_batch_tokens = 100;
  EXPECT_FALSE(options.Validate().ok()) << "decode of a full batch must fit into a step";
}

TEST(EngineTest, ServesAndSleepsWhenIdle) {
  Server server;
  server.engine->Start();
  for (int i = 0; i < 3; ++i) {
    const request::StreamBatch all = ReadAll(*server.Start(5, 8));
    EXPECT_EQ(all.tokens.size(), 8u);
    EXPECT_OK(all.status);
  }
  const EngineSnapshot snapshot = server.engine->snapshot();
  EXPECT_EQ(snapshot.total_blocks, 2000);
  EXPECT_GE(snapshot.steps, 24);
  EXPECT_TRUE(server.engine->Health().live);
}

TEST(EngineTest, ACancelWakesNobodyAfterStop) {
  Server server;
  server.engine->Start();
  auto stream = server.Start(5, 1000);
  server.engine->Stop();
  stream->Cancel();
  const request::StreamBatch batch = stream->Read();
  EXPECT_TRUE(batch.closed);
  EXPECT_REASON(batch.status, Reason::kDraining);
}

TEST(EngineTest, HealthFailsWhenAStepNeverEndsAndNeverBecauseOfTheQueue) {
  FakeClock clock;
  Server server(2000, &clock);
  server.model->Hold();
  server.engine->Start();
  clock.Advance(absl::Seconds(100));
  EXPECT_TRUE(server.engine->Health().live) << "idle is healthy";
  auto stream = server.Start(5, 4);
  while (!server.engine->snapshot().step_in_flight) std::this_thread::yield();
  clock.Advance(absl::Seconds(29));
  EXPECT_TRUE(server.engine->Health().live);
  clock.Advance(absl::Seconds(2));
  const HealthSnapshot health = server.engine->Health();
  EXPECT_FALSE(health.live);
  EXPECT_THAT(health.message, ::testing::HasSubstr("no step has ended for 31s"));
  server.model->LetGo();
  EXPECT_EQ(ReadAll(*stream).tokens.size(), 4u);
  EXPECT_TRUE(server.engine->Health().live);
}

TEST(EngineTest, HealthStaysGoodUnderALongQueue) {
  Server server(2000, base::Clock::Real(), 100);
  server.engine->Start();
  std::vector<std::shared_ptr<request::TokenStream>> streams;
  for (int i = 0; i < 100; ++i) streams.push_back(server.Start(3, 10));
  EXPECT_TRUE(server.engine->Health().live);
  for (auto& stream : streams) EXPECT_EQ(ReadAll(*stream).tokens.size(), 10u);
}

TEST(EngineTest, HealthFailsAfterADeviceFault) {
  Server server;
  server.model->on_wait = [] { return absl::InternalError("gone"); };
  server.engine->Start();
  EXPECT_REASON(ReadAll(*server.Start(5, 4)).status, Reason::kDeviceFault);
  EXPECT_FALSE(server.engine->Health().live);
  auto request = AdmissionFixture::MakeRequest(3, 3);
  EXPECT_REASON(server.Submit(request), Reason::kDeviceFault);
}

TEST(EngineTest, DrainFinishesWhatRuns) {
  Server server;
  std::vector<std::shared_ptr<request::TokenStream>> streams;
  for (int i = 0; i < 30; ++i) streams.push_back(server.Start(5, 50));
  server.model->Hold();
  server.engine->Start();
  while (server.engine->snapshot().running < 13) std::this_thread::yield();
  server.controller->BeginDrain();
  server.engine->BeginDrain(absl::Seconds(20));
  server.model->LetGo();
  EXPECT_TRUE(server.engine->WaitDrained());
  int finished = 0, refused = 0;
  for (auto& stream : streams) {
    const request::StreamBatch batch = ReadAll(*stream);
    EXPECT_TRUE(batch.closed);
    if (batch.status.ok()) {
      EXPECT_EQ(batch.tokens.size(), 50u);
      ++finished;
    } else {
      EXPECT_REASON(batch.status, Reason::kDraining);
      ++refused;
    }
  }
  EXPECT_GE(finished, 13);
  EXPECT_EQ(finished + refused, 30);
  EXPECT_TRUE(server.engine->snapshot().draining);
}

TEST(EngineTest, DrainTimeOutCutsLongAnswers) {
  Server server;
  server.engine->Start();
  auto stream = server.Start(5, 7000);
  while (server.engine->snapshot().steps < 5) std::this_thread::yield();
  server.controller->BeginDrain();
  server.engine->BeginDrain(absl::Milliseconds(1));
  EXPECT_TRUE(server.engine->WaitDrained());
  const request::StreamBatch batch = ReadAll(*stream);
  ASSERT_TRUE(batch.closed);
  ASSERT_EQ(batch.ends.size(), 1u);
  EXPECT_EQ(batch.ends[0].reason, FinishReason::kInsufficientSystemResource);
}

TEST(EngineTest, DrainGivesUpOnAModelThatHangs) {
  FakeClock clock;
  Server server(2000, &clock);
  server.model->Hold();
  server.engine->Start();
  auto stream = server.Start(5, 4);
  while (!server.engine->snapshot().step_in_flight) std::this_thread::yield();
  server.controller->BeginDrain();
  server.engine->BeginDrain(absl::Seconds(5));
  auto drained = std::async(std::launch::async, [&] { return server.engine->WaitDrained(); });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  clock.Advance(absl::Seconds(36));
  EXPECT_FALSE(drained.get());
  server.model->LetGo();
}

TEST(EngineTest, ABurstOfThreeHundredAgainstAPausedEngineIsRefusedExactly) {
  Server server(100000, base::Clock::Real(), 166);  // the engine has not started
  std::atomic<int> refused{0};
  std::mutex mutex;
  std::vector<std::shared_ptr<request::TokenStream>> streams;
  std::vector<std::thread> threads;
  for (int t = 0; t < 6; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 50; ++i) {
        auto request = AdmissionFixture::MakeRequest(5, 5);
        auto stream = request->stream;
        const absl::Status status = server.Submit(request);
        if (status.ok()) {
          std::lock_guard<std::mutex> lock(mutex);
          streams.push_back(stream);
        } else {
          EXPECT_REASON(status, Reason::kConnectionQueueFull);
          ++refused;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(refused, 134);
  server.engine->Start();
  for (auto& stream : streams) EXPECT_EQ(ReadAll(*stream).tokens.size(), 5u);
}

// Callers, cancellers and readers on threads of their own. Meant for ThreadSanitizer; the accounts are
// checked by ~Server.
void RunStormFromManyThreads(int overlapped_steps) {
  Server server(300, base::Clock::Real(), 64, overlapped_steps);
  server.engine->Start();
  std::atomic<int> closed{0}, admitted{0}, notified{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(t);
      for (int i = 0; i < 500; ++i) {
        auto request =
            AdmissionFixture::MakeRequest(1 + random() % 40, 1 + random() % 30, static_cast<Priority>(random() % 4));
        auto notifier = std::make_shared<request::Notifier>([&notified] { ++notified; });
        request->stream = std::make_shared<request::TokenStream>(2 + random() % 8, notifier);
        if (random() % 10 == 0) request->n = 2;
        if (random() % 10 == 0) request->deadline = base::Clock::Real()->Now() + absl::Milliseconds(random() % 20);
        auto stream = request->stream;
        if (!server.Submit(request).ok()) {
          std::this_thread::sleep_for(std::chrono::microseconds(200));
          continue;
        }
        ++admitted;
        if (random() % 4 == 0) {
          std::this_thread::sleep_for(std::chrono::microseconds(random() % 2000));
          stream->Cancel();
        }
        if (random() % 8 == 0) stream->StopChoice(0);
        for (;;) {
          const request::StreamBatch batch = stream->ReadBlocking(absl::Seconds(20));
          if (batch.closed) break;
        }
        notifier->Disconnect();
        ++closed;
      }
    });
  }
  std::atomic<bool> done{false};
  std::thread watcher([&] {
    while (!done) {
      const EngineSnapshot snapshot = server.engine->snapshot();
      EXPECT_LE(snapshot.leased_blocks, 300);
      EXPECT_LE(server.controller->GetLoad().waiting, 64);
      EXPECT_TRUE(server.engine->Health().live);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  for (std::thread& thread : threads) thread.join();
  done = true;
  watcher.join();
  EXPECT_EQ(closed, admitted);
  EXPECT_GT(notified, 0);
  EXPECT_GE(server.model->most_in_flight(), static_cast<size_t>(overlapped_steps));
}

TEST(EngineTest, StormFromManyThreads) { RunStormFromManyThreads(1); }

TEST(EngineTest, StormFromManyThreadsOverOverlappedSteps) { RunStormFromManyThreads(3); }

TEST(EngineTest, RunsOnTheNullModel) {
  auto model = *models::NullModel::Create({});
  const int32_t first = model->NextToken(1, 3);
  AdmissionFixture fixture;
  EngineOptions options;
  options.num_blocks = 1000;
  options.block_tokens = 4;
  auto engine = *Engine::Create(options, std::move(model), fixture.controller.get(), 0);
  engine->Start();
  auto request = AdmissionFixture::MakeRequest(4, 6);
  auto stream = request->stream;
  ASSERT_OK(fixture.Submit(request));
  const request::StreamBatch all = ReadAll(*stream);
  ASSERT_EQ(all.tokens.size(), 6u);
  EXPECT_EQ(all.tokens[0].token_id, first);
}

}  // namespace
}  // namespace hadal::engine

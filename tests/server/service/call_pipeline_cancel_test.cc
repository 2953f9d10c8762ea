// SPDX-License-Identifier: Apache-2.0
// How calls end before their time: cancelled, or left by their front.
#include <atomic>
#include <chrono>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "server/service/call_pipeline.h"
#include "tests/support/pipeline_front.h"
#include "tests/support/service_fixture.h"
#include "tests/support/status_matchers.h"

namespace hadal::service {
namespace {

using hadal::testing::Decodes;
using hadal::testing::Gate;
using hadal::testing::Hold;
using hadal::testing::Info;
using hadal::testing::OneWorker;
using hadal::testing::PipelineFront;
using hadal::testing::Prompts;
using hadal::testing::Recorded;
using hadal::testing::Script;
using hadal::testing::ServiceFixture;
using request::MakeError;
using request::Reason;
using Progress = CallPipeline::Progress;

TEST(CallPipelineTest, CancelledBeforeAWorkerHasItEndsAtOnce) {
  Gate gate;  // outlives the workers
  ServiceFixture fixture(ServiceFixture::Says("x"), OneWorker());
  ASSERT_TRUE(fixture.service->workers().TryPost([&] { gate.Wait(); }));
  PipelineFront front(fixture);
  std::atomic<bool> decoded{false};
  front.AdmitAndSubmit([&]() -> absl::StatusOr<DecodedRequest> {
    decoded = true;
    return Prompts({"a"});
  });
  EXPECT_EQ(fixture.admission->GetLoad().waiting, 1);
  front.pipeline->Cancel();
  EXPECT_TRUE(fixture.Empty());
  EXPECT_REASON(front.ReadToEnd(), Reason::kCancelled);
  gate.Open();
  fixture.service->workers().Stop();
  EXPECT_FALSE(decoded);
}

TEST(CallPipelineTest, CancelledWhileDecodingEndsAfterTheDecoder) {
  Gate gate;  // outlives the workers
  ServiceFixture fixture(ServiceFixture::Says("x"));
  PipelineFront front(fixture);
  front.AdmitAndSubmit([&]() -> absl::StatusOr<DecodedRequest> {
    gate.Wait();
    return Prompts({"a"});
  });
  gate.AwaitVisitor();
  front.pipeline->Cancel();
  EXPECT_EQ(front.Read(), Progress::kPreparing);
  gate.Open();
  EXPECT_REASON(front.ReadToEnd(), Reason::kCancelled);
  EXPECT_TRUE(fixture.WaitEmpty());
  EXPECT_EQ(fixture.engine->finished(), 0);
}

TEST(CallPipelineTest, CancelledWhileRunningIsEndedByTheEngine) {
  ServiceFixture fixture(Hold);
  PipelineFront front(fixture);
  front.AdmitAndSubmit(Decodes({"a"}));
  ASSERT_TRUE(front.AwaitProgress(Progress::kRunning));
  front.pipeline->Cancel();
  front.pipeline->Cancel();
  EXPECT_REASON(front.ReadToEnd(), Reason::kCancelled);
  front.pipeline->Cancel();
  EXPECT_TRUE(fixture.WaitEmpty());
  EXPECT_EQ(fixture.engine->cancelled(), 1);
}

TEST(CallPipelineTest, CancelledBeforeItIsSubmittedTakesNoWorker) {
  ServiceFixture fixture(ServiceFixture::Says("x"));
  PipelineFront front(fixture);
  ASSERT_OK(front.pipeline->Admit(100));
  front.pipeline->Cancel();
  EXPECT_TRUE(fixture.Empty());
  front.pipeline->Submit(Decodes({"a"}));
  EXPECT_REASON(front.ReadToEnd(), Reason::kCancelled);
}

TEST(CallPipelineTest, AFrontThatFinishesIsNeverToldAgain) {
  Gate gate;  // outlives the workers
  ServiceFixture fixture(Hold);
  PipelineFront decoding(fixture), running(fixture);
  decoding.AdmitAndSubmit([&]() -> absl::StatusOr<DecodedRequest> {
    gate.Wait();
    return Prompts({"a"});
  });
  gate.AwaitVisitor();
  running.AdmitAndSubmit(Decodes({"a"}));
  ASSERT_TRUE(running.AwaitProgress(Progress::kRunning));
  for (PipelineFront* front : {&decoding, &running}) {
    front->pipeline->Finish(MakeError(Reason::kCancelled, "the client is gone"), 1);
    EXPECT_EQ(front->notified.use_count(), 1) << "the callback has been released";
  }
  const int told = decoding.notified->load() + running.notified->load();
  gate.Open();
  EXPECT_TRUE(fixture.WaitEmpty());
  EXPECT_EQ(decoding.notified->load() + running.notified->load(), told);
  EXPECT_EQ(Recorded(fixture, "outcome=\"cancelled\""), 2);
}

// Fronts cancel, finish and read at random moments while workers and engine go on. Every request is recorded once, and
// nothing is kept.
TEST(CallPipelineTest, AStormOfFrontsLeavesNothingBehind) {
  ServiceFixture::Options options;
  options.max_queue_requests = 4096;
  ServiceFixture fixture(
      [](const request::Request&) {
        Script script;
        script.tokens = {10, 11, 12};
        script.endless = true;
        return script;
      },
      options);
  constexpr int kThreads = 4, kRequests = 250;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(t);
      for (int i = 0; i < kRequests; ++i) {
        // Freed with the front: a late callback would write into freed memory.
        auto front = std::make_unique<PipelineFront>(fixture, Info(i % 2 == 0 ? Protocol::kHttp : Protocol::kGrpc));
        front->AdmitAndSubmit(Decodes(std::vector<std::string>(1 + random() % 3, "a")));
        std::thread canceller([pipeline = front->pipeline, us = random() % 400, cancels = random() % 2 == 0] {
          std::this_thread::sleep_for(std::chrono::microseconds(us));
          if (cancels) pipeline->Cancel();
        });
        if (random() % 3 == 0) {
          std::this_thread::sleep_for(std::chrono::microseconds(random() % 400));
          front->Read();
        } else {
          const absl::Status status = front->ReadToEnd();
          EXPECT_TRUE(status.ok() || status.code() == absl::StatusCode::kCancelled) << status;
        }
        front->pipeline->Finish(front->pipeline->status(), 0);
        front.reset();
        canceller.join();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(Recorded(fixture), kThreads * kRequests);
  EXPECT_TRUE(fixture.WaitEmpty());
}

}  // namespace
}  // namespace hadal::service

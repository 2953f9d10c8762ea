// SPDX-License-Identifier: Apache-2.0
// Calls that end at awkward moments: while they are started, while the client cancels or does not read.
#include "server/rpc/streaming_call.h"

#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>
#include <vector>

#include "tests/server/rpc/grpc_fixture.h"

namespace hadal::rpc {
namespace {

using ::hadal::testing::GrpcFixture;
using ::hadal::testing::Script;
using ::hadal::testing::ServiceFixture;

bool WaitUntilNoCallIsLeft(GrpcFixture& fixture) {
  for (int i = 0; i < 60'000 && fixture.server->calls_in_progress() > 0; ++i) absl::SleepFor(absl::Milliseconds(1));
  return fixture.server->calls_in_progress() == 0;
}

// The engine ends each call at once, so that its end meets the worker that is still starting it.
TEST(StreamingCallTest, CallsThatEndWhileTheyAreStartedAllFinish) {
  ServiceFixture::Options service;
  service.worker_threads = 1;  // one that hangs would stop everything
  service.max_queue_requests = 4096;
  service.max_worker_jobs = 4096;
  GrpcFixture fixture(
      [](const request::Request&) {
        Script script;
        script.status = request::MakeError(request::Reason::kInternal, "the step failed");
        return script;
      },
      {.service = service});
  std::atomic<int> ended{0};
  std::vector<std::thread> clients;
  for (int t = 0; t < 4; ++t) {
    clients.emplace_back([&] {
      for (int i = 0; i < 150; ++i) {
        const grpc::StatusCode code = fixture.Chat(GrpcFixture::Hello()).status.error_code();
        EXPECT_EQ(code, grpc::StatusCode::INTERNAL);
        ++ended;
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(ended, 600);
  EXPECT_TRUE(fixture.base.WaitEmpty());
  EXPECT_TRUE(WaitUntilNoCallIsLeft(fixture));
}

// Cancelled by the client after a random time, which meets every state of a call.
TEST(StreamingCallTest, ACancellationStormLeavesNothingBehind) {
  ServiceFixture::Options service;
  service.max_queue_requests = 4096;
  GrpcFixture fixture(
      [](const request::Request&) {
        Script script;
        script.tokens = {10, 11, 12};
        script.endless = true;
        script.token_delay = std::chrono::microseconds(100);
        return script;
      },
      {.service = service});
  std::vector<std::thread> clients;
  for (int t = 0; t < 4; ++t) {
    clients.emplace_back([&, t] {
      std::mt19937 random(t);
      for (int i = 0; i < 150; ++i) {
        grpc::ClientContext context;
        auto reader = fixture.stub->Chat(&context, GrpcFixture::Hello());
        std::thread canceller([&context, us = random() % 1500] {
          std::this_thread::sleep_for(std::chrono::microseconds(us));
          context.TryCancel();
        });
        v1::GenerateResponse message;
        while (reader->Read(&message)) continue;
        const grpc::Status status = reader->Finish();
        EXPECT_TRUE(status.ok() || status.error_code() == grpc::StatusCode::CANCELLED) << status.error_message();
        canceller.join();
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_TRUE(fixture.base.WaitEmpty());
  EXPECT_TRUE(WaitUntilNoCallIsLeft(fixture));
}

// Every write is stalled for longer than the limit, so that the sweeper cancels calls while they end by themselves.
TEST(StreamingCallTest, StalledCallsAreDroppedWhileTheyEnd) {
  ServiceFixture::Options service;
  service.max_queue_requests = 4096;
  GrpcFixture fixture(ServiceFixture::Says("</think>a b c d e f g h"),
                      {.service = service, .stream = {.slow_reader_timeout = absl::ZeroDuration()}});
  std::vector<std::thread> clients;
  for (int t = 0; t < 4; ++t) {
    clients.emplace_back([&] {
      for (int i = 0; i < 150; ++i) {
        const grpc::Status status = fixture.Chat(GrpcFixture::Hello()).status;
        EXPECT_TRUE(status.ok() || status.error_code() == grpc::StatusCode::CANCELLED) << status.error_message();
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_TRUE(fixture.base.WaitEmpty());
  EXPECT_TRUE(WaitUntilNoCallIsLeft(fixture));
}

}  // namespace
}  // namespace hadal::rpc

// SPDX-License-Identifier: Apache-2.0
//
// How leader and workers find each other and lose each other, and what each end says of it.
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/pipeline/connection.h"
#include "tests/server/pipeline/worker_fixture.h"

namespace hadal::pipeline {
namespace {

using testing::Eventually;
using ::testing::HasSubstr;
using testing::kBudget;
using testing::kTestKey;
using testing::WorkerTest;

TEST_F(WorkerTest, AnotherKeyIsNamedAtBothEnds) {
  const auto worker = Start(kBudget, "another key than the others");
  const absl::Status status = Lead({worker.get()}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_THAT(std::string(status.message()), HasSubstr("--pipeline-key-file holds another key"));
}

TEST_F(WorkerTest, AnotherCheckpointIsNamed) {
  const auto worker = Start();
  // The worker has read its folder only when it is asked: both ends read another one.
  std::filesystem::create_directories(folder_ / "other");
  std::ofstream(folder_ / "other" / "config.json") << models::testing::kTinyDeepseekV32;
  PipelineOptions options;
  options.workers = {absl::StrCat("127.0.0.1:", worker->port())};
  options.key_file = (folder_ / "key").string();
  metrics_ = std::make_unique<PipelineMetrics>(nullptr, options.workers);
  models::LoadOptions load = Load();
  load.dir = (folder_ / "other").string();
  const absl::Status status =
      LoadPipeline(load, options, {.metrics = metrics_.get(), .health = &health_, .version = "x"}, nullptr).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("expected the leader's fp_"));
}

TEST_F(WorkerTest, AWorkerThatComesLateIsWaitedFor) {
  const auto reserved = Listen("127.0.0.1", 0);
  ASSERT_TRUE(reserved.ok()) << reserved.status();
  const int port = ListeningPort(*reserved);
  ::close(*reserved);
  PipelineOptions options;
  options.workers = {absl::StrCat("127.0.0.1:", port)};
  options.key_file = (folder_ / "key").string();
  options.patience = absl::Seconds(60);
  metrics_ = std::make_unique<PipelineMetrics>(nullptr, options.workers);
  std::unique_ptr<Worker> worker;
  std::thread starter;
  const auto start = [&](const std::string& line) {
    EXPECT_THAT(line, HasSubstr("waiting for worker 127.0.0.1"));
    starter = std::thread([&] {
      Worker::Options late = {.host = "127.0.0.1", .port = port, .session = {}, .on_idle = nullptr};
      late.session = {.load = Load(),
                      .key = kTestKey,
                      .version = "x",
                      .patience = absl::Seconds(1),
                      .memory_budget = [](const models::ModelInfo&) { return kBudget; },
                      .log = nullptr};
      auto made = Worker::Create(std::move(late));
      ASSERT_TRUE(made.ok()) << made.status();
      worker = *std::move(made);
    });
  };
  bool told = false;
  auto model = LoadPipeline(Load(), options,
                            {.metrics = metrics_.get(),
                             .health = &health_,
                             .on_failure = nullptr,
                             .notice =
                                 [&](const std::string& line) {
                                   if (!std::exchange(told, true)) start(line);
                                 },
                             .version = "x"},
                            nullptr);
  ASSERT_TRUE(starter.joinable());
  starter.join();
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_FALSE(TwoSteps(**model).empty());
}

TEST_F(WorkerTest, PatienceHasALimit) {
  const auto reserved = Listen("127.0.0.1", 0);
  const int port = ListeningPort(*reserved);
  ::close(*reserved);
  PipelineOptions options;
  options.workers = {absl::StrCat("127.0.0.1:", port)};
  options.key_file = (folder_ / "key").string();
  options.patience = absl::ZeroDuration();
  const absl::Status status = LoadPipeline(Load(), options, {.health = &health_, .version = "x"}, nullptr).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr(absl::StrCat("worker 127.0.0.1:", port, ": Connection refused")));
}

TEST_F(WorkerTest, ALostWorkerFailsTheStepAndIsNamed) {
  auto first = Start(), second = Start();
  auto model = Lead({first.get(), second.get()});
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_FALSE(TwoSteps(**model).empty());
  const std::string lost = absl::StrCat("worker 127.0.0.1:", second->port());
  second.reset();
  EXPECT_TRUE(Eventually([&] { return failures_.load() == 1; }));  // without a step
  EXPECT_THAT(health_.failure(), HasSubstr(lost));
  const absl::Status status = Step(**model, OneToken()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr(lost));
  EXPECT_EQ(metrics_->worker_up.At(1).Value(), 0);
}

// As port scanners, meshes and load balancers open them.
TEST_F(WorkerTest, SilentConnectionsDelayNoLeader) {
  const auto worker = Start();
  const std::string address = absl::StrCat("127.0.0.1:", worker->port());
  std::vector<std::unique_ptr<Connection>> silent;
  for (int i = 0; i < 100; ++i) {
    auto connection = Connection::Open(address, absl::Now() + absl::Seconds(30));
    ASSERT_TRUE(connection.ok()) << connection.status();
    silent.push_back(*std::move(connection));
  }
  const absl::Time begin = absl::Now();
  auto model = Lead({worker.get()});
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_FALSE(TwoSteps(**model).empty());
  EXPECT_LT(absl::Now() - begin, absl::Seconds(60)) << "each of them is given 5 s";
  std::vector<std::byte> received;
  EXPECT_TRUE(silent.back()->Receive(kMaxControlBytes, &received).ok()) << "the challenge";
  // The first ones made room for others, some before they were greeted.
  absl::Status end;
  while (end.ok()) end = silent[0]->Receive(kMaxControlBytes, &received, absl::Now() + absl::Seconds(30)).status();
  EXPECT_TRUE(absl::IsUnavailable(end)) << end;
}

TEST_F(WorkerTest, ALeaderThatGoesFreesTheWorkerForTheNext) {
  const auto worker = Start();
  auto model = Lead({worker.get()});
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_TRUE(worker->busy());
  const absl::Status second = Lead({worker.get()}, absl::ZeroDuration()).status();
  EXPECT_THAT(std::string(second.message()), HasSubstr("it serves the leader at 127.0.0.1"));
  model->reset();
  EXPECT_TRUE(Eventually([&] { return !worker->busy(); }));
  auto next = Lead({worker.get()});
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_FALSE(TwoSteps(**next).empty());
}

}  // namespace
}  // namespace hadal::pipeline

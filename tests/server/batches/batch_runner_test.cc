// SPDX-License-Identifier: Apache-2.0
#include "server/batches/batch_runner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/request/refusal.h"
#include "tests/server/batches/runner_fixture.h"
#include "tests/support/status_matchers.h"

namespace hadal::batches {
namespace {

using request::MakeError;
using request::MakeRefusal;
using request::Reason;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::kNow;
using testing::RunnerFixture;
using testing::ScriptedExecutor;
using testing::StoreFixture;
using testing::StoreKind;

class BatchRunnerTest : public testing::StoreTest {};
HADAL_BOTH_STORES(BatchRunnerTest);

absl::Status Answers(const LineRequest&) { return absl::OkStatus(); }

TEST_P(BatchRunnerTest, RunsABatch) {
  RunnerFixture fixture(GetParam(), [](const LineRequest& line) {
    return line.custom_id == "line-2" ? MakeError(Reason::kOutOfRange, "temperature") : absl::OkStatus();
  });
  StoredBatch batch = fixture.Submit(3);
  fixture.Start();
  ASSERT_TRUE(fixture.WaitStatus(batch, BatchStatus::kCompleted));
  batch = fixture.Find(batch);
  EXPECT_EQ(batch.total, 3);
  EXPECT_EQ(batch.completed, 2);
  EXPECT_EQ(batch.failed, 1);
  EXPECT_EQ(fixture.Content("a", batch.output_file), "line-1\nline-3\n");
  EXPECT_EQ(fixture.Content("a", batch.error_file), "line-2\n");
  const std::vector<LineRequest> started = fixture.executor.started();
  ASSERT_EQ(started.size(), 3u);
  EXPECT_EQ(started[1].body, R"({"n":2})");
  EXPECT_EQ(started[1].owner, "a");
  EXPECT_NE(started[1].return_key, started[2].return_key);
}

TEST_P(BatchRunnerTest, HearsOfABatchThatComesLater) {
  RunnerFixture fixture(GetParam(), Answers);
  fixture.Start();
  const StoredBatch batch = fixture.Submit(600);  // more than it takes from the store at a time
  fixture.runner->Wake();
  ASSERT_TRUE(fixture.WaitStatus(batch, BatchStatus::kCompleted));
  EXPECT_EQ(fixture.Find(batch).completed, 600);
  EXPECT_EQ(fixture.executor.started().size(), 600u);
}

TEST_P(BatchRunnerTest, AnInputThatIsNotValidFailsWithLineNumbers) {
  RunnerFixture fixture(GetParam(), Answers);
  const auto file = fixture.Upload("a", StoreFixture::Line(1) + "{}\n" + StoreFixture::Line(3));
  const auto repeated = fixture.Upload("a", StoreFixture::Line(1) + StoreFixture::Line(2) + StoreFixture::Line(1));
  const StoredBatch first = *fixture.Create(*file), second = *fixture.Create(*repeated);
  fixture.Start();
  ASSERT_TRUE(fixture.WaitStatus(first, BatchStatus::kFailed));
  ASSERT_TRUE(fixture.WaitStatus(second, BatchStatus::kFailed));
  ASSERT_EQ(fixture.Find(first).errors.size(), 1u);
  EXPECT_EQ(fixture.Find(first).errors[0].line, 2);
  ASSERT_EQ(fixture.Find(second).errors.size(), 1u);
  EXPECT_THAT(fixture.Find(second).errors[0].message, HasSubstr("line 3: the custom_id 'line-1' is that of line 1"));
  EXPECT_TRUE(fixture.executor.started().empty());
}

TEST_P(BatchRunnerTest, ARefusedLineReturnsWhenItMay) {
  RunnerFixture fixture(GetParam(), [](const LineRequest& line) {
    if (line.attempts > 0) return absl::OkStatus();
    return request::MakeBusy(Reason::kConnectionQueueFull, "full",
                             {.after = absl::Seconds(7), .ticket = "t-" + line.custom_id});
  });
  const StoredBatch batch = fixture.Submit(1);
  fixture.Start();
  ASSERT_TRUE(RunnerFixture::WaitFor([&] { return fixture.Lines(BatchMetrics::kPutBack) == 1; }));
  fixture.clock.Advance(absl::Seconds(6.9));
  fixture.runner->Wake();
  EXPECT_EQ(fixture.executor.started().size(), 1u);
  fixture.clock.Advance(absl::Seconds(0.2));
  ASSERT_TRUE(fixture.WaitStatus(batch, BatchStatus::kCompleted));
  const std::vector<LineRequest> started = fixture.executor.started();
  ASSERT_EQ(started.size(), 2u);
  EXPECT_EQ(started[1].ticket, "t-line-1");
  EXPECT_EQ(started[1].attempts, 1);
  EXPECT_EQ(started[1].return_key, started[0].return_key);
  EXPECT_EQ(fixture.Lines(BatchMetrics::kCompleted), 1);
  EXPECT_EQ(fixture.Lines(BatchMetrics::kFailed), 0);
}

TEST_P(BatchRunnerTest, AQuotaHoldsUpItsTenantOnly) {
  RunnerFixture fixture(GetParam(), [](const LineRequest& line) {
    if (line.owner != "a" || line.attempts > 0) return absl::OkStatus();
    return MakeRefusal(Reason::kTenantQuota, "used up", absl::Seconds(60));
  });
  const StoredBatch held = fixture.Submit(2, "a"), free = fixture.Submit(20, "b");
  fixture.Start();
  ASSERT_TRUE(fixture.WaitStatus(free, BatchStatus::kCompleted));
  EXPECT_EQ(fixture.Find(held).completed, 0);
  ASSERT_TRUE(RunnerFixture::WaitFor([&] {
    fixture.clock.Advance(absl::Seconds(61));
    return fixture.Find(held).status == BatchStatus::kCompleted;
  }));
  EXPECT_EQ(fixture.Find(held).completed, 2);
}

TEST_P(BatchRunnerTest, ShowsHowMuchOfItsTimeABatchHasUsed) {
  RunnerFixture fixture(GetParam(), Answers, {.completion_window = absl::Seconds(1000)});
  const auto used = [&] { return fixture.metrics.oldest_window.Get().Value(); };
  fixture.executor.Hold();
  const StoredBatch first = fixture.Submit(2), second = fixture.Submit(2, "a", kNow + 400);
  fixture.unix_now = kNow + 600;
  fixture.Start();
  ASSERT_TRUE(RunnerFixture::WaitFor([&] { return used() > 0; }));
  EXPECT_DOUBLE_EQ(used(), 0.6) << "the older one counts";
  fixture.executor.Release();
  ASSERT_TRUE(fixture.WaitStatus(first, BatchStatus::kCompleted));
  ASSERT_TRUE(fixture.WaitStatus(second, BatchStatus::kCompleted));
  EXPECT_TRUE(RunnerFixture::WaitFor([&] { return used() == 0; }));
}

TEST_P(BatchRunnerTest, BatchesTakeTurns) {
  RunnerFixture fixture(GetParam(), Answers, {.max_in_flight = 2});
  fixture.executor.Hold();
  fixture.Submit(4, "a");
  fixture.Submit(4, "b");
  fixture.Start();
  ASSERT_TRUE(RunnerFixture::WaitFor([&] { return fixture.executor.open() == 2; }));
  const std::vector<LineRequest> started = fixture.executor.started();
  EXPECT_THAT((std::vector<std::string>{started[0].owner, started[1].owner}), ElementsAre("a", "b"));
  fixture.executor.Release();
}

TEST_P(BatchRunnerTest, MakesRoomForOthers) {
  RunnerFixture fixture(GetParam(), Answers);
  const StoredBatch first = fixture.Submit(600);  // by which the window grows
  fixture.Start();
  ASSERT_TRUE(fixture.WaitStatus(first, BatchStatus::kCompleted));
  ASSERT_TRUE(RunnerFixture::WaitFor([&] { return fixture.metrics.window.Get().Value() > SendWindow::kBesideOthers; }));
  fixture.executor.Hold();
  fixture.executor.others = true;
  const StoredBatch second = fixture.Submit(100);
  fixture.runner->Wake();
  ASSERT_TRUE(RunnerFixture::WaitFor([&] { return fixture.executor.open() == SendWindow::kBesideOthers; }));
  // It has sent what it may: the levels are shown behind that.
  ASSERT_TRUE(RunnerFixture::WaitFor(
      [&] { return fixture.metrics.open_lines.At(BatchMetrics::kRunning).Value() == SendWindow::kBesideOthers; }));
  EXPECT_EQ(fixture.executor.open(), SendWindow::kBesideOthers);
  fixture.executor.others = false;
  fixture.runner->Wake();
  EXPECT_TRUE(RunnerFixture::WaitFor([&] { return fixture.executor.open() > SendWindow::kBesideOthers; }));
  fixture.executor.Release();
  EXPECT_TRUE(fixture.WaitStatus(second, BatchStatus::kCompleted));
}

TEST_P(BatchRunnerTest, CancelsWhatRuns) {
  RunnerFixture fixture(GetParam(), Answers);
  fixture.executor.Hold();
  StoredBatch batch = fixture.Submit(10);
  fixture.Start();
  ASSERT_TRUE(RunnerFixture::WaitFor([&] { return fixture.executor.open() == 4; }));
  ASSERT_OK(fixture.store->Run([&](Tables& tables) { return tables.batches.Cancel("a", batch.id, kNow).status(); }));
  fixture.runner->Wake();
  ASSERT_TRUE(fixture.WaitStatus(batch, BatchStatus::kCancelled));
  EXPECT_EQ(fixture.executor.open(), 0);
  batch = fixture.Find(batch);
  EXPECT_EQ(batch.failed, 10);
  EXPECT_EQ(batch.output_file, "");
}

TEST_P(BatchRunnerTest, ABatchExpires) {
  RunnerFixture fixture(GetParam(), Answers);
  fixture.executor.Hold();
  const StoredBatch batch = fixture.Submit(5);
  fixture.Start();
  ASSERT_TRUE(RunnerFixture::WaitFor([&] { return fixture.executor.open() == 4; }));
  fixture.unix_now = batch.expires;
  fixture.clock.Advance(absl::Hours(24));
  ASSERT_TRUE(fixture.WaitStatus(batch, BatchStatus::kExpired));
  EXPECT_EQ(fixture.Find(batch).failed, 5);
  EXPECT_EQ(fixture.executor.open(), 0);
}

TEST_P(BatchRunnerTest, WhatRanWhenItStoppedRunsAgainAndNothingElse) {
  RunnerFixture fixture(GetParam(), Answers, {.max_in_flight = 4});
  const StoredBatch batch = fixture.Submit(50);
  fixture.Start();
  ASSERT_TRUE(RunnerFixture::WaitFor([&] { return fixture.Lines(BatchMetrics::kCompleted) >= 10; }));
  fixture.executor.Hold();
  ASSERT_TRUE(
      RunnerFixture::WaitFor([&] { return fixture.executor.open() > 0 || fixture.Find(batch).completed == 50; }));
  fixture.runner->BeginDrain();
  fixture.runner.reset();
  EXPECT_EQ(fixture.executor.open(), 0);
  const int64_t done = fixture.Find(batch).completed;
  const size_t started = fixture.executor.started().size();
  fixture.executor.Release();
  fixture.Reopen();
  fixture.Start();
  ASSERT_TRUE(fixture.WaitStatus(batch, BatchStatus::kCompleted));
  EXPECT_EQ(fixture.executor.started().size() - started, static_cast<size_t>(50 - done));
  EXPECT_EQ(fixture.Find(batch).completed, 50);
}

TEST_P(BatchRunnerTest, CutShortByTheServersEndIsNoAnswer) {
  RunnerFixture fixture(GetParam(), [](const LineRequest& line) {
    return line.attempts > 0 ? absl::OkStatus() : MakeError(Reason::kInsufficientSystemResource, "drained");
  });
  const StoredBatch batch = fixture.Submit(1);
  fixture.Start();
  ASSERT_TRUE(RunnerFixture::WaitFor([&] { return fixture.Lines(BatchMetrics::kPutBack) == 1; }));
  EXPECT_EQ(fixture.Find(batch).completed, 0);
  fixture.clock.Advance(absl::Seconds(2));
  ASSERT_TRUE(fixture.WaitStatus(batch, BatchStatus::kCompleted));
}

TEST(BatchRunnerSqliteTest, AFullStoreKeepsOutcomesUntilThereIsRoom) {
  RunnerFixture fixture(StoreKind::kSqlite, Answers, {.store_bytes = 1 << 20, .max_in_flight = 2});
  StoredBatch batch = fixture.Submit(20);
  fixture.executor.padding = std::string(10'000, 'p');
  fixture.executor.Hold();
  fixture.Start();
  ASSERT_TRUE(RunnerFixture::WaitFor([&] { return fixture.executor.open() == 2; }));
  // Ballast takes what is left, down to single pages.
  StoredFile ballast = *fixture.Upload("z", "x");
  ASSERT_OK(fixture.store->Run([&](Tables& tables) -> absl::Status {
    const Upload upload = {ballast.number, 1 << 30};
    int64_t offset = 1;
    for (const size_t bytes : {size_t{64} << 10, size_t{2} << 10}) {
      while (tables.files.Append(upload, offset, std::string(bytes, 'b')).ok()) offset += static_cast<int64_t>(bytes);
    }
    return absl::OkStatus();
  }));
  fixture.executor.Release();
  RunnerFixture::WaitFor([&] { return fixture.metrics.store_errors.Get().Value() > 0; });
  const double errors = fixture.metrics.store_errors.Get().Value();
  ASSERT_OK(fixture.store->Run([&](Tables& tables) { return tables.files.Delete("z", ballast.id); }));
  ASSERT_TRUE(RunnerFixture::WaitFor([&] {
    fixture.clock.Advance(absl::Seconds(1));
    return fixture.Find(batch).status == BatchStatus::kCompleted;
  }));
  EXPECT_GT(errors, 0);
  EXPECT_EQ(fixture.executor.started().size(), 20u);  // none twice
  EXPECT_EQ(fixture.Find(batch).completed, 20);
}

}  // namespace
}  // namespace hadal::batches

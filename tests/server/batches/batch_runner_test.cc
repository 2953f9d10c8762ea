// SPDX-License-Identifier: Apache-2.0
#include "server/batches/batch_runner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "server/request/refusal.h"
#include "tests/server/batches/store_fixture.h"
#include "tests/support/fake_clock.h"
#include "tests/support/status_matchers.h"

namespace hadal::batches {
namespace {

using request::MakeError;
using request::MakeRefusal;
using request::Reason;
using ::testing::ElementsAre;
using testing::FakeClock;
using ::testing::HasSubstr;
using testing::kNow;
using testing::StoreFixture;

// Answers lines as a test decides: at once, by `script`, or when it is told to.
class ScriptedExecutor final : public LineExecutor {
 public:
  using Script = std::function<absl::Status(const LineRequest&)>;

  explicit ScriptedExecutor(Script script) : script_(std::move(script)) {}

  std::unique_ptr<RunningLine> Start(LineRequest line, std::function<void()> notify) override {
    base::MutexLock lock(&mutex_);
    started_.push_back(line);
    return std::make_unique<Attempt>(this, std::move(line), std::move(notify));
  }
  std::string padding;  // of results; set before the start

  // Answers wait for Release.
  void Hold() {
    base::MutexLock lock(&mutex_);
    held_ = true;
  }
  void Release() {
    base::MutexLock lock(&mutex_);
    held_ = false;
    for (Attempt* attempt : open_) attempt->notify();
  }
  std::vector<LineRequest> started() {
    base::MutexLock lock(&mutex_);
    return started_;
  }
  int open() {
    base::MutexLock lock(&mutex_);
    return static_cast<int>(open_.size());
  }

 private:
  class Attempt final : public RunningLine {
   public:
    Attempt(ScriptedExecutor* owner, LineRequest line, std::function<void()> notify_fn)
        : notify(std::move(notify_fn)), owner_(*owner), line_(std::move(line)) {
      owner_.open_.insert(this);
    }
    ~Attempt() override {
      base::MutexLock lock(&owner_.mutex_);
      owner_.open_.erase(this);
    }
    std::optional<LineOutcome> Advance() override {
      {
        base::MutexLock lock(&owner_.mutex_);
        if (owner_.held_) return std::nullopt;
      }
      return LineOutcome{owner_.script_(line_), absl::StrCat(line_.custom_id, owner_.padding, "\n")};
    }

    const std::function<void()> notify;

   private:
    ScriptedExecutor& owner_;
    const LineRequest line_;
  };

  const Script script_;
  base::Mutex mutex_;
  std::vector<LineRequest> started_;
  std::set<Attempt*> open_;
  bool held_ = false;
};

class RunnerFixture : public StoreFixture {
 public:
  explicit RunnerFixture(ScriptedExecutor::Script script, BatchOptions options = {})
      : StoreFixture(std::move(options)), executor(std::move(script)) {}
  void Start() {
    runner = std::make_unique<BatchRunner>(BatchRunner::Options{
        .store = store.get(), .executor = &executor, .metrics = &metrics, .clock = &clock, .unix_seconds = [this] {
          return unix_now.load();
        }});
  }
  static bool WaitFor(const std::function<bool()>& condition) {
    for (int i = 0; i < 30'000 && !condition(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return condition();
  }
  bool WaitStatus(const StoredBatch& batch, BatchStatus status) {
    return WaitFor([&] { return Find(batch).status == status; });
  }
  double Lines(BatchMetrics::Outcome outcome) { return metrics.lines.At(outcome).Value(); }

  ScriptedExecutor executor;
  BatchMetrics metrics{nullptr};
  FakeClock clock;
  std::atomic<int64_t> unix_now{kNow};
  std::unique_ptr<BatchRunner> runner;  // ends first
};

absl::Status Answers(const LineRequest&) { return absl::OkStatus(); }

TEST(BatchRunnerTest, RunsABatch) {
  RunnerFixture fixture([](const LineRequest& line) {
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

TEST(BatchRunnerTest, HearsOfABatchThatComesLater) {
  RunnerFixture fixture(Answers);
  fixture.Start();
  const StoredBatch batch = fixture.Submit(600);  // more than it takes from the store at a time
  fixture.runner->Wake();
  ASSERT_TRUE(fixture.WaitStatus(batch, BatchStatus::kCompleted));
  EXPECT_EQ(fixture.Find(batch).completed, 600);
  EXPECT_EQ(fixture.executor.started().size(), 600u);
}

TEST(BatchRunnerTest, AnInputThatIsNotValidFailsWithLineNumbers) {
  RunnerFixture fixture(Answers);
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

TEST(BatchRunnerTest, ARefusedLineReturnsWhenItMay) {
  RunnerFixture fixture([](const LineRequest& line) {
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

TEST(BatchRunnerTest, AQuotaHoldsUpItsTenantOnly) {
  RunnerFixture fixture([](const LineRequest& line) {
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

TEST(BatchRunnerTest, BatchesTakeTurns) {
  RunnerFixture fixture(Answers, {.max_in_flight = 2});
  fixture.executor.Hold();
  fixture.Submit(4, "a");
  fixture.Submit(4, "b");
  fixture.Start();
  ASSERT_TRUE(RunnerFixture::WaitFor([&] { return fixture.executor.open() == 2; }));
  const std::vector<LineRequest> started = fixture.executor.started();
  EXPECT_THAT((std::vector<std::string>{started[0].owner, started[1].owner}), ElementsAre("a", "b"));
  fixture.executor.Release();
}

TEST(BatchRunnerTest, CancelsWhatRuns) {
  RunnerFixture fixture(Answers);
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

TEST(BatchRunnerTest, ABatchExpires) {
  RunnerFixture fixture(Answers);
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

TEST(BatchRunnerTest, WhatRanWhenItStoppedRunsAgainAndNothingElse) {
  RunnerFixture fixture(Answers, {.max_in_flight = 4});
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

TEST(BatchRunnerTest, CutShortByTheServersEndIsNoAnswer) {
  RunnerFixture fixture([](const LineRequest& line) {
    return line.attempts > 0 ? absl::OkStatus() : MakeError(Reason::kInsufficientSystemResource, "drained");
  });
  const StoredBatch batch = fixture.Submit(1);
  fixture.Start();
  ASSERT_TRUE(RunnerFixture::WaitFor([&] { return fixture.Lines(BatchMetrics::kPutBack) == 1; }));
  EXPECT_EQ(fixture.Find(batch).completed, 0);
  fixture.clock.Advance(absl::Seconds(2));
  ASSERT_TRUE(fixture.WaitStatus(batch, BatchStatus::kCompleted));
}

TEST(BatchRunnerTest, AFullStoreKeepsOutcomesUntilThereIsRoom) {
  RunnerFixture fixture(Answers, {.store_bytes = 1 << 20, .max_in_flight = 2});
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

// SPDX-License-Identifier: Apache-2.0
// Replicas that share a Redis, as BatchRunner and RedisBatchTable see each other.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <thread>
#include <vector>

#include "absl/strings/str_split.h"
#include "server/batches/redis_batch_table.h"
#include "tests/server/batches/runner_fixture.h"
#include "tests/support/status_matchers.h"

namespace hadal::batches {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::kNow;
using testing::RedisServer;
using testing::RunnerFixture;
using testing::StoreFixture;
using testing::StoreKind;

// As short as the options allow: tests wait for it.
constexpr absl::Duration kReclaim = absl::Seconds(5);

class SharingTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!RedisServer::Installed()) GTEST_SKIP() << "needs redis-server (scripts/bootstrap --test)";
  }
};

absl::Status Answers(const LineRequest&) { return absl::OkStatus(); }

// How often each line is in a result.
std::map<std::string, int> Count(const std::string& content) {
  std::map<std::string, int> counts;
  for (const absl::string_view line : absl::StrSplit(content, '\n', absl::SkipEmpty())) ++counts[std::string(line)];
  return counts;
}

void ExpectEachOnce(const std::string& content, int lines) {
  const std::map<std::string, int> counts = Count(content);
  EXPECT_EQ(counts.size(), static_cast<size_t>(lines));
  for (const auto& [line, count] : counts) EXPECT_EQ(count, 1) << line;
}

TEST_F(SharingTest, ReplicasShareTheLinesAndEachSeesAll) {
  RunnerFixture first(StoreKind::kRedis, Answers, {.max_in_flight = 4});
  RunnerFixture second(first, Answers);
  first.executor.Hold();
  second.executor.Hold();
  StoredBatch batch = first.Submit(40);
  first.Start(base::Clock::Real());
  second.Start(base::Clock::Real());
  // None takes more than it can send.
  ASSERT_TRUE(RunnerFixture::WaitFor([&] { return first.executor.open() == 4 && second.executor.open() == 4; }));
  first.executor.Release();
  second.executor.Release();
  ASSERT_TRUE(second.WaitStatus(batch, BatchStatus::kCompleted));
  batch = second.Find(batch);
  EXPECT_EQ(batch.completed, 40);
  ExpectEachOnce(first.Content("a", batch.output_file), 40);
  EXPECT_EQ(first.Content("a", batch.output_file), second.Content("a", batch.output_file));
  EXPECT_EQ(first.executor.started().size() + second.executor.started().size(), 40u);
}

TEST_F(SharingTest, TheLinesOfASilentReplicaAreTakenOverAndItsResultsComeTooLate) {
  RunnerFixture silent(StoreKind::kRedis, Answers, {.reclaim_after = kReclaim, .max_in_flight = 4});
  RunnerFixture other(silent, Answers);
  silent.executor.Hold();
  const StoredBatch batch = silent.Submit(12);
  silent.Start();  // its clock stands still, so it never says that it is alive
  ASSERT_TRUE(RunnerFixture::WaitFor([&] { return silent.executor.open() == 4; }));
  other.Start(base::Clock::Real());
  ASSERT_TRUE(other.WaitStatus(batch, BatchStatus::kCompleted));
  EXPECT_EQ(other.metrics.taken_over.Get().Value(), 4);
  silent.executor.Release();
  ASSERT_TRUE(RunnerFixture::WaitFor([&] { return silent.Lines(BatchMetrics::kLate) == 4; }));
  EXPECT_EQ(silent.Lines(BatchMetrics::kCompleted), 0);
  EXPECT_EQ(other.Find(batch).completed, 12);
  ExpectEachOnce(other.Content("a", other.Find(batch).output_file), 12);
}

TEST_F(SharingTest, OneThatIsAliveKeepsALongLine) {
  RunnerFixture slow(StoreKind::kRedis, Answers, {.reclaim_after = kReclaim});
  RunnerFixture other(slow, Answers);
  slow.executor.Hold();
  const StoredBatch batch = slow.Submit(1);
  slow.Start(base::Clock::Real());
  ASSERT_TRUE(RunnerFixture::WaitFor([&] { return slow.executor.open() == 1; }));
  other.Start(base::Clock::Real());
  std::this_thread::sleep_for(absl::ToChronoMilliseconds(1.3 * kReclaim));  // in which nothing shall happen
  EXPECT_TRUE(other.executor.started().empty());
  slow.executor.Release();
  ASSERT_TRUE(slow.WaitStatus(batch, BatchStatus::kCompleted));
  EXPECT_TRUE(other.executor.started().empty());
}

TEST_F(SharingTest, ACancelStopsTheLinesOfAll) {
  RunnerFixture first(StoreKind::kRedis, Answers, {.max_in_flight = 4});
  RunnerFixture second(first, Answers);
  first.executor.Hold();
  second.executor.Hold();
  const StoredBatch batch = first.Submit(3000);  // more than one script ends at a time
  first.Start(base::Clock::Real());
  second.Start(base::Clock::Real());
  ASSERT_TRUE(RunnerFixture::WaitFor([&] { return first.executor.open() == 4 && second.executor.open() == 4; }));
  ASSERT_OK(second.store->Run([&](Tables& tables) { return tables.batches.Cancel("a", batch.id, kNow).status(); }));
  ASSERT_TRUE(first.WaitStatus(batch, BatchStatus::kCancelled));
  EXPECT_TRUE(RunnerFixture::WaitFor([&] { return first.executor.open() == 0 && second.executor.open() == 0; }));
  EXPECT_EQ(first.Find(batch).failed, 3000);
  const std::string errors = first.Content("a", first.Find(batch).error_file);
  EXPECT_EQ(std::count(errors.begin(), errors.end(), '\n'), 3000);
}

TEST_F(SharingTest, AStoppedReplicaHandsItsLinesOverAtOnce) {
  RunnerFixture first(StoreKind::kRedis, Answers, {.reclaim_after = absl::Hours(1)});
  RunnerFixture second(first, Answers);
  first.executor.Hold();
  const StoredBatch batch = first.Submit(6);
  first.Start(base::Clock::Real());
  ASSERT_TRUE(RunnerFixture::WaitFor([&] { return first.executor.open() == 4; }));
  first.runner.reset();
  second.Start(base::Clock::Real());
  ASSERT_TRUE(second.WaitStatus(batch, BatchStatus::kCompleted));
  EXPECT_EQ(second.Find(batch).completed, 6);
}

TEST_F(SharingTest, ARestartOfRedisLosesAndRepeatsNothing) {
  // Slow enough that lines are under way at each kill, few enough for a busy machine under TSan.
  const auto answer_slowly = [](const LineRequest& line) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return Answers(line);
  };
  RunnerFixture fixture(StoreKind::kRedis, answer_slowly, {.max_in_flight = 2});
  const StoredBatch batch = fixture.Submit(400);
  fixture.Start(base::Clock::Real());
  for (int kill = 0; kill < 3; ++kill) {
    const double ended = fixture.Lines(BatchMetrics::kCompleted);
    ASSERT_TRUE(RunnerFixture::WaitFor([&] { return fixture.Lines(BatchMetrics::kCompleted) > ended + 20; }));
    fixture.redis().Kill();
    fixture.redis().Start();
  }
  ASSERT_TRUE(fixture.WaitStatus(batch, BatchStatus::kCompleted));
  EXPECT_EQ(fixture.Find(batch).completed, 400);
  ExpectEachOnce(fixture.Content("a", fixture.Find(batch).output_file), 400);
}

// Redis dies after it has taken the lines and before it has said so: they wait for nobody else's patience.
TEST_F(SharingTest, LinesWhoseReplyWasLostAreGivenAgain) {
  StoreFixture first(StoreKind::kRedis);
  StoreFixture second(first);
  const StoredBatch batch = first.Submit(5);
  const auto take = [&](StoreFixture& fixture, int64_t limit, std::vector<int64_t> held) {
    const auto lines = fixture.store->Ask<std::vector<WaitingLine>>(
        [&](Tables& tables) { return tables.batches.Take(batch.number, 0, limit, held); });
    std::vector<int64_t> numbers;
    for (const WaitingLine& line : lines.value()) numbers.push_back(line.number);
    return numbers;
  };
  ASSERT_OK(first.store->Run([&](Tables& tables) -> absl::Status {
    std::optional<BatchError> repeated;
    EXPECT_TRUE(tables.batches.BeginReading(batch.number).value());
    EXPECT_OK(tables.batches.AddLines(
        batch.number, {{1, "a", 0, 9}, {2, "b", 0, 9}, {3, "c", 0, 9}, {4, "d", 0, 9}, {5, "e", 0, 9}}, &repeated));
    return tables.batches.Begin(batch.number, kNow).status();
  }));
  EXPECT_THAT(take(first, 3, {}), ElementsAre(1, 2, 3));
  EXPECT_THAT(take(first, 1, {2}), ElementsAre(1));
  EXPECT_THAT(take(first, 9, {1, 2}), ElementsAre(3));
  EXPECT_THAT(take(second, 1, {}), ElementsAre(4)) << "those of another replica are left to it";
  EXPECT_THAT(take(first, 9, {1, 2, 3}), ElementsAre(5));
  EXPECT_THAT(take(first, 9, {1, 2, 3, 5}), ElementsAre());
}

TEST_F(SharingTest, AFullRedisKeepsOutcomesUntilThereIsRoom) {
  RunnerFixture fixture(StoreKind::kRedis, Answers, {.max_in_flight = 2});
  redis::Client admin(fixture.redis().endpoint(), absl::Seconds(30));
  fixture.executor.Hold();
  const StoredBatch batch = fixture.Submit(20);
  fixture.Start(base::Clock::Real());
  ASSERT_TRUE(RunnerFixture::WaitFor([&] { return fixture.executor.open() == 2; }));
  ASSERT_OK(admin.Run("k", {"CONFIG", "SET", "maxmemory", "1"}));
  fixture.executor.Release();
  ASSERT_TRUE(RunnerFixture::WaitFor([&] { return fixture.metrics.store_errors.Get().Value() > 0; }));
  EXPECT_EQ(fixture.Upload("b", "x").status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(fixture.Find(batch).completed, 0);
  ASSERT_OK(admin.Run("k", {"CONFIG", "SET", "maxmemory", "0"}));
  ASSERT_TRUE(fixture.WaitStatus(batch, BatchStatus::kCompleted));
  EXPECT_EQ(fixture.executor.started().size(), 20u) << "none twice";
}

TEST_F(SharingTest, AnInputIsReadByOneAndWhoWasTooSlowIsToldSo) {
  StoreFixture first(StoreKind::kRedis, {.reclaim_after = kReclaim});
  StoreFixture second(first);
  const StoredBatch batch = first.Submit(1);
  const auto begin = [&](StoreFixture& fixture) {
    return fixture.store->Ask<bool>([&](Tables& tables) { return tables.batches.BeginReading(batch.number); }).value();
  };
  const auto add = [&](StoreFixture& fixture, int64_t line) {
    std::optional<BatchError> repeated;
    return fixture.store->Run([&](Tables& tables) {
      return tables.batches.AddLines(batch.number, {{line, absl::StrCat("line-", line), 0, 9}}, &repeated);
    });
  };
  EXPECT_TRUE(begin(first));
  EXPECT_TRUE(begin(first)) << "the reply may have been lost";
  EXPECT_FALSE(begin(second));
  EXPECT_OK(add(first, 1));
  bool begun = false;
  ASSERT_TRUE(RunnerFixture::WaitFor([&] { return begun = begun || begin(second); }));
  EXPECT_TRUE(absl::IsAborted(add(first, 2)));
  EXPECT_OK(add(second, 1));
  EXPECT_FALSE(
      first.store->Ask<bool>([&](Tables& tables) { return tables.batches.Begin(batch.number, kNow); }).value());
  EXPECT_TRUE(
      second.store->Ask<bool>([&](Tables& tables) { return tables.batches.Begin(batch.number, kNow); }).value());
  EXPECT_EQ(first.Find(batch).total, 1);
}

}  // namespace
}  // namespace hadal::batches

// SPDX-License-Identifier: Apache-2.0
#include "server/batches/batch_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "nlohmann/json.hpp"
#include "server/batches/sqlite_tables.h"
#include "server/request/refusal.h"
#include "tests/server/batches/store_fixture.h"
#include "tests/support/status_matchers.h"

namespace hadal::batches {
namespace {

using request::Reason;
using ::testing::HasSubstr;
using testing::kNow;
using testing::StoreFixture;

class BatchTableTest : public testing::StoreTest {};
HADAL_BOTH_STORES(BatchTableTest);

std::vector<WaitingLine> Lines(int count) {
  std::vector<WaitingLine> lines;
  for (int i = 1; i <= count; ++i) lines.push_back({i, absl::StrCat("line-", i), 10 * i, 9});
  return lines;
}

// A batch of three lines that runs.
StoredBatch Running(StoreFixture& fixture) {
  const StoredBatch batch = fixture.Submit(3);
  EXPECT_OK(fixture.store->Run([&](Tables& tables) -> absl::Status {
    std::optional<BatchError> repeated;
    EXPECT_TRUE(tables.batches.BeginReading(batch.number).value());
    EXPECT_OK(tables.batches.AddLines(batch.number, Lines(3), &repeated));
    EXPECT_FALSE(repeated.has_value());
    EXPECT_TRUE(tables.batches.Begin(batch.number, kNow + 1).value());
    return absl::OkStatus();
  }));
  return fixture.Find(batch);
}

TEST_P(BatchTableTest, ALifeFromEndToEnd) {
  StoreFixture fixture(GetParam());
  StoredBatch batch = Running(fixture);
  EXPECT_EQ(batch.status, BatchStatus::kInProgress);
  EXPECT_EQ(batch.total, 3);
  EXPECT_EQ(batch.expires, kNow + 24 * 3600);
  ASSERT_OK(fixture.store->Run([&](Tables& tables) -> absl::Status {
    std::vector<WaitingLine> waiting = tables.batches.Take(batch.number, 0, 2, {}).value();
    EXPECT_EQ(waiting.size(), 2u);
    EXPECT_EQ(waiting[1].custom_id, "line-2");
    EXPECT_EQ(waiting[1].offset, 20);
    EXPECT_OK(tables.batches.EndLines({{batch.number, 2, true, "two\n"}, {batch.number, 1, false, "one failed\n"}}));
    EXPECT_OK(tables.batches.EndLines({{batch.number, 3, true, "three\n"}, {batch.number, 2, true, "again\n"}}));
    EXPECT_TRUE(tables.batches.Take(batch.number, 0, 9, {})->empty());
    EXPECT_OK(tables.batches.End(batch, BatchStatus::kCompleted, kNow + 9));
    return absl::OkStatus();
  }));
  fixture.Reopen();
  batch = fixture.Find(batch);
  EXPECT_EQ(batch.status, BatchStatus::kCompleted);
  EXPECT_EQ(batch.reached[static_cast<size_t>(BatchStatus::kCompleted)], kNow + 9);
  EXPECT_EQ(batch.completed, 2);
  EXPECT_EQ(batch.failed, 1);
  EXPECT_EQ(fixture.Content("a", batch.output_file), "two\nthree\n");
  EXPECT_EQ(fixture.Content("a", batch.error_file), "one failed\n");
  ASSERT_OK(fixture.store->Run([&](Tables& tables) -> absl::Status {
    EXPECT_EQ(tables.files.Find("a", batch.output_file)->bytes, 10);
    EXPECT_EQ(tables.files.List("a", {.purpose = "batch_output"})->items.size(), 2u);
    EXPECT_TRUE(tables.batches.Unended()->empty());
    return absl::OkStatus();
  }));
}

TEST_P(BatchTableTest, TheFirstResultOfALineCountsHoweverLargeTheyAre) {
  StoreFixture fixture(GetParam());
  StoredBatch batch = Running(fixture);
  const std::string large(900 << 10, 'x');
  ASSERT_OK(fixture.store->Run([&](Tables& tables) -> absl::Status {
    EXPECT_TRUE(tables.batches.EndLines({{batch.number, 1, true, "one\n"}})->empty());
    const auto late = tables.batches.EndLines({{batch.number, 2, true, large + "2\n"},
                                               {batch.number, 1, true, large + "again\n"},
                                               {batch.number, 3, false, large + "3\n"},
                                               {batch.number, 2, true, large + "again\n"}});
    EXPECT_EQ(late.value(), (std::vector<size_t>{1, 3}));
    EXPECT_OK(tables.batches.End(batch, BatchStatus::kCompleted, kNow + 9));
    return absl::OkStatus();
  }));
  batch = fixture.Find(batch);
  EXPECT_EQ(batch.completed, 2);
  EXPECT_EQ(batch.failed, 1);
  EXPECT_EQ(fixture.Content("a", batch.output_file), absl::StrCat("one\n", large, "2\n"));
  EXPECT_EQ(fixture.Content("a", batch.error_file), absl::StrCat(large, "3\n"));
}

TEST_P(BatchTableTest, WhatDidNotRunFailsWithTheReason) {
  StoreFixture fixture(GetParam());
  for (const BatchStatus end : {BatchStatus::kExpired, BatchStatus::kCancelled}) {
    StoredBatch batch = Running(fixture);
    ASSERT_OK(fixture.store->Run([&](Tables& tables) -> absl::Status {
      EXPECT_OK(tables.batches.EndLines({{batch.number, 1, true, "one\n"}}));
      return tables.batches.End(batch, end, kNow + 5).status();
    }));
    batch = fixture.Find(batch);
    EXPECT_EQ(batch.completed, 1);
    EXPECT_EQ(batch.failed, 2);
    EXPECT_EQ(fixture.Content("a", batch.output_file), "one\n");
    const std::string errors = fixture.Content("a", batch.error_file);
    const nlohmann::json first = nlohmann::json::parse(errors.substr(0, errors.find('\n')));
    EXPECT_EQ(first["custom_id"], "line-2");
    EXPECT_TRUE(first["response"].is_null());
    EXPECT_EQ(first["error"]["code"], end == BatchStatus::kExpired ? "batch_expired" : "batch_cancelled");
    EXPECT_EQ(std::count(errors.begin(), errors.end(), '\n'), 2);
  }
}

TEST_P(BatchTableTest, CancelsOnce) {
  StoreFixture fixture(GetParam());
  const StoredBatch batch = Running(fixture);
  ASSERT_OK(fixture.store->Run([&](Tables& tables) -> absl::Status {
    EXPECT_REASON(tables.batches.Cancel("b", batch.id, kNow), Reason::kObjectNotFound);
    EXPECT_EQ(tables.batches.Cancel("a", batch.id, kNow + 2)->status, BatchStatus::kCancelling);
    EXPECT_EQ(tables.batches.Cancel("a", batch.id, kNow + 3)->reached[6], kNow + 2);
    EXPECT_FALSE(tables.batches.Begin(batch.number, kNow).value());
    EXPECT_OK(tables.batches.End(batch, BatchStatus::kCancelled, kNow + 4));
    const absl::Status ended = tables.batches.Cancel("a", batch.id, kNow + 5).status();
    EXPECT_REASON(ended, Reason::kInvalidRequest);
    EXPECT_THAT(std::string(ended.message()), HasSubstr("is cancelled: there is nothing to cancel"));
    return absl::OkStatus();
  }));
}

TEST_P(BatchTableTest, ARepeatedCustomIdNamesBothLines) {
  StoreFixture fixture(GetParam());
  const StoredBatch batch = fixture.Submit(1);
  ASSERT_OK(fixture.store->Run([&](Tables& tables) -> absl::Status {
    std::optional<BatchError> repeated;
    EXPECT_TRUE(tables.batches.BeginReading(batch.number).value());
    EXPECT_OK(tables.batches.AddLines(batch.number, Lines(3), &repeated));
    EXPECT_OK(tables.batches.AddLines(batch.number, {{7, "new", 0, 1}, {8, "line-2", 0, 1}}, &repeated));
    EXPECT_EQ(repeated->line, 8);
    EXPECT_EQ(repeated->message, "line 8: the custom_id 'line-2' is that of line 2; each line needs one of its own");
    EXPECT_EQ(tables.batches.Take(batch.number, 0, 9, {})->size(), 3u);  // nothing of the piece
    EXPECT_OK(tables.batches.Fail(batch.number, {*repeated}, kNow));
    return absl::OkStatus();
  }));
  const StoredBatch failed = fixture.Find(batch);
  EXPECT_EQ(failed.status, BatchStatus::kFailed);
  ASSERT_EQ(failed.errors.size(), 1u);
  EXPECT_EQ(failed.errors[0].code, "duplicate_custom_id");
}

TEST_P(BatchTableTest, KeepsToTheBatchesOfAnOwner) {
  StoreFixture fixture(GetParam(), {.max_key_batches = 2});
  const StoredBatch first = fixture.Submit(1);
  fixture.Submit(1);
  const auto file = fixture.Upload("a", StoreFixture::Line(1));
  const absl::Status third = fixture.Create(*file).status();
  EXPECT_REASON(third, Reason::kTenantQuota);
  EXPECT_TRUE(request::GetErrorDetail(third).retry_after.has_value());
  fixture.Submit(1, "b");
  ASSERT_OK(fixture.store->Run(
      [&](Tables& tables) { return tables.batches.End(first, BatchStatus::kCancelled, kNow).status(); }));
  EXPECT_OK(fixture.Create(*file));
}

TEST_P(BatchTableTest, ResultsAreNoInput) {
  StoreFixture fixture(GetParam());
  StoredFile file = *fixture.Upload("a", "x");
  file.purpose = "batch_output";
  const absl::Status refused = fixture.Create(file).status();
  EXPECT_REASON(refused, Reason::kInvalidRequest);
  EXPECT_EQ(request::GetErrorDetail(refused).param, "input_file_id");
}

TEST_P(BatchTableTest, OldBatchesGoWithTheirResults) {
  StoreFixture fixture(GetParam());
  StoredBatch batch = Running(fixture);
  ASSERT_OK(fixture.store->Run([&](Tables& tables) -> absl::Status {
    EXPECT_OK(tables.batches.EndLines({{batch.number, 1, true, "one\n"}}));
    return tables.batches.End(batch, BatchStatus::kExpired, kNow).status();
  }));
  batch = fixture.Find(batch);
  ASSERT_OK(fixture.store->Run([&](Tables& tables) -> absl::Status {
    EXPECT_OK(tables.batches.DeleteOld(kNow + 30 * 24 * 3600 - 1));
    EXPECT_OK(tables.batches.Find("a", batch.id));
    EXPECT_OK(tables.batches.DeleteOld(kNow + 30 * 24 * 3600));
    EXPECT_REASON(tables.batches.Find("a", batch.id), Reason::kObjectNotFound);
    EXPECT_REASON(tables.files.Find("a", batch.output_file), Reason::kObjectNotFound);
    return absl::OkStatus();
  }));
}

TEST(SqliteTablesTest, DeletingResultsFreesTheirBytes) {
  StoreFixture fixture(testing::StoreKind::kSqlite);
  StoredBatch batch = Running(fixture);
  ASSERT_OK(fixture.store->Run([&](Tables& tables) -> absl::Status {
    EXPECT_OK(tables.batches.EndLines({{batch.number, 1, true, std::string(100'000, 'x')}}));
    EXPECT_OK(tables.batches.End(batch, BatchStatus::kCompleted, kNow));
    const int64_t free = static_cast<SqliteTables&>(tables).database().FreeBytes().value();
    EXPECT_OK(tables.files.Delete("a", tables.batches.Find("a", batch.id)->output_file));
    EXPECT_GE(static_cast<SqliteTables&>(tables).database().FreeBytes().value(), free + 90'000);
    return absl::OkStatus();
  }));
}

TEST(BatchStoreTest, HasOneProcess) {
  StoreFixture fixture(testing::StoreKind::kSqlite);
  const absl::Status second = BatchStore::Open(fixture.store->options()).status();
  EXPECT_EQ(second.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.message()), HasSubstr("--batch-store: "));
  const absl::Status missing = BatchStore::Open({.store = "/no/where"}).status();
  EXPECT_THAT(std::string(missing.message()), HasSubstr("--batch-store: /no/where/batches.db: it cannot be opened"));
}

TEST(BatchStoreTest, MakesItsFolderForItsOwnerAlone) {
  StoreFixture fixture(testing::StoreKind::kSqlite);
  const std::filesystem::path folder = std::filesystem::path(fixture.store->options().Folder()) / "new";
  EXPECT_OK(BatchStore::Open({.store = folder.string()}).status());
  EXPECT_EQ(std::filesystem::status(folder).permissions(), std::filesystem::perms::owner_all);
}

}  // namespace
}  // namespace hadal::batches

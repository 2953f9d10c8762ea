// SPDX-License-Identifier: Apache-2.0
#include "server/batches/file_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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

class FileTableTest : public testing::StoreTest {};
HADAL_BOTH_STORES(FileTableTest);

std::string Pattern(size_t bytes) {
  std::string text(bytes, ' ');
  for (size_t i = 0; i < bytes; ++i) text[i] = static_cast<char>(i * 131 >> 3);
  return text;
}

TEST_P(FileTableTest, GivesBackWhatWasUploaded) {
  StoreFixture fixture(GetParam());
  const std::string text = Pattern(3 * FileTable::kPieceBytes + 17);
  const auto file = fixture.Upload("a", text);
  ASSERT_OK(file);
  EXPECT_EQ(file->bytes, static_cast<int64_t>(text.size()));
  EXPECT_EQ(file->purpose, "batch");
  EXPECT_EQ(file->expires, kNow + 30 * 24 * 3600);
  fixture.Reopen();
  EXPECT_EQ(fixture.Content("a", file->id), text);
  for (const auto& [offset, length] : {std::pair<int64_t, int64_t>{0, 5},
                                       {FileTable::kPieceBytes - 3, 6},
                                       {FileTable::kPieceBytes, 1},
                                       {10, 2 * FileTable::kPieceBytes},
                                       {static_cast<int64_t>(text.size()) - 4, 100}}) {
    const auto range = fixture.store->Ask<std::string>(
        [&](Tables& tables) { return tables.files.ReadRange(file->number, offset, length); });
    ASSERT_OK(range);
    EXPECT_EQ(*range, text.substr(static_cast<size_t>(offset), static_cast<size_t>(length)));
  }
}

TEST_P(FileTableTest, OwnersDoNotSeeEachOther) {
  StoreFixture fixture(GetParam());
  const auto file = fixture.Upload("a", "text");
  ASSERT_OK(fixture.store->Run([&](Tables& tables) -> absl::Status {
    EXPECT_REASON(tables.files.Find("b", file->id), Reason::kObjectNotFound);
    EXPECT_REASON(tables.files.Delete("b", file->id), Reason::kObjectNotFound);
    EXPECT_TRUE(tables.files.List("b", {})->items.empty());
    EXPECT_REASON(tables.files.List("b", {.after = file->id}), Reason::kObjectNotFound);
    EXPECT_EQ(tables.files.List("a", {})->items.size(), 1u);
    return absl::OkStatus();
  }));
}

TEST_P(FileTableTest, ListsInPages) {
  StoreFixture fixture(GetParam());
  std::vector<std::string> ids;
  for (int i = 0; i < 5; ++i) ids.push_back(fixture.Upload("a", "x")->id);
  ASSERT_OK(fixture.store->Run([&](Tables& tables) -> absl::Status {
    ListPage<StoredFile> page = tables.files.List("a", {.limit = 2}).value();
    EXPECT_TRUE(page.has_more);
    EXPECT_EQ(page.items[0].id, ids[4]);
    page = tables.files.List("a", {.limit = 3, .after = page.items[1].id}).value();
    EXPECT_FALSE(page.has_more);
    EXPECT_EQ(page.items.back().id, ids[0]);
    page = tables.files.List("a", {.limit = 10, .after = ids[1], .newest_first = false}).value();
    EXPECT_EQ(page.items.size(), 3u);
    EXPECT_EQ(page.items[0].id, ids[2]);
    EXPECT_TRUE(tables.files.List("a", {.purpose = "batch_output"})->items.empty());
    return absl::OkStatus();
  }));
}

TEST_P(FileTableTest, KeepsToTheLimitsOfAnOwner) {
  StoreFixture fixture(GetParam(), {.max_file_bytes = 1000, .max_key_bytes = 1500, .max_key_files = 3});
  EXPECT_REASON(fixture.Upload("a", std::string(1001, 'x')), Reason::kBodyTooLarge);
  ASSERT_OK(fixture.Upload("a", std::string(1000, 'x')));
  const absl::Status rest = fixture.Upload("a", std::string(501, 'x')).status();
  EXPECT_REASON(rest, Reason::kBodyTooLarge);
  EXPECT_THAT(std::string(rest.message()), HasSubstr("larger than 500 bytes, what the tenant's limit leaves"));
  fixture.Reopen();  // uploads that failed and were not abandoned are gone
  ASSERT_OK(fixture.Upload("a", std::string(500, 'x')));
  EXPECT_REASON(fixture.Upload("a", "x"), Reason::kTenantQuota);
  ASSERT_OK(fixture.Upload("b", "x"));
  ASSERT_OK(fixture.Upload("b", "x"));
  ASSERT_OK(fixture.Upload("b", "x"));
  const absl::Status fourth = fixture.Upload("b", "x").status();
  EXPECT_REASON(fourth, Reason::kTenantQuota);
  EXPECT_THAT(std::string(fourth.message()), HasSubstr("there are 3 files, the limit is 3"));
}

TEST_P(FileTableTest, UploadsTogetherCannotPassTheLimit) {
  StoreFixture fixture(GetParam(), {.max_key_bytes = 1500});
  ASSERT_OK(fixture.store->Run([&](Tables& tables) -> absl::Status {
    const Upload one = tables.files.Begin("a", kNow).value();
    const Upload two = tables.files.Begin("a", kNow).value();
    EXPECT_OK(tables.files.Append(one, 0, std::string(1000, 'x')));
    EXPECT_OK(tables.files.Append(two, 0, std::string(1000, 'x')));
    EXPECT_OK(tables.files.Finish(one, "one", 1000, 0));
    EXPECT_REASON(tables.files.Finish(two, "two", 1000, 0), Reason::kTenantQuota);
    EXPECT_EQ(tables.files.List("a", {})->items.size(), 1u);
    return absl::OkStatus();
  }));
}

TEST_P(FileTableTest, AnUploadIsSeenWhenItIsWhole) {
  StoreFixture fixture(GetParam());
  ASSERT_OK(fixture.store->Run([&](Tables& tables) -> absl::Status {
    const Upload upload = tables.files.Begin("a", kNow).value();
    EXPECT_OK(tables.files.Append(upload, 0, "half"));
    EXPECT_TRUE(tables.files.List("a", {})->items.empty());
    return absl::OkStatus();
  }));
  fixture.Reopen();
  ASSERT_OK(fixture.store->Run([&](Tables& tables) -> absl::Status {
    EXPECT_TRUE(tables.files.List("a", {})->items.empty());
    if (GetParam() == testing::StoreKind::kRedis) return absl::OkStatus();  // another process may still be at it
    storage::Statement rows = static_cast<SqliteTables&>(tables).database().Prepare("SELECT count(*) FROM chunks");
    EXPECT_TRUE(rows.Next());
    EXPECT_EQ(rows.Int(0), 0);
    return absl::OkStatus();
  }));
}

TEST_P(FileTableTest, AFileInUseStays) {
  StoreFixture fixture(GetParam());
  const StoredBatch batch = fixture.Submit(1);
  ASSERT_OK(fixture.store->Run([&](Tables& tables) -> absl::Status {
    const absl::Status used = tables.files.Delete("a", batch.input_file);
    EXPECT_REASON(used, Reason::kInvalidRequest);
    EXPECT_THAT(std::string(used.message()), HasSubstr("the batch " + batch.id + " reads this file"));
    EXPECT_OK(tables.files.DeleteExpired(kNow + 365 * 24 * 3600));
    EXPECT_OK(tables.files.Find("a", batch.input_file));
    EXPECT_OK(tables.batches.End(batch, BatchStatus::kCancelled, kNow));
    EXPECT_OK(tables.files.DeleteExpired(kNow + 24 * 3600));
    EXPECT_OK(tables.files.Find("a", batch.input_file));
    EXPECT_OK(tables.files.DeleteExpired(kNow + 30 * 24 * 3600));
    EXPECT_REASON(tables.files.Find("a", batch.input_file), Reason::kObjectNotFound);
    return absl::OkStatus();
  }));
}

TEST(SqliteFileTableTest, AFullStoreSaysSo) {
  StoreFixture fixture(testing::StoreKind::kSqlite, {.store_bytes = 1 << 20});
  const absl::Status full = fixture.Upload("a", Pattern(2 << 20)).status();
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(full.message()), HasSubstr("batches.db: no space is left"));
  fixture.Reopen();
  EXPECT_OK(fixture.Upload("a", Pattern(300 << 10)));
}

}  // namespace
}  // namespace hadal::batches

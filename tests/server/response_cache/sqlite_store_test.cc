// SPDX-License-Identifier: Apache-2.0
#include "server/response_cache/sqlite_store.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "gtest/gtest.h"
#include "server/storage/database.h"
#include "tests/support/status_matchers.h"

namespace hadal::response_cache {
namespace {

constexpr int64_t kBound = 1 << 20;

class SqliteStoreTest : public ::testing::Test {
 protected:
  SqliteStoreTest() {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  ~SqliteStoreTest() override { std::filesystem::remove_all(folder_); }

  static CacheKey Key(int number) {
    CacheKey key(32, 'k');
    key.replace(0, 4, std::to_string(1000 + number));
    return key;
  }
  std::unique_ptr<StoreConnection> Connect() {
    return MakeSqliteStore(path_, kBound).value()->Connect(absl::Seconds(20));
  }

  const std::filesystem::path folder_ =
      std::filesystem::path(::testing::TempDir()) / ("sqlite_store_" + std::to_string(::getpid()));
  const std::string path_ = folder_ / "answers.db";
};

TEST_F(SqliteStoreTest, KeepsEntriesForTheNextProcess) {
  {
    const auto connection = Connect();
    EXPECT_TRUE(absl::IsNotFound(connection->Get(Key(1)).status()));
    EXPECT_OK(connection->Put(Key(1), std::string_view("a\0b", 3), absl::InfiniteDuration()));
    EXPECT_OK(connection->Put(Key(2), "old", absl::InfiniteDuration()));
    EXPECT_OK(connection->Put(Key(2), "new", absl::InfiniteDuration()));
  }
  const auto connection = Connect();
  EXPECT_EQ(connection->Get(Key(1)).value(), std::string("a\0b", 3));
  EXPECT_EQ(connection->Get(Key(2)).value(), "new");
}

TEST_F(SqliteStoreTest, OneWritesWhileOthersRead) {
  const auto writer = Connect(), reader = Connect();
  EXPECT_OK(writer->Put(Key(1), "first", absl::InfiniteDuration()));
  EXPECT_EQ(reader->Get(Key(1)).value(), "first");
  EXPECT_OK(writer->Put(Key(1), "second", absl::InfiniteDuration()));
  EXPECT_EQ(reader->Get(Key(1)).value(), "second");
}

TEST_F(SqliteStoreTest, StaysWithinItsSizeAndDropsTheLeastRecent) {
  const auto connection = Connect();
  const std::string entry(10000, 'x');
  for (int i = 0; i < 400; ++i) ASSERT_OK(connection->Put(Key(i), entry, absl::InfiniteDuration())) << i;
  EXPECT_LE(std::filesystem::file_size(path_), static_cast<uintmax_t>(kBound));
  EXPECT_TRUE(absl::IsNotFound(connection->Get(Key(0)).status()));
  EXPECT_EQ(connection->Get(Key(399)).value(), entry);
  EXPECT_EQ(connection->Get(Key(360)).value(), entry);
  EXPECT_TRUE(
      absl::IsResourceExhausted(connection->Put(Key(0), std::string(2 * kBound, 'x'), absl::InfiniteDuration())));
}

TEST_F(SqliteStoreTest, WhatIsAskedForStaysWhileOthersGo) {
  const auto store = MakeSqliteStore(path_, kBound).value();
  const auto writer = store->Connect(absl::Seconds(20)), reader = store->Connect(absl::Seconds(20));
  const std::string entry(10000, 'x');
  for (int i = 0; i < 400; ++i) {
    ASSERT_OK(writer->Put(Key(i), entry, absl::InfiniteDuration())) << i;
    ASSERT_EQ(reader->Get(Key(0)).value(), entry) << i;
  }
  EXPECT_TRUE(absl::IsNotFound(reader->Get(Key(1)).status()));
  EXPECT_LE(std::filesystem::file_size(path_), static_cast<uintmax_t>(kBound));
}

TEST_F(SqliteStoreTest, TakesOverAFileThatCountedNoUses) {
  {
    // The schema's first version.
    storage::DatabaseOptions options = {.path = path_, .application_id = 0x48524331};
    const std::string_view first[] = {
        "CREATE TABLE answers (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, entry BLOB NOT NULL)"};
    options.migrations = first;
    const auto database = storage::Database::Open(options).value();
    for (int i = 0; i < 90; ++i) {
      ASSERT_OK(database->Prepare("INSERT INTO answers (key, entry) VALUES (?, ?)")
                    .BindBlob(Key(i))
                    .BindBlob(std::string(10000, 'x'))
                    .Run());
    }
  }
  const auto connection = Connect();
  EXPECT_OK(connection->Get(Key(0)).status());
  for (int i = 90; i < 95; ++i) ASSERT_OK(connection->Put(Key(i), std::string(10000, 'y'), absl::InfiniteDuration()));
  EXPECT_OK(connection->Get(Key(0)).status());
  EXPECT_TRUE(absl::IsNotFound(connection->Get(Key(1)).status()));
}

TEST_F(SqliteStoreTest, AFileOfAnotherKindOrFolderIsRefused) {
  EXPECT_EQ(MakeSqliteStore(folder_ / "missing" / "a.db", kBound).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(MakeSqliteStore(folder_.string(), kBound).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(SqliteStoreTest, ADamagedFileIsAnErrorUntilItIsRemoved) {
  std::ofstream(path_) << std::string(8192, 'x');
  const auto connection = Connect();
  EXPECT_FALSE(connection->Get(Key(1)).ok());
  EXPECT_FALSE(absl::IsNotFound(connection->Get(Key(1)).status()));
  EXPECT_FALSE(connection->Put(Key(1), "x", absl::InfiniteDuration()).ok());
  std::filesystem::remove(path_);
  EXPECT_OK(connection->Put(Key(1), "x", absl::InfiniteDuration()));
  EXPECT_EQ(connection->Get(Key(1)).value(), "x");
}

}  // namespace
}  // namespace hadal::response_cache

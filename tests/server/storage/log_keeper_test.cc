// SPDX-License-Identifier: Apache-2.0
#include "server/storage/log_keeper.h"

#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/statvfs.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "server/storage/database.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_folder.h"

namespace hadal::storage {
namespace {

constexpr std::string_view kSchema[] = {"CREATE TABLE notes(text TEXT PRIMARY KEY, data BLOB);"};

// A database that has its file for itself, on a disk of its own.
class LogKeeperTest : public ::testing::Test {
 protected:
  ~LogKeeperTest() override {
    database_.reset();
    if (mounted_) {
      EXPECT_EQ(::umount(folder_.path().c_str()), 0);
    }
  }

  // False where the test may not mount.
  bool MakeDisk(int64_t bytes) {
    mounted_ = ::mount("tmpfs", folder_.path().c_str(), "tmpfs", 0, absl::StrCat("size=", bytes).c_str()) == 0;
    if (mounted_) Open();
    return mounted_;
  }
  void Open(int64_t max_bytes = 0) {
    database_.reset();
    absl::StatusOr<std::unique_ptr<Database>> opened = Database::Open({.path = folder_.path("x.db"),
                                                                       .application_id = 7,
                                                                       .migrations = kSchema,
                                                                       .exclusive = true,
                                                                       .max_bytes = max_bytes});
    ASSERT_OK(opened.status());
    database_ = *std::move(opened);
  }

  int64_t FreeBytes() {
    struct statvfs disk;
    EXPECT_EQ(::statvfs(folder_.path().c_str(), &disk), 0);
    return static_cast<int64_t>(disk.f_bavail * disk.f_frsize);
  }
  int64_t LogBytes() { return static_cast<int64_t>(std::filesystem::file_size(folder_.path("x.db-wal"))); }
  // Lets others take or give back, so that `bytes` are free.
  void LeaveFree(int64_t bytes) {
    const std::string path = folder_.path("others");
    std::ofstream(path, std::ios::app).close();
    const int64_t others = static_cast<int64_t>(std::filesystem::file_size(path)) + FreeBytes() - bytes;
    if (FreeBytes() > bytes) {
      std::ofstream(path, std::ios::app) << std::string(static_cast<size_t>(FreeBytes() - bytes), 'o');
    } else {
      std::filesystem::resize_file(path, static_cast<uintmax_t>(others));
    }
    ASSERT_EQ(FreeBytes(), bytes);
  }

  absl::Status Put(std::string_view text, size_t bytes, char fill = 'x') {
    return database_->Prepare("INSERT OR REPLACE INTO notes VALUES (?, ?)")
        .Bind(text)
        .BindBlob(std::string(bytes, fill))
        .Run();
  }
  int64_t Count() {
    Statement rows = database_->Prepare("SELECT count(*) FROM notes");
    EXPECT_TRUE(rows.Next()) << rows.status();
    return rows.Int(0);
  }

  const testing::TempFolder folder_;
  std::unique_ptr<Database> database_;
  bool mounted_ = false;
};

constexpr int64_t kMiB = int64_t{1} << 20;
constexpr int64_t kKiB = 1024;

TEST_F(LogKeeperTest, CopiesTheLogAtItsSize) {
  Open();
  for (int i = 0; i < 200; ++i) {
    ASSERT_OK(Put("a", 20'000, static_cast<char>('a' + i % 20)));  // 5 pages each, 4 MB in all
    EXPECT_LE(LogBytes(), LogKeeper::kBytes + 64 * kKiB);
  }
  EXPECT_GT(LogBytes(), LogKeeper::kBytes / 2) << "where there is room it is not emptied after each commit";
}

TEST_F(LogKeeperTest, AnyNumberOfChangesFitWhereTheRowsDo) {
  if (!MakeDisk(2 * kMiB)) GTEST_SKIP() << "mounting needs rights";
  LeaveFree(kMiB);
  for (int i = 0; i < 200; ++i) {
    ASSERT_OK(Put("a", 20'000, static_cast<char>('a' + i % 20))) << i;
    ASSERT_OK(database_->Transact([&] { return Put("b", 20'000, static_cast<char>('a' + i % 20)); })) << i;
  }
  EXPECT_GT(FreeBytes(), kMiB / 2) << "and the log has given its bytes back";
  EXPECT_OK(database_->CheckIntegrity());
}

TEST_F(LogKeeperTest, EmptiesTheLogForAWriteThatFoundNoRoom) {
  if (!MakeDisk(8 * kMiB)) GTEST_SKIP() << "mounting needs rights";
  const auto fill_log = [&] {
    LeaveFree(4 * kMiB);
    for (int i = 0; i < 20; ++i) ASSERT_OK(Put("a", 20'000, static_cast<char>('a' + i % 20)));
    ASSERT_GT(LogBytes(), 400 * kKiB);
    LeaveFree(0);
  };
  ASSERT_OK(Put("a", 20'000));
  Open();  // copied: what the log holds from here on has its place in the database
  fill_log();
  EXPECT_OK(Put("b", 50'000)) << "a statement of its own";
  fill_log();
  int runs = 0;
  EXPECT_OK(database_->Transact([&] {
    ++runs;
    absl::Status status = Put("c", 50'000);
    return status.ok() ? Put("d", 50'000) : status;
  }));
  EXPECT_EQ(runs, 2);
  EXPECT_EQ(Count(), 4);
  EXPECT_OK(database_->CheckIntegrity());
}

TEST_F(LogKeeperTest, AWriteThatFindsNoRoomEvenThenFailsAsAWhole) {
  if (!MakeDisk(2 * kMiB)) GTEST_SKIP() << "mounting needs rights";
  ASSERT_OK(Put("a", 20'000));
  LeaveFree(200 * kKiB);
  const absl::Status status = database_->Transact([&] {
    absl::Status small = Put("small", 100);
    return small.ok() ? Put("large", 600'000) : small;
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_NE(status.message().find("no space is left"), std::string_view::npos) << status;
  EXPECT_EQ(Count(), 1);
  EXPECT_OK(database_->Prepare("DELETE FROM notes").Run()) << "the log has room for a deletion";
  LeaveFree(1'500 * kKiB);
  EXPECT_OK(Put("large", 600'000));
}

// The log was written, and then there was no room to copy it.
TEST_F(LogKeeperTest, RoomThatIsMadeIsForTheLogFirst) {
  if (!MakeDisk(2 * kMiB)) GTEST_SKIP() << "mounting needs rights";
  LeaveFree(300 * kKiB);
  ASSERT_OK(Put("a", 200 * kKiB));  // 200 KiB of log and as much of database
  EXPECT_GE(LogBytes(), 200 * kKiB) << "it could not be copied";
  EXPECT_EQ(Put("b", 300 * kKiB).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(FreeBytes(), 0);
  LeaveFree(260 * kKiB);  // less than the change needs: it would take all of this for nothing
  EXPECT_OK(Put("b", 300 * kKiB));
  EXPECT_EQ(Count(), 2);
  LeaveFree(kMiB);
  EXPECT_OK(Put("c", 100 * kKiB));
  EXPECT_OK(database_->CheckIntegrity());
}

TEST_F(LogKeeperTest, ALogThatWasNotCopiedIsThereAfterARestart) {
  if (!MakeDisk(2 * kMiB)) GTEST_SKIP() << "mounting needs rights";
  LeaveFree(300 * kKiB);
  ASSERT_OK(Put("a", 200 * kKiB));
  LeaveFree(0);
  Open();
  EXPECT_EQ(Count(), 1);
  LeaveFree(kMiB);
  EXPECT_OK(Put("b", 200 * kKiB));
  EXPECT_EQ(Count(), 2);
  EXPECT_OK(database_->CheckIntegrity());
}

TEST_F(LogKeeperTest, ADatabaseAtItsLimitIsNoReasonToFailOtherwise) {
  Open(/*max_bytes=*/200 * kKiB);
  EXPECT_EQ(Put("large", 300 * kKiB).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_OK(Put("small", 50 * kKiB));
}

TEST_F(LogKeeperTest, ErrorsOfTheBodyAreNotTriedAgain) {
  Open();
  int runs = 0;
  const absl::Status status = database_->Transact([&] {
    ++runs;
    return absl::ResourceExhaustedError("a quota");
  });
  EXPECT_EQ(status, absl::ResourceExhaustedError("a quota"));
  EXPECT_EQ(runs, 1);
}

}  // namespace
}  // namespace hadal::storage

// SPDX-License-Identifier: Apache-2.0
#include "server/storage/database.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <optional>
#include <random>

#include "absl/strings/str_cat.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_folder.h"

namespace hadal::storage {
namespace {

using ::testing::HasSubstr;
using testing::TempFolder;

constexpr int32_t kTestId = 0x68616474;
constexpr std::string_view kFirstSchema[] = {
    "CREATE TABLE notes(id INTEGER PRIMARY KEY, text TEXT UNIQUE, data BLOB);"};
constexpr std::string_view kSecondSchema[] = {kFirstSchema[0], "ALTER TABLE notes ADD COLUMN mark INTEGER DEFAULT 7;"};

DatabaseOptions OptionsFor(const std::string& path) {
  return {.path = path, .application_id = kTestId, .migrations = kFirstSchema, .busy_timeout = absl::Milliseconds(20)};
}

std::unique_ptr<Database> OpenOrDie(const DatabaseOptions& options) {
  absl::StatusOr<std::unique_ptr<Database>> database = Database::Open(options);
  EXPECT_OK(database.status());
  return database.ok() ? *std::move(database) : nullptr;
}

int64_t Count(Database& database) {
  Statement rows = database.Prepare("SELECT count(*) FROM notes");
  EXPECT_TRUE(rows.Next()) << rows.status();
  return rows.Int(0);
}

absl::Status Insert(Database& database, std::string_view text, std::string_view data = "") {
  return database.Prepare("INSERT INTO notes(text, data) VALUES (?, ?)").Bind(text).BindBlob(data).Run();
}

TEST(DatabaseTest, KeepsWhatWasWritten) {
  const TempFolder folder;
  const std::string blob("a\0b", 3);
  {
    auto database = OpenOrDie(OptionsFor(folder.path("x.db")));
    ASSERT_OK(Insert(*database, "one", blob));
    EXPECT_EQ(database->changes(), 1);
    EXPECT_EQ(database->last_insert_id(), 1);
  }
  auto database = OpenOrDie(OptionsFor(folder.path("x.db")));
  Statement rows = database->Prepare("SELECT text, data, NULL, 2.5 FROM notes WHERE id = ?");
  rows.Bind(1);
  ASSERT_TRUE(rows.Next());
  EXPECT_EQ(rows.Text(0), "one");
  EXPECT_EQ(rows.Text(1), blob);
  EXPECT_TRUE(rows.IsNull(2));
  EXPECT_EQ(rows.Int(2), 0);
  EXPECT_EQ(rows.Double(3), 2.5);
  EXPECT_FALSE(rows.Next());
  EXPECT_FALSE(rows.Next());  // and does not begin again
  EXPECT_OK(rows.status());
}

TEST(DatabaseTest, BindsAbsentValuesAsNull) {
  const TempFolder folder;
  auto database = OpenOrDie(OptionsFor(folder.path("x.db")));
  Statement rows = database->Prepare("SELECT ? IS NULL, ? IS NULL, ?");
  rows.Bind(std::optional<int64_t>(), std::optional<std::string>("x"), 1.5);
  ASSERT_TRUE(rows.Next());
  EXPECT_EQ(rows.Int(0), 1);
  EXPECT_EQ(rows.Int(1), 0);
  EXPECT_EQ(rows.Double(2), 1.5);
}

TEST(DatabaseTest, AStatementMayRunInsideItself) {
  const TempFolder folder;
  auto database = OpenOrDie(OptionsFor(folder.path("x.db")));
  ASSERT_OK(Insert(*database, "a"));
  ASSERT_OK(Insert(*database, "b"));
  int64_t seen = 0;
  Statement outer = database->Prepare("SELECT count(*) FROM notes, notes AS other");
  ASSERT_TRUE(outer.Next());
  Statement inner = database->Prepare("SELECT count(*) FROM notes, notes AS other");
  ASSERT_TRUE(inner.Next());
  seen = outer.Int(0) + inner.Int(0);
  EXPECT_EQ(seen, 8);
}

TEST(DatabaseTest, ATransactionIsAllOrNothing) {
  const TempFolder folder;
  auto database = OpenOrDie(OptionsFor(folder.path("x.db")));
  EXPECT_OK(database->Transact([&] { return Insert(*database, "kept"); }));
  const absl::Status failed = database->Transact([&]() -> absl::Status {
    EXPECT_OK(Insert(*database, "lost"));
    return absl::AbortedError("changed my mind");
  });
  EXPECT_EQ(failed.code(), absl::StatusCode::kAborted);
  const absl::Status twice = database->Transact([&]() -> absl::Status {
    EXPECT_OK(Insert(*database, "lost"));
    return Insert(*database, "kept");
  });
  EXPECT_EQ(twice.code(), absl::StatusCode::kAlreadyExists) << twice;
  EXPECT_EQ(Count(*database), 1);
}

TEST(DatabaseTest, AMistakeInSqlIsReportedByTheRun) {
  const TempFolder folder;
  auto database = OpenOrDie(OptionsFor(folder.path("x.db")));
  Statement wrong = database->Prepare("SELECT id FROM nowhere");
  EXPECT_FALSE(wrong.Bind(1).Next());
  EXPECT_EQ(wrong.status().code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(wrong.status().message()), HasSubstr("x.db: no such table: nowhere"));
}

TEST(DatabaseTest, TheSchemaIsBroughtUpToDate) {
  const TempFolder folder;
  DatabaseOptions options = OptionsFor(folder.path("x.db"));
  ASSERT_OK(Insert(*OpenOrDie(options), "old"));
  options.migrations = kSecondSchema;
  {
    auto database = OpenOrDie(options);
    Statement rows = database->Prepare("SELECT mark FROM notes");
    ASSERT_TRUE(rows.Next()) << rows.status();
    EXPECT_EQ(rows.Int(0), 7);
  }
  options.migrations = kFirstSchema;
  const absl::Status newer = Database::Open(options).status();
  EXPECT_EQ(newer.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(newer.message()), HasSubstr("its schema has version 2, and this program knows them up to 1"));
}

TEST(DatabaseTest, AMigrationThatFailsLeavesTheOldSchema) {
  const TempFolder folder;
  DatabaseOptions options = OptionsFor(folder.path("x.db"));
  ASSERT_OK(Insert(*OpenOrDie(options), "old"));
  const std::string_view broken[] = {kFirstSchema[0], "CREATE TABLE more(id); CREATE TABLE notes(id);"};
  options.migrations = broken;
  EXPECT_FALSE(Database::Open(options).ok());
  options.migrations = kFirstSchema;
  EXPECT_EQ(Count(*OpenOrDie(options)), 1);
}

TEST(DatabaseTest, AnotherKindOfFileIsRefused) {
  const TempFolder folder;
  DatabaseOptions options = OptionsFor(folder.path("x.db"));
  ASSERT_NE(OpenOrDie(options), nullptr);
  options.application_id = kTestId + 1;
  EXPECT_THAT(std::string(Database::Open(options).status().message()), HasSubstr("belongs to something else"));

  std::ofstream(folder.path("text.db")) << std::string(8192, 'x');
  const absl::Status text = Database::Open(OptionsFor(folder.path("text.db"))).status();
  EXPECT_EQ(text.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(text.message()), HasSubstr("text.db: the file is damaged or is no database"));

  const absl::Status missing = Database::Open(OptionsFor(folder.path("no/where.db"))).status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(missing.message()), HasSubstr("where.db: it cannot be opened"));
}

TEST(DatabaseTest, DamageIsFound) {
  const TempFolder folder;
  {
    auto database = OpenOrDie(OptionsFor(folder.path("x.db")));
    for (int i = 0; i < 200; ++i) ASSERT_OK(Insert(*database, absl::StrCat(i), std::string(500, 'd')));
    ASSERT_OK(database->CheckIntegrity());
  }
  std::fstream file(folder.path("x.db"), std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(4096 * 3);
  file << std::string(4096 * 8, '\xff');
  file.close();
  auto database = OpenOrDie(OptionsFor(folder.path("x.db")));
  ASSERT_NE(database, nullptr);
  EXPECT_EQ(database->CheckIntegrity().code(), absl::StatusCode::kDataLoss);
}

TEST(DatabaseTest, AnExclusiveFileHasOneOwner) {
  const TempFolder folder;
  DatabaseOptions options = OptionsFor(folder.path("x.db"));
  options.exclusive = true;
  {
    auto owner = OpenOrDie(options);
    const absl::Status second = Database::Open(options).status();
    EXPECT_EQ(second.code(), absl::StatusCode::kUnavailable) << second;
    EXPECT_THAT(std::string(second.message()), HasSubstr("another process holds it"));
    ASSERT_OK(Insert(*owner, "still mine"));
  }
  EXPECT_EQ(Count(*OpenOrDie(options)), 1);
}

// Writes until nothing more fits, and shows that all before is there.
void FillUp(Database& database) {
  int64_t written = 0;
  absl::Status status;
  while (status.ok() && written < 10'000) {
    status = Insert(database, absl::StrCat("n", written), std::string(20'000, 'x'));
    if (status.ok()) ++written;
  }
  ASSERT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("x.db: no space is left"));
  EXPECT_EQ(Count(database), written);
  // A transaction in which one statement finds no room is gone as a whole.
  const absl::Status larger = database.Transact([&]() -> absl::Status {
    absl::Status deleted = database.Prepare("DELETE FROM notes WHERE id = 1").Run();
    if (!deleted.ok()) return deleted;  // even that needs room on a disk
    return Insert(database, "more", std::string(200'000, 'x'));
  });
  EXPECT_EQ(larger.code(), absl::StatusCode::kResourceExhausted) << larger;
  EXPECT_OK(database.CheckIntegrity());
  EXPECT_EQ(Count(database), written);
}

TEST(DatabaseTest, KeepsToItsSize) {
  const TempFolder folder;
  DatabaseOptions options = OptionsFor(folder.path("x.db"));
  options.max_bytes = 1 << 20;
  auto database = OpenOrDie(options);
  FillUp(*database);
  EXPECT_LE(database->SizeBytes().value(), 1 << 20);
  ASSERT_OK(database->Prepare("DELETE FROM notes WHERE id <= 10").Run());
  EXPECT_GE(database->FreeBytes().value(), 10 * 16'000);
  EXPECT_OK(Insert(*database, "after", std::string(20'000, 'x')));
}

TEST(DatabaseTest, SurvivesAFullDisk) {
  const TempFolder folder;
  if (::mount("tmpfs", folder.path().c_str(), "tmpfs", 0, "size=2m") != 0) GTEST_SKIP() << "mounting needs rights";
  {
    auto database = OpenOrDie(OptionsFor(folder.path("x.db")));
    const std::string ballast = folder.path("ballast");
    std::ofstream(ballast) << std::string(256 << 10, 'b');
    FillUp(*database);
    const int64_t before = Count(*database);
    std::filesystem::remove(ballast);
    EXPECT_OK(Insert(*database, "after", std::string(20'000, 'x')));
    EXPECT_EQ(Count(*database), before + 1);
  }
  auto again = OpenOrDie(OptionsFor(folder.path("x.db")));
  EXPECT_OK(again->CheckIntegrity());
  again.reset();
  EXPECT_EQ(::umount(folder.path().c_str()), 0);
}

// Moves amounts between two rows, each move with a row that tells of it, and says on `fd` what was committed.
[[noreturn]] void MoveUntilKilled(const std::string& path, int fd) {
  auto database = Database::Open(OptionsFor(path));
  for (int64_t move = 1; database.ok(); ++move) {
    const absl::Status status = (*database)->Transact([&]() -> absl::Status {
      absl::Status done = (*database)->Prepare("UPDATE notes SET id = id WHERE text = 'a'").Run();
      if (done.ok()) done = (*database)->Prepare("UPDATE sums SET value = value - 1 WHERE name = 'a'").Run();
      if (done.ok()) done = (*database)->Prepare("UPDATE sums SET value = value + 1 WHERE name = 'b'").Run();
      if (done.ok()) done = Insert(**database, absl::StrCat(::getpid(), "-", move), std::string(3000, 'x'));
      return done;
    });
    if (!status.ok()) break;
    if (::write(fd, "x", 1) != 1) break;
  }
  ::_exit(1);
}

TEST(DatabaseTest, SurvivesBeingKilledAtAnyMoment) {
  const TempFolder folder;
  const std::string path = folder.path("x.db");
  ASSERT_OK(OpenOrDie(OptionsFor(path))
                ->Execute("CREATE TABLE sums(name TEXT PRIMARY KEY, value INTEGER);"
                          "INSERT INTO sums VALUES ('a', 0), ('b', 0);"));
  std::mt19937 random(7);
  int64_t told = 0;
  for (int round = 0; round < 20; ++round) {
    int pipe[2];
    ASSERT_EQ(::pipe(pipe), 0);
    const pid_t child = ::fork();
    if (child == 0) MoveUntilKilled(path, pipe[1]);
    ::close(pipe[1]);
    // From the first commit on, so that every round writes; then anywhere within some of them.
    char mark;
    ASSERT_EQ(::read(pipe[0], &mark, 1), 1);
    ++told;
    ::usleep(random() % 5000);
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    while (::read(pipe[0], &mark, 1) == 1) ++told;
    ::close(pipe[0]);
    ASSERT_EQ(::waitpid(child, nullptr, 0), child);

    auto database = OpenOrDie(OptionsFor(path));
    ASSERT_OK(database->CheckIntegrity());
    Statement sums = database->Prepare("SELECT sum(value), max(value) FROM sums");
    ASSERT_TRUE(sums.Next());
    EXPECT_EQ(sums.Int(0), 0);
    EXPECT_EQ(sums.Int(1), Count(*database));
    // All that was told, and at most one more a round.
    EXPECT_GE(Count(*database), told);
    EXPECT_LE(Count(*database), told + round + 1);
  }
}

}  // namespace
}  // namespace hadal::storage

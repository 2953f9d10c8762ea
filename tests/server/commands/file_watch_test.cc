// SPDX-License-Identifier: Apache-2.0
#include "server/commands/file_watch.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace hadal::commands {
namespace {

namespace fs = std::filesystem;

void Write(const fs::path& path, const std::string& text) { std::ofstream(path) << text; }

class FileWatchTest : public ::testing::Test {
 protected:
  FileWatchTest() { fs::create_directories(folder_); }
  ~FileWatchTest() override { fs::remove_all(folder_); }

  fs::path folder_ = ::testing::TempDir() + "/file_watch_" + std::to_string(::getpid());
  fs::path file_ = folder_ / "keys";
};

TEST_F(FileWatchTest, ReportsARewriteOnce) {
  Write(file_, "one");
  const auto watch = FileWatch::Create(file_).value();
  EXPECT_FALSE(watch->TakeChange());
  Write(file_, "longer");
  EXPECT_TRUE(watch->TakeChange());
  EXPECT_FALSE(watch->TakeChange());
}

TEST_F(FileWatchTest, ReportsARenameOntoTheFile) {
  Write(file_, "one");
  const auto watch = FileWatch::Create(file_).value();
  Write(folder_ / "new", "two");
  EXPECT_FALSE(watch->TakeChange()) << "another file of the folder";
  fs::rename(folder_ / "new", file_);
  EXPECT_TRUE(watch->TakeChange());
}

TEST_F(FileWatchTest, ReportsTheSwappedLinkOfAVolume) {
  // As kubelet does it: keys -> ..data/keys, ..data -> a folder with the time in its name.
  fs::create_directory(folder_ / "..1");
  fs::create_directory(folder_ / "..2");
  Write(folder_ / "..1/keys", "one");
  Write(folder_ / "..2/keys", "two");
  fs::create_symlink("..1", folder_ / "..data");
  fs::create_symlink("..data/keys", file_);
  const auto watch = FileWatch::Create(file_).value();
  fs::create_symlink("..2", folder_ / "..data_tmp");
  fs::rename(folder_ / "..data_tmp", folder_ / "..data");
  EXPECT_TRUE(watch->TakeChange());
}

TEST_F(FileWatchTest, ReportsALinkThatIsMadeAnew) {
  // As certbot does it.
  Write(folder_ / "one", "1");
  Write(folder_ / "two", "2");
  fs::create_symlink("one", file_);
  const auto watch = FileWatch::Create(file_).value();
  fs::remove(file_);
  fs::create_symlink("two", file_);
  EXPECT_TRUE(watch->TakeChange());
  EXPECT_FALSE(watch->TakeChange());
}

TEST_F(FileWatchTest, AFileThatIsBegunIsNoChangeUntilItIsClosed) {
  Write(file_, "one");
  const auto watch = FileWatch::Create(file_).value();
  fs::remove(file_);
  std::ofstream writer(file_);
  writer << "tw" << std::flush;
  EXPECT_FALSE(watch->TakeChange());
  writer << "o!";
  writer.close();
  EXPECT_TRUE(watch->TakeChange());
}

TEST_F(FileWatchTest, AFileThatIsGoneIsNoChangeUntilItIsBack) {
  Write(file_, "one");
  const auto watch = FileWatch::Create(file_).value();
  fs::remove(file_);
  Write(folder_ / "other", "x");
  EXPECT_FALSE(watch->TakeChange());
  Write(file_, "two, later");
  EXPECT_TRUE(watch->TakeChange());
}

TEST_F(FileWatchTest, AFolderThatIsNotThereIsNamed) {
  const absl::Status status = FileWatch::Create(folder_ / "nowhere/keys").status();
  EXPECT_NE(status.ToString().find("nowhere"), std::string::npos) << status;
}

}  // namespace
}  // namespace hadal::commands

// SPDX-License-Identifier: Apache-2.0
#include "base/read_file.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "gtest/gtest.h"

namespace hadal::base {
namespace {

class ReadFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::remove_all(dir_);
    std::filesystem::create_directories(dir_);
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  std::string Path(const char* name) const { return (dir_ / name).string(); }

  const std::filesystem::path dir_ =
      std::filesystem::temp_directory_path() / ("hadal_read_file_test_" + std::to_string(::getpid()));
};

TEST_F(ReadFileTest, ReadsUpToTheLimit) {
  std::ofstream(Path("text")) << "hello";
  EXPECT_EQ(ReadFile(Path("text"), 5).value(), "hello");
  const absl::Status tight = ReadFile(Path("text"), 4).status();
  EXPECT_EQ(tight.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(tight.message().find("at most 4 bytes, found 5"), std::string::npos) << tight;
  std::ofstream(Path("empty"));
  EXPECT_EQ(ReadFile(Path("empty"), 5).value(), "");
}

TEST_F(ReadFileTest, AMissingFileIsNotFound) {
  EXPECT_EQ(ReadFile(Path("none"), 5).status().code(), absl::StatusCode::kNotFound);
}

// Opening a FIFO for reading waits for a writer; none comes here.
TEST_F(ReadFileTest, WhatIsNoFileIsNamedAndNotWaitedFor) {
  ASSERT_EQ(::mkfifo(Path("fifo").c_str(), 0600), 0);
  const auto message = [&](const std::string& path) {
    const absl::Status status = ReadFile(path, 100).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    return std::string(status.message());
  };
  EXPECT_EQ(message(Path("fifo")), Path("fifo") + ": expected a regular file, found a FIFO");
  EXPECT_EQ(message("/dev/zero"), "/dev/zero: expected a regular file, found a device");
  EXPECT_EQ(message(dir_.string()), dir_.string() + ": expected a regular file, found a directory");
  std::filesystem::create_symlink("fifo", Path("link"));
  EXPECT_EQ(message(Path("link")), Path("link") + ": expected a regular file, found a FIFO");
}

}  // namespace
}  // namespace hadal::base

// SPDX-License-Identifier: Apache-2.0
#include "server/base/line_writer.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace hadal::base {
namespace {

class LineWriterTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string folder = ::testing::TempDir() + "line_writer_XXXXXX";
    ASSERT_NE(::mkdtemp(folder.data()), nullptr);
    folder_ = folder;
    path_ = folder + "/access.log";
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::unique_ptr<LineWriter> Open() {
    absl::StatusOr<std::unique_ptr<LineWriter>> writer = LineWriter::Open(path_);
    EXPECT_TRUE(writer.ok()) << writer.status();
    return *std::move(writer);
  }
  static std::string Content(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  // The file once it has `size` bytes.
  static std::string WaitFor(const std::string& path, size_t size) {
    for (int i = 0; i < 2000 && Content(path).size() < size; ++i) ::usleep(10000);
    return Content(path);
  }

  std::filesystem::path folder_;
  std::string path_;
};

TEST_F(LineWriterTest, LinesOfManyThreadsArriveWholeAndInEachThreadsOrder) {
  constexpr int kThreads = 4, kLines = 1000;
  {
    const std::unique_ptr<LineWriter> writer = Open();
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&writer, t] {
        for (int i = 0; i < kLines; ++i) writer->Write(std::to_string(t) + " " + std::to_string(i));
      });
    }
    for (std::thread& thread : threads) thread.join();
    writer->Close();
    EXPECT_EQ(writer->dropped(), 0u);
  }
  std::vector<int> next(kThreads, 0);
  std::ifstream file(path_);
  int thread = 0, number = 0, lines = 0;
  for (; file >> thread >> number; ++lines) EXPECT_EQ(number, next.at(thread)++);
  EXPECT_EQ(lines, kThreads * kLines);
}

TEST_F(LineWriterTest, AFileIsAppendedTo) {
  std::ofstream(path_) << "before\n";
  Open()->Write("after");
  EXPECT_EQ(Content(path_), "before\nafter\n");
}

TEST_F(LineWriterTest, ANewFileIsNotForEverybody) {
  Open();
  struct stat info = {};
  ASSERT_EQ(::stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0007, 0u);
}

TEST_F(LineWriterTest, AfterCopyAndTruncateTheFileBeginsAgain) {
  const std::unique_ptr<LineWriter> writer = Open();
  writer->Write("first");
  EXPECT_EQ(WaitFor(path_, 6), "first\n");
  ASSERT_EQ(::truncate(path_.c_str(), 0), 0);
  writer->Write("second");
  writer->Close();
  EXPECT_EQ(Content(path_), "second\n");
}

TEST_F(LineWriterTest, ReopenGoesOnInANewFile) {
  const std::unique_ptr<LineWriter> writer = Open();
  writer->Write("first");
  WaitFor(path_, 6);
  std::filesystem::rename(path_, path_ + ".1");
  writer->Write("still to the old one");
  WaitFor(path_ + ".1", 27);
  ASSERT_TRUE(writer->Reopen().ok());
  writer->Write("second");
  writer->Close();
  EXPECT_EQ(Content(path_ + ".1"), "first\nstill to the old one\n");
  EXPECT_EQ(Content(path_), "second\n");
}

TEST_F(LineWriterTest, AFailedReopenKeepsTheFile) {
  const std::unique_ptr<LineWriter> writer = Open();
  const std::string moved = folder_.string() + ".moved";
  std::filesystem::rename(folder_, moved);
  EXPECT_NE(writer->Reopen().message().find("access.log"), absl::string_view::npos);
  writer->Write("line");
  writer->Close();
  std::filesystem::rename(moved, folder_);
  EXPECT_EQ(Content(path_), "line\n");
}

TEST_F(LineWriterTest, WhatCannotBeOpenedIsNamed) {
  EXPECT_NE(LineWriter::Open(folder_).status().message().find(folder_.string()), absl::string_view::npos);
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  EXPECT_FALSE(LineWriter::Open(path_).ok()) << "a FIFO that nobody reads must not be waited for";
}

TEST_F(LineWriterTest, APipeThatNobodyReadsDropsTheOldestAndHoldsUpNobody) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const std::unique_ptr<LineWriter> writer = LineWriter::ToDescriptor(ends[1]);
  const size_t count = 3 * LineWriter::kMaxLines;
  for (size_t i = 0; i < count; ++i) writer->Write(std::string(100, 'x') + std::to_string(i));
  const uint64_t dropped = writer->dropped();
  EXPECT_GT(dropped, 0u);
  EXPECT_LE(dropped, 2 * LineWriter::kMaxLines);
  writer->Close();
  EXPECT_GT(writer->dropped(), dropped) << "what waited at the end is lost, and counted";
  writer->Write("after the end");
  for (const int fd : ends) ::close(fd);
}

TEST_F(LineWriterTest, AFullDiskDropsAndCounts) {
  const int full = ::open("/dev/full", O_WRONLY | O_CLOEXEC);
  ASSERT_GE(full, 0);
  const std::unique_ptr<LineWriter> writer = LineWriter::ToDescriptor(full);
  for (int i = 0; i < 10; ++i) writer->Write("line");
  writer->Close();
  EXPECT_EQ(writer->dropped(), 10u);
  ::close(full);
}

}  // namespace
}  // namespace hadal::base

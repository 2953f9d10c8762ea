// SPDX-License-Identifier: Apache-2.0
#include "models/mapped_file.h"

#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace hadal::models {
namespace {

class MappedFileTest : public ::testing::Test {
 protected:
  void SetUp() override { std::ofstream(path_, std::ios::binary) << std::string(kBytes, 'x'); }
  void TearDown() override { std::filesystem::remove(path_); }

  // Adds up bytes, one a page, from `begin` on.
  static int64_t Sum(const MappedFile& file, size_t begin = 0) {
    int64_t sum = 0;
    for (size_t at = begin; at < file.bytes().size(); at += 512) sum += static_cast<int>(file.bytes()[at]);
    return sum;
  }

  static constexpr size_t kBytes = 64 << 10;
  const std::string path_ =
      (std::filesystem::temp_directory_path() / ("hadal_mapped_file_test_" + std::to_string(::getpid()))).string();
};

TEST_F(MappedFileTest, ATruncatedFileReadsAsZerosAndSaysSo) {
  const std::shared_ptr<const MappedFile> file = MappedFile::Open(path_).value();
  EXPECT_EQ(Sum(*file), 'x' * 128);
  EXPECT_TRUE(file->CheckIntact().ok());
  const std::string other_path = path_ + "_other";
  std::filesystem::copy_file(path_, other_path);
  const std::shared_ptr<const MappedFile> other = MappedFile::Open(other_path).value();

  std::filesystem::resize_file(path_, 16 << 10);
  // Several threads meet the hole at once.
  std::vector<std::thread> threads;
  std::vector<int64_t> sums(4);
  for (size_t i = 0; i < sums.size(); ++i) threads.emplace_back([&, i] { sums[i] = Sum(*file); });
  for (std::thread& thread : threads) thread.join();
  for (const int64_t sum : sums) EXPECT_EQ(sum, 'x' * 32);
  const absl::Status damaged = file->CheckIntact();
  EXPECT_EQ(damaged.code(), absl::StatusCode::kDataLoss);
  EXPECT_NE(damaged.message().find(path_), std::string::npos);
  EXPECT_EQ(Sum(*other), 'x' * 128);
  EXPECT_TRUE(other->CheckIntact().ok()) << "the others are as they were";
  std::filesystem::remove(other_path);
}

TEST_F(MappedFileTest, AGuardIsGivenBack) {
  for (int i = 0; i < 2 * MappedFile::kMaxGuarded; ++i) ASSERT_TRUE(MappedFile::Open(path_).ok());
  const std::shared_ptr<const MappedFile> file = MappedFile::Open(path_).value();
  std::filesystem::resize_file(path_, 0);
  EXPECT_EQ(Sum(*file), 0);
  EXPECT_FALSE(file->CheckIntact().ok());
}

TEST_F(MappedFileTest, ACopyDoesNotCareAboutTheFile) {
  const std::shared_ptr<const MappedFile> file = MappedFile::Open(path_, FileAccess::kCopy).value();
  std::filesystem::resize_file(path_, 0);
  EXPECT_EQ(Sum(*file), 'x' * 128);
  EXPECT_TRUE(file->CheckIntact().ok());
}

using MappedFileDeathTest = MappedFileTest;

TEST_F(MappedFileDeathTest, OtherFaultsEndTheProcessAsBefore) {
  const std::shared_ptr<const MappedFile> file = MappedFile::Open(path_).value();
  EXPECT_EXIT(std::raise(SIGBUS), ::testing::KilledBySignal(SIGBUS), "");
}

}  // namespace
}  // namespace hadal::models

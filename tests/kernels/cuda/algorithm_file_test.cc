// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/algorithm_file.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hadal::kernels::cuda {
namespace {

using ::testing::HasSubstr;

AlgorithmScope H200() { return {"NVIDIA H200", 13000, 130002, 0}; }

GemmShape Shape(int64_t m) {
  GemmShape shape;
  shape.in = DType::kBF16;
  shape.has_bias = true;
  shape.m = m;
  shape.n = shape.out_row = 4608;
  shape.k = shape.x_row = shape.w_row = 3584;
  shape.x_alignment = shape.w_alignment = 256;
  shape.out_alignment = 16;
  return shape;
}

AlgorithmTable Table(int64_t algorithms) {
  AlgorithmTable table;
  for (int64_t m = 1; m <= algorithms; ++m) {
    table[Shape(m)].words = {static_cast<uint64_t>(m), ~uint64_t{0}, 3, 4, 5, 6, 7, 8};
  }
  return table;
}

class AlgorithmFileTest : public ::testing::Test {
 protected:
  AlgorithmFileTest()
      : dir_(std::filesystem::temp_directory_path() / absl::StrCat("hadal_algorithms_", getpid())),
        path_((dir_ / "below" / AlgorithmFileName(H200())).string()) {
    std::filesystem::create_directories(dir_);
  }
  ~AlgorithmFileTest() override { std::filesystem::remove_all(dir_); }

  const std::filesystem::path dir_;
  const std::string path_;
};

TEST_F(AlgorithmFileTest, KeepsEveryFieldOfAShape) {
  const std::string text = FormatAlgorithms(H200(), Table(3));
  const absl::StatusOr<AlgorithmTable> read = ParseAlgorithms(H200(), text);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(*read, Table(3));
  EXPECT_TRUE(ParseAlgorithms(H200(), FormatAlgorithms(H200(), {}))->empty());
}

TEST_F(AlgorithmFileTest, AFileStandsForOneKindOfDevice) {
  EXPECT_EQ(AlgorithmFileName(H200()), "cublaslt-NVIDIA_H200-all.txt");
  EXPECT_EQ(AlgorithmFileName({"../A/B", 1, 1, 66}), "cublaslt-___A_B-66.txt");
}

TEST_F(AlgorithmFileTest, AnotherDeviceDriverLibraryOrFormatIsRefused) {
  const std::string text = FormatAlgorithms(H200(), Table(1));
  for (const AlgorithmScope& other :
       {AlgorithmScope{"NVIDIA H100", 13000, 130002, 0}, AlgorithmScope{"NVIDIA H200", 13010, 130002, 0},
        AlgorithmScope{"NVIDIA H200", 13000, 130100, 0}, AlgorithmScope{"NVIDIA H200", 13000, 130002, 66}}) {
    EXPECT_EQ(ParseAlgorithms(other, text).status().code(), absl::StatusCode::kFailedPrecondition);
  }
  const std::string next = absl::StrReplaceAll(text, {{"format 1", "format 2"}});
  EXPECT_EQ(ParseAlgorithms(H200(), next).status().code(), absl::StatusCode::kFailedPrecondition);
}

// Every byte behind the header, changed or cut off.
TEST_F(AlgorithmFileTest, ADamagedFileIsRefused) {
  const std::string text = FormatAlgorithms(H200(), Table(2));
  for (size_t i = 0; i < text.size(); ++i) {
    std::string changed = text;
    changed[i] = changed[i] == '7' ? '6' : '7';
    EXPECT_FALSE(ParseAlgorithms(H200(), changed).ok()) << i;
    EXPECT_FALSE(ParseAlgorithms(H200(), text.substr(0, i)).ok()) << i;
  }
  EXPECT_EQ(ParseAlgorithms(H200(), text + "x\n").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(AlgorithmFileTest, IsBounded) {
  const absl::StatusOr<AlgorithmTable> read =
      ParseAlgorithms(H200(), FormatAlgorithms(H200(), Table(kMaxAlgorithms + 5)));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->size(), kMaxAlgorithms);
  EXPECT_LT(FormatAlgorithms(H200(), *read).size(), static_cast<size_t>(kMaxAlgorithmFileBytes));
  std::filesystem::create_directories(dir_ / "below");
  std::ofstream(path_) << std::string(kMaxAlgorithmFileBytes + 1, 'x');
  const absl::Status too_large = ReadAlgorithms(path_, H200()).status();
  EXPECT_EQ(too_large.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(too_large.message()), HasSubstr("it has 2097153 bytes, limit 2097152"));
}

TEST_F(AlgorithmFileTest, IsWrittenWholeIntoAFolderThatIsMade) {
  EXPECT_TRUE(absl::IsNotFound(ReadAlgorithms(path_, H200()).status()));
  for (const int64_t algorithms : {2, 5}) {
    ASSERT_EQ(WriteAlgorithms(path_, H200(), Table(algorithms)), absl::OkStatus());
    EXPECT_EQ(*ReadAlgorithms(path_, H200()), Table(algorithms));
  }
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir_ / "below"), {}), 1);  // no temporary file
}

TEST_F(AlgorithmFileTest, AFolderThatCannotBeMadeIsNamed) {
  std::ofstream(dir_ / "below") << "a file";
  const absl::Status failed = WriteAlgorithms(path_, H200(), Table(1));
  EXPECT_FALSE(failed.ok());
  EXPECT_TRUE(absl::StrContains(failed.message(), path_)) << failed;
}

}  // namespace
}  // namespace hadal::kernels::cuda

// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/algorithm_tuner.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hadal::kernels::cuda {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Algorithms are numbers, a stopwatch reads what the test says, and each reading takes a second of a clock that moves
// only so.
class AlgorithmTunerTest : public ::testing::Test {
 protected:
  static constexpr int64_t kSecond = 1000000;

  AlgorithmTunerTest() : dir_(std::filesystem::temp_directory_path() / absl::StrCat("hadal_tuner_", getpid())) {}
  ~AlgorithmTunerTest() override { std::filesystem::remove_all(dir_); }

  AlgorithmTuner Tuner(int64_t limit_seconds, AlgorithmScope scope = {"GPU", 1, 2, 0}) {
    return AlgorithmTuner(scope, {.folder = dir_.string(),
                                  .limit_us = limit_seconds * kSecond,
                                  .now_us = [this] { return now_us_; },
                                  .note = [this](absl::string_view line) { notes_.emplace_back(line); },
                                  .warn = [this](absl::string_view line) { warnings_.emplace_back(line); }});
  }

  static GemmShape Shape(int64_t m) {
    GemmShape shape;
    shape.m = m;
    return shape;
  }

  // Offers as many candidates as there are times, the first in front; gives the number of the chosen one. Nothing for a
  // time: the library refuses that one.
  size_t Choose(AlgorithmTuner& tuner, const GemmShape& shape, const std::vector<std::optional<double>>& times_us) {
    std::vector<LtAlgorithm> candidates(times_us.size());
    for (size_t i = 0; i < candidates.size(); ++i) candidates[i].words[0] = i;
    return tuner.Choose(shape, candidates, [&](const LtAlgorithm& candidate) {
      ++timed_;
      now_us_ += kSecond;
      return times_us[candidate.words[0]];
    });
  }

  std::string path() const { return (dir_ / "cublaslt-GPU-all.txt").string(); }

  const std::filesystem::path dir_;
  int64_t now_us_ = 0;
  int timed_ = 0;
  std::vector<std::string> notes_, warnings_;
};

TEST_F(AlgorithmTunerTest, TakesTheQuickest) {
  AlgorithmTuner tuner = Tuner(100);
  tuner.Begin();
  EXPECT_EQ(Choose(tuner, Shape(1), {9.0, 7.0, 5.0, 6.0}), 2u);
  EXPECT_EQ(Choose(tuner, Shape(2), {9.0, 8.9}), 0u);  // a hundredth is what a stopwatch errs
  EXPECT_EQ(Choose(tuner, Shape(3), {9.0, std::nullopt, 8.0}), 2u);
  EXPECT_EQ(Choose(tuner, Shape(4), {std::nullopt, 8.0}), 1u);
  EXPECT_EQ(Choose(tuner, Shape(5), {std::nullopt, std::nullopt}), 0u);
  EXPECT_EQ(tuner.Find(Shape(1))->words[0], 2u);
  EXPECT_EQ(tuner.Find(Shape(5)), nullptr);
}

TEST_F(AlgorithmTunerTest, TheFirstChoiceStaysWhenTheTimeIsUp) {
  AlgorithmTuner tuner = Tuner(4);
  tuner.Begin();
  EXPECT_EQ(Choose(tuner, Shape(1), {9.0, 5.0}), 1u);
  EXPECT_EQ(Choose(tuner, Shape(2), {9.0, 5.0, 4.0, 3.0}), 0u);  // two of four were timed
  EXPECT_EQ(timed_, 4);
  EXPECT_FALSE(tuner.timing());
  EXPECT_EQ(Choose(tuner, Shape(3), {9.0, 5.0}), 0u);
  EXPECT_EQ(timed_, 4);
  EXPECT_EQ(tuner.Find(Shape(2)), nullptr);  // another start may have the time
  tuner.End();
  EXPECT_THAT(notes_, ElementsAre(HasSubstr("1 shapes timed in 4.00 s, 0 from ")));
  EXPECT_THAT(notes_, ElementsAre(HasSubstr(", 2 without time for it")));
}

TEST_F(AlgorithmTunerTest, TimesNothingOnceTheModelServes) {
  AlgorithmTuner tuner = Tuner(100);
  EXPECT_EQ(Choose(tuner, Shape(1), {9.0, 5.0}), 0u);
  tuner.Begin();
  EXPECT_TRUE(tuner.timing());
  tuner.End();
  EXPECT_FALSE(tuner.timing());
  EXPECT_EQ(Choose(tuner, Shape(1), {9.0, 5.0}), 0u);
  EXPECT_EQ(timed_, 0);
  EXPECT_THAT(notes_, IsEmpty());  // a warm-up without products of cuBLASLt
  EXPECT_FALSE(std::filesystem::exists(path()));
}

TEST_F(AlgorithmTunerTest, TheNextStartTimesNothingAgain) {
  {
    AlgorithmTuner first = Tuner(100);
    first.Begin();
    Choose(first, Shape(1), {9.0, 5.0});
    first.End();
  }
  notes_.clear();
  AlgorithmTuner next = Tuner(100);
  next.Begin();
  ASSERT_NE(next.Find(Shape(1)), nullptr);
  EXPECT_EQ(next.Find(Shape(1))->words[0], 1u);
  EXPECT_EQ(next.Find(Shape(2)), nullptr);
  next.End();
  EXPECT_THAT(notes_, ElementsAre(HasSubstr(absl::StrCat("0 shapes timed in 0.00 s, 1 from ", path()))));
  next.Forget(Shape(1));
  EXPECT_EQ(next.Find(Shape(1)), nullptr);
}

TEST_F(AlgorithmTunerTest, WhatAnotherProcessHasFoundIsKept) {
  AlgorithmTuner one = Tuner(100), other = Tuner(100);
  one.Begin();
  other.Begin();
  Choose(one, Shape(1), {9.0, 5.0});
  Choose(other, Shape(2), {9.0, 5.0});
  one.End();
  other.End();
  AlgorithmTuner next = Tuner(100);
  EXPECT_NE(next.Find(Shape(1)), nullptr);
  EXPECT_NE(next.Find(Shape(2)), nullptr);
}

TEST_F(AlgorithmTunerTest, ADamagedFileIsToldOnceAndReplaced) {
  std::filesystem::create_directories(dir_);
  std::ofstream(path()) << FormatAlgorithms({"GPU", 1, 2, 0}, {}) << "more\n";
  AlgorithmTuner tuner = Tuner(100);
  tuner.Begin();
  EXPECT_EQ(Choose(tuner, Shape(1), {9.0, 5.0}), 1u);
  tuner.End();
  EXPECT_THAT(warnings_, ElementsAre(HasSubstr("chosen anew: " + path() + ": it goes on behind its checksum")));
  EXPECT_NE(Tuner(100).Find(Shape(1)), nullptr);
  EXPECT_EQ(warnings_.size(), 1u);
}

TEST_F(AlgorithmTunerTest, AnUpdateOfTheLibraryReplacesTheFile) {
  for (const int64_t library : {2, 3}) {
    AlgorithmTuner tuner = Tuner(100, {"GPU", 1, library, 0});
    tuner.Begin();
    EXPECT_EQ(tuner.Find(Shape(1)), nullptr);
    Choose(tuner, Shape(1), {9.0, 5.0});
    tuner.End();
  }
  EXPECT_THAT(warnings_, IsEmpty());
  EXPECT_THAT(notes_[1], HasSubstr("another format, device, driver or version of cuBLASLt"));
}

TEST_F(AlgorithmTunerTest, AFolderThatCannotBeMadeIsToldAndNothingElse) {
  std::ofstream(dir_.string()) << "a file";
  AlgorithmTuner tuner = Tuner(100);
  warnings_.clear();
  tuner.Begin();
  EXPECT_EQ(Choose(tuner, Shape(1), {9.0, 5.0}), 1u);
  tuner.End();
  EXPECT_THAT(warnings_, ElementsAre(HasSubstr("not kept for the next start: " + path())));
}

}  // namespace
}  // namespace hadal::kernels::cuda

// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/run/calibration.h"

#include <gtest/gtest.h>

namespace hadal::bench {
namespace {

// What the second form asks, after one complaint; "none" when there is nothing left.
std::string Next(CallForm form, ExactLength exact_length, std::string_view message) {
  const std::optional<CallForm> next = SimplerForm(form, exact_length, message);
  if (!next) return "none";
  return std::string(next->exact_length ? "exact " : "") + (next->usage ? "usage " : "") +
         (next->max_completion_tokens ? "max_completion_tokens" : "max_tokens");
}

TEST(SimplerFormTest, DoesWhatTheComplaintNames) {
  const CallForm all{.exact_length = true};
  EXPECT_EQ(Next(all, ExactLength::kAuto, "'max_tokens' is not supported. Use 'max_completion_tokens' instead."),
            "exact usage max_completion_tokens");
  EXPECT_EQ(Next(all, ExactLength::kAuto, "Extra inputs: stream_options"), "exact max_tokens");
  EXPECT_EQ(Next(all, ExactLength::kAuto, "unknown field ignore_eos"), "usage max_tokens");
}

TEST(SimplerFormTest, LeavesOutOneMemberAfterTheOtherWithoutAName) {
  EXPECT_EQ(Next({.exact_length = true}, ExactLength::kAuto, "bad request"), "usage max_tokens");
  EXPECT_EQ(Next({.exact_length = false}, ExactLength::kAuto, "bad request"), "max_tokens");
  EXPECT_EQ(Next({.exact_length = false, .usage = false}, ExactLength::kAuto, "bad request"), "none");
}

TEST(SimplerFormTest, KeepsWhatTheUserAskedFor) {
  EXPECT_EQ(Next({.exact_length = true}, ExactLength::kOn, "unknown field ignore_eos"), "exact max_tokens");
  EXPECT_EQ(Next({.exact_length = true, .usage = false}, ExactLength::kOn, "unknown field ignore_eos"), "none");
}

TEST(SimplerFormTest, EndsWithAServerThatComplainsOfEverything) {
  CallForm form{.exact_length = true};
  int tries = 0;
  while (const auto next = SimplerForm(form, ExactLength::kAuto, "max_completion_tokens and stream_options")) {
    form = *next;
    ASSERT_LT(++tries, 10);
  }
  EXPECT_EQ(tries, 3);
}

}  // namespace
}  // namespace hadal::bench

// SPDX-License-Identifier: Apache-2.0
#include "server/request/retry_spread.h"

#include <array>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hadal::request {
namespace {

constexpr int kTenths = 10;

TEST(RetrySpreadTest, AnyFewInARowLieFarApart) {
  for (const uint64_t first : {0ull, 12345ull, 4294967295ull}) {
    std::array<int, kTenths> by_tenth = {};
    for (uint64_t i = first; i < first + 100; ++i) ++by_tenth[static_cast<size_t>(EvenlySpread(i) * kTenths)];
    EXPECT_THAT(by_tenth, ::testing::Each(::testing::AllOf(::testing::Ge(8), ::testing::Le(12))));
  }
}

TEST(RetrySpreadTest, WhoIsRefusedTogetherDoesNotReturnTogether) {
  std::array<int, kTenths> by_tenth = {};
  for (int i = 0; i < 100; ++i) {
    const absl::Duration hint = SpreadOut(absl::Seconds(2));
    ASSERT_GE(hint, absl::Seconds(2)) << "it is only added";
    ASSERT_LT(hint, absl::Seconds(4));
    ++by_tenth[static_cast<size_t>((hint - absl::Seconds(2)) / absl::Milliseconds(200))];
  }
  EXPECT_THAT(by_tenth, ::testing::Each(::testing::AllOf(::testing::Ge(8), ::testing::Le(12))));
}

}  // namespace
}  // namespace hadal::request

// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/pending_calls.h"

#include <gtest/gtest.h>

#include <optional>
#include <utility>

namespace hadal::rpc {
namespace {

TEST(PendingCallsTest, PlacesAreLimitedAndGivenBackOnce) {
  PendingCalls calls(2, nullptr);
  std::optional<PendingCalls::Slot> a(calls.TryTake());
  PendingCalls::Slot b = calls.TryTake();
  EXPECT_TRUE(a->taken());
  EXPECT_TRUE(b.taken());
  EXPECT_FALSE(calls.TryTake().taken());
  EXPECT_EQ(calls.taken(), 2);
  PendingCalls::Slot moved = std::move(b);
  EXPECT_FALSE(b.taken());  // NOLINT(bugprone-use-after-move): what a moved-from slot says is promised
  EXPECT_EQ(calls.taken(), 2);
  a.reset();
  EXPECT_EQ(calls.taken(), 1);
  moved = {};
  EXPECT_EQ(calls.taken(), 0);
  EXPECT_TRUE(calls.TryTake().taken());
}

}  // namespace
}  // namespace hadal::rpc

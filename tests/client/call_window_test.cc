// SPDX-License-Identifier: Apache-2.0
#include "client/call_window.h"

#include <gtest/gtest.h>

#include <string>

namespace hadal::client {
namespace {

TEST(CallWindowTest, TurnsComeInOrderAndOnceARoom) {
  CallWindow window(2);
  std::string turns;
  const int call[5] = {};
  EXPECT_TRUE(window.Enter(&call[0], nullptr));
  EXPECT_TRUE(window.Enter(&call[1], nullptr));
  EXPECT_FALSE(window.Enter(&call[2], [&] { turns += "c"; }));
  EXPECT_FALSE(window.Enter(&call[3], [&] { turns += "d"; }));
  EXPECT_FALSE(window.Enter(&call[4], [&] { turns += "e"; }));
  EXPECT_TRUE(window.Withdraw(&call[3]));
  EXPECT_FALSE(window.Withdraw(&call[3])) << "it waits no more";
  EXPECT_EQ(turns, "");
  window.Leave();
  EXPECT_EQ(turns, "c");
  EXPECT_FALSE(window.Withdraw(&call[2])) << "its turn has come";
  window.Leave();
  EXPECT_EQ(turns, "ce");
  window.Leave();
  window.Leave();
  EXPECT_TRUE(window.Enter(&call[0], nullptr));
}

TEST(CallWindowTest, WithoutABoundNobodyWaits) {
  CallWindow window(0);
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(window.Enter(&window, nullptr));
  window.Leave();
  EXPECT_TRUE(window.Enter(&window, nullptr));
}

}  // namespace
}  // namespace hadal::client

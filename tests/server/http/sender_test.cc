// SPDX-License-Identifier: Apache-2.0
#include "server/http/sender.h"

#include "gtest/gtest.h"

namespace hadal::http {
namespace {

std::string Network(const char* address) { return NetworkOf(boost::asio::ip::make_address(address)); }

TEST(SenderTest, AHostIsOneSenderHoweverManyAddressesItHas) {
  EXPECT_EQ(Network("192.0.2.7"), "192.0.2.7");
  EXPECT_NE(Network("192.0.2.7"), Network("192.0.2.8"));
  EXPECT_EQ(Network("2001:db8::1"), "2001:db8::/64");
  EXPECT_EQ(Network("2001:db8::1"), Network("2001:db8::ffff:1"));
  EXPECT_NE(Network("2001:db8::1"), Network("2001:db8:0:1::1"));
  EXPECT_EQ(Network("::ffff:192.0.2.7"), "192.0.2.7");
}

TEST(SenderTest, ATenantIsNoNetwork) {
  EXPECT_EQ(SenderName("acme", "192.0.2.7"), SenderName("acme", "192.0.2.8"));
  EXPECT_NE(SenderName("192.0.2.7", "x"), SenderName("", "192.0.2.7"));
}

}  // namespace
}  // namespace hadal::http

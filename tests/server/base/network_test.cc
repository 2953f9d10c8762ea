// SPDX-License-Identifier: Apache-2.0
#include "server/base/network.h"

#include <arpa/inet.h>

#include <array>

#include "gtest/gtest.h"

namespace hadal::base {
namespace {

std::string Network(const char* address) {
  std::array<uint8_t, 16> bytes{};
  if (inet_pton(AF_INET, address, bytes.data()) == 1) return NetworkOf(absl::MakeConstSpan(bytes.data(), 4));
  EXPECT_EQ(inet_pton(AF_INET6, address, bytes.data()), 1) << address;
  return NetworkOf(bytes);
}

TEST(NetworkTest, AHostIsOneNetworkHoweverManyAddressesItHas) {
  EXPECT_EQ(Network("192.0.2.7"), "192.0.2.7");
  EXPECT_NE(Network("192.0.2.7"), Network("192.0.2.8"));
  EXPECT_EQ(Network("2001:db8::1"), "2001:db8::/64");
  EXPECT_EQ(Network("2001:db8::1"), Network("2001:db8::ffff:1"));
  EXPECT_NE(Network("2001:db8::1"), Network("2001:db8:0:1::1"));
  EXPECT_EQ(Network("::ffff:192.0.2.7"), "192.0.2.7");
}

}  // namespace
}  // namespace hadal::base

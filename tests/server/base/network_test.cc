// SPDX-License-Identifier: Apache-2.0
#include "server/base/network.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

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

TEST(NetworkTest, AHostHasTimeToAcknowledge) {
  const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
  const auto limit_ms = [&](absl::Duration timeout) {
    SetAcknowledgeTimeout(socket, timeout);
    unsigned value = 0;
    socklen_t size = sizeof(value);
    EXPECT_EQ(::getsockopt(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, &value, &size), 0);
    return value;
  };
  EXPECT_EQ(limit_ms(absl::Seconds(60)), 60000u);
  EXPECT_EQ(limit_ms(absl::Milliseconds(100)), 20000u);
  EXPECT_EQ(limit_ms(absl::InfiniteDuration()), 2147483647u);
  ::close(socket);
}

TEST(NetworkTest, TellsWhetherThePeerSendsNothingMore) {
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  EXPECT_FALSE(PeerHungUp(pair[0]));
  ASSERT_EQ(::send(pair[1], "x", 1, 0), 1);
  ASSERT_EQ(::shutdown(pair[1], SHUT_WR), 0);
  EXPECT_TRUE(PeerHungUp(pair[0]));
  ::close(pair[0]);
  ::close(pair[1]);
}

}  // namespace
}  // namespace hadal::base

// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/tcp_listener.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <string>

#include "tests/support/status_matchers.h"

namespace hadal::rpc {
namespace {

using ::testing::HasSubstr;

// A client's socket, -1 when nobody listens.
int Connect(int port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0) return fd;
  ::close(fd);
  return -1;
}

TEST(TcpListenerTest, HandsOverWhatItAcceptsUntilItIsStopped) {
  std::atomic<int> taken{0};
  const auto listener = TcpListener::Start("127.0.0.1", 0, [&](int fd) {
    ++taken;
    ::close(fd);
  });
  ASSERT_OK(listener);
  ASSERT_GT((*listener)->port(), 0);
  for (int i = 0; i < 3; ++i) {
    const int client = Connect((*listener)->port());
    ASSERT_GE(client, 0);
    char byte = 0;
    EXPECT_EQ(::recv(client, &byte, 1, 0), 0);  // taken and closed
    ::close(client);
  }
  EXPECT_EQ(taken, 3);
  (*listener)->Stop();
  (*listener)->Stop();
  EXPECT_LT(Connect((*listener)->port()), 0);
  EXPECT_EQ(taken, 3);
}

TEST(TcpListenerTest, ATakenPortIsNamed) {
  const auto first = TcpListener::Start("localhost", 0, [](int fd) { ::close(fd); });
  ASSERT_OK(first);
  const auto second = TcpListener::Start("localhost", (*first)->port(), [](int fd) { ::close(fd); });
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(std::to_string((*first)->port())));
}

}  // namespace
}  // namespace hadal::rpc

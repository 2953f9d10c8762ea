// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <string>

#include "gtest/gtest.h"

namespace hadal::testing {

// A socket that listens at a free port of 127.0.0.1, for servers of tests that misbehave in ways that a library's
// server does not. Accept may run on one thread while another calls Shutdown; the destructor closes the socket, so that
// thread must have ended by then.
class ListeningSocket {
 public:
  explicit ListeningSocket(int backlog = 8) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address = this->address();  // port 0: any that is free
    socklen_t size = sizeof(address);
    EXPECT_EQ(::bind(fd_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(fd_, backlog), 0);
    EXPECT_EQ(::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
  }
  ~ListeningSocket() { ::close(fd_); }
  ListeningSocket(const ListeningSocket&) = delete;
  ListeningSocket& operator=(const ListeningSocket&) = delete;

  int fd() const { return fd_; }
  int port() const { return port_; }
  // HOST:PORT
  std::string target() const { return "127.0.0.1:" + std::to_string(port_); }

  sockaddr_in address() const {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<uint16_t>(port_));
    return address;
  }

  // The next connection, which the caller closes; negative after Shutdown.
  int Accept() const { return ::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC); }
  // Ends an Accept that waits, and those that follow.
  void Shutdown() const { ::shutdown(fd_, SHUT_RDWR); }

 private:
  const int fd_;
  int port_ = 0;
};

}  // namespace hadal::testing

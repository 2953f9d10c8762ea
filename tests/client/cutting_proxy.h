// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <thread>

#include "tests/support/listening_socket.h"

namespace hadal::client {

// Passes connections on to a server of this machine, one at a time. The first `cuts` of them it cuts off when so many
// bytes have come from the server.
class CuttingProxy {
 public:
  CuttingProxy(int server_port, int cuts, size_t bytes) : server_port_(server_port), cuts_(cuts), bytes_(bytes) {}
  ~CuttingProxy() {
    stop_ = true;
    listener_.Shutdown();
    thread_.join();
  }

  std::string target() const { return listener_.target(); }
  int connections() const { return connections_; }

 private:
  static sockaddr_in Loopback(int port) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<uint16_t>(port));
    return address;
  }

  void Serve() {
    for (int client; (client = listener_.Accept()) >= 0;) {
      const int server = socket(AF_INET, SOCK_STREAM, 0);
      const sockaddr_in address = Loopback(server_port_);
      if (connect(server, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) {
        PassOn(client, server, connections_++ < cuts_ ? bytes_ : SIZE_MAX);
      }
      close(client);
      close(server);
    }
  }

  void PassOn(int client, int server, size_t left) {
    while (!stop_) {
      std::array<pollfd, 2> ends = {{{client, POLLIN, 0}, {server, POLLIN, 0}}};
      if (poll(ends.data(), ends.size(), 20) < 0) return;
      if (ends[0].revents != 0 && !Move(client, server, SIZE_MAX)) return;
      if (ends[1].revents == 0) continue;
      const size_t moved = Move(server, client, left);
      if (moved == 0 || moved >= left) return;
      left -= moved;
    }
  }

  // Bytes that went on; 0: that was the end.
  static size_t Move(int from, int to, size_t most) {
    std::array<char, 16384> bytes;
    const ssize_t got = recv(from, bytes.data(), std::min(bytes.size(), most), 0);
    for (ssize_t sent = 0; sent < got;) {
      const ssize_t more = send(to, bytes.data() + sent, static_cast<size_t>(got - sent), MSG_NOSIGNAL);
      if (more <= 0) return 0;
      sent += more;
    }
    return got > 0 ? static_cast<size_t>(got) : 0;
  }

  const int server_port_, cuts_;
  const size_t bytes_;
  const testing::ListeningSocket listener_;
  std::atomic<int> connections_{0};
  std::atomic<bool> stop_{false};
  std::thread thread_{[this] { Serve(); }};
};

}  // namespace hadal::client

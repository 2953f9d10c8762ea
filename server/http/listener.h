// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <unordered_set>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/base/active_count.h"
#include "server/http/connection_table.h"
#include "server/http/descriptor_reserve.h"
#include "server/http/http_metrics.h"
#include "server/http/http_options.h"
#include "server/http/protocol_sniffer.h"

namespace hadal::http {

// Accepts connections on one thread, tells by their first bytes what they are, and hands them on. Health and metrics
// stay within reach whatever others do: above the limit of connections, and when descriptors run out, connections that
// only wait give way (ConnectionTable), HttpOptions::kReservedConnections are looked at beyond the limit, and a few
// descriptors are kept in reserve.
//
// Lives on its io_context's one thread; Listen and the constructor come before that runs.
class Listener {
 public:
  using Socket = boost::asio::ip::tcp::socket;

  struct Options {
    std::string host;
    int port = 0;  // 0 picks one
    int64_t max_connections = 4096;
    absl::Duration silent_timeout = absl::Seconds(60);  // until the first bytes tell what a connection is
  };
  // A connection that has told what it is. `refuse`: it is over the limit and must be told so.
  struct Accepted {
    Socket socket;
    ConnectionTable::Handle place;
    std::string network;
    Protocol protocol = Protocol::kUndecided;
    bool refuse = false;
  };

  // All borrowed. `open_connections` counts a connection from here until `serve` or whoever it hands on to has called
  // Done. `serve` runs on the listener's thread.
  Listener(boost::asio::io_context* context, Options options, ConnectionTable* table,
           base::ActiveCount* open_connections, HttpMetrics* metrics, std::function<void(Accepted)> serve);

  // Binds and listens; nothing is accepted before Start. UNAVAILABLE and INVALID_ARGUMENT name address and port.
  absl::Status Listen();
  int port() const { return port_; }

  // On the listener's thread.
  void Start();
  void Close();

 private:
  boost::asio::awaitable<void> Accept();
  boost::asio::awaitable<void> AwaitRoom();
  boost::asio::awaitable<void> Recover(boost::system::error_code error);
  // `scarce`: descriptors have run out, and the connection has one of the reserve's.
  boost::asio::awaitable<void> Look(Socket socket, bool scarce);
  boost::asio::awaitable<Protocol> Peek(Socket& socket);
  boost::asio::awaitable<void> Pause(std::chrono::milliseconds time);
  void LogNoDescriptors();
  bool IsFull() const { return open_->value() >= options_.max_connections + HttpOptions::kReservedConnections; }

  boost::asio::io_context* const context_;
  const Options options_;
  ConnectionTable* const table_;
  base::ActiveCount* const open_;
  HttpMetrics* const metrics_;
  const std::function<void(Accepted)> serve_;

  boost::asio::ip::tcp::acceptor acceptor_;
  int port_ = 0;
  DescriptorReserve reserve_;
  std::unordered_set<Socket*> looking_;  // not told apart yet
  std::chrono::steady_clock::time_point logged_at_;
};

}  // namespace hadal::http

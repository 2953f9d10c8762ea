// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_set>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/base/active_count.h"
#include "server/base/network.h"
#include "server/http/connection_table.h"
#include "server/http/descriptor_reserve.h"
#include "server/http/http_metrics.h"
#include "server/http/http_options.h"
#include "server/http/protocol_sniffer.h"
#include "server/tls/terminator.h"

namespace hadal::http {

// Accepts connections on one thread, identifies their protocol by the first bytes, and hands them on. Health and
// metrics stay reachable under all conditions: above the connection limit, and when descriptors run out, waiting
// connections are evicted (ConnectionTable), HttpOptions::kReservedConnections are accepted beyond the limit, and a few
// descriptors are kept in reserve.
//
// Lives on its io_context's one thread; Listen and the constructor come before that runs.
class Listener {
 public:
  using Socket = boost::asio::generic::stream_protocol::socket;  // TCP, or the plain end of a TLS connection

  struct Options {
    std::string host;
    int port = 0;  // 0 picks one
    int64_t max_connections = 4096;
    bool tcp_fast_open = false;                              // where the kernel has it (net.ipv4.tcp_fastopen, 2)
    absl::Duration silent_timeout = absl::Seconds(60);       // until the first bytes tell what a connection is
    absl::Duration acknowledge_timeout = absl::Seconds(60);  // for clients to take what was sent
    tls::Terminator* tls = nullptr;                          // borrowed; null: connections are plain
  };
  // Why a connection is refused.
  enum class Refusal {
    kNone,
    kConnectionLimit,
    kNotTls,  // it began in plain text, where TLS is spoken
  };
  // A connection that has told what it is.
  struct Accepted {
    Socket socket;
    ConnectionTable::Handle place;
    base::Peer peer;
    Protocol protocol = Protocol::kUndecided;  // inside TLS
    Refusal refusal = Refusal::kNone;
    bool grpc_port = false;  // came through Take
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
  // Looks at a connection that was accepted on gRPC's own port, as at all others. It is counted already.
  void Take(Socket socket);

 private:
  boost::asio::awaitable<void> Accept();
  boost::asio::awaitable<void> AwaitRoom();
  boost::asio::awaitable<void> Recover(boost::system::error_code error);
  // `scarce`: descriptors have run out, and the connection has one of the reserve's.
  boost::asio::awaitable<void> Look(Socket socket, bool scarce, bool grpc_port);
  // Replaces a socket that a TLS handshake begins on by its plain end; closes it when that cannot be. The result tells
  // later whether the client lacks a certificate.
  std::shared_ptr<const std::atomic<bool>> EndTls(Socket& socket, const std::string& network, bool grpc_port);
  boost::asio::awaitable<Protocol> Peek(Socket& socket);
  boost::asio::awaitable<void> Pause(std::chrono::milliseconds time);
  void LogNoDescriptors();
  void CountMismatch(Protocol found, const std::string& network);
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
  std::chrono::steady_clock::time_point mismatch_logged_at_;
};

}  // namespace hadal::http

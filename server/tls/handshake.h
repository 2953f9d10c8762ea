// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/time/time.h"
#include "server/tls/credentials.h"
#include "server/tls/openssl_ptr.h"
#include "server/tls/socket.h"
#include "server/tls/tls_metrics.h"

namespace hadal::tls {

// What the library's error code, or 0 for none, says about a handshake that has failed.
HandshakeFailure FailureOf(unsigned long error);

// One handshake with a client: its time limit runs from the beginning, before it has its turn. Lives on the
// io_context's one thread; held by shared_ptr.
class Handshake : public std::enable_shared_from_this<Handshake> {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  // Owns both sockets: the client's, and our end of the pair whose other end is the server's.
  Handshake(boost::asio::io_context* context, int client_fd, int pair_fd, bool http2_first, std::string network);

  // `on_end`: called once when the handshake must end before Run, for its time limit or a closed end of the server.
  void Start(absl::Duration timeout, std::function<void()> on_end);
  // Shakes hands; the failure, or nullopt when the connection stands. Called once, unless `on_end` was called before.
  boost::asio::awaitable<std::optional<HandshakeFailure>> Run(const Credentials& credentials);
  // Makes Run end soon with this failure.
  void Abort(HandshakeFailure why);

  // Since when Run runs.
  TimePoint begun() const { return begun_; }
  std::optional<HandshakeFailure> failure() const { return failure_; }
  // What the library says about the failure; empty when it has nothing to say.
  const std::string& detail() const { return detail_; }
  const std::string& network() const { return network_; }

  // --- after success ---
  const char* version() const { return SSL_get_version(ssl_.get()); }
  // The client has shown a certificate; it was checked.
  bool has_client_certificate() const { return SSL_get0_peer_certificate(ssl_.get()) != nullptr; }
  struct Parts {
    SslPtr ssl;
    int client_fd = -1;
    int pair_fd = -1;
  };
  // The connection, for somebody else to own. Descriptors are -1 when the kernel refuses.
  Parts Release();

 private:
  boost::asio::awaitable<bool> AwaitClient(int library_error);
  void Stop();

  Socket client_;
  Socket pair_;
  const bool http2_first_;
  const std::string network_;
  boost::asio::steady_timer limit_;
  std::function<void()> on_end_;  // empty once Run has begun
  TimePoint begun_;
  SslPtr ssl_;
  std::optional<HandshakeFailure> failure_;
  std::string detail_;
};

}  // namespace hadal::tls

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <string_view>

#include "absl/time/time.h"
#include "server/tls/handshake.h"
#include "server/tls/openssl_ptr.h"
#include "server/tls/socket.h"

namespace hadal::tls {

// The bytes of one record at most, on their way; shared by the tunnels of a thread.
using RecordBuffer = std::array<char, 16 << 10>;

// Transfers the bytes of a connection between a TLS client and the server's end of a socket pair. Closes, resets and
// backpressure are passed on, so that the server sees the same as without TLS. Buffers at most one record for a side
// that does not read; beyond that the socket buffers fill up and the other side waits.
//
// Lives on the io_context's one thread; held by shared_ptr, by its own coroutines while they run.
class Tunnel : public std::enable_shared_from_this<Tunnel> {
 public:
  // Owns the parts' descriptors. `buffer` is borrowed; only the context's thread uses it. `flush_timeout`: how long a
  // client may take nothing of what is left once the server has closed its end.
  Tunnel(boost::asio::io_context* context, Handshake::Parts parts, RecordBuffer* buffer, absl::Duration flush_timeout);

  // Begins; `on_end` is called once, on the thread, when all is over.
  void Run(std::function<void()> on_end);
  // Drops the connection.
  void Abort();

 private:
  // Client to server, and server to client, until that direction ends.
  boost::asio::awaitable<void> Decrypt();
  boost::asio::awaitable<void> Encrypt();
  boost::asio::awaitable<bool> ToServer(std::string_view bytes);
  boost::asio::awaitable<bool> ToClient(std::string_view bytes);
  // Waits until the client's socket is ready for what the library wants; false when it wants nothing, or in vain.
  boost::asio::awaitable<bool> AwaitClient(int library_error);
  // Drops the connection when the client takes nothing for flush_timeout and the server is gone.
  void WatchFlush();
  // The server's end is closed for good, not only for writing.
  bool ServerIsGone();
  void EndDirection();

  Socket client_;
  Socket server_;
  const SslPtr ssl_;
  RecordBuffer* const buffer_;
  const absl::Duration flush_timeout_;
  boost::asio::steady_timer flush_;
  std::function<void()> on_end_;
  int directions_ = 2;  // that run
};

}  // namespace hadal::tls

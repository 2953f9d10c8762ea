// SPDX-License-Identifier: Apache-2.0
#include "server/tls/tunnel.h"

#include <openssl/err.h>
#include <poll.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <string>
#include <utility>

namespace hadal::tls {
namespace {

namespace asio = boost::asio;

// Records of one connection in a row, before others have their turn.
constexpr int kRecordsInARow = 16;

bool WouldBlock() { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }

}  // namespace

Tunnel::Tunnel(asio::io_context* context, Handshake::Parts parts, RecordBuffer* buffer, absl::Duration flush_timeout)
    : client_(SocketOf(context, parts.client_fd, AF_INET)),
      server_(SocketOf(context, parts.pair_fd, AF_UNIX)),
      ssl_(std::move(parts.ssl)),
      buffer_(buffer),
      flush_timeout_(flush_timeout),
      flush_(*context) {}

void Tunnel::Run(std::function<void()> on_end) {
  on_end_ = std::move(on_end);
  const auto spawn = [self = shared_from_this()](asio::awaitable<void> (Tunnel::*direction)()) {
    asio::co_spawn(
        self->client_.get_executor(), [self, direction] { return (self.get()->*direction)(); },
        [self](std::exception_ptr) { self->EndDirection(); });
  };
  spawn(&Tunnel::Decrypt);
  spawn(&Tunnel::Encrypt);
}

void Tunnel::EndDirection() {
  if (--directions_ > 0) return;
  boost::system::error_code ignored;
  client_.close(ignored);
  server_.close(ignored);
  on_end_();
}

void Tunnel::Abort() {
  boost::system::error_code ignored;
  client_.close(ignored);
  server_.close(ignored);
}

bool Tunnel::ServerIsGone() {
  pollfd state{server_.native_handle(), 0, 0};
  return !server_.is_open() || (::poll(&state, 1, 0) > 0 && (state.revents & (POLLHUP | POLLERR)) != 0);
}

asio::awaitable<bool> Tunnel::AwaitClient(int library_error) {
  if (!client_.is_open()) co_return false;
  if (library_error != SSL_ERROR_WANT_READ && library_error != SSL_ERROR_WANT_WRITE) co_return false;
  const auto direction = library_error == SSL_ERROR_WANT_READ ? Socket::wait_read : Socket::wait_write;
  auto [error] = co_await client_.async_wait(direction, kAwait);
  co_return !error && client_.is_open();
}

asio::awaitable<void> Tunnel::Decrypt() {
  int in_a_row = 0;
  while (client_.is_open()) {
    ERR_clear_error();
    const int size = SSL_read(ssl_.get(), buffer_->data(), static_cast<int>(buffer_->size()));
    if (size > 0) {
      const bool taken = co_await ToServer({buffer_->data(), static_cast<size_t>(size)});
      if (!taken) co_return;
      if (++in_a_row < kRecordsInARow) continue;
      in_a_row = 0;
      co_await asio::post(client_.get_executor(), kAwait);
      continue;
    }
    const int library_error = SSL_get_error(ssl_.get(), size);
    const bool ready = co_await AwaitClient(library_error);
    if (ready) continue;
    // A client that ends may still read; one that resets, or sends what is no record, is gone.
    boost::system::error_code ignored;
    server_.shutdown(library_error == SSL_ERROR_ZERO_RETURN ? Socket::shutdown_send : Socket::shutdown_both, ignored);
    co_return;
  }
}

// False when the server takes nothing any more.
asio::awaitable<bool> Tunnel::ToServer(std::string_view bytes) {
  std::string rest;
  while (server_.is_open()) {
    const ssize_t sent = ::send(server_.native_handle(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent == static_cast<ssize_t>(bytes.size())) co_return true;
    if (sent < 0 && !WouldBlock()) co_return false;
    if (sent > 0) bytes.remove_prefix(static_cast<size_t>(sent));
    if (rest.empty()) {  // others use the buffer meanwhile
      rest = bytes;
      bytes = rest;
    }
    auto [error] = co_await server_.async_wait(Socket::wait_write, kAwait);
    if (error) co_return false;
  }
  co_return false;
}

asio::awaitable<void> Tunnel::Encrypt() {
  int in_a_row = 0;
  while (server_.is_open()) {
    const ssize_t size = ::recv(server_.native_handle(), buffer_->data(), buffer_->size(), MSG_DONTWAIT);
    if (size > 0) {
      const bool taken = co_await ToClient({buffer_->data(), static_cast<size_t>(size)});
      // Whoever writes to a client that has reset learns of it first, and the read that follows finds an orderly end:
      // the server must not take that for a client that still reads.
      if (!taken) co_return Abort();
      if (++in_a_row < kRecordsInARow) continue;
      in_a_row = 0;
      co_await asio::post(client_.get_executor(), kAwait);
      continue;
    }
    if (size == 0 || !WouldBlock()) break;
    auto [error] = co_await server_.async_wait(Socket::wait_read, kAwait);
    if (error) break;
  }
  boost::system::error_code ignored;
  if (client_.is_open()) {
    ERR_clear_error();
    SSL_shutdown(ssl_.get());
    client_.shutdown(Socket::shutdown_send, ignored);
  }
  // What the client still sends goes to a server that only has stopped writing, until it closes.
  while (directions_ > 1 && server_.is_open() && !ServerIsGone()) {
    auto [error] = co_await server_.async_wait(Socket::wait_error, kAwait);
    if (error) break;
  }
  Abort();
}

// While the server is there it has its own limits for clients that do not read.
void Tunnel::WatchFlush() {
  flush_.expires_after(absl::ToChronoMicroseconds(flush_timeout_));
  flush_.async_wait([weak = weak_from_this()](const boost::system::error_code& error) {
    const std::shared_ptr<Tunnel> self = weak.lock();
    if (self == nullptr || error) return;
    if (self->ServerIsGone()) return self->Abort();
    self->WatchFlush();
  });
}

// False when the client takes nothing any more.
asio::awaitable<bool> Tunnel::ToClient(std::string_view bytes) {
  std::string rest;
  while (client_.is_open()) {
    ERR_clear_error();
    const int sent = SSL_write(ssl_.get(), bytes.data(), static_cast<int>(bytes.size()));
    if (sent > 0) co_return true;  // all of it: partial writes are off
    const int library_error = SSL_get_error(ssl_.get(), sent);
    if (rest.empty()) {  // others use the buffer meanwhile
      rest = bytes;
      bytes = rest;
    }
    WatchFlush();
    const bool ready = co_await AwaitClient(library_error);
    flush_.cancel();
    if (!ready) co_return false;
  }
  co_return false;
}

}  // namespace hadal::tls

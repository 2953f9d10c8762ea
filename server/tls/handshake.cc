// SPDX-License-Identifier: Apache-2.0
#include "server/tls/handshake.h"

#include <openssl/err.h>
#include <openssl/sslerr.h>

namespace hadal::tls {
namespace {

namespace asio = boost::asio;

// Reads of what a client has sent, before the socket is closed: else the kernel would reset the connection, and the
// client would lose the alert that says what is wrong.
constexpr int kMaxLastReads = 16;

int FamilyOf(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  return ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0 ? address.ss_family : AF_INET;
}

}  // namespace

HandshakeFailure FailureOf(unsigned long error) {
  if (error == 0 || ERR_GET_LIB(error) != ERR_LIB_SSL) return HandshakeFailure::kClosed;
  switch (ERR_GET_REASON(error)) {
    case SSL_R_UNEXPECTED_EOF_WHILE_READING:
      return HandshakeFailure::kClosed;
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_WRONG_SSL_VERSION:
    case SSL_R_VERSION_TOO_LOW:
    case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
      return HandshakeFailure::kVersion;
    case SSL_R_NO_SHARED_CIPHER:
    case SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM:
    case SSL_R_NO_SUITABLE_KEY_SHARE:
    case SSL_R_NO_SHARED_GROUPS:
      return HandshakeFailure::kCipher;
    case SSL_R_NO_APPLICATION_PROTOCOL:
      return HandshakeFailure::kProtocol;
    case SSL_R_CERTIFICATE_VERIFY_FAILED:
    case SSL_R_EXCESSIVE_MESSAGE_SIZE:  // a chain that is too long, for one
      return HandshakeFailure::kClientCertificate;
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
      return HandshakeFailure::kServerCertificate;
    default:
      break;
  }
  // The library numbers alerts of the other side from here on.
  return ERR_GET_REASON(error) >= SSL_AD_REASON_OFFSET ? HandshakeFailure::kAlert : HandshakeFailure::kMalformed;
}

Handshake::Handshake(asio::io_context* context, int client_fd, int pair_fd, bool http2_first, std::string network)
    : client_(SocketOf(context, client_fd, FamilyOf(client_fd))),
      pair_(SocketOf(context, pair_fd, AF_UNIX)),
      http2_first_(http2_first),
      network_(std::move(network)),
      limit_(*context) {}

void Handshake::Start(absl::Duration timeout, std::function<void()> on_end) {
  on_end_ = std::move(on_end);
  limit_.expires_after(absl::ToChronoMicroseconds(timeout));
  limit_.async_wait([weak = weak_from_this()](const boost::system::error_code& error) {
    const std::shared_ptr<Handshake> self = weak.lock();
    if (self != nullptr && !error) self->Abort(HandshakeFailure::kTimeout);
  });
  // The server sends nothing before it has heard something: what can be read here is the end.
  pair_.async_wait(Socket::wait_read, [weak = weak_from_this()](const boost::system::error_code& error) {
    const std::shared_ptr<Handshake> self = weak.lock();
    if (self != nullptr && !error) self->Abort(HandshakeFailure::kClosed);
  });
}

void Handshake::Abort(HandshakeFailure why) {
  if (failure_.has_value()) return;
  failure_ = why;
  boost::system::error_code ignored;
  client_.cancel(ignored);
  if (on_end_ != nullptr) std::exchange(on_end_, nullptr)();
}

void Handshake::Stop() {
  boost::system::error_code ignored;
  limit_.cancel();
  pair_.cancel(ignored);
}

// False when the library waits for nothing.
asio::awaitable<bool> Handshake::AwaitClient(int library_error) {
  if (library_error != SSL_ERROR_WANT_READ && library_error != SSL_ERROR_WANT_WRITE) co_return false;
  const auto direction = library_error == SSL_ERROR_WANT_READ ? Socket::wait_read : Socket::wait_write;
  auto [error] = co_await client_.async_wait(direction, kAwait);
  co_return !error;
}

asio::awaitable<std::optional<HandshakeFailure>> Handshake::Run(const Credentials& credentials) {
  on_end_ = nullptr;
  begun_ = std::chrono::steady_clock::now();
  if (client_.is_open() && pair_.is_open()) ssl_ = credentials.NewConnection(client_.native_handle(), http2_first_);
  if (ssl_ == nullptr) failure_ = HandshakeFailure::kClosed;
  while (!failure_.has_value()) {
    ERR_clear_error();
    const int result = SSL_accept(ssl_.get());
    if (result == 1) break;
    const int library_error = SSL_get_error(ssl_.get(), result);
    const unsigned long error = ERR_peek_error();
    const bool ready = co_await AwaitClient(library_error);
    if (ready || failure_.has_value()) continue;
    failure_ = library_error == SSL_ERROR_SSL ? FailureOf(error) : HandshakeFailure::kClosed;
    const char* const reason = ERR_reason_error_string(error);
    if (reason != nullptr) detail_ = reason;
  }
  Stop();
  if (failure_.has_value()) {
    boost::system::error_code ignored;
    client_.shutdown(Socket::shutdown_send, ignored);
    char sink[4096];
    for (int i = 0; i < kMaxLastReads; ++i) {
      if (::recv(client_.native_handle(), sink, sizeof(sink), MSG_DONTWAIT) <= 0) break;
    }
    client_.close(ignored);
    pair_.close(ignored);
  }
  co_return failure_;
}

Handshake::Parts Handshake::Release() {
  boost::system::error_code error;
  Parts parts{.ssl = std::move(ssl_)};
  parts.client_fd = client_.release(error);
  if (error) parts.client_fd = -1;
  parts.pair_fd = pair_.release(error);
  if (error) parts.pair_fd = -1;
  return parts;
}

}  // namespace hadal::tls

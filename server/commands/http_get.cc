// SPDX-License-Identifier: Apache-2.0
#include "server/commands/http_get.h"

#include <netdb.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "server/tls/openssl_ptr.h"

namespace hadal::commands {
namespace {

constexpr size_t kMaxReplyBytes = size_t{1} << 20;

absl::Status SystemError(int error) { return absl::UnavailableError(std::strerror(error)); }

class Socket {
 public:
  explicit Socket(int fd) : fd_(fd) {}
  ~Socket() {
    if (fd_ >= 0) ::close(fd_);
  }
  Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Socket& operator=(Socket&&) = delete;
  int fd() const { return fd_; }

 private:
  int fd_;
};

absl::Status WaitFor(const Socket& socket, short events, absl::Time deadline) {
  while (true) {
    const absl::Duration left = deadline - absl::Now();
    if (left <= absl::ZeroDuration()) return absl::DeadlineExceededError("timed out");
    pollfd wanted = {socket.fd(), events, 0};
    const int64_t left_ms = std::min<int64_t>(absl::ToInt64Milliseconds(left) + 1, 1 << 30);
    const int ready = ::poll(&wanted, 1, static_cast<int>(left_ms));
    if (ready > 0) return absl::OkStatus();
    if (ready < 0 && errno != EINTR) return SystemError(errno);
  }
}

absl::StatusOr<Socket> ConnectTo(const addrinfo& address, absl::Time deadline) {
  Socket socket(::socket(address.ai_family, address.ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, address.ai_protocol));
  if (socket.fd() < 0) return SystemError(errno);
  if (::connect(socket.fd(), address.ai_addr, address.ai_addrlen) == 0) return socket;
  if (errno != EINPROGRESS) return SystemError(errno);
  if (absl::Status status = WaitFor(socket, POLLOUT, deadline); !status.ok()) return status;
  int error = 0;
  socklen_t size = sizeof(error);
  if (::getsockopt(socket.fd(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
  if (error != 0) return SystemError(error);
  return socket;
}

// The first address of the name that takes the connection.
absl::StatusOr<Socket> Connect(const std::string& host, const std::string& port, absl::Time deadline) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  const int error = ::getaddrinfo(host.c_str(), port.c_str(), &hints, &list);
  if (error != 0) return absl::UnavailableError(::gai_strerror(error));
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> addresses(list, &::freeaddrinfo);
  absl::Status last = absl::UnavailableError("the name has no address");
  for (const addrinfo* address = addresses.get(); address != nullptr; address = address->ai_next) {
    absl::StatusOr<Socket> socket = ConnectTo(*address, deadline);
    if (socket.ok()) return socket;
    last = socket.status();
  }
  return last;
}

// The bytes of a connection, plain or under TLS.
class Stream {
 public:
  Stream(Socket socket, absl::Time deadline) : socket_(std::move(socket)), deadline_(deadline) {}

  absl::Status StartTls(const TlsTrust& trust, const std::string& host);
  absl::Status Send(absl::string_view bytes);
  // 0 at the end.
  absl::StatusOr<size_t> Receive(char* buffer, size_t size);

 private:
  // Calls `step` of the library until it has done something; what it returned.
  absl::StatusOr<int> RunTls(const std::function<int()>& step);

  const Socket socket_;
  const absl::Time deadline_;
  tls::SslPtr ssl_;
};

absl::StatusOr<int> Stream::RunTls(const std::function<int()>& step) {
  while (true) {
    ERR_clear_error();
    const int result = step();
    if (result > 0) return result;
    const int error = SSL_get_error(ssl_.get(), result);
    if (error == SSL_ERROR_ZERO_RETURN) return 0;
    if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) {
      const long verified = SSL_get_verify_result(ssl_.get());
      const bool checked = SSL_get_verify_mode(ssl_.get()) != SSL_VERIFY_NONE;
      if (checked && verified != X509_V_OK) return absl::UnavailableError(X509_verify_cert_error_string(verified));
      const char* const reason = ERR_reason_error_string(ERR_peek_error());
      return absl::UnavailableError(absl::StrCat("TLS failed: ", reason == nullptr ? "closed" : reason));
    }
    const short events = error == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT;
    if (absl::Status status = WaitFor(socket_, events, deadline_); !status.ok()) return status;
  }
}

absl::Status Stream::StartTls(const TlsTrust& trust, const std::string& host) {
  ssl_.reset(SSL_new(trust.context()));
  SSL_set_fd(ssl_.get(), socket_.fd());
  X509_VERIFY_PARAM* const parameters = SSL_get0_param(ssl_.get());
  if (X509_VERIFY_PARAM_set1_ip_asc(parameters, host.c_str()) != 1) {
    SSL_set1_host(ssl_.get(), host.c_str());
    SSL_set_tlsext_host_name(ssl_.get(), host.c_str());
  }
  return RunTls([this] { return SSL_connect(ssl_.get()); }).status();
}

absl::Status Stream::Send(absl::string_view bytes) {
  if (ssl_ != nullptr) {
    return RunTls([&] { return SSL_write(ssl_.get(), bytes.data(), static_cast<int>(bytes.size())); }).status();
  }
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket_.fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent >= 0) {
      bytes.remove_prefix(static_cast<size_t>(sent));
    } else if (errno == EAGAIN) {
      if (absl::Status status = WaitFor(socket_, POLLOUT, deadline_); !status.ok()) return status;
    } else if (errno != EINTR) {
      return SystemError(errno);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<size_t> Stream::Receive(char* buffer, size_t size) {
  if (ssl_ != nullptr) {
    const absl::StatusOr<int> read = RunTls([&] { return SSL_read(ssl_.get(), buffer, static_cast<int>(size)); });
    if (!read.ok()) return read.status();
    return static_cast<size_t>(*read);
  }
  while (true) {
    const ssize_t read = ::recv(socket_.fd(), buffer, size, 0);
    if (read >= 0) return static_cast<size_t>(read);
    if (errno == EAGAIN) {
      if (absl::Status status = WaitFor(socket_, POLLIN, deadline_); !status.ok()) return status;
    } else if (errno != EINTR) {
      return SystemError(errno);
    }
  }
}

// The response in `bytes`; nullopt while more must come. `ended`: nothing more comes.
absl::StatusOr<std::optional<HttpReply>> ParseReply(absl::string_view bytes, bool ended) {
  const size_t head_end = bytes.find("\r\n\r\n");
  if (head_end == bytes.npos) {
    if (ended) return absl::UnavailableError("the connection ended before a response");
    return std::nullopt;
  }
  HttpReply reply;
  std::optional<size_t> length;
  for (absl::string_view line : absl::StrSplit(bytes.substr(0, head_end), "\r\n")) {
    if (reply.status == 0) {
      const bool http = absl::ConsumePrefix(&line, "HTTP/1.");
      if (!http || line.size() < 5 || !absl::SimpleAtoi(line.substr(2, 3), &reply.status) || reply.status < 100) {
        return absl::UnavailableError("what came is no HTTP response");
      }
    } else if (absl::StartsWithIgnoreCase(line, "content-length:")) {
      if (!absl::SimpleAtoi(line.substr(line.find(':') + 1), &length.emplace())) {
        return absl::UnavailableError("the response has no valid content-length");
      }
    }
  }
  const absl::string_view body = bytes.substr(head_end + 4);
  if (length.has_value() ? body.size() < *length : !ended) {
    if (ended) return absl::UnavailableError("the connection ended within a response");
    return std::nullopt;
  }
  reply.body = std::string(body.substr(0, length.value_or(body.size())));
  return reply;
}

std::shared_ptr<SSL_CTX> NewContext(int verify_mode) {
  std::shared_ptr<SSL_CTX> context(SSL_CTX_new(TLS_client_method()), &SSL_CTX_free);
  SSL_CTX_set_options(context.get(), SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_verify(context.get(), verify_mode, nullptr);
  return context;
}

}  // namespace

TlsTrust TlsTrust::Everybody() { return TlsTrust(NewContext(SSL_VERIFY_NONE)); }

absl::StatusOr<TlsTrust> TlsTrust::Authorities(const std::string& ca_file) {
  TlsTrust trust(NewContext(SSL_VERIFY_PEER));
  if (ca_file.empty()) {
    SSL_CTX_set_default_verify_paths(trust.context());
  } else if (SSL_CTX_load_verify_file(trust.context(), ca_file.c_str()) != 1) {
    ERR_clear_error();
    return absl::InvalidArgumentError(absl::StrCat(ca_file, " holds no certificate in PEM form"));
  }
  return trust;
}

absl::StatusOr<HttpReply> HttpGet(const std::string& host, const std::string& port, absl::string_view path,
                                  absl::Duration timeout, const TlsTrust* trust) {
  const absl::Time deadline = absl::Now() + timeout;
  absl::StatusOr<Socket> socket = Connect(host, port, deadline);
  if (!socket.ok()) return socket.status();
  const std::string name = host.find(':') == host.npos ? host : absl::StrCat("[", host, "]");  // of an IPv6 address
  const std::string request =
      absl::StrCat("GET ", path, " HTTP/1.1\r\nhost: ", name, ":", port, "\r\nconnection: close\r\n\r\n");
  Stream stream(*std::move(socket), deadline);
  if (trust != nullptr) {
    if (absl::Status status = stream.StartTls(*trust, host); !status.ok()) return status;
  }
  if (absl::Status status = stream.Send(request); !status.ok()) return status;

  std::string received;
  char buffer[4096];
  while (received.size() <= kMaxReplyBytes) {
    const absl::StatusOr<size_t> size = stream.Receive(buffer, sizeof(buffer));
    if (!size.ok()) return size.status();
    received.append(buffer, *size);
    absl::StatusOr<std::optional<HttpReply>> reply = ParseReply(received, /*ended=*/*size == 0);
    if (!reply.ok()) return reply.status();
    if (reply->has_value()) return **std::move(reply);
  }
  return absl::UnavailableError(absl::StrCat("the response is longer than ", kMaxReplyBytes, " bytes"));
}

}  // namespace hadal::commands

// SPDX-License-Identifier: Apache-2.0
#include "server/pipeline/connection.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/base/network.h"

namespace hadal::pipeline {
namespace {

constexpr uint32_t kMagic = 0x4c504448;  // "HDPL"
// What a payload grows by before more of it has arrived.
constexpr size_t kFirstBytes = 64 * 1024;
// Of a host that is gone: probed after 10 s of silence, three times, and given 30 s to acknowledge what was sent.
constexpr int kIdleSeconds = 10, kProbeSeconds = 5, kProbes = 3;
constexpr absl::Duration kAcknowledgeTimeout = absl::Seconds(30);

struct Header {
  uint32_t magic;
  uint16_t type;
  uint16_t reserved;
  uint64_t bytes;
};
static_assert(sizeof(Header) == Connection::kFrameBytes);

absl::Status Gone(const std::string& peer, absl::string_view why) {
  return absl::UnavailableError(absl::StrCat(peer, ": ", why));
}

// Ready for `events` before the deadline; false when it is over.
bool WaitReady(int fd, short events, absl::Time deadline) {
  while (true) {
    const absl::Duration left = deadline - absl::Now();
    if (left <= absl::ZeroDuration()) return false;
    pollfd poll_fd = {fd, events, 0};
    const int64_t ms = absl::ToInt64Milliseconds(absl::Ceil(left, absl::Milliseconds(1)));
    const int ready =
        ::poll(&poll_fd, 1, deadline == absl::InfiniteFuture() ? -1 : static_cast<int>(std::min<int64_t>(ms, 1 << 30)));
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) return true;  // the call that follows names the error
  }
}

void SetUpSocket(int fd) {
  const auto set = [fd](int level, int name, int value) { (void)::setsockopt(fd, level, name, &value, sizeof(value)); };
  set(IPPROTO_TCP, TCP_NODELAY, 1);
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, kIdleSeconds);
  set(IPPROTO_TCP, TCP_KEEPINTVL, kProbeSeconds);
  set(IPPROTO_TCP, TCP_KEEPCNT, kProbes);
  base::SetAcknowledgeTimeout(fd, kAcknowledgeTimeout);
}

// Connected before the deadline, or errno.
int ConnectTo(int fd, const addrinfo& address, absl::Time deadline) {
  if (::connect(fd, address.ai_addr, address.ai_addrlen) == 0) return 0;
  if (errno != EINPROGRESS) return errno;
  if (!WaitReady(fd, POLLOUT, deadline)) return ETIMEDOUT;
  int error = 0;
  socklen_t size = sizeof(error);
  return ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? error : errno;
}

}  // namespace

Connection::Connection(int fd, std::string peer) : fd_(fd), peer_(std::move(peer)) { SetUpSocket(fd_); }

Connection::~Connection() { ::close(fd_); }

void Connection::ShutDown() { (void)::shutdown(fd_, SHUT_RDWR); }

void Connection::ShutDownReceiving() { (void)::shutdown(fd_, SHUT_RD); }

absl::StatusOr<HostPort> ParseAddress(const std::string& address) {
  const size_t colon = address.rfind(':');
  int port = 0;
  if (colon == std::string::npos || colon == 0 || !absl::SimpleAtoi(address.substr(colon + 1), &port) || port < 1 ||
      port > 65535) {
    return absl::InvalidArgumentError(absl::StrCat("'", address, "': expected host:port"));
  }
  std::string host = address.substr(0, colon);
  if (host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  return HostPort{std::move(host), absl::StrCat(port)};
}

absl::StatusOr<std::unique_ptr<Connection>> Connection::Open(const std::string& address, absl::Time deadline) {
  const absl::StatusOr<HostPort> parsed = ParseAddress(address);
  if (!parsed.ok()) return parsed.status();
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int code = ::getaddrinfo(parsed->host.c_str(), parsed->port.c_str(), &hints, &found); code != 0) {
    return Gone(address, ::gai_strerror(code));
  }
  const absl::Cleanup free_found = [found] { ::freeaddrinfo(found); };
  int error = 0;
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    const int fd = ::socket(one->ai_family, one->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, one->ai_protocol);
    if (fd < 0) {
      error = errno;
      continue;
    }
    error = ConnectTo(fd, *one, deadline);
    if (error == 0) return std::make_unique<Connection>(fd, address);
    ::close(fd);
  }
  return Gone(address, std::strerror(error));
}

absl::Status Connection::Send(MessageType type, absl::Span<const std::byte> head, absl::Span<const std::byte> tail) {
  Header header = {kMagic, static_cast<uint16_t>(type), 0, head.size() + tail.size()};
  iovec parts[] = {{&header, sizeof(header)},
                   {const_cast<std::byte*>(head.data()), head.size()},
                   {const_cast<std::byte*>(tail.data()), tail.size()}};
  size_t first = 0;
  while (first < std::size(parts)) {
    msghdr message = {};
    message.msg_iov = parts + first;
    message.msg_iovlen = std::size(parts) - first;
    ssize_t sent = ::sendmsg(fd_, &message, MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN && errno != EWOULDBLOCK) return Gone(peer_, std::strerror(errno));
      WaitReady(fd_, POLLOUT, absl::InfiniteFuture());
      continue;
    }
    sent_bytes_.fetch_add(static_cast<uint64_t>(sent), std::memory_order_relaxed);
    while (first < std::size(parts) && static_cast<size_t>(sent) >= parts[first].iov_len) {
      sent -= static_cast<ssize_t>(parts[first++].iov_len);
    }
    if (first == std::size(parts)) break;
    parts[first].iov_base = static_cast<std::byte*>(parts[first].iov_base) + sent;
    parts[first].iov_len -= static_cast<size_t>(sent);
  }
  return absl::OkStatus();
}

absl::Status Connection::ReceiveBytes(std::byte* out, size_t bytes, absl::Time deadline) {
  while (bytes > 0) {
    const ssize_t got = ::recv(fd_, out, bytes, MSG_DONTWAIT);
    if (got > 0) {
      out += got;
      bytes -= static_cast<size_t>(got);
      received_bytes_.fetch_add(static_cast<uint64_t>(got), std::memory_order_relaxed);
      continue;
    }
    if (got == 0) return Gone(peer_, "the connection was closed");
    if (errno == EINTR) continue;
    if (errno != EAGAIN && errno != EWOULDBLOCK) return Gone(peer_, std::strerror(errno));
    if (!WaitReady(fd_, POLLIN, deadline)) {
      return absl::DeadlineExceededError(absl::StrCat(peer_, ": no message came in time"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<MessageType> Connection::Receive(int64_t max_bytes, std::vector<std::byte>* payload,
                                                absl::Time deadline) {
  Header header;
  if (absl::Status status = ReceiveBytes(reinterpret_cast<std::byte*>(&header), sizeof(header), deadline);
      !status.ok()) {
    return status;
  }
  const auto type = static_cast<MessageType>(header.type);
  if (header.magic != kMagic || header.reserved != 0 || type < MessageType::kChallenge || type > MessageType::kError) {
    return absl::InvalidArgumentError(absl::StrCat(peer_, ": the bytes that came are no message of a pipeline"));
  }
  if (header.bytes > static_cast<uint64_t>(max_bytes)) {
    return absl::InvalidArgumentError(
        absl::StrCat(peer_, ": message ", MessageName(type), " of ", header.bytes, " bytes, limit ", max_bytes));
  }
  const auto bytes = static_cast<size_t>(header.bytes);
  payload->clear();
  while (payload->size() < bytes) {
    const size_t done = payload->size();
    payload->resize(std::min(bytes, std::max({payload->capacity(), 2 * done, kFirstBytes})));
    if (absl::Status status = ReceiveBytes(payload->data() + done, payload->size() - done, deadline); !status.ok()) {
      return status;
    }
  }
  return type;
}

absl::StatusOr<int> Listen(const std::string& host, int port) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const std::string where = absl::StrCat("--host=", host, " --port=", port);
  if (const int code = ::getaddrinfo(host.c_str(), absl::StrCat(port).c_str(), &hints, &found); code != 0) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": ", ::gai_strerror(code)));
  }
  const absl::Cleanup free_found = [found] { ::freeaddrinfo(found); };
  const int fd = ::socket(found->ai_family, found->ai_socktype | SOCK_CLOEXEC, found->ai_protocol);
  const int on = 1;
  if (fd >= 0 && ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
      ::bind(fd, found->ai_addr, found->ai_addrlen) == 0 && ::listen(fd, 128) == 0) {
    return fd;
  }
  const std::string why = std::strerror(errno);
  if (fd >= 0) ::close(fd);
  return absl::UnavailableError(absl::StrCat(where, ": ", why));
}

int ListeningPort(int fd) {
  sockaddr_storage address = {};
  socklen_t size = sizeof(address);
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return 0;
  if (address.ss_family == AF_INET6) return ntohs(reinterpret_cast<const sockaddr_in6*>(&address)->sin6_port);
  return ntohs(reinterpret_cast<const sockaddr_in*>(&address)->sin_port);
}

}  // namespace hadal::pipeline

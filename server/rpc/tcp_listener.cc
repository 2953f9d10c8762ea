// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/tcp_listener.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/fast_open.h"

namespace hadal::rpc {
namespace {

// Pause after an accept that failed, for example for lack of file descriptors.
constexpr int kAcceptPauseMs = 50;
constexpr int kBacklog = 1024;

class TcpListenerImpl final : public TcpListener {
 public:
  explicit TcpListenerImpl(std::function<void(int)> take) : take_(std::move(take)) {}
  ~TcpListenerImpl() override {
    Stop();
    if (socket_ >= 0) ::close(socket_);
    if (stop_event_ >= 0) ::close(stop_event_);
  }

  absl::Status Listen(const std::string& host, int port, bool fast_open) {
    const auto failed = [&](const char* why) {
      return absl::UnavailableError(
          absl::StrCat("cannot listen for gRPC on ", host, ":", port, ": ", why, "; is the port in use?"));
    };
    addrinfo hints{};
    hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    const int error = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
    if (error != 0) return failed(::gai_strerror(error));
    const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owned(found, &::freeaddrinfo);
    socket_ = ::socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (socket_ < 0) return failed(std::strerror(errno));
    const int on = 1;
    ::setsockopt(socket_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (::bind(socket_, found->ai_addr, found->ai_addrlen) != 0) return failed(std::strerror(errno));
    if (fast_open) base::OfferFastOpen(socket_, kBacklog, "grpc");
    if (::listen(socket_, kBacklog) != 0) return failed(std::strerror(errno));
    sockaddr_storage bound{};
    socklen_t size = sizeof(bound);
    if (::getsockname(socket_, reinterpret_cast<sockaddr*>(&bound), &size) != 0) return failed(std::strerror(errno));
    // The port stands at the same place in both families' addresses.
    port_ = ntohs(reinterpret_cast<const sockaddr_in&>(bound).sin_port);
    stop_event_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (stop_event_ < 0) return failed(std::strerror(errno));
    thread_ = std::thread([this] { Accept(); });
    return absl::OkStatus();
  }

  int port() const override { return port_; }

  void Stop() override {
    std::call_once(stopped_, [this] {
      if (!thread_.joinable()) return;
      const uint64_t one = 1;
      if (::write(stop_event_, &one, sizeof(one)) != sizeof(one)) return;
      thread_.join();
      // The system would go on taking connections, whose clients wait for ever.
      ::close(std::exchange(socket_, -1));
    });
  }

 private:
  void Accept() {
    std::array<pollfd, 2> events = {{{socket_, POLLIN, 0}, {stop_event_, POLLIN, 0}}};
    while (true) {
      if (::poll(events.data(), events.size(), -1) < 0 && errno != EINTR) return;
      if (events[1].revents != 0) return;
      const int fd = ::accept4(socket_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd >= 0) {
        const int on = 1;
        ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        take_(fd);
      } else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
        ::poll(&events[1], 1, kAcceptPauseMs);
      }
    }
  }

  const std::function<void(int)> take_;
  int socket_ = -1;
  int stop_event_ = -1;
  int port_ = -1;
  std::thread thread_;
  std::once_flag stopped_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<TcpListener>> TcpListener::Start(const std::string& host, int port,
                                                                std::function<void(int fd)> take, bool fast_open) {
  auto listener = std::make_unique<TcpListenerImpl>(std::move(take));
  if (absl::Status status = listener->Listen(host, port, fast_open); !status.ok()) return status;
  return listener;
}

}  // namespace hadal::rpc

// SPDX-License-Identifier: Apache-2.0
#include "server/http/listener.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/fast_open.h"
#include "server/base/log.h"
#include "server/base/network.h"
#include "server/base/strings.h"
#include "server/http/await.h"

namespace hadal::http {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using Clock = std::chrono::steady_clock;

constexpr int kBacklog = 1024;
// Held for the time when none is left; more than one, because other threads may be quicker to take one.
constexpr size_t kReservedDescriptors = 8;
// How long a connection that was told to end is waited for before the next look.
constexpr std::chrono::milliseconds kRoomPause{1};
constexpr int kPausesForOne = 10;
// Of a burst of clients, nobody gives way until their requests have been looked at; the next ones wait in the backlog,
// for as long as it takes until those that are idle may be ended (ConnectionTable::kMinWait) and some.
constexpr int kMaxRoomPauses = 1500;
// Pause after an accept that failed and nothing could be done.
constexpr std::chrono::milliseconds kAcceptPause{50};
// First and longest pause before looking again at a connection whose first bytes do not tell yet what it is.
constexpr std::chrono::milliseconds kFirstPeekDelay{1};
constexpr std::chrono::milliseconds kMaxPeekDelay{100};
constexpr std::chrono::seconds kLogInterval{10};

bool NoDescriptors(const boost::system::error_code& error) {
  return error == asio::error::no_descriptors || error == boost::system::errc::too_many_files_open_in_system;
}

}  // namespace

Listener::Listener(asio::io_context* context, Options options, ConnectionTable* table,
                   base::ActiveCount* open_connections, HttpMetrics* metrics, std::function<void(Accepted)> serve)
    : context_(context),
      options_(std::move(options)),
      table_(table),
      open_(open_connections),
      metrics_(metrics),
      serve_(std::move(serve)),
      acceptor_(*context),
      reserve_(kReservedDescriptors) {}

absl::Status Listener::Listen() {
  const std::string host = options_.host == "localhost" ? "127.0.0.1" : options_.host;
  boost::system::error_code error;
  const auto address = asio::ip::make_address(host, error);
  if (error) return absl::InvalidArgumentError(absl::StrCat("--host ", host, " is not an IP address"));
  const tcp::endpoint endpoint(address, static_cast<unsigned short>(options_.port));
  const auto failed = [&](std::string_view what) {
    return absl::UnavailableError(
        absl::StrCat("cannot ", base::View(what), " ", host, ":", options_.port, ": ", error.message()));
  };
  if (acceptor_.open(endpoint.protocol(), error)) return failed("open a socket for");
  if (acceptor_.set_option(tcp::acceptor::reuse_address(true), error)) return failed("set up");
  if (acceptor_.bind(endpoint, error)) return failed("bind");
  if (options_.tcp_fast_open) base::OfferFastOpen(acceptor_.native_handle(), kBacklog, "http");
  if (acceptor_.listen(kBacklog, error)) return failed("listen on");
  port_ = acceptor_.local_endpoint(error).port();
  if (error) return failed("ask the port of");
  return absl::OkStatus();
}

void Listener::Start() { asio::co_spawn(*context_, Accept(), asio::detached); }

void Listener::Close() {
  boost::system::error_code ignored;
  acceptor_.close(ignored);
  for (Socket* socket : looking_) socket->close(ignored);
}

asio::awaitable<void> Listener::Pause(std::chrono::milliseconds time) {
  asio::steady_timer timer(*context_, time);
  co_await timer.async_wait(kAwait);
}

asio::awaitable<void> Listener::Accept() {
  while (acceptor_.is_open()) {
    if (IsFull()) co_await AwaitRoom();
    auto [error, socket] = co_await acceptor_.async_accept(kAwait);
    if (error == asio::error::operation_aborted || !acceptor_.is_open()) break;
    if (error) {
      co_await Recover(error);
      continue;
    }
    reserve_.Refill();
    if (IsFull()) continue;  // nobody gives way: closes it
    open_->Add();
    const bool scarce = reserve_.held() < kReservedDescriptors;
    asio::co_spawn(*context_, Look(std::move(socket), scarce, /*grpc_port=*/false), asio::detached);
  }
}

// Ends connections that only wait until one more can be looked at; gives up when none gives way for long.
asio::awaitable<void> Listener::AwaitRoom() {
  for (int pauses = 0; IsFull() && acceptor_.is_open() && pauses < kMaxRoomPauses; ++pauses) {
    if (pauses % kPausesForOne == 0) table_->MakeRoom(Clock::now(), ConnectionTable::kMinSilence);
    co_await Pause(kRoomPause);
  }
}

asio::awaitable<void> Listener::Recover(boost::system::error_code error) {
  metrics_->accept_failures.Get().Increment();
  std::chrono::milliseconds pause = kAcceptPause;
  if (NoDescriptors(error)) {
    LogNoDescriptors();
    if (table_->MakeRoom(Clock::now())) {
      pause = kRoomPause;
    } else if (reserve_.Release()) {
      co_return;  // what waits is taken with the descriptor that was kept for it
    }
  }
  co_await Pause(pause);
}

void Listener::LogNoDescriptors() {
  const Clock::time_point now = Clock::now();
  if (now - logged_at_ < kLogInterval) return;
  logged_at_ = now;
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  base::Log(base::LogLevel::kWarn, "http", "no file descriptor is left for a connection: those that wait give way",
            {{"open_connections", open_->value()}, {"ulimit_n", static_cast<int64_t>(limit.rlim_cur)}});
}

// Waits until the first bytes tell what the connection is, without taking them out of the socket.
asio::awaitable<Protocol> Listener::Peek(Socket& socket) {
  std::array<char, kPeekBytes> bytes;
  std::chrono::milliseconds wait = kFirstPeekDelay;
  while (true) {
    const bool complete = base::PeerHungUp(socket.native_handle());  // nothing follows what is read below
    const ssize_t size = ::recv(socket.native_handle(), bytes.data(), bytes.size(), MSG_PEEK | MSG_DONTWAIT);
    if (size > 0) {
      const Protocol protocol = PeekProtocol({bytes.data(), static_cast<size_t>(size)});
      if (protocol != Protocol::kUndecided || complete) co_return protocol;
      // Readiness says nothing while bytes are left in the socket: look again after a pause.
      co_await Pause(wait);
      wait = std::min(wait * 2, kMaxPeekDelay);
    } else if (size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
      auto [error] = co_await socket.async_wait(Socket::wait_read, kAwait);
      if (error) co_return Protocol::kUndecided;
    } else {
      co_return Protocol::kUndecided;  // closed
    }
    if (!socket.is_open() || !acceptor_.is_open()) co_return Protocol::kUndecided;
  }
}

void Listener::Take(Socket socket) {
  asio::co_spawn(*context_, Look(std::move(socket), /*scarce=*/false, /*grpc_port=*/true), asio::detached);
}

std::shared_ptr<const std::atomic<bool>> Listener::EndTls(Socket& socket, const std::string& network, bool grpc_port) {
  boost::system::error_code error;
  const int fd = socket.release(error);
  if (error) return nullptr;
  auto plain = options_.tls->Terminate(fd, grpc_port, network);
  // A connection under TLS has three descriptors.
  if (absl::IsUnavailable(plain.status()) && reserve_.Release() && reserve_.Release()) {
    plain = options_.tls->Terminate(fd, grpc_port, network);
  }
  if (!plain.ok()) {
    metrics_->accept_failures.Get().Increment();
    if (absl::IsUnavailable(plain.status())) LogNoDescriptors();
    ::close(fd);
    return nullptr;
  }
  if (socket.assign(asio::generic::stream_protocol(AF_UNIX, 0), plain->fd, error)) ::close(plain->fd);
  return plain->lacks_certificate;
}

void Listener::CountMismatch(Protocol found, const std::string& network) {
  const bool tls = found == Protocol::kTls;
  metrics_->mismatches.At(tls ? HttpMetrics::kTls : HttpMetrics::kPlain).Increment();
  const Clock::time_point now = Clock::now();
  if (now - mismatch_logged_at_ < kLogInterval) return;
  mismatch_logged_at_ = now;
  base::Log(base::LogLevel::kWarn, "http",
            tls ? "a client speaks TLS to a port without it: --tls-cert and --tls-key switch it on"
                : "a client speaks plain text to a port with TLS, and is told to use https",
            {{"network", network}});
}

asio::awaitable<void> Listener::Look(Socket socket, bool scarce, bool grpc_port) {
  boost::system::error_code ignored;
  socket.set_option(tcp::no_delay(true), ignored);
  Accepted accepted{.socket = Socket(*context_)};
  accepted.grpc_port = grpc_port;
  accepted.peer.network = base::PeerNetwork(socket.native_handle());
  base::SetAcknowledgeTimeout(socket.native_handle(), options_.acknowledge_timeout);
  // Everything that closes the socket runs on this thread, and only while it is being looked at.
  const auto close = [&socket] {
    boost::system::error_code none;
    socket.close(none);
  };
  accepted.place = table_->Add(accepted.peer.network, close, Clock::now());
  // The handler may be queued already when the wait ends here: it must not touch the socket then.
  const auto looking = std::make_shared<bool>(true);
  asio::steady_timer limit(*context_, absl::ToChronoMicroseconds(options_.silent_timeout));
  limit.async_wait([close, looking](const boost::system::error_code& error) {
    if (!error && *looking) close();
  });
  looking_.insert(&socket);
  accepted.protocol = co_await Peek(socket);
  const bool is_tls = accepted.protocol == Protocol::kTls;
  if (accepted.protocol != Protocol::kUndecided && is_tls != (options_.tls != nullptr)) {
    CountMismatch(accepted.protocol, accepted.peer.network);
    if (is_tls) {
      accepted.protocol = Protocol::kHttp1;  // which it is not, as the client is told
    } else {
      accepted.refusal = Refusal::kNotTls;
    }
  } else if (is_tls) {
    const auto lacks_certificate = EndTls(socket, accepted.peer.network, grpc_port);
    accepted.protocol = co_await Peek(socket);
    accepted.peer.lacks_certificate = lacks_certificate != nullptr && lacks_certificate->load();
  }
  looking_.erase(&socket);
  *looking = false;
  limit.cancel();

  const bool lost = scarce && accepted.protocol == Protocol::kHttp2;  // it would keep the descriptor
  if (accepted.protocol == Protocol::kUndecided || lost || !socket.is_open()) {
    accepted.place.Release();
    socket.close(ignored);
    open_->Done();
    co_return;
  }
  accepted.place.Enter(ConnectionTable::Phase::kBusy, Clock::now());
  accepted.place.SetClose([] {});
  if (accepted.protocol == Protocol::kHttp1 && accepted.refusal == Refusal::kNone) {
    // It has bytes: one that waits for some gives way to it.
    const bool room = !scarce || table_->MakeRoom(Clock::now());
    const bool over = open_->value() > options_.max_connections;
    const bool refuse = !room || (over && !table_->MakePlace(options_.max_connections, Clock::now()));
    if (refuse) accepted.refusal = Refusal::kConnectionLimit;
  }
  accepted.socket = std::move(socket);
  serve_(std::move(accepted));
}

}  // namespace hadal::http

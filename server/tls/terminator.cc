// SPDX-License-Identifier: Apache-2.0
#include "server/tls/terminator.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/system/system_error.hpp>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <list>
#include <optional>
#include <thread>
#include <unordered_set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/sync.h"
#include "server/base/active_count.h"
#include "server/base/log.h"
#include "server/base/strings.h"
#include "server/tls/credentials.h"
#include "server/tls/handshake.h"
#include "server/tls/tunnel.h"

namespace hadal::tls {
namespace {

namespace asio = boost::asio;
using Clock = std::chrono::steady_clock;

// What the kernel may hold of a connection between the tunnel and the server, each way.
constexpr int kPairBytes = 64 << 10;
// How long Stop lets clients read what the server has sent.
constexpr absl::Duration kStopPatience = absl::Seconds(2);
constexpr std::chrono::seconds kLogInterval{10};

// A thread and the handlers that run on it.
struct Worker {
  asio::io_context context{1};
  asio::executor_work_guard<asio::io_context::executor_type> work{context.get_executor()};
  // Opens the descriptors that the context needs while there are some.
  asio::steady_timer reactor{context};
  std::thread thread;

  void Start() {
    thread = std::thread([this] {
      // The library writes with write(): a client that is gone must be an error, not a signal.
      sigset_t set;
      sigemptyset(&set);
      sigaddset(&set, SIGPIPE);
      ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
      context.run();
    });
  }
  void Stop() {
    work.reset();
    context.stop();
    if (thread.joinable()) thread.join();
  }
};

absl::StatusOr<std::array<int, 2>> MakePair() {
  std::array<int, 2> pair;
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair.data()) != 0) {
    return absl::UnavailableError(absl::StrCat("no socket pair: ", std::strerror(errno)));
  }
  for (const int fd : pair) ::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &kPairBytes, sizeof(kPairBytes));
  return pair;
}

}  // namespace

class Terminator::Impl {
 public:
  Impl(Options options, TlsMetrics* metrics, std::shared_ptr<const Credentials> credentials)
      : options_(std::move(options)), metrics_(metrics), levels_(metrics->registry, [this] {
          metrics_->connections.Get().Set(static_cast<double>(connections_.value()));
        }) {
    Use(std::move(credentials));
    shaking_.Start();
    carrying_.Start();
  }

  absl::StatusOr<Plain> Terminate(int fd, bool http2_first, std::string network);
  absl::Status Reload();
  absl::Time expiry() const { return credentials()->expiry(); }
  void Stop();

 private:
  // A connection from its first byte to its last, for those who have a part of it.
  struct Arrival {
    std::shared_ptr<Handshake> handshake;
    std::shared_ptr<std::atomic<bool>> lacks_certificate;
  };

  std::shared_ptr<const Credentials> credentials() const {
    base::MutexLock lock(&mutex_);
    return credentials_;
  }
  void Use(std::shared_ptr<const Credentials> credentials);

  // --- on the thread that shakes hands ---
  void Arrive(int client_fd, int pair_fd, bool http2_first, std::string network,
              std::shared_ptr<std::atomic<bool>> lacks_certificate);
  void GiveTurns();
  // How long a handshake may be under way while others wait: less, the more they are, so that not even thousands that
  // stand still keep anybody away for longer than a few seconds.
  Clock::duration Patience() const;
  void WatchOldest();
  void Shake(Arrival arrival);
  asio::awaitable<void> Complete(Arrival arrival);
  void Report(const Handshake& handshake, HandshakeFailure failure);

  // --- on the thread that carries bytes ---
  void Carry(Handshake::Parts parts);

  const Options options_;
  TlsMetrics* const metrics_;
  mutable base::Mutex mutex_;
  std::shared_ptr<const Credentials> credentials_ ABSL_GUARDED_BY(mutex_);
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  base::ActiveCount connections_;
  base::MetricCollector levels_;  // reads connections_

  Worker shaking_;
  std::list<Arrival> waiting_;                      // for their turn
  std::list<std::shared_ptr<Handshake>> underway_;  // oldest first
  asio::steady_timer oldest_timer_{shaking_.context};
  Clock::time_point logged_at_;

  Worker carrying_;
  RecordBuffer buffer_;
  std::unordered_set<std::shared_ptr<Tunnel>> tunnels_;
};

void Terminator::Impl::Use(std::shared_ptr<const Credentials> credentials) {
  for (const std::string& warning : credentials->warnings()) base::Log(base::LogLevel::kWarn, "tls", warning);
  metrics_->expiry.Get().Set(static_cast<double>(absl::ToUnixSeconds(credentials->expiry())));
  base::MutexLock lock(&mutex_);
  credentials_ = std::move(credentials);
}

absl::Status Terminator::Impl::Reload() {
  auto credentials = Credentials::Load(options_.tls, absl::Now());
  metrics_->reloads.At(credentials.ok() ? TlsMetrics::kOk : TlsMetrics::kFailed).Increment();
  if (!credentials.ok()) return credentials.status();
  Use(*std::move(credentials));
  return absl::OkStatus();
}

absl::StatusOr<Terminator::Plain> Terminator::Impl::Terminate(int fd, bool http2_first, std::string network) {
  if (connections_.value() >= options_.max_connections) {
    return absl::ResourceExhaustedError(absl::StrCat("there are ", options_.max_connections, " TLS connections"));
  }
  const absl::StatusOr<std::array<int, 2>> pair = MakePair();
  if (!pair.ok()) return pair.status();
  ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL, 0) | O_NONBLOCK);
  connections_.Add();
  auto lacks_certificate = std::make_shared<std::atomic<bool>>(false);
  asio::post(shaking_.context,
             [this, fd, pair_fd = (*pair)[0], http2_first, network = std::move(network), lacks_certificate]() mutable {
               Arrive(fd, pair_fd, http2_first, std::move(network), std::move(lacks_certificate));
             });
  return Plain{(*pair)[1], std::move(lacks_certificate)};
}

void Terminator::Impl::Arrive(int client_fd, int pair_fd, bool http2_first, std::string network,
                              std::shared_ptr<std::atomic<bool>> lacks_certificate) {
  const auto handshake =
      std::make_shared<Handshake>(&shaking_.context, client_fd, pair_fd, http2_first, std::move(network));
  waiting_.push_back({handshake, std::move(lacks_certificate)});
  handshake->Start(options_.tls.handshake_timeout, [this, raw = handshake.get()] {
    const auto ended = std::find_if(waiting_.begin(), waiting_.end(),
                                    [&](const Arrival& arrival) { return arrival.handshake.get() == raw; });
    Report(*raw, *raw->failure());
    waiting_.erase(ended);
    connections_.Done();
  });
  GiveTurns();
}

void Terminator::Impl::GiveTurns() {
  while (!waiting_.empty() && static_cast<int>(underway_.size()) < options_.tls.max_handshakes) {
    Arrival arrival = std::move(waiting_.front());
    waiting_.pop_front();
    Shake(std::move(arrival));
  }
  WatchOldest();
}

Clock::duration Terminator::Impl::Patience() const {
  const auto crowd = 1 + static_cast<int64_t>(waiting_.size()) / options_.tls.max_handshakes;
  return absl::ToChronoMicroseconds(kMinWait / crowd);
}

// While others wait for their turn, the one that has been under way for the longest ends in time.
void Terminator::Impl::WatchOldest() {
  if (waiting_.empty() || underway_.empty()) return;
  oldest_timer_.expires_at(underway_.front()->begun() + Patience());
  oldest_timer_.async_wait([this](const boost::system::error_code& error) {
    if (error || waiting_.empty() || underway_.empty()) return;
    if (underway_.front()->begun() + Patience() > Clock::now()) return WatchOldest();
    underway_.front()->Abort(HandshakeFailure::kEvicted);  // its end gives the turn on
  });
}

void Terminator::Impl::Shake(Arrival arrival) {
  const std::shared_ptr<Handshake> handshake = arrival.handshake;
  const auto place = underway_.insert(underway_.end(), handshake);
  asio::co_spawn(
      shaking_.context, [this, arrival]() { return Complete(arrival); },
      [this, place](std::exception_ptr) {
        underway_.erase(place);
        GiveTurns();
      });
}

asio::awaitable<void> Terminator::Impl::Complete(Arrival arrival) {
  Handshake& handshake = *arrival.handshake;
  const std::shared_ptr<const Credentials> credentials = this->credentials();
  const std::optional<HandshakeFailure> failure = co_await handshake.Run(*credentials);
  if (failure.has_value()) {
    Report(handshake, *failure);
    connections_.Done();
    co_return;
  }
  metrics_->handshakes.At(std::strcmp(handshake.version(), "TLSv1.3") == 0 ? 1 : 0).Increment();
  arrival.lacks_certificate->store(credentials->asks_for_certificates() && !handshake.has_client_certificate());
  auto parts = std::make_shared<Handshake::Parts>(handshake.Release());
  asio::post(carrying_.context, [this, parts] { Carry(std::move(*parts)); });
}

void Terminator::Impl::Report(const Handshake& handshake, HandshakeFailure failure) {
  const auto reason = static_cast<size_t>(failure);
  metrics_->failures.At(reason).Increment();
  const Clock::time_point now = Clock::now();
  if (failure == HandshakeFailure::kClosed || now - logged_at_ < kLogInterval) return;
  logged_at_ = now;
  base::Log(base::LogLevel::kWarn, "tls", "a handshake has failed",
            {{"reason", kHandshakeFailures[reason]}, {"network", handshake.network()}, {"detail", handshake.detail()}});
}

void Terminator::Impl::Carry(Handshake::Parts parts) {
  const auto tunnel = std::make_shared<Tunnel>(&carrying_.context, std::move(parts), &buffer_, options_.flush_timeout);
  tunnels_.insert(tunnel);
  tunnel->Run([this, weak = std::weak_ptr<Tunnel>(tunnel)] {
    tunnels_.erase(weak.lock());
    connections_.Done();
  });
}

void Terminator::Impl::Stop() {
  {
    base::MutexLock lock(&mutex_);
    if (std::exchange(stopped_, true)) return;
  }
  connections_.WaitZero(kStopPatience);
  while (!connections_.WaitZero(absl::Milliseconds(10))) {
    // Again and again: one may be on its way from one thread to the other.
    asio::post(shaking_.context, [this] {
      while (!waiting_.empty()) {
        const std::shared_ptr<Handshake> handshake = waiting_.front().handshake;
        handshake->Abort(HandshakeFailure::kClosed);
      }
      for (const std::shared_ptr<Handshake>& handshake : underway_) handshake->Abort(HandshakeFailure::kClosed);
    });
    asio::post(carrying_.context, [this] {
      for (const std::shared_ptr<Tunnel>& tunnel : tunnels_) tunnel->Abort();
    });
  }
  shaking_.Stop();
  carrying_.Stop();
}

Terminator::Terminator(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Terminator::~Terminator() { Stop(); }

absl::StatusOr<std::unique_ptr<Terminator>> Terminator::Create(Options options, TlsMetrics* metrics) {
  if (absl::Status status = options.tls.Validate(); !status.ok()) return status;
  auto credentials = Credentials::Load(options.tls, absl::Now());
  if (!credentials.ok()) return credentials.status();
  try {
    return std::unique_ptr<Terminator>(
        new Terminator(std::make_unique<Impl>(std::move(options), metrics, *std::move(credentials))));
  } catch (const boost::system::system_error& error) {
    return absl::UnavailableError(absl::StrCat("cannot set up the TLS threads: ", error.what()));
  }
}

absl::StatusOr<Terminator::Plain> Terminator::Terminate(int fd, bool http2_first, std::string network) {
  return impl_->Terminate(fd, http2_first, std::move(network));
}
absl::Status Terminator::Reload() { return impl_->Reload(); }
absl::Time Terminator::expiry() const { return impl_->expiry(); }
void Terminator::Stop() { impl_->Stop(); }

}  // namespace hadal::tls

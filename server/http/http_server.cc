// SPDX-License-Identifier: Apache-2.0
#include "server/http/http_server.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <memory>
#include <string_view>
#include <thread>
#include <unordered_set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/sync.h"
#include "server/base/strings.h"
#include "server/http/api_handler.h"
#include "server/http/connection.h"
#include "server/http/http_metrics.h"
#include "server/http/protocol_sniffer.h"
#include "server/http/response.h"
#include "server/request/refusal.h"

namespace hadal::http {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
// Connections above max_connections that are still looked at: health and metrics are answered, the others are
// told why not.
constexpr int64_t kReservedConnections = 256;
// Pause after an accept that failed, for example for lack of file descriptors.
constexpr auto kAcceptPause = std::chrono::milliseconds(50);
// First and longest pause before looking again at a connection whose first bytes do not tell yet what it is.
constexpr auto kFirstPeekDelay = std::chrono::milliseconds(1);
constexpr auto kMaxPeekDelay = std::chrono::milliseconds(100);

// An I/O thread and the connections that live on it.
struct IoThread {
  asio::io_context context{1};
  asio::executor_work_guard<asio::io_context::executor_type> work{context.get_executor()};
  std::unordered_set<Connection*> connections;  // on the thread only
  std::thread thread;
};

}  // namespace

class HttpServer::Impl {
 public:
  Impl(HttpOptions options, Dependencies dependencies)
      : context_{std::move(options), std::move(dependencies)}, metrics_(context_.dependencies.metrics) {
    for (int i = 0; i < std::max(context_.options.io_threads, 1) + 1; ++i)
      threads_.push_back(std::make_unique<IoThread>());
  }

  absl::Status Listen();
  void Start();
  void BeginDrain();
  bool WaitIdle(absl::Duration timeout);
  void Stop();
  int port() const { return port_; }
  const ServerContext& context() const { return context_; }

 private:
  IoThread& reserved() { return *threads_.front(); }

  asio::awaitable<void> Accept();
  asio::awaitable<void> Admit(tcp::socket socket);
  asio::awaitable<Protocol> PeekSocket(tcp::socket& socket);
  static asio::awaitable<void> RefuseConnection(Connection& connection);
  // Runs a connection on the thread it belongs to; called there.
  void Serve(IoThread& thread, tcp::socket socket, bool refuse);
  void BeginConnection();
  void EndConnection();

  ServerContext context_;
  HttpMetrics metrics_;
  std::vector<std::unique_ptr<IoThread>> threads_;  // [0] is the reserved one
  std::unique_ptr<tcp::acceptor> acceptor_;
  int port_ = 0;
  size_t next_thread_ = 0;                    // on the reserved thread only
  std::unordered_set<tcp::socket*> looking_;  // on the reserved thread only: connections not told apart yet
  std::atomic<bool> stopping_{false};
  bool started_ = false;

  base::Mutex mutex_;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
};

absl::Status HttpServer::Impl::Listen() {
  const std::string host = context_.options.front.host == "localhost" ? "127.0.0.1" : context_.options.front.host;
  boost::system::error_code error;
  const auto address = asio::ip::make_address(host, error);
  if (error) return absl::InvalidArgumentError(absl::StrCat("--host ", host, " is not an IP address"));
  const tcp::endpoint endpoint(address, static_cast<unsigned short>(context_.options.port));
  acceptor_ = std::make_unique<tcp::acceptor>(reserved().context);
  const auto failed = [&](std::string_view what) {
    return absl::UnavailableError(
        absl::StrCat("cannot ", base::View(what), " ", host, ":", context_.options.port, ": ", error.message()));
  };
  if (acceptor_->open(endpoint.protocol(), error)) return failed("open a socket for");
  if (acceptor_->set_option(tcp::acceptor::reuse_address(true), error)) return failed("set up");
  if (acceptor_->bind(endpoint, error)) return failed("bind");
  if (acceptor_->listen(1024, error)) return failed("listen on");
  port_ = acceptor_->local_endpoint(error).port();
  if (error) return failed("ask the port of");
  return absl::OkStatus();
}

void HttpServer::Impl::Start() {
  started_ = true;
  asio::co_spawn(reserved().context, Accept(), asio::detached);
  for (auto& thread : threads_) {
    thread->thread = std::thread([io = thread.get()] { io->context.run(); });
  }
}

void HttpServer::Impl::BeginConnection() {
  context_.open_connections.Add();
  metrics_.open_connections.At(0).Add(1);
}

// The last thing that a connection does: Stop waits for it.
void HttpServer::Impl::EndConnection() {
  metrics_.open_connections.At(0).Add(-1);
  context_.open_connections.Done();
}

asio::awaitable<void> HttpServer::Impl::Accept() {
  asio::steady_timer pause(reserved().context);
  while (acceptor_->is_open()) {
    auto [error, socket] = co_await acceptor_->async_accept(kAwait);
    if (error == asio::error::operation_aborted || !acceptor_->is_open()) break;
    if (error) {
      pause.expires_after(kAcceptPause);
      co_await pause.async_wait(kAwait);
      continue;
    }
    if (context_.open_connections.value() >= context_.options.max_connections + kReservedConnections)
      continue;  // closes it
    BeginConnection();
    asio::co_spawn(reserved().context, Admit(std::move(socket)), asio::detached);
  }
}

// Waits until the first bytes tell what the connection is, without taking them out of the socket.
asio::awaitable<Protocol> HttpServer::Impl::PeekSocket(tcp::socket& socket) {
  std::array<char, kPeekBytes> bytes;
  asio::steady_timer pause(reserved().context);
  auto wait = std::chrono::duration_cast<std::chrono::steady_clock::duration>(kFirstPeekDelay);
  while (true) {
    const ssize_t size = ::recv(socket.native_handle(), bytes.data(), bytes.size(), MSG_PEEK | MSG_DONTWAIT);
    if (size > 0) {
      const Protocol kind = PeekProtocol({bytes.data(), static_cast<size_t>(size)});
      if (kind != Protocol::kUndecided) co_return kind;
      // Readiness says nothing while bytes are left in the socket: look again after a pause.
      pause.expires_after(wait);
      wait = std::min<std::chrono::steady_clock::duration>(wait * 2, kMaxPeekDelay);
      co_await pause.async_wait(kAwait);
    } else if (size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
      auto [error] = co_await socket.async_wait(tcp::socket::wait_read, kAwait);
      if (error) co_return Protocol::kUndecided;
    } else {
      co_return Protocol::kUndecided;  // closed
    }
    if (!socket.is_open() || !acceptor_->is_open()) co_return Protocol::kUndecided;
  }
}

asio::awaitable<void> HttpServer::Impl::Admit(tcp::socket socket) {
  boost::system::error_code ignored;
  socket.set_option(tcp::no_delay(true), ignored);
  // A connection that says nothing ends with the request's time limit.
  asio::steady_timer limit(reserved().context, absl::ToChronoMicroseconds(context_.options.request_timeout));
  // The handler may be queued already when the wait ends here: it must not touch the socket then.
  const auto looking = std::make_shared<bool>(true);
  limit.async_wait([&socket, looking](const boost::system::error_code& error) {
    boost::system::error_code none;
    if (!error && *looking) socket.close(none);
  });
  looking_.insert(&socket);
  if (stopping_.load()) socket.close(ignored);
  const Protocol kind = co_await PeekSocket(socket);
  looking_.erase(&socket);
  *looking = false;
  limit.cancel();

  if (kind == Protocol::kUndecided || !socket.is_open()) {
    EndConnection();
    co_return;
  }
  if (kind == Protocol::kHttp2 && context_.dependencies.adopt_http2) {
    const int fd = socket.release(ignored);
    EndConnection();
    if (ignored) co_return;
    ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL, 0) | O_NONBLOCK);
    context_.dependencies.adopt_http2(fd);
    co_return;
  }
  if (kind == Protocol::kReserved) {
    Serve(reserved(), std::move(socket), /*refuse=*/false);
    co_return;
  }
  const bool refuse = context_.open_connections.value() > context_.options.max_connections;
  IoThread& thread = *threads_[1 + next_thread_++ % (threads_.size() - 1)];
  const tcp protocol = socket.local_endpoint(ignored).protocol();
  const int fd = socket.release(ignored);
  if (ignored) {
    EndConnection();
    co_return;
  }
  asio::post(thread.context, [this, &thread, protocol, fd, refuse] {
    tcp::socket moved(thread.context);
    boost::system::error_code error;
    moved.assign(protocol, fd, error);
    if (error) {
      ::close(fd);
      EndConnection();
      return;
    }
    Serve(thread, std::move(moved), refuse);
  });
}

asio::awaitable<void> HttpServer::Impl::RefuseConnection(Connection& connection) {
  const ServerContext& context = connection.context();
  const absl::Status status = request::MakeBusy(
      request::Reason::kConnectionQueueFull,
      absl::StrFormat("%d/%d connections", context.open_connections.value(), context.options.max_connections),
      absl::Seconds(1));
  connection.CloseAfterResponse();
  co_await connection.Send(ErrorResponse(status, context.options.overload_http_status));
}

void HttpServer::Impl::Serve(IoThread& thread, tcp::socket socket, bool refuse) {
  auto connection = std::make_shared<Connection>(std::move(socket), &context_);
  thread.connections.insert(connection.get());
  Handler handler = HandleRequest;
  if (refuse) handler = RefuseConnection;
  if (stopping_.load()) connection->Abort();
  asio::co_spawn(
      thread.context, [connection, handler = std::move(handler)]() { return connection->Run(handler); },
      [this, &thread, connection](std::exception_ptr) {
        thread.connections.erase(connection.get());
        EndConnection();
      });
}

void HttpServer::Impl::BeginDrain() {
  context_.draining.store(true);
  for (auto& thread : threads_) {
    asio::post(thread->context, [io = thread.get()] {
      // Ending a connection takes it out of the set, but only later on this thread.
      for (Connection* connection : io->connections) connection->CloseIfIdle();
    });
  }
}

bool HttpServer::Impl::WaitIdle(absl::Duration timeout) { return context_.active_calls.WaitZero(timeout); }

void HttpServer::Impl::Stop() {
  base::MutexLock lock(&mutex_);
  if (stopped_) return;
  stopped_ = true;
  stopping_.store(true);
  if (!started_) return;
  asio::post(reserved().context, [this] {
    boost::system::error_code ignored;
    acceptor_->close(ignored);
    for (tcp::socket* socket : looking_) socket->close(ignored);
  });
  // A connection that reaches its thread after this finds stopping_ set.
  for (auto& thread : threads_) {
    asio::post(thread->context, [io = thread.get()] {
      for (Connection* connection : io->connections) connection->Abort();
    });
  }
  context_.open_connections.WaitZero(absl::InfiniteDuration());
  for (auto& thread : threads_) {
    thread->work.reset();
    thread->context.stop();
    if (thread->thread.joinable()) thread->thread.join();
  }
}

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

HttpServer::~HttpServer() { Stop(); }

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Create(HttpOptions options, Dependencies dependencies) {
  if (dependencies.service == nullptr) return absl::InvalidArgumentError("HttpServer needs a service");
  if (options.port < 0 || options.port > 65535) {
    return absl::InvalidArgumentError(absl::StrCat("--port is ", options.port, "; it must be from 0 to 65535"));
  }
  auto impl = std::make_unique<Impl>(std::move(options), std::move(dependencies));
  if (absl::Status status = impl->Listen(); !status.ok()) return status;
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

void HttpServer::Start() { impl_->Start(); }
int HttpServer::port() const { return impl_->port(); }
void HttpServer::BeginDrain() { impl_->BeginDrain(); }
bool HttpServer::WaitIdle(absl::Duration timeout) { return impl_->WaitIdle(timeout); }
void HttpServer::Stop() { impl_->Stop(); }
int64_t HttpServer::active_calls() const { return impl_->context().active_calls.value(); }
int64_t HttpServer::open_connections() const { return impl_->context().open_connections.value(); }

}  // namespace hadal::http

// SPDX-License-Identifier: Apache-2.0
#include "server/http/http_server.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/system/system_error.hpp>
#include <memory>
#include <thread>
#include <unordered_set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/sync.h"
#include "server/http/api_handler.h"
#include "server/http/codec/response.h"
#include "server/http/connection.h"
#include "server/http/connection_table.h"
#include "server/http/http2_opening.h"
#include "server/http/http_metrics.h"
#include "server/http/listener.h"
#include "server/request/refusal.h"
#include "server/request/retry_spread.h"

namespace hadal::http {
namespace {

namespace asio = boost::asio;

// An I/O thread and the connections that live on it.
struct IoThread {
  asio::io_context context{1};
  asio::executor_work_guard<asio::io_context::executor_type> work{context.get_executor()};
  // Opens the descriptors that the context needs itself. Asio would do so with the thread's first connection: there may
  // be none left by then, and nobody catches what it throws.
  asio::steady_timer reactor{context};
  std::unordered_set<Connection*> connections;  // on the thread only
  std::thread thread;
};

}  // namespace

class HttpServer::Impl {
 public:
  Impl(HttpOptions options, Dependencies dependencies);

  absl::Status Listen() { return listener_->Listen(); }
  void Start();
  void BeginDrain();
  base::ActiveCount& active_calls() { return context_.active_calls; }
  void Stop();
  int port() const { return listener_->port(); }
  void Screen(int fd);
  const ServerContext& context() const { return context_; }

 private:
  IoThread& reserved() { return *threads_.front(); }
  IoThread& NextThread() { return *threads_[1 + next_thread_++ % (threads_.size() - 1)]; }

  // On the reserved thread: gives a connection to those who answer it.
  void Distribute(Listener::Accepted accepted);
  asio::awaitable<void> AdoptHttp2(Listener::Accepted accepted, bool to_grpc);
  void MoveTo(IoThread& thread, Listener::Accepted accepted);
  static asio::awaitable<void> RefuseConnection(Connection& connection);
  static asio::awaitable<void> RefusePlainText(Connection& connection);
  // Runs a connection on the thread it belongs to; called there.
  void Serve(IoThread& thread, Listener::Accepted accepted);

  ServerContext context_;
  HttpMetrics metrics_;
  ConnectionTable table_{&metrics_};
  std::vector<std::unique_ptr<IoThread>> threads_;  // [0] is the reserved one
  std::unique_ptr<Listener> listener_;
  size_t next_thread_ = 0;  // on the reserved thread only
  std::atomic<bool> stopping_{false};
  bool started_ = false;

  base::Mutex mutex_;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  base::MetricCollector levels_;  // reads context_
};

HttpServer::Impl::Impl(HttpOptions options, Dependencies dependencies)
    : context_{std::move(options), std::move(dependencies)},
      metrics_(context_.dependencies.metrics),
      levels_(context_.dependencies.metrics,
              [this] { metrics_.open_connections.At(0).Set(static_cast<double>(context_.open_connections.value())); }) {
  for (int i = 0; i < std::max(context_.options.io_threads, 1) + 1; ++i)
    threads_.push_back(std::make_unique<IoThread>());
  listener_ = std::make_unique<Listener>(
      &reserved().context,
      Listener::Options{.host = context_.options.front.host,
                        .port = context_.options.port,
                        .max_connections = context_.options.max_connections,
                        .tcp_fast_open = context_.options.tcp_fast_open,
                        .silent_timeout = context_.options.request_timeout,
                        .acknowledge_timeout = context_.options.front.stream.slow_reader_timeout,
                        .tls = context_.dependencies.tls},
      &table_, &context_.open_connections, &metrics_,
      [this](Listener::Accepted accepted) { Distribute(std::move(accepted)); });
}

void HttpServer::Impl::Start() {
  started_ = true;
  listener_->Start();
  for (auto& thread : threads_) {
    thread->thread = std::thread([io = thread.get()] { io->context.run(); });
  }
}

void HttpServer::Impl::Distribute(Listener::Accepted accepted) {
  const bool http2 = accepted.protocol == Protocol::kHttp2 || accepted.grpc_port;
  if (http2 && accepted.refusal == Listener::Refusal::kNone && context_.dependencies.adopt_http2) {
    const bool to_grpc = accepted.grpc_port || !context_.dependencies.grpc_elsewhere;
    asio::co_spawn(reserved().context, AdoptHttp2(std::move(accepted), to_grpc), asio::detached);
  } else if (accepted.protocol == Protocol::kReserved) {
    Serve(reserved(), std::move(accepted));
  } else {
    MoveTo(NextThread(), std::move(accepted));
  }
}

void HttpServer::Impl::Screen(int fd) {
  if (stopping_.load()) {
    ::close(fd);
    return;
  }
  context_.open_connections.Add();
  asio::post(reserved().context, [this, fd] {
    sockaddr_storage address{};
    socklen_t size = sizeof(address);
    ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
    Listener::Accepted accepted{.socket = Listener::Socket(reserved().context)};
    boost::system::error_code failed;
    accepted.socket.assign(asio::generic::stream_protocol(address.ss_family, 0), fd, failed);
    if (!failed && context_.dependencies.tls != nullptr) return listener_->Take(std::move(accepted.socket));
    if (!failed) {
      accepted.peer.network = base::PeerNetwork(fd);
      asio::co_spawn(reserved().context, AdoptHttp2(std::move(accepted), /*to_grpc=*/true), asio::detached);
      return;
    }
    ::close(fd);
    context_.open_connections.Done();
  });
}

// Gives the connection to gRPC, unless its first request is none of gRPC's.
asio::awaitable<void> HttpServer::Impl::AdoptHttp2(Listener::Accepted accepted, bool to_grpc) {
  const Http2Opening opening = co_await PeekHttp2(accepted.socket);
  if (!to_grpc && opening.kind != Http2Opening::Kind::kOther) {
    MoveTo(NextThread(), std::move(accepted));
    co_return;
  }
  boost::system::error_code error;
  int fd = -1;
  if (opening.kind == Http2Opening::Kind::kOther) {
    co_await RefuseHttp2(accepted.socket, opening, context_.options.linger_timeout);
    accepted.socket.close(error);
  } else {
    fd = accepted.socket.release(error);
  }
  accepted.place.Release();
  context_.open_connections.Done();
  if (error || fd < 0) co_return;
  ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL, 0) | O_NONBLOCK);
  context_.dependencies.adopt_http2(fd, std::move(accepted.peer));
}

void HttpServer::Impl::MoveTo(IoThread& thread, Listener::Accepted accepted) {
  boost::system::error_code error;
  const asio::generic::stream_protocol protocol = accepted.socket.local_endpoint(error).protocol();
  const int fd = accepted.socket.release(error);
  if (error) {
    accepted.place.Release();
    context_.open_connections.Done();
    return;
  }
  asio::post(thread.context, [this, &thread, protocol, fd, accepted = std::move(accepted)]() mutable {
    accepted.socket = Listener::Socket(thread.context);
    boost::system::error_code failed;
    accepted.socket.assign(protocol, fd, failed);
    if (!failed) return Serve(thread, std::move(accepted));
    ::close(fd);
    accepted.place.Release();
    context_.open_connections.Done();
  });
}

asio::awaitable<void> HttpServer::Impl::RefuseConnection(Connection& connection) {
  const ServerContext& context = connection.context();
  const absl::Status status = request::MakeBusy(
      request::Reason::kConnectionLimit,
      absl::StrFormat("%d/%d connections", context.open_connections.value(), context.options.max_connections),
      request::SpreadOut(absl::Seconds(1)));
  connection.CloseAfterResponse();
  co_await connection.Send(ErrorResponse(status, context.options.overload_http_status));
}

asio::awaitable<void> HttpServer::Impl::RefusePlainText(Connection& connection) {
  connection.CloseAfterResponse();
  co_await connection.Send(
      ErrorResponse(request::MakeError(request::Reason::kInvalidRequest,
                                       "this port speaks TLS, and the request came without it: use https://, and in "
                                       "gRPC a secure channel"),
                    connection.context().options.overload_http_status));
}

void HttpServer::Impl::Serve(IoThread& thread, Listener::Accepted accepted) {
  Handler handler = context_.dependencies.service == nullptr ? HandleProbe : HandleRequest;
  if (accepted.refusal == Listener::Refusal::kConnectionLimit) handler = RefuseConnection;
  if (accepted.refusal == Listener::Refusal::kNotTls) handler = RefusePlainText;
  auto connection = std::make_shared<Connection>(std::move(accepted), &context_);
  connection->KeepPlace();
  thread.connections.insert(connection.get());
  if (stopping_.load()) connection->Abort();
  asio::co_spawn(
      thread.context, [connection, handler = std::move(handler)]() { return connection->Run(handler); },
      [this, &thread, connection](std::exception_ptr) {
        thread.connections.erase(connection.get());
        connection->LeavePlace();
        context_.open_connections.Done();  // the last thing that a connection does: Stop waits for it
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

void HttpServer::Impl::Stop() {
  base::MutexLock lock(&mutex_);
  if (stopped_) return;
  stopped_ = true;
  stopping_.store(true);
  if (!started_) return;
  asio::post(reserved().context, [this] { listener_->Close(); });
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
  if (options.port < 0 || options.port > 65535) {
    return absl::InvalidArgumentError(absl::StrCat("--port is ", options.port, "; it must be from 0 to 65535"));
  }
  std::unique_ptr<Impl> impl;
  try {
    impl = std::make_unique<Impl>(std::move(options), std::move(dependencies));
  } catch (const boost::system::system_error& error) {
    return absl::UnavailableError(absl::StrCat("cannot set up the I/O threads: ", error.what()));
  }
  if (absl::Status status = impl->Listen(); !status.ok()) return status;
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

void HttpServer::Start() { impl_->Start(); }
int HttpServer::port() const { return impl_->port(); }
void HttpServer::Screen(int fd) { impl_->Screen(fd); }
void HttpServer::BeginDrain() { impl_->BeginDrain(); }
bool HttpServer::WaitIdle(absl::Duration timeout) { return impl_->active_calls().WaitZero(timeout); }
bool HttpServer::WaitIdle(absl::FunctionRef<absl::Time()> until) { return impl_->active_calls().WaitZero(until); }
void HttpServer::LookAgain() { impl_->active_calls().LookAgain(); }
void HttpServer::Stop() { impl_->Stop(); }
int64_t HttpServer::active_calls() const { return impl_->context().active_calls.value(); }
int64_t HttpServer::open_connections() const { return impl_->context().open_connections.value(); }

}  // namespace hadal::http

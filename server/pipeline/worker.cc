// SPDX-License-Identifier: Apache-2.0
#include "server/pipeline/worker.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace hadal::pipeline {
namespace {

std::string PeerName(const sockaddr_storage& address, socklen_t size) {
  char host[NI_MAXHOST] = "", port[NI_MAXSERV] = "";
  if (::getnameinfo(reinterpret_cast<const sockaddr*>(&address), size, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return "unknown";
  }
  return absl::StrCat("leader at ", host, ":", port);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Worker>> Worker::Create(Options options) {
  const absl::StatusOr<int> fd = Listen(options.host, options.port);
  if (!fd.ok()) return fd.status();
  return std::unique_ptr<Worker>(new Worker(std::move(options), *fd));
}

Worker::Worker(Options options, int fd)
    : options_(std::move(options)),
      listening_fd_(fd),
      wake_fd_(::eventfd(0, EFD_CLOEXEC)),
      port_(ListeningPort(fd)),
      metrics_(options_.metrics),
      accepting_([this] { AcceptLeaders(); }) {}

Worker::~Worker() {
  StopListening();
  accepting_.join();
  {
    base::MutexLock lock(&mutex_);
    if (connection_ != nullptr) connection_->ShutDown();
  }
  if (session_.joinable()) session_.join();
  ::close(listening_fd_);
  ::close(wake_fd_);
}

void Worker::StopListening() {
  {
    base::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  const uint64_t one = 1;
  (void)!::write(wake_fd_, &one, sizeof(one));
}

bool Worker::busy() const { return stage() != Stage::kWaiting; }

Worker::Stage Worker::stage() const {
  base::MutexLock lock(&mutex_);
  return stage_;
}

bool Worker::stopping() const {
  base::MutexLock lock(&mutex_);
  return stopping_;
}

void Worker::AcceptLeaders() {
  while (true) {
    pollfd fds[] = {{listening_fd_, POLLIN, 0}, {wake_fd_, POLLIN, 0}};
    if (::poll(fds, 2, -1) < 0 && errno != EINTR) return;
    {
      base::MutexLock lock(&mutex_);
      if (stopping_) return;
    }
    if ((fds[0].revents & POLLIN) == 0) continue;
    sockaddr_storage address = {};
    socklen_t size = sizeof(address);
    const int fd = ::accept4(listening_fd_, reinterpret_cast<sockaddr*>(&address), &size, SOCK_CLOEXEC);
    if (fd >= 0) Take(fd, PeerName(address, size));
  }
}

void Worker::Take(int fd, std::string peer) {
  auto connection = std::make_unique<Connection>(fd, std::move(peer));
  std::string served;
  {
    base::MutexLock lock(&mutex_);
    if (stage_ != Stage::kWaiting) served = leader_;
  }
  // Others wait for the greeting, which has a short limit; only this thread makes the worker busy.
  if (absl::Status status = WorkerSession::Greet(options_.session, *connection, served); !status.ok()) {
    // A probe that opens the port and goes is no leader.
    if (options_.session.log && !absl::IsUnavailable(status)) {
      options_.session.log(absl::StrCat("refused the ", connection->peer(), ": ", status.message()));
    }
    return;
  }
  {
    base::MutexLock lock(&mutex_);
    stage_ = Stage::kLoading;
    leader_ = connection->peer();
    connection_ = connection.get();
  }
  metrics_.leaders.Get().Increment();
  metrics_.leader_connected.Get().Set(1);
  if (session_.joinable()) session_.join();  // of the leader before, which has ended
  session_ = std::thread([this, served = std::move(connection)]() mutable { Serve(std::move(served)); });
}

void Worker::Serve(std::unique_ptr<Connection> connection) {
  absl::Status status;
  {
    WorkerSession session(&options_.session, connection.get(), &metrics_, [this] {
      base::MutexLock lock(&mutex_);
      stage_ = Stage::kServing;
    });
    status = session.Run();
  }
  if (options_.session.log) {
    options_.session.log(
        status.ok() ? absl::StrCat("the ", connection->peer(), " is gone; its layers are freed")
                    : absl::StrCat("the session with the ", connection->peer(), " has ended: ", status.message()));
  }
  metrics_.leader_connected.Get().Set(0);  // before another leader can come
  {
    base::MutexLock lock(&mutex_);
    stage_ = Stage::kWaiting;
    connection_ = nullptr;
  }
  connection.reset();
  if (options_.on_idle) options_.on_idle();
}

}  // namespace hadal::pipeline

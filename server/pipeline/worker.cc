// SPDX-License-Identifier: Apache-2.0
#include "server/pipeline/worker.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace hadal::pipeline {
namespace {

// Peers that may be silent at a time; a leader greets at once.
constexpr int kMaxGreeted = 32;

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
  std::vector<std::unique_ptr<Peer>> peers;
  {
    base::MutexLock lock(&mutex_);
    for (const auto& peer : peers_) {
      if (peer->connection != nullptr) peer->connection->ShutDown();
    }
    peers.swap(peers_);
  }
  for (const auto& peer : peers) peer->thread.join();
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

void Worker::Take(int fd, std::string name) {
  MakeRoom();
  auto made = std::make_unique<Peer>();
  made->connection = std::make_unique<Connection>(fd, std::move(name));
  Peer& peer = *made;
  {
    base::MutexLock lock(&mutex_);
    peers_.push_back(std::move(made));
  }
  peer.thread = std::thread([this, &peer] { Meet(peer); });
}

void Worker::MakeRoom() {
  std::vector<std::unique_ptr<Peer>> leaving;
  {
    base::MutexLock lock(&mutex_);
    const auto greeted = [](const auto& peer) { return peer->state == Peer::State::kGreeting; };
    const auto oldest = std::find_if(peers_.begin(), peers_.end(), greeted);
    if (std::count_if(peers_.begin(), peers_.end(), greeted) >= kMaxGreeted) {
      (*oldest)->connection->ShutDown();
      leaving.push_back(std::move(*oldest));
      peers_.erase(oldest);
    }
    const auto gone = std::partition(peers_.begin(), peers_.end(),
                                     [](const auto& peer) { return peer->state != Peer::State::kGone; });
    std::move(gone, peers_.end(), std::back_inserter(leaving));
    peers_.erase(gone, peers_.end());
  }
  for (const auto& peer : leaving) peer->thread.join();
}

absl::Status Worker::Claim(Peer& peer) {
  base::MutexLock lock(&mutex_);
  if (stage_ != Stage::kWaiting) return absl::UnavailableError(absl::StrCat("it serves the ", leader_));
  if (stopping_) return absl::UnavailableError("it takes no other leader");
  stage_ = Stage::kLoading;
  leader_ = peer.connection->peer();
  peer.state = Peer::State::kServed;
  return absl::OkStatus();
}

void Worker::Meet(Peer& peer) {
  Connection& connection = *peer.connection;  // only this thread lets go of it
  bool claimed = false;
  absl::Status status = WorkerSession::Greet(options_.session, connection, [&] {
    absl::Status claim = Claim(peer);
    claimed = claim.ok();
    return claim;
  });
  std::string line;
  if (status.ok()) {
    status = Serve(connection);
    line = status.ok() ? absl::StrCat("the ", connection.peer(), " is gone; its layers are freed")
                       : absl::StrCat("the session with the ", connection.peer(), " has ended: ", status.message());
  } else if (!absl::IsUnavailable(status)) {  // a probe that opens the port and goes is no leader
    line = absl::StrCat("refused the ", connection.peer(), ": ", status.message());
  }
  if (options_.session.log && !line.empty()) options_.session.log(line);
  if (claimed) metrics_.leader_connected.Get().Set(0);  // before another leader can come
  std::unique_ptr<Connection> ended;
  {
    base::MutexLock lock(&mutex_);
    if (claimed) stage_ = Stage::kWaiting;
    peer.state = Peer::State::kGone;
    ended = std::move(peer.connection);
  }
  ended.reset();
  if (claimed && options_.on_idle) options_.on_idle();
}

absl::Status Worker::Serve(Connection& connection) {
  metrics_.leaders.Get().Increment();
  metrics_.leader_connected.Get().Set(1);
  WorkerSession session(&options_.session, &connection, &metrics_, [this] {
    base::MutexLock lock(&mutex_);
    stage_ = Stage::kServing;
  });
  return session.Run();
}

}  // namespace hadal::pipeline

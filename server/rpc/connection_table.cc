// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/connection_table.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace hadal::rpc {
namespace {

using Clock = std::chrono::steady_clock;

// The inode of an open socket, 0 for any other descriptor.
ino_t SocketOf(int fd) {
  struct stat info;
  return ::fstat(fd, &info) == 0 && S_ISSOCK(info.st_mode) ? info.st_ino : 0;
}

}  // namespace

Connection::Connection(int fd, base::Peer peer) : fd_(fd), socket_(SocketOf(fd)), peer_(std::move(peer)) {}

bool Connection::open() const { return socket_ != 0 && SocketOf(fd_) == socket_; }

bool Connection::BeginCall(int max_calls) { return calls_.fetch_add(1, std::memory_order_relaxed) < max_calls; }

void Connection::EndCall() {
  idle_since_.store(Clock::now(), std::memory_order_relaxed);
  calls_.fetch_sub(1, std::memory_order_release);
}

Clock::time_point Connection::idle_since() const {
  if (calls_.load(std::memory_order_acquire) > 0) return Clock::time_point::max();
  return idle_since_.load(std::memory_order_relaxed);
}

bool Connection::Disconnect() {
  if (disconnected_.exchange(true)) return false;
  if (open()) ::shutdown(fd_, SHUT_RDWR);
  return true;
}

bool ConnectionTable::Add(int fd, base::Peer peer) {
  auto connection = std::make_shared<Connection>(fd, std::move(peer));
  base::MutexLock lock(&mutex_);
  if (closed_) return false;
  if (full()) SweepLocked();
  if (full()) CloseIdleLocked();
  if (full()) {
    metrics_->refusals.At(GrpcMetrics::kConnections).Increment();
    return false;
  }
  // The name that gRPC gives to a peer that it got as a descriptor.
  connections_.insert_or_assign(absl::StrCat("fd:", fd), std::move(connection));
  metrics_->connections.Get().Set(static_cast<double>(connections_.size()));
  return true;
}

std::shared_ptr<Connection> ConnectionTable::Find(std::string_view peer) const {
  base::MutexLock lock(&mutex_);
  const auto found = connections_.find(peer);
  return found == connections_.end() ? nullptr : found->second;
}

void ConnectionTable::Sweep() {
  base::MutexLock lock(&mutex_);
  SweepLocked();
}

void ConnectionTable::Close() {
  base::MutexLock lock(&mutex_);
  closed_ = true;
}

bool ConnectionTable::closed() const {
  base::MutexLock lock(&mutex_);
  return closed_;
}

bool ConnectionTable::DisconnectIdle() {
  base::MutexLock lock(&mutex_);
  bool busy = false;
  for (const auto& [name, connection] : connections_) {
    if (connection->idle_since() != Clock::time_point::max()) {
      connection->Disconnect();
    } else if (connection->open()) {
      busy = true;
    }
  }
  return busy;
}

void ConnectionTable::DisconnectAll() {
  base::MutexLock lock(&mutex_);
  for (const auto& [name, connection] : connections_) connection->Disconnect();
}

void ConnectionTable::SweepLocked() {
  std::erase_if(connections_, [](const auto& entry) { return !entry.second->open(); });
  metrics_->connections.Get().Set(static_cast<double>(connections_.size()));
}

void ConnectionTable::CloseIdleLocked() {
  const auto longest = std::min_element(connections_.begin(), connections_.end(), [](const auto& a, const auto& b) {
    return a.second->idle_since() < b.second->idle_since();
  });
  if (longest->second->idle_since() == Clock::time_point::max()) return;
  longest->second->Disconnect();
  connections_.erase(longest);
}

void RefuseConnection(int fd, WhyNot why) {
  // Empty SETTINGS; GOAWAY of stream 0 with last stream 0, ENHANCE_YOUR_CALM or NO_ERROR, and a text for the client's
  // error.
  constexpr char kTooMany[] =
      "\0\0\0\4\0\0\0\0\0"
      "\0\0\x1c\7\0\0\0\0\0"
      "\0\0\0\0\0\0\0\xb"
      "too many connections";
  constexpr char kEnding[] =
      "\0\0\0\4\0\0\0\0\0"
      "\0\0\x1c\7\0\0\0\0\0"
      "\0\0\0\0\0\0\0\0"
      "the server is ending";
  constexpr size_t kSize = 9 + 9 + 0x1c;
  static_assert(sizeof(kTooMany) - 1 == kSize && sizeof(kEnding) - 1 == kSize);
  (void)::send(fd, why == WhyNot::kEnding ? kEnding : kTooMany, kSize, MSG_DONTWAIT | MSG_NOSIGNAL);
  ::shutdown(fd, SHUT_WR);
  // Closing with unread bytes would reset the connection, and the client would lose the frames.
  char sink[4096];
  for (int i = 0; i < 16 && ::recv(fd, sink, sizeof(sink), MSG_DONTWAIT) > 0; ++i) continue;
  ::close(fd);
}

}  // namespace hadal::rpc

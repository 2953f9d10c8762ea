// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "base/sync.h"
#include "server/base/network.h"
#include "server/rpc/grpc_metrics.h"

namespace hadal::rpc {

// A connection that gRPC has taken over. Thread-safe.
class Connection {
 public:
  // `fd` is a connected socket that belongs to gRPC: it is inspected but never closed here.
  Connection(int fd, base::Peer peer);

  // Whether the descriptor still refers to the original socket. gRPC does not report when it closes one.
  bool open() const;
  // Who is at the other end; its network is "unknown" when the client was gone already.
  const base::Peer& peer() const { return peer_; }

  // Counts a call. False when more than `max_calls` would be open.
  bool BeginCall(int max_calls);
  void EndCall();
  // Since when it has had no call; the future while it has one.
  std::chrono::steady_clock::time_point idle_since() const;
  // Ends the connection with all its calls. False when that was done before.
  bool Disconnect();
  // Whether it was Disconnect that ended it.
  bool disconnected() const { return disconnected_.load(std::memory_order_relaxed); }

 private:
  const int fd_;
  ino_t socket_ = 0;
  const base::Peer peer_;
  std::atomic<int> calls_{0};
  std::atomic<std::chrono::steady_clock::time_point> idle_since_{std::chrono::steady_clock::now()};
  std::atomic<bool> disconnected_{false};
};

// The open connections of the gRPC front. The library limits streams only for clients that have acknowledged its
// settings, and does not limit connections. Thread-safe.
class ConnectionTable {
 public:
  // `metrics` is borrowed.
  ConnectionTable(int max_connections, GrpcMetrics* metrics) : max_connections_(max_connections), metrics_(metrics) {}

  // Adds a socket that gRPC is about to take over. If there are too many connections, the one that has been without
  // calls for the longest is closed; its client can reconnect. False if all have calls, or after Close.
  bool Add(int fd, base::Peer peer);
  // The connection of a call, by gRPC's name of its peer; null for one that is not known.
  std::shared_ptr<Connection> Find(std::string_view peer) const;
  // Forgets those that gRPC has closed.
  void Sweep();
  // Takes no connection any more.
  void Close();
  bool closed() const;
  // Ends the connections that have no call. Returns whether others are left.
  bool DisconnectIdle();
  // Ends all connections with their calls, whatever they are writing.
  void DisconnectAll();

 private:
  void SweepLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CloseIdleLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool full() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return static_cast<int>(connections_.size()) >= max_connections_;
  }

  const int max_connections_;
  GrpcMetrics* const metrics_;
  mutable base::Mutex mutex_;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  std::map<std::string, std::shared_ptr<Connection>, std::less<>> connections_ ABSL_GUARDED_BY(mutex_);
};

enum class WhyNot { kTooMany, kEnding };

// Tells a client with HTTP/2 frames that its connection is not wanted, and closes the socket. After kEnding its library
// may send the calls again elsewhere by itself.
void RefuseConnection(int fd, WhyNot why);

}  // namespace hadal::rpc

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/sync.h"
#include "models/model_part.h"
#include "models/registry.h"
#include "server/base/metrics.h"
#include "server/base/notification.h"
#include "server/pipeline/connection.h"
#include "server/pipeline/messages.h"
#include "server/pipeline/worker_metrics.h"
#include "server/pipeline/worker_session.h"

namespace hadal::pipeline {

// Holds the later layers of a model for one leader at a time, as that asks: a server, or another worker before it. When
// the leader goes, so do its layers, and the next leader is served. One that comes meanwhile is told that the worker is
// busy. Whoever connects is greeted on a thread of its own, so that those who say nothing keep no leader waiting. Its
// methods are for any thread and wait for nothing.
class Worker {
 public:
  struct Options {
    std::string host;
    int port = 0;  // 0 picks one
    WorkerSession::Options session;
    std::function<void()> on_idle;            // called, on a thread of the worker, when a leader has gone; may be empty
    base::MetricRegistry* metrics = nullptr;  // outlives the worker; null: nothing is exported
  };
  // What the worker does, for its health.
  enum class Stage {
    kWaiting,  // no leader has come
    kLoading,  // a leader has; its layers are not loaded, or their caches not allocated
    kServing,  // it can run steps
  };

  // Listens. Errors name the flag.
  static absl::StatusOr<std::unique_ptr<Worker>> Create(Options options);
  // Ends the session.
  ~Worker();

  int port() const { return port_; }

  // Takes no other leader from now on.
  void StopListening();
  // Whether a leader is served: the stage is not kWaiting.
  bool busy() const;
  Stage stage() const;
  // It takes no other leader any more.
  bool stopping() const;

 private:
  Worker(Options options, int fd);

  // Who has connected. Its thread greets it and then, if it is the leader, serves it.
  struct Peer {
    enum class State { kGreeting, kServed, kGone };
    State state = State::kGreeting;
    std::unique_ptr<Connection> connection;  // null once it is gone
    std::thread thread;                      // the accepting thread's, and after it the destructor's
  };

  void AcceptLeaders();
  void Take(int fd, std::string name);
  // Forgets who is gone, and of too many that are greeted the one that has been silent the longest.
  void MakeRoom();
  void Meet(Peer& peer);
  // Makes it the leader, unless there is one.
  absl::Status Claim(Peer& peer);
  absl::Status Serve(Connection& connection);

  const Options options_;
  const int listening_fd_;
  const int wake_fd_;  // an eventfd: ends the wait for connections
  const int port_;
  WorkerMetrics metrics_;

  mutable base::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  Stage stage_ ABSL_GUARDED_BY(mutex_) = Stage::kWaiting;
  std::string leader_ ABSL_GUARDED_BY(mutex_);                        // who is served
  std::vector<std::unique_ptr<Peer>> peers_ ABSL_GUARDED_BY(mutex_);  // in the order in which they came
  std::thread accepting_;
};

}  // namespace hadal::pipeline

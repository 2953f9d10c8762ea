// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <functional>
#include <list>
#include <string>
#include <string_view>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "base/sync.h"
#include "tests/support/listening_socket.h"

namespace hadal::testing {

// A server that does on each connection what a test says, good or bad. One thread a connection.
class ScriptedServer {
 public:
  class Connection {
   public:
    Connection(ScriptedServer* server, int fd) : server_(server), fd_(fd) {}
    // The next request, head and body; empty: the client is gone.
    std::string ReadRequest();
    // False: the client is gone.
    bool Send(std::string_view bytes);
    // A whole answer, after which the connection is kept.
    bool Answer(int status, std::string_view body, std::string_view fields = "Content-Type: application/json\r\n");
    // Until the client ends the connection.
    void WaitClosed();
    // Ends it with a reset, as a killed process does.
    void Reset();

   private:
    ScriptedServer* const server_;
    const int fd_;
  };
  using Script = std::function<void(Connection&)>;

  // The script is run for each connection, and the connection ends with it.
  explicit ScriptedServer(Script script);
  // A script that answers the first request with these bytes.
  static Script Says(std::string bytes);
  ~ScriptedServer();

  int port() const { return listener_.port(); }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port()) + "/v1"; }
  // That came last, head and body.
  std::string last_request() const {
    base::MutexLock lock(&mutex_);
    return last_request_;
  }
  int accepted() const { return accepted_; }
  // Connections whose script has not ended.
  int open() const { return open_; }

  // A port at which nobody listens.
  static int ClosedPort();

 private:
  void Accept();

  const Script script_;
  const ListeningSocket listener_;
  std::atomic<int> accepted_{0};
  std::atomic<int> open_{0};
  mutable base::Mutex mutex_;
  std::string last_request_ ABSL_GUARDED_BY(mutex_);
  std::list<std::thread> threads_ ABSL_GUARDED_BY(mutex_);
  std::list<int> fds_ ABSL_GUARDED_BY(mutex_);
  std::thread acceptor_;
};

}  // namespace hadal::testing

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "base/sync.h"

namespace hadal::rpc {

// Threads that convert engine output into gRPC writes. Post never blocks or refuses: each call has at most one job in
// the queue, so its length is bounded by the number of calls. Thread-safe; the destructor runs what is queued.
class CallExecutor {
 public:
  explicit CallExecutor(int threads);
  ~CallExecutor();
  CallExecutor(const CallExecutor&) = delete;
  CallExecutor& operator=(const CallExecutor&) = delete;

  void Post(std::function<void()> job);

 private:
  void Run();

  base::Mutex mutex_;
  std::deque<std::function<void()>> jobs_ ABSL_GUARDED_BY(mutex_);
  int idle_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  base::CondVar wake_;
  std::vector<std::thread> threads_;
};

}  // namespace hadal::rpc

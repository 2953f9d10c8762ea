// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "base/sync.h"
#include "server/base/clock.h"

namespace hadal::response_cache {

// Runs short functions at given times, on its own thread. Thread-safe.
class Timer {
 public:
  explicit Timer(const base::Clock* clock);
  ~Timer();
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  // `due` should only post work elsewhere, since it delays all others. It is destroyed without running if the timer is
  // destroyed first.
  void At(absl::Time when, std::function<void()> due);
  const base::Clock& clock() const { return *clock_; }

 private:
  void Run();

  const base::Clock* const clock_;
  base::Mutex mutex_;
  base::CondVar changed_;
  std::multimap<absl::Time, std::function<void()>> waiting_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace hadal::response_cache

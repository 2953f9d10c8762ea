// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace hadal::commands {

// The events that the main thread waits for while the server runs: SIGTERM, SIGINT and SIGHUP (signalfd), Notify
// (eventfd), and watched descriptors. Create it before any other thread, so that all threads inherit the blocked
// signals, which stay blocked. One per process. Notify is for any thread, everything else for the main thread.
class StopEvents {
 public:
  // Internal when the kernel refuses a descriptor.
  static absl::StatusOr<std::unique_ptr<StopEvents>> Create();
  ~StopEvents();
  StopEvents(const StopEvents&) = delete;
  StopEvents& operator=(const StopEvents&) = delete;

  // Ends a Wait, the current one or the next.
  void Notify();
  // SIGTERM and SIGINT received since Create; never waits. Equal signals that come before anyone looks count as one.
  int signals();
  // True when SIGHUP was received since the last call.
  bool TakeHangup();
  // From now on Wait ends, too, while one of the descriptors is readable. They must stay open, or be replaced by {}.
  void WatchDescriptors(std::vector<int> descriptors) { watched_fds_ = std::move(descriptors); }
  // Waits for a signal that has not been counted yet, for Notify, or until the time is up.
  void Wait(absl::Duration timeout = absl::InfiniteDuration());

 private:
  StopEvents(int signal_fd, int notify_fd) : signal_fd_(signal_fd), notify_fd_(notify_fd) {}

  void ReadSignals();

  const int signal_fd_;
  const int notify_fd_;
  std::vector<int> watched_fds_;
  int signals_ = 0;
  bool hangup_ = false;
};

}  // namespace hadal::commands

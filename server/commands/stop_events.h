// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "absl/status/statusor.h"

namespace hadal::commands {

// What makes the main thread act while the server runs: SIGTERM and SIGINT, read from a signalfd, and Notify, sent
// through an eventfd. Created before any other thread, so that all of them inherit the blocked signals; they stay
// blocked. One for a process. Notify is for any thread, the rest for the main thread.
class StopEvents {
 public:
  // Internal when the kernel refuses a descriptor.
  static absl::StatusOr<std::unique_ptr<StopEvents>> Create();
  ~StopEvents();
  StopEvents(const StopEvents&) = delete;
  StopEvents& operator=(const StopEvents&) = delete;

  // Ends a Wait, the current one or the next.
  void Notify();
  // Signals received since Create; never waits. Equal signals that come before anyone looks count as one.
  int signals();
  // Waits for a signal that signals() has not counted yet, or for Notify.
  void Wait();

 private:
  StopEvents(int signal_fd, int notify_fd) : signal_fd_(signal_fd), notify_fd_(notify_fd) {}

  const int signal_fd_;
  const int notify_fd_;
  int signals_ = 0;
};

}  // namespace hadal::commands

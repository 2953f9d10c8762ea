// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/commands/signal_events.h"

namespace hadal::commands {

// The events that the main thread waits for while the server runs: SIGTERM, SIGINT and SIGHUP, Notify, and watched
// descriptors. Create it before any other thread, so that all threads inherit the blocked
// signals, which stay blocked. One per process. Notify is for any thread, everything else for the main thread.
class StopEvents {
 public:
  // Internal when the kernel refuses a descriptor.
  static absl::StatusOr<std::unique_ptr<StopEvents>> Create();

  // Ends a Wait, the current one or the next.
  void Notify() { events_->Notify(); }
  // SIGTERM and SIGINT received since Create; never waits. Equal signals that come before anyone looks count as one.
  int signals();
  // True when SIGHUP was received since the last call.
  bool TakeHangup();
  // From now on Wait ends, too, while one of the descriptors is readable. They must stay open, or be replaced by {}.
  void WatchDescriptors(std::vector<int> descriptors) { watched_fds_ = std::move(descriptors); }
  // Waits for a signal that has not been counted yet, for Notify, or until the time is up.
  void Wait(absl::Duration timeout = absl::InfiniteDuration());

 private:
  explicit StopEvents(std::unique_ptr<SignalEvents> events) : events_(std::move(events)) {}

  void ReadSignals();

  const std::unique_ptr<SignalEvents> events_;
  std::vector<int> watched_fds_;
  int signals_ = 0;
  bool hangup_ = false;
};

}  // namespace hadal::commands

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <initializer_list>
#include <memory>

#include "absl/status/statusor.h"

namespace hadal::commands {

// Signals and notices of other threads as descriptors (signalfd, eventfd), for a thread that polls them beside what
// else it waits for. The signals are blocked from Create on and stay so: create it before other threads, which inherit
// that. Notify is for any thread, everything else for one. Owns the descriptors.
class SignalEvents {
 public:
  // Internal when the kernel refuses a descriptor.
  static absl::StatusOr<std::unique_ptr<SignalEvents>> Create(std::initializer_list<int> signals);
  ~SignalEvents();
  SignalEvents(const SignalEvents&) = delete;
  SignalEvents& operator=(const SignalEvents&) = delete;

  // Readable while a signal has not been taken, and while a notice has not.
  int signal_fd() const { return signal_fd_; }
  int notice_fd() const { return notice_fd_; }

  // The number of a signal that has come, once; 0: none has. Equal ones that come before anyone looks count as one.
  int TakeSignal();
  void Notify();
  // Whether there was a Notify since the last call.
  bool TakeNotice();

 private:
  SignalEvents(int signal_fd, int notice_fd) : signal_fd_(signal_fd), notice_fd_(notice_fd) {}

  const int signal_fd_;
  const int notice_fd_;
};

}  // namespace hadal::commands

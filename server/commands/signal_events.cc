// SPDX-License-Identifier: Apache-2.0
#include "server/commands/signal_events.h"

#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

namespace hadal::commands {

absl::StatusOr<std::unique_ptr<SignalEvents>> SignalEvents::Create(std::initializer_list<int> signals) {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : signals) sigaddset(&set, signal);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  const int signal_fd = ::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  if (signal_fd < 0) return absl::ErrnoToStatus(errno, "signalfd");
  const int notice_fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (notice_fd < 0) {
    const absl::Status status = absl::ErrnoToStatus(errno, "eventfd");
    ::close(signal_fd);
    return status;
  }
  return std::unique_ptr<SignalEvents>(new SignalEvents(signal_fd, notice_fd));
}

SignalEvents::~SignalEvents() {
  ::close(signal_fd_);
  ::close(notice_fd_);
}

int SignalEvents::TakeSignal() {
  signalfd_siginfo info;
  const bool taken = ::read(signal_fd_, &info, sizeof(info)) == static_cast<ssize_t>(sizeof(info));
  return taken ? static_cast<int>(info.ssi_signo) : 0;
}

void SignalEvents::Notify() {
  // Fails only when the counter is full, and then the descriptor is readable already.
  (void)::eventfd_write(notice_fd_, 1);
}

bool SignalEvents::TakeNotice() {
  eventfd_t taken;
  return ::eventfd_read(notice_fd_, &taken) == 0;
}

}  // namespace hadal::commands

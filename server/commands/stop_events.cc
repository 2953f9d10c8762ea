// SPDX-License-Identifier: Apache-2.0
#include "server/commands/stop_events.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdint>
#include <utility>

namespace hadal::commands {

absl::StatusOr<std::unique_ptr<StopEvents>> StopEvents::Create() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGHUP);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  const int signal_fd = ::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  if (signal_fd < 0) return absl::ErrnoToStatus(errno, "signalfd");
  const int notify_fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (notify_fd < 0) {
    const absl::Status status = absl::ErrnoToStatus(errno, "eventfd");
    ::close(signal_fd);
    return status;
  }
  return std::unique_ptr<StopEvents>(new StopEvents(signal_fd, notify_fd));
}

StopEvents::~StopEvents() {
  ::close(signal_fd_);
  ::close(notify_fd_);
}

void StopEvents::Notify() {
  // Fails only when the counter is full, and then the descriptor is readable already.
  (void)::eventfd_write(notify_fd_, 1);
}

void StopEvents::ReadSignals() {
  signalfd_siginfo info;
  while (::read(signal_fd_, &info, sizeof(info)) == static_cast<ssize_t>(sizeof(info))) {
    if (info.ssi_signo == SIGHUP) {
      hangup_ = true;
    } else {
      ++signals_;
    }
  }
}

int StopEvents::signals() {
  ReadSignals();
  return signals_;
}

bool StopEvents::TakeHangup() {
  ReadSignals();
  return std::exchange(hangup_, false);
}

void StopEvents::Wait(absl::Duration timeout) {
  constexpr int64_t kMaxMs = INT_MAX;
  const bool forever = timeout == absl::InfiniteDuration();
  const int ms = forever ? -1 : static_cast<int>(std::clamp<int64_t>(absl::ToInt64Milliseconds(timeout), 0, kMaxMs));
  std::vector<pollfd> fds = {{signal_fd_, POLLIN, 0}, {notify_fd_, POLLIN, 0}};
  for (const int fd : watched_fds_) fds.push_back({fd, POLLIN, 0});
  while (::poll(fds.data(), fds.size(), ms) < 0 && errno == EINTR) {
  }
  eventfd_t taken;
  if ((fds[1].revents & POLLIN) != 0) (void)::eventfd_read(notify_fd_, &taken);
}

}  // namespace hadal::commands

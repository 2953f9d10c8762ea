// SPDX-License-Identifier: Apache-2.0
#include "server/commands/stop_events.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdint>
#include <utility>

namespace hadal::commands {

absl::StatusOr<std::unique_ptr<StopEvents>> StopEvents::Create() {
  absl::StatusOr<std::unique_ptr<SignalEvents>> events = SignalEvents::Create({SIGTERM, SIGINT, SIGHUP});
  if (!events.ok()) return events.status();
  return std::unique_ptr<StopEvents>(new StopEvents(*std::move(events)));
}

void StopEvents::ReadSignals() {
  while (const int signal = events_->TakeSignal()) {
    if (signal == SIGHUP) {
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
  std::vector<pollfd> fds = {{events_->signal_fd(), POLLIN, 0}, {events_->notice_fd(), POLLIN, 0}};
  for (const int fd : watched_fds_) fds.push_back({fd, POLLIN, 0});
  while (::poll(fds.data(), fds.size(), ms) < 0 && errno == EINTR) {
  }
  events_->TakeNotice();
}

}  // namespace hadal::commands

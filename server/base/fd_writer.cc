// SPDX-License-Identifier: Apache-2.0
#include "server/base/fd_writer.h"

#include <limits.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

namespace hadal::base {

WriteResult WriteFor(int fd, std::string_view* text, absl::Duration patience) {
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + absl::ToChronoMilliseconds(patience);
  while (!text->empty()) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now());
    pollfd poll_fd{fd, POLLOUT, 0};
    const int ready = ::poll(&poll_fd, 1, static_cast<int>(std::clamp<int64_t>(left.count(), 0, INT_MAX)));
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0) return WriteResult::kTimedOut;
    // A pipe that is ready takes PIPE_BUF bytes without blocking.
    const ssize_t written = ::write(fd, text->data(), std::min<size_t>(text->size(), PIPE_BUF));
    if (written < 0 && (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK)) {
      if (Clock::now() >= end) return WriteResult::kTimedOut;
      continue;
    }
    if (written < 0) return WriteResult::kFailed;
    text->remove_prefix(static_cast<size_t>(written));
  }
  return WriteResult::kWritten;
}

}  // namespace hadal::base

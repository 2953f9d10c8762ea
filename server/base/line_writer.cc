// SPDX-License-Identifier: Apache-2.0
#include "server/base/line_writer.h"

#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "server/base/fd_writer.h"

namespace hadal::base {
namespace {

// How often a thread that waits for a reader looks whether the writer is closed, and how long the end then waits.
constexpr absl::Duration kReaderPatience = absl::Milliseconds(50);
constexpr auto kLastLinesTime = std::chrono::seconds(1);

absl::StatusOr<int> OpenFile(const std::string& path) {
  // O_NONBLOCK: a FIFO without a reader is an error, not a wait.
  const int fd = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0640);
  if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot open ", path));
  return fd;
}

}  // namespace

std::unique_ptr<LineWriter> LineWriter::ToDescriptor(int fd) {
  return std::unique_ptr<LineWriter>(new LineWriter("", fd));
}

absl::StatusOr<std::unique_ptr<LineWriter>> LineWriter::Open(const std::string& target) {
  if (target == "stdout") return ToDescriptor(STDOUT_FILENO);
  if (target == "stderr") return ToDescriptor(STDERR_FILENO);
  absl::StatusOr<int> fd = OpenFile(target);
  if (!fd.ok()) return fd.status();
  return std::unique_ptr<LineWriter>(new LineWriter(target, *fd));
}

LineWriter::LineWriter(std::string path, int fd) : path_(std::move(path)), fd_(fd), thread_([this] { Run(); }) {}

void LineWriter::Write(std::string line) {
  MutexLock lock(&mutex_);
  if (closed_) return;
  if (lines_.size() >= kMaxLines) {
    lines_.pop_front();
    dropped_.fetch_add(1, std::memory_order_relaxed);
  }
  lines_.push_back(std::move(line));
  if (lines_.size() == 1) changed_.NotifyOne();
}

absl::Status LineWriter::Reopen() {
  if (path_.empty()) return absl::OkStatus();
  absl::StatusOr<int> fd = OpenFile(path_);
  if (!fd.ok()) return fd.status();
  int unused = *fd;
  {
    MutexLock lock(&mutex_);
    if (!closed_) std::swap(unused, reopened_fd_);
    changed_.NotifyOne();
  }
  if (unused >= 0) ::close(unused);
  return absl::OkStatus();
}

void LineWriter::Close() {
  {
    MutexLock lock(&mutex_);
    closed_ = true;
    give_up_.store(Clock::now() + kLastLinesTime);
    changed_.NotifyOne();
  }
  if (thread_.joinable()) thread_.join();
}

void LineWriter::Run() {
  std::string piece;
  while (true) {
    int old_fd = -1;
    {
      MutexLock lock(&mutex_);
      while (lines_.empty() && reopened_fd_ < 0 && !closed_) changed_.Wait(&mutex_);
      if (reopened_fd_ >= 0) {
        old_fd = std::exchange(fd_, std::exchange(reopened_fd_, -1));
        torn_ = false;
      }
      if (lines_.empty() && closed_ && old_fd < 0) break;
      piece.clear();
      TakePiece(&piece);
    }
    if (old_fd >= 0) ::close(old_fd);
    if (!piece.empty()) WritePiece(piece);
  }
  if (!path_.empty()) ::close(fd_);
}

void LineWriter::TakePiece(std::string* piece) {
  if (torn_ && !lines_.empty()) *piece += '\n';
  while (!lines_.empty() && (piece->size() <= 1 || piece->size() + lines_.front().size() < PIPE_BUF)) {
    absl::StrAppend(piece, lines_.front(), "\n");
    lines_.pop_front();
  }
}

void LineWriter::WritePiece(std::string_view piece) {
  std::string_view rest = piece;
  WriteResult result = WriteResult::kTimedOut;
  for (bool last = false; result == WriteResult::kTimedOut && !last;) {
    last = Clock::now() >= give_up_.load();
    result = WriteFor(fd_, &rest, last ? absl::ZeroDuration() : kReaderPatience);
  }
  const size_t written = piece.size() - rest.size();
  if (written > 0) torn_ = piece[written - 1] != '\n';
  dropped_.fetch_add(static_cast<uint64_t>(std::count(rest.begin(), rest.end(), '\n')), std::memory_order_relaxed);
}

}  // namespace hadal::base

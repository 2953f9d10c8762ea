// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/sync.h"

namespace hadal::base {

// Writes lines to a descriptor on its own thread, so that callers only take a short lock. At most kMaxLines wait;
// beyond that the oldest are dropped and counted. Lines of up to PIPE_BUF bytes are written to a pipe atomically.
// Thread-safe.
//
// Files are opened for appending, so that they can be rotated by copy and truncate while lines are written. Call Reopen
// after a rotation that renames them.
class LineWriter {
 public:
  static constexpr size_t kMaxLines = 8192;

  // `fd` outlives the writer, which does not close it.
  static std::unique_ptr<LineWriter> ToDescriptor(int fd);
  // "stdout", "stderr" or a file, which is created with mode 0640 if it does not exist. Fails, naming the file, if it
  // cannot be opened; a FIFO without a reader cannot.
  static absl::StatusOr<std::unique_ptr<LineWriter>> Open(const std::string& target);
  ~LineWriter() { Close(); }
  LineWriter(const LineWriter&) = delete;
  LineWriter& operator=(const LineWriter&) = delete;

  // `line` has no line end. After Close it is dropped.
  void Write(std::string line);
  // Reopens the file's path; waiting lines go there. If that fails, the old file stays in use. No-op for a descriptor.
  absl::Status Reopen();
  // Writes the waiting lines and stops the thread. Takes at most a second if nobody reads; the rest is lost. Must not
  // be called concurrently.
  void Close();
  // Lines lost because the reader or the disk was too slow, or the disk was full.
  uint64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }

 private:
  using Clock = std::chrono::steady_clock;

  LineWriter(std::string path, int fd);

  void Run();
  // Moves whole lines into `piece`, as many as a pipe takes at once.
  void TakePiece(std::string* piece) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WritePiece(std::string_view piece);

  const std::string path_;  // empty: a descriptor
  std::atomic<uint64_t> dropped_{0};
  std::atomic<Clock::time_point> give_up_{Clock::time_point::max()};  // set by Close

  Mutex mutex_;
  CondVar changed_;
  std::deque<std::string> lines_ ABSL_GUARDED_BY(mutex_);
  int reopened_fd_ ABSL_GUARDED_BY(mutex_) = -1;  // to go on with
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;

  // The thread's own.
  int fd_;
  bool torn_ = false;  // the last line was written in part

  std::thread thread_;
};

}  // namespace hadal::base

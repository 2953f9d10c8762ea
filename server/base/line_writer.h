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

// Lines to a descriptor, written by a thread of its own: a caller only ever takes a short lock. At most kMaxLines wait;
// then the oldest are dropped and counted. A pipe gets whole lines in one piece, unless they are longer than PIPE_BUF.
// Thread-safe.
//
// Files are appended to, so that a rotation may copy and truncate them while lines come. One that moves them asks for
// Reopen afterwards.
class LineWriter {
 public:
  static constexpr size_t kMaxLines = 8192;

  // `fd` outlives the writer, which does not close it.
  static std::unique_ptr<LineWriter> ToDescriptor(int fd);
  // "stdout", "stderr" or a file, which is made with mode 0640 when it is not there. The error of a file that cannot be
  // opened names it; a FIFO that nobody reads is one.
  static absl::StatusOr<std::unique_ptr<LineWriter>> Open(const std::string& target);
  ~LineWriter() { Close(); }
  LineWriter(const LineWriter&) = delete;
  LineWriter& operator=(const LineWriter&) = delete;

  // `line` has no line end. After Close it is dropped.
  void Write(std::string line);
  // Opens the file's path again; what waits goes there. It stays as it was when that fails. Nothing for a descriptor.
  absl::Status Reopen();
  // Writes what waits and stops the thread. Takes a second at most when nobody reads: the rest is lost. Not from two
  // threads at a time.
  void Close();
  // Lines that were lost because the reader or the disk was too slow, or the disk full.
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

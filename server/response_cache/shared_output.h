// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "base/sync.h"
#include "server/request/token_stream.h"
#include "server/response_cache/reader_options.h"
#include "server/response_cache/recorded_output.h"
#include "server/response_cache/timer.h"

namespace hadal::response_cache {

// The output of one engine sequence, read by any number of clients and kept for those who come later.
//
//   engine -> stream() -> the log, in the order in which it came -> readers, each from its own place in it
//
// Whichever reader calls Read moves the engine's new events into the log, so no extra thread is needed. The sequence
// therefore proceeds at the pace of its fastest reader; a slow reader delays no one and costs only its position.
// Everything read stays in the log until the last reader has left; its size is bounded by the request's lengths.
//
// Each reader has its own limits: one that leaves, is cancelled or passes its deadline ends alone. When the last reader
// has left, the sequence is cancelled. Errors of the sequence are reported to all. Thread-safe; held by shared_ptr.
class SharedOutput : public std::enable_shared_from_this<SharedOutput> {
 public:
  // Called once, on a reader's thread: with the output when the sequence has ended well, with null when it has not or
  // everybody left.
  using OnEnd = std::function<void(const RecordedOutput* output)>;

  // `timer`, which ends readers at their limits, may be null: then they have none. `capacity_tokens`: read by nobody,
  // before the engine pauses.
  static std::shared_ptr<SharedOutput> Create(int32_t capacity_tokens, request::Priority priority,
                                              std::weak_ptr<Timer> timer, OnEnd on_end);

  // For the engine's request.
  const std::shared_ptr<request::TokenStream>& stream() const { return stream_; }
  // Readers end at their limits, so the engine's request needs none.
  bool keeps_limits() const { return !timer_.expired(); }
  // The class in which the sequence waits and runs.
  request::Priority priority() const { return priority_; }
  // Reads from the beginning. Null when the sequence failed or everybody has left: nothing will come. `leader`: the one
  // for whom it runs; the engine's times are its own.
  std::shared_ptr<request::OutputReader> Attach(const ReaderOptions& options, bool leader);
  // The sequence was not started after all: everybody who has attached is told `status`.
  void Fail(absl::Status status);

 private:
  class Reader;

  SharedOutput(request::Priority priority, std::weak_ptr<Timer> timer, OnEnd on_end)
      : priority_(priority), timer_(std::move(timer)), on_end_(std::move(on_end)) {}

  void NotifyReaders();
  // Moves what is new into the log. True when the end came with it.
  bool Pull() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  request::StreamBatch ReadFor(Reader* reader);
  // One reader fewer who waits for the end.
  void Leave(Reader* reader);
  void StopChoice(int32_t choice);
  void TellEnd();

  const request::Priority priority_;
  const std::weak_ptr<Timer> timer_;
  OnEnd on_end_;  // empty once it was called
  std::shared_ptr<request::TokenStream> stream_;

  mutable base::Mutex mutex_;
  base::CondVar changed_;
  uint64_t news_ ABSL_GUARDED_BY(mutex_) = 0;  // notifications
  RecordedOutput log_ ABSL_GUARDED_BY(mutex_);
  bool started_ ABSL_GUARDED_BY(mutex_) = false;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool abandoned_ ABSL_GUARDED_BY(mutex_) = false;  // everybody has left
  bool told_end_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  request::StreamUsage usage_ ABSL_GUARDED_BY(mutex_);
  std::set<int32_t> stopped_choices_ ABSL_GUARDED_BY(mutex_);
  std::vector<Reader*> readers_ ABSL_GUARDED_BY(mutex_);  // who have not left
};

}  // namespace hadal::response_cache

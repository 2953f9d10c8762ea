// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "base/sync.h"
#include "server/request/notifier.h"
#include "server/request/output_reader.h"
#include "server/response_cache/recorded_output.h"
#include "server/response_cache/timer.h"

namespace hadal::response_cache {

// Replays a recorded output, at once or token by token at a given pace. Thread-safe.
class ReplayReader : public request::OutputReader {
 public:
  struct Options {
    double tokens_per_second = 0;                 // of each choice; 0: all at once
    Timer* timer = nullptr;                       // outlives the reader; needed with a pace
    std::shared_ptr<request::Notifier> notifier;  // told when a token is due; may be null
  };
  explicit ReplayReader(RecordedOutput output) : ReplayReader(std::move(output), Options()) {}
  ReplayReader(RecordedOutput output, Options options);

  request::StreamBatch Read() override;
  request::StreamBatch ReadBlocking(absl::Duration timeout) override;
  void Cancel() override;
  // No effect: the output was already stopped when it was recorded.
  void StopChoice(int32_t choice) override {}
  // Empty: no engine worked for this reader.
  request::StreamTimes times() const override { return {}; }

 private:
  absl::Time Now() const;
  // When token `index` may be read.
  absl::Time DueAt(size_t index) const;

  const Options options_;
  const double tokens_per_second_;  // of all choices
  const absl::Time begun_;
  mutable base::Mutex mutex_;
  base::CondVar changed_;
  RecordedOutput output_ ABSL_GUARDED_BY(mutex_);
  size_t next_ ABSL_GUARDED_BY(mutex_) = 0;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;  // the ends were read, too
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace hadal::response_cache

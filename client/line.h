// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "base/sync.h"

namespace hadal::client {

// Where calls of one client wait for a server that has just promised others of them places for later: asked now, it
// would refuse them. They leave it one after another, behind the last promise, as fast as the server has answered of
// late. Thread-safe.
class Line {
 public:
  // The server has answered a call.
  void Answered(absl::Time at);
  // It keeps a place for a call until then.
  void Promised(absl::Time at);
  // When a call that came now might ask; the past: at once.
  absl::Time NextAt() const;
  // The time of one more call.
  absl::Time Join(absl::Time now);

 private:
  absl::Duration Gap() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable base::Mutex mutex_;
  std::deque<absl::Time> answers_ ABSL_GUARDED_BY(mutex_);
  absl::Time next_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();  // when the next call of the line may ask
};

}  // namespace hadal::client

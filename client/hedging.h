// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "base/sync.h"

namespace hadal::client {

// Asks a second server as well when nothing has come of a call for long. The answer that begins first counts, and the
// other call is cancelled at once. Only for calls that do no harm twice: chats, completions, and those that only read.
// Once a call, at a server that it has not asked yet. Never because of a refusal: those go by RetryOptions. A hedge
// counts as a part of its call in `max_calls`.
struct HedgingOptions {
  // For so long nothing has come (hedgingDelay of gRPC's service config). Infinite: off, unless `quantile` is set.
  absl::Duration delay = absl::InfiniteDuration();
  // Instead of a fixed time, the one within which such a share of the last 256 answers began: 0.95, say. From the 20th
  // answer on; at least `delay` where that is set, too. 0: off.
  double quantile = 0;
  // Of a client's calls at most such a share is hedged, 0 to 1, and one besides; after a time without any, up to ten at
  // once. Each hedge takes one of RetryOptions::budget, too.
  double max_share = 0.1;

  bool on() const { return delay != absl::InfiniteDuration() || quantile > 0; }
};

// What a call is, as far as its time counts: the others' says nothing of it.
enum class CallKind : uint8_t { kGeneration, kQuestion };

// When a client's calls are hedged, and how many of them may be. Thread-safe.
class Hedging {
 public:
  explicit Hedging(const HedgingOptions& options) : options_(options) {}

  bool on() const { return options_.on(); }
  // A call begins.
  void OnCall();
  // Its answer began so long after it was first asked.
  void OnAnswer(CallKind kind, absl::Duration after);
  // For how long nothing may have come of a call before it is hedged; infinite: it is not.
  absl::Duration Delay(CallKind kind) const;
  // Whether there may be one more hedge now; GiveBack: there was none after all.
  bool Take();
  void GiveBack();

 private:
  struct Answers {
    std::vector<absl::Duration> last;  // a ring
    size_t next = 0;
  };

  const HedgingOptions options_;
  mutable base::Mutex mutex_;
  double stock_ ABSL_GUARDED_BY(mutex_) = 1;  // hedges that there may be
  std::array<Answers, 2> answers_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace hadal::client

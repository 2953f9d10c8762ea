// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/sync.h"
#include "server/base/clock.h"
#include "server/base/metrics.h"
#include "server/upstream/passage.h"
#include "server/upstream/passage_core.h"
#include "server/upstream/target_keys.h"
#include "server/upstream/target_set.h"
#include "server/upstream/transfer_loop.h"
#include "server/upstream/upstream_options.h"

namespace hadal::upstream {

// Other servers that answer in place of this one when it is full. One thread transfers the bytes of all of them.
// Thread-safe; outlives its passages.
class Upstreams {
 public:
  struct Dependencies {
    base::Clock* clock = base::Clock::Real();
    base::MetricRegistry* metrics = nullptr;  // outlives this; null: not exported
    std::string user_agent = "hadal";
    base::CircuitBreaker::Options breaker;
  };

  // Reads the keys and opens libcurl. Errors name the flag, file or package.
  static absl::StatusOr<std::unique_ptr<Upstreams>> Create(UpstreamOptions options, Dependencies dependencies);

  const UpstreamOptions& options() const { return options_; }

  // Whether a request that has passed through `hops` servers before this one may be passed on, and some target is
  // available now. O(targets): cheap enough to be checked on arrival.
  bool MayTake(int hops) const { return hops < options_.max_hops && targets_.MayBegin(); }
  // `notify` may only post work to another thread (request::Notifier).
  std::unique_ptr<Passage> Begin(PassedRequest request, std::function<void()> notify);

  // Reads the key files again, for attempts that begin from now on.
  absl::Status ReloadKeys() { return keys_.Load(options_.targets); }

  // Passages end within `timeout` from now, those that are yet to begin included; again, to shorten it.
  void BeginDrain(absl::Duration timeout);
  // By base::Clock::Real(); InfiniteFuture: there is no drain.
  absl::Time drain_end() const;

 private:
  Upstreams(UpstreamOptions options, const Dependencies& dependencies, std::unique_ptr<TransferLoop> loop);

  const UpstreamOptions options_;
  base::Clock* const clock_;
  TargetKeys keys_;
  TargetSet targets_;
  mutable base::Mutex mutex_;
  absl::Time drain_end_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();
  std::unique_ptr<TransferLoop> loop_;  // ends first: its transfers count in the targets
};

}  // namespace hadal::upstream

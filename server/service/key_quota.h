// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/sync.h"

namespace hadal::service {

// The limits of a key. 0: no limit.
struct QuotaLimits {
  int64_t requests = 0;           // in flight at a time
  int64_t tokens_per_minute = 0;  // prompt and output together
  int64_t burst_tokens = 0;       // saved up at most; 0: a minute's worth

  int64_t burst() const { return burst_tokens > 0 ? burst_tokens : tokens_per_minute; }
  bool operator==(const QuotaLimits&) const = default;
};

class KeyQuota;

// One request in flight against a quota. Move-only RAII. It keeps the quota alive.
class QuotaUse {
 public:
  QuotaUse() = default;  // of no quota
  QuotaUse(QuotaUse&& other) noexcept = default;
  QuotaUse& operator=(QuotaUse&& other) noexcept;
  ~QuotaUse() { Release(absl::InfinitePast(), charged_); }

  // The request has ended and used `tokens` instead of the estimate. Without this call the estimate stands. Later calls
  // do nothing.
  void End(absl::Time now, int64_t tokens) { Release(now, tokens); }
  // The request never began.
  void Cancel() { Release(absl::InfinitePast(), 0); }

  int64_t charged() const { return charged_; }

 private:
  friend class KeyQuota;
  QuotaUse(std::shared_ptr<KeyQuota> quota, absl::Time started, int64_t charged)
      : quota_(std::move(quota)), started_(started), charged_(charged) {}
  void Release(absl::Time now, int64_t tokens);

  std::shared_ptr<KeyQuota> quota_;
  absl::Time started_;
  int64_t charged_ = 0;
};

// The usage of one key: requests in flight, and a token bucket that fills at the allowed rate. A prompt is charged by
// estimate when its request begins and exactly, with the output, when it ends. The bucket may therefore become
// negative; no request begins until it is positive again. Thread-safe. Shared by the table of keys and by the requests
// in flight, so that usage is kept when a key is removed.
class KeyQuota : public std::enable_shared_from_this<KeyQuota> {
 public:
  explicit KeyQuota(const QuotaLimits& limits) : limits_(limits), tokens_(static_cast<double>(limits.burst())) {}

  // TENANT_QUOTA with the time at which a retry can succeed: a request's usual length (or as long as they run already),
  // or until the bucket is above 0.
  absl::StatusOr<QuotaUse> Begin(absl::Time now, int64_t estimated_prompt_tokens);
  // Whether Begin would succeed; takes nothing.
  absl::Status Check(absl::Time now);
  // Limits of a keys file that was read again. What is in flight and what was used stay.
  void SetLimits(const QuotaLimits& limits);
  QuotaLimits limits() const;

 private:
  friend class QuotaUse;

  absl::Status CheckLocked(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void FillLocked(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void End(absl::Time started, absl::Time now, int64_t more_tokens);

  mutable base::Mutex mutex_;
  QuotaLimits limits_ ABSL_GUARDED_BY(mutex_);
  int64_t in_flight_ ABSL_GUARDED_BY(mutex_) = 0;
  double tokens_ ABSL_GUARDED_BY(mutex_);  // left in the bucket; below 0: owed
  absl::Time filled_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  absl::Time first_begun_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  double started_seconds_ ABSL_GUARDED_BY(mutex_) = 0;  // after first_begun_, summed up over what is in flight
  double mean_seconds_ ABSL_GUARDED_BY(mutex_) = 0;     // of a request, decayed; 0: none has ended
};

}  // namespace hadal::service

// SPDX-License-Identifier: Apache-2.0
#include "server/service/key_quota.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/request/refusal.h"

namespace hadal::service {
namespace {

using request::MakeRefusal;
using request::Reason;

constexpr absl::Duration kMinHint = absl::Seconds(1);
constexpr absl::Duration kMaxHint = absl::Seconds(30);  // clients obey no more than that (overload contract)
constexpr double kDecay = 0.1;                          // of the mean length, for each request

absl::Duration Hint(double seconds) { return std::clamp(absl::Seconds(seconds), kMinHint, kMaxHint); }

}  // namespace

QuotaUse& QuotaUse::operator=(QuotaUse&& other) noexcept {
  if (this == &other) return *this;
  Release(absl::InfinitePast(), charged_);
  quota_ = std::move(other.quota_);
  started_ = other.started_;
  charged_ = other.charged_;
  return *this;
}

void QuotaUse::Release(absl::Time now, int64_t tokens) {
  const std::shared_ptr<KeyQuota> quota = std::exchange(quota_, nullptr);
  if (quota != nullptr) quota->End(started_, now, tokens - charged_);
}

absl::StatusOr<QuotaUse> KeyQuota::Begin(absl::Time now, int64_t estimated_prompt_tokens) {
  base::MutexLock lock(&mutex_);
  if (absl::Status status = CheckLocked(now); !status.ok()) return status;
  if (first_begun_ == absl::InfinitePast()) first_begun_ = now;
  in_flight_ += 1;
  started_seconds_ += absl::ToDoubleSeconds(now - first_begun_);
  if (limits_.tokens_per_minute > 0) tokens_ -= static_cast<double>(estimated_prompt_tokens);
  return QuotaUse(shared_from_this(), now, estimated_prompt_tokens);
}

absl::Status KeyQuota::Check(absl::Time now) {
  base::MutexLock lock(&mutex_);
  return CheckLocked(now);
}

absl::Status KeyQuota::CheckLocked(absl::Time now) {
  if (limits_.requests > 0 && in_flight_ >= limits_.requests) {
    // One of them ends in about that time, if they began at any time. Those that run for longer than others did, or
    // before any has ended, take about as long again.
    const double running =
        absl::ToDoubleSeconds(now - first_begun_) - started_seconds_ / static_cast<double>(in_flight_);
    const double seconds = std::max(mean_seconds_, running) / static_cast<double>(in_flight_);
    return MakeRefusal(
        Reason::kTenantQuota,
        absl::StrCat("this key has ", in_flight_, " requests in flight, its limit is ", limits_.requests),
        Hint(seconds));
  }
  if (limits_.tokens_per_minute <= 0) return absl::OkStatus();
  FillLocked(now);
  if (tokens_ > 0) return absl::OkStatus();
  const double seconds = (1 - tokens_) * 60 / static_cast<double>(limits_.tokens_per_minute);
  return MakeRefusal(Reason::kTenantQuota,
                     absl::StrCat("this key has used its ", limits_.tokens_per_minute,
                                  " tokens a minute (prompt and output); it has tokens again in ",
                                  static_cast<int64_t>(std::ceil(seconds)), " s"),
                     Hint(seconds));
}

void KeyQuota::FillLocked(absl::Time now) {
  const double most = static_cast<double>(limits_.burst());
  if (filled_ != absl::InfinitePast() && now > filled_) {
    tokens_ += absl::ToDoubleSeconds(now - filled_) * static_cast<double>(limits_.tokens_per_minute) / 60;
  }
  tokens_ = std::min(tokens_, most);
  filled_ = std::max(filled_, now);
}

void KeyQuota::SetLimits(const QuotaLimits& limits) {
  base::MutexLock lock(&mutex_);
  if (limits == limits_) return;
  // What was saved up under the old limits counts no more than the new ones allow; a first limit begins full.
  const double most = static_cast<double>(limits.burst());
  tokens_ = limits_.tokens_per_minute > 0 ? std::min(tokens_, most) : most;
  limits_ = limits;
}

QuotaLimits KeyQuota::limits() const {
  base::MutexLock lock(&mutex_);
  return limits_;
}

void KeyQuota::End(absl::Time started, absl::Time now, int64_t more_tokens) {
  base::MutexLock lock(&mutex_);
  in_flight_ -= 1;
  started_seconds_ = in_flight_ == 0 ? 0 : started_seconds_ - absl::ToDoubleSeconds(started - first_begun_);
  if (limits_.tokens_per_minute > 0) tokens_ -= static_cast<double>(more_tokens);
  if (now < started) return;
  const double seconds = absl::ToDoubleSeconds(now - started);
  mean_seconds_ = mean_seconds_ == 0 ? seconds : mean_seconds_ + kDecay * (seconds - mean_seconds_);
}

}  // namespace hadal::service

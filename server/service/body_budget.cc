// SPDX-License-Identifier: Apache-2.0
#include "server/service/body_budget.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "server/base/check.h"
#include "server/base/strings.h"
#include "server/request/refusal.h"
#include "server/request/retry_spread.h"

namespace hadal::service {
namespace {

// Bodies arrive or are given up within seconds.
constexpr absl::Duration kRetryAfter = absl::Seconds(1);

}  // namespace

BodyBudget::BodyBudget(const Options& options)
    : options_(options), levels_(options.metrics, [this] {
        base::MutexLock lock(&mutex_);
        bytes_gauge_.Get().Set(static_cast<double>(bytes_));
        uploads_gauge_.Get().Set(static_cast<double>(uploads_));
      }) {
  HADAL_CHECK(options_.max_bytes > 0 && options_.max_uploads > 0) << "BodyBudget: the limits must be above 0";
  limit_gauge_.Get().Set(static_cast<double>(options_.max_bytes));
}

absl::Status BodyBudget::Refuse(Refusal refusal, std::string_view detail) {
  rejections_.At(refusal).Increment();
  return request::MakeBusy(request::Reason::kBodyBudgetFull, detail, request::SpreadOut(kRetryAfter));
}

BodyBudget::Lease BodyBudget::NewLease(std::string_view sender) {
  const auto known = senders_.find(sender);
  Lease lease;
  lease.budget_ = this;
  lease.sender_ = known == senders_.end() ? senders_.emplace(std::string(sender), Sender{}).first : known;
  lease.sender_->second.leases += 1;
  return lease;
}

BodyBudget::Lease BodyBudget::OpenArrived(std::string_view sender) {
  base::MutexLock lock(&mutex_);
  return NewLease(sender);
}

absl::StatusOr<BodyBudget::Lease> BodyBudget::Open(std::string_view sender) {
  int64_t held = 0;
  {
    base::MutexLock lock(&mutex_);
    const auto known = senders_.find(sender);
    held = known == senders_.end() ? 0 : known->second.uploads;
    // The first upload of a sender always enters: connections are bounded elsewhere.
    if (held == 0 || held + 1 <= options_.max_uploads - uploads_ - 1) {
      Lease lease = NewLease(sender);
      lease.upload_ = true;
      lease.sender_->second.uploads += 1;
      uploads_ += 1;
      return lease;
    }
  }
  return Refuse(kSenderUploads,
                absl::StrCat(held, " bodies of this sender are still arriving, of ", options_.max_uploads, " for all"));
}

int64_t BodyBudget::bytes() const {
  base::MutexLock lock(&mutex_);
  return bytes_;
}

BodyBudget::Lease& BodyBudget::Lease::operator=(Lease&& other) noexcept {
  if (this != &other) {
    Release();
    budget_ = std::exchange(other.budget_, nullptr);
    sender_ = other.sender_;
    bytes_ = std::exchange(other.bytes_, 0);
    upload_ = std::exchange(other.upload_, false);
  }
  return *this;
}

absl::Status BodyBudget::Lease::Resize(int64_t bytes) {
  const int64_t more = bytes - bytes_;
  if (more == 0) return absl::OkStatus();
  HADAL_CHECK(budget_ != nullptr && bytes >= 0) << "BodyBudget: a lease of nothing cannot hold " << bytes << " bytes";
  int64_t free = 0, held = 0;
  {
    base::MutexLock lock(&budget_->mutex_);
    free = budget_->options_.max_bytes - budget_->bytes_;
    held = sender_->second.bytes;
    const bool small = bytes <= budget_->options_.small_body_bytes && more <= free;
    if (more < 0 || small || held + more <= free - more) {
      sender_->second.bytes += more;
      budget_->bytes_ += more;
      bytes_ = bytes;
      return absl::OkStatus();
    }
  }
  const int64_t limit = budget_->options_.max_bytes;
  if (more > free) {
    return budget_->Refuse(kBytes, absl::StrCat("the bodies in flight take ", limit - free, " of ", limit,
                                                " bytes, and this one needs ", more, " more"));
  }
  return budget_->Refuse(kSenderBytes, absl::StrCat("the bodies of this sender take ", held, " bytes, ", free,
                                                    " are left for all, and this one needs ", more, " more"));
}

void BodyBudget::Lease::Arrived() {
  if (!std::exchange(upload_, false)) return;
  base::MutexLock lock(&budget_->mutex_);
  sender_->second.uploads -= 1;
  budget_->uploads_ -= 1;
}

void BodyBudget::Lease::Release() {
  if (budget_ != nullptr) budget_->Drop(*this);
}

void BodyBudget::Drop(Lease& lease) {
  base::MutexLock lock(&mutex_);
  Sender& sender = lease.sender_->second;
  const int64_t uploads = lease.upload_ ? 1 : 0;
  sender.bytes -= lease.bytes_;
  sender.uploads -= uploads;
  bytes_ -= lease.bytes_;
  uploads_ -= uploads;
  if (--sender.leases == 0) senders_.erase(lease.sender_);
  lease.budget_ = nullptr;
  lease.bytes_ = 0;
  lease.upload_ = false;
}

}  // namespace hadal::service

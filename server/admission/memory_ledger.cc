// SPDX-License-Identifier: Apache-2.0
#include "server/admission/memory_ledger.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "server/base/check.h"
#include "server/base/strings.h"

namespace hadal::admission {

MemoryLease::MemoryLease(MemoryLease&& other) noexcept
    : pool_(std::exchange(other.pool_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

MemoryLease& MemoryLease::operator=(MemoryLease&& other) noexcept {
  if (this != &other) {
    Release();
    pool_ = std::exchange(other.pool_, nullptr);
    bytes_ = std::exchange(other.bytes_, 0);
  }
  return *this;
}

void MemoryLease::Release() {
  if (pool_ != nullptr) std::exchange(pool_, nullptr)->Return(std::exchange(bytes_, 0));
}

MemoryLease MemoryLease::Split(int64_t bytes) {
  HADAL_CHECK(bytes >= 0 && bytes <= bytes_) << "a part of " << bytes << " of a lease of " << bytes_ << " bytes";
  if (bytes == 0) return {};
  if (bytes == bytes_) return std::move(*this);
  bytes_ -= bytes;
  pool_->active_leases_.fetch_add(1, std::memory_order_acq_rel);
  return {pool_, bytes};
}

void MemoryLease::Merge(MemoryLease other) {
  if (other.pool_ == nullptr) return;
  if (pool_ == nullptr) {
    *this = std::move(other);
    return;
  }
  HADAL_CHECK(pool_ == other.pool_) << "leases of two pools";
  bytes_ += std::exchange(other.bytes_, 0);
  std::exchange(other.pool_, nullptr)->active_leases_.fetch_sub(1, std::memory_order_acq_rel);
}

absl::StatusOr<MemoryLease> KvPoolLedger::TryLease(int64_t bytes, int64_t kept_free) {
  if (bytes < 0) return absl::InvalidArgumentError(absl::StrCat("lease of ", bytes, " bytes: size is unknown"));
  int64_t leased = leased_bytes_.load(std::memory_order_relaxed);
  do {
    const int64_t limit = limit_bytes();
    if (bytes > 0 && bytes > limit - leased - kept_free) {
      return absl::ResourceExhaustedError(absl::StrCat(
          "lease of ", bytes, " bytes: only ", std::max<int64_t>(0, limit - leased), " of ", limit, " available"));
    }
  } while (!leased_bytes_.compare_exchange_weak(leased, leased + bytes, std::memory_order_acq_rel));
  active_leases_.fetch_add(1, std::memory_order_acq_rel);
  return MemoryLease(this, bytes);
}

void KvPoolLedger::SetLimit(int64_t bytes) {
  limit_bytes_.store(std::clamp<int64_t>(bytes, 0, capacity_bytes_), std::memory_order_release);
}

void KvPoolLedger::Return(int64_t bytes) {
  const int64_t before = leased_bytes_.fetch_sub(bytes, std::memory_order_acq_rel);
  HADAL_CHECK(before >= bytes) << "returned " << bytes << " of " << before << " leased bytes";
  active_leases_.fetch_sub(1, std::memory_order_acq_rel);
}

MemoryLedger::MemoryLedger(int64_t budget_bytes, base::MetricRegistry* metrics)
    : initial_budget_bytes_(budget_bytes),
      budget_bytes_(budget_bytes),
      budget_(metrics, {"hadal_memory_budget_bytes", "Bytes the server may use on the device."}),
      used_(metrics, {"hadal_memory_committed_bytes", "Bytes of weights, workspace and leased KV cache."}),
      collector_(metrics, [this] { used_.Get().Set(static_cast<double>(used_bytes())); }) {
  budget_.Get().Set(static_cast<double>(budget_bytes));
}

absl::StatusOr<std::unique_ptr<MemoryLedger>> MemoryLedger::Create(int64_t budget_bytes,
                                                                   base::MetricRegistry* metrics) {
  if (budget_bytes <= 0) {
    return absl::InvalidArgumentError(absl::StrCat("memory budget is ", budget_bytes, " bytes: it must be known"));
  }
  return std::unique_ptr<MemoryLedger>(new MemoryLedger(budget_bytes, metrics));
}

absl::Status MemoryLedger::Commit(std::string_view name, int64_t bytes) {
  if (bytes < 0) {
    return absl::InvalidArgumentError(absl::StrCat("memory of ", base::View(name), " is unknown (", bytes, " bytes)"));
  }
  base::MutexLock lock(&mutex_);
  const int64_t committed = committed_bytes_.load(std::memory_order_relaxed);
  if (bytes > initial_budget_bytes_ - committed) {
    return absl::ResourceExhaustedError(absl::StrCat(
        base::View(name), " needs ", FormatBytes(bytes), " but only ", FormatBytes(initial_budget_bytes_ - committed),
        " of the memory budget of ", FormatBytes(initial_budget_bytes_), " are left"));
  }
  committed_bytes_.store(committed + bytes, std::memory_order_release);
  parts_.push_back({std::string(name), bytes});
  return absl::OkStatus();
}

absl::StatusOr<KvPoolLedger*> MemoryLedger::CommitKvPool(std::string_view name, int64_t bytes) {
  if (absl::Status status = Commit(name, bytes); !status.ok()) return status;
  base::MutexLock lock(&mutex_);
  return pools_.emplace_back(std::make_unique<KvPoolLedger>(bytes)).get();
}

void MemoryLedger::SetBudget(int64_t bytes) {
  base::MutexLock lock(&mutex_);
  bytes = std::clamp<int64_t>(bytes, 0, initial_budget_bytes_);
  budget_bytes_.store(bytes, std::memory_order_release);
  budget_.Get().Set(static_cast<double>(bytes));
  const int64_t missing = std::max<int64_t>(0, committed_bytes_.load(std::memory_order_relaxed) - bytes);
  double pooled = 0;
  for (const auto& pool : pools_) pooled += static_cast<double>(pool->capacity_bytes());
  for (const auto& pool : pools_) {
    const auto capacity = static_cast<double>(pool->capacity_bytes());
    pool->SetLimit(static_cast<int64_t>(capacity - std::ceil(static_cast<double>(missing) * capacity / pooled)));
  }
}

int64_t MemoryLedger::used_bytes() const {
  base::MutexLock lock(&mutex_);
  int64_t used = committed_bytes_.load(std::memory_order_relaxed);
  for (const auto& pool : pools_) used -= pool->capacity_bytes() - pool->leased_bytes();
  return used;
}

std::vector<MemoryLedger::Part> MemoryLedger::parts() const {
  base::MutexLock lock(&mutex_);
  return parts_;
}

std::string FormatBytes(int64_t bytes) {
  // The unit changes where one decimal would read as 0.0 of the next one.
  const double value = static_cast<double>(bytes);
  if (bytes >= 100'000'000) return absl::StrFormat("%.1fGB", value / 1e9);
  if (bytes >= 100'000) return absl::StrFormat("%.1fMB", value / 1e6);
  if (bytes >= 100) return absl::StrFormat("%.1fKB", value / 1e3);
  return absl::StrCat(bytes, "B");
}

}  // namespace hadal::admission

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <utility>

#include "server/base/metrics.h"

namespace hadal::rpc {

// Slots for calls that use memory before they become requests, because their message has not arrived. Thread-safe;
// outlives its slots.
class PendingCalls {
 public:
  // At most `limit` at a time. `gauge` shows how many there are; it may be null, else it outlives this.
  PendingCalls(int limit, base::Gauge* gauge) : limit_(limit), gauge_(gauge) {}
  PendingCalls(const PendingCalls&) = delete;
  PendingCalls& operator=(const PendingCalls&) = delete;

  // Given back when it is destroyed.
  class Slot {
   public:
    Slot() = default;
    Slot(Slot&& other) noexcept : owner_(std::exchange(other.owner_, nullptr)) {}
    Slot& operator=(Slot&& other) noexcept {
      std::swap(owner_, other.owner_);
      Slot freed(std::move(other));
      return *this;
    }
    ~Slot() {
      if (owner_ != nullptr) owner_->Change(-1);
    }

    bool taken() const { return owner_ != nullptr; }

   private:
    friend class PendingCalls;
    explicit Slot(PendingCalls* owner) : owner_(owner) {}
    PendingCalls* owner_ = nullptr;
  };

  // Not taken when there is none left.
  [[nodiscard]] Slot TryTake() {
    if (Change(1) > limit_) {
      Change(-1);
      return Slot();
    }
    return Slot(this);
  }
  int limit() const { return limit_; }
  int taken() const { return taken_.load(std::memory_order_relaxed); }

 private:
  int Change(int by) {
    if (gauge_ != nullptr) gauge_->Add(by);
    return taken_.fetch_add(by, std::memory_order_relaxed) + by;
  }

  const int limit_;
  base::Gauge* const gauge_;
  std::atomic<int> taken_{0};
};

}  // namespace hadal::rpc

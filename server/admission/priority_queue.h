// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/time/time.h"
#include "server/admission/tenant_queue.h"
#include "server/request/request.h"

namespace hadal::admission {

// Which class goes next. The oldest entries of the classes compete with the key enqueue time + rank * class_step: the
// smallest key wins, and ties go to the more urgent class. Requests therefore age: a request is overtaken by one that
// is k ranks more urgent only if that one arrives within k * class_step of it. InfiniteDuration: strictly by class.
struct QueueOrder {
  absl::Duration class_step = absl::Seconds(8);
};

// The class that goes next.
struct QueueTurn {
  request::Priority priority = request::Priority::kNormal;
  request::Priority passed = request::Priority::kNormal;  // the most urgent class that waits
  bool overdue = false;  // aged by more than another class_step: must not be passed any more
  bool owed = false;     // its tenant asks for less than its share (TenantQueue): it may pass others of its class

  // More urgent requests wait; it goes first by its age.
  bool aged() const { return passed != priority; }
};

// The share of a batch's places and a step's tokens for requests that go before more urgent ones because of their age.
// `passed`: the most urgent class that waits. A tenth does not noticeably affect normal requests. It is less for the
// high class, which must be served fully even if it needs nine tenths of the device.
inline double AgedShare(request::Priority passed) { return passed == request::Priority::kHigh ? 1.0 / 32 : 1.0 / 10; }

// The weighted tokens by which tenants are compared: an output token costs more device time than a prompt token.
inline double WeightedTokens(int64_t prompt_tokens, int64_t output_tokens) {
  return static_cast<double>(prompt_tokens) + 2 * static_cast<double>(output_tokens);
}

// Requests ordered by class and age, within a class by tenant (TenantQueue), within a tenant FIFO. T is moved in and
// out. Not thread-safe. Not bounded: admission counts slots before anything is pushed.
template <typename T>
class PriorityQueue {
 public:
  explicit PriorityQueue(QueueOrder order = {}) : order_(order) {}

  // `cost`: the weighted tokens that its tenant is charged for it.
  void Push(request::Priority priority, std::string_view tenant, absl::Time enqueued, double cost, T item) {
    Class(priority).Push(tenant, enqueued, cost, std::move(item));
    ++size_;
  }

  bool empty() const { return size_ == 0; }
  size_t size() const { return size_; }
  size_t size(request::Priority priority) const { return classes_[static_cast<size_t>(priority)].size(); }

  // `by_age` false: strictly by class. nullopt when nothing waits.
  std::optional<QueueTurn> Next(absl::Time now, bool by_age = true) const {
    int first = -1;
    int best = -1;
    for (int rank = 0; rank < request::kNumPriorities; ++rank) {
      if (classes_[rank].empty()) continue;
      if (first < 0) first = rank;
      if (best < 0 || (by_age && Precedes(rank, best))) best = rank;
    }
    if (best < 0) return std::nullopt;
    QueueTurn turn{.priority = static_cast<request::Priority>(best), .passed = static_cast<request::Priority>(first)};
    turn.owed = classes_[best].HeadIsOwed();
    turn.overdue = turn.aged() && now - Key(best) > order_.class_step;
    return turn;
  }

  // The next of that class, which must not be empty.
  T& Head(request::Priority priority) { return Class(priority).Head(); }
  bool HeadIsOwed(request::Priority priority) const { return classes_[static_cast<size_t>(priority)].HeadIsOwed(); }
  T PopHead(request::Priority priority) {
    --size_;
    return Class(priority).PopHead();
  }
  // Corrects the tenant's charge by `weighted_tokens`, which may be negative.
  void Charge(request::Priority priority, std::string_view tenant, double weighted_tokens) {
    Class(priority).Charge(tenant, weighted_tokens);
  }

  // Moves every item for which `predicate` is true to `out`; the others keep their order.
  template <typename Predicate, typename Out>
  void Extract(const Predicate& predicate, Out& out) {
    const size_t before = out.size();
    for (auto& waiting : classes_) waiting.Extract(predicate, out);
    size_ -= out.size() - before;
  }

 private:
  TenantQueue<T>& Class(request::Priority priority) { return classes_[static_cast<size_t>(priority)]; }
  absl::Time Key(int rank) const { return classes_[rank].oldest() + rank * order_.class_step; }
  // Whether the less urgent class `rank` goes before the more urgent class `best`.
  bool Precedes(int rank, int best) const {
    return order_.class_step != absl::InfiniteDuration() && Key(rank) < Key(best);
  }

  QueueOrder order_;
  std::array<TenantQueue<T>, request::kNumPriorities> classes_;
  size_t size_ = 0;
};

}  // namespace hadal::admission

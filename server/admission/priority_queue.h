// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <deque>
#include <optional>
#include <utility>

#include "absl/time/time.h"
#include "server/request/request.h"

namespace hadal::admission {

// Which class goes next. The head of each class competes with the key enqueue time + rank * class_step, the smallest
// wins, ties go to the more urgent class. With the default, infinite step the classes are served strictly in order; a
// finite step lets a waiting request age: it is overtaken only by more urgent ones that arrive within rank * class_step
// of it.
struct QueueOrder {
  absl::Duration class_step = absl::InfiniteDuration();
};

// Requests in class order, FIFO inside a class. T is moved in and out. Not thread-safe; no bound of its own: admission
// counts slots before anything gets here.
template <typename T>
class PriorityQueue {
 public:
  explicit PriorityQueue(QueueOrder order = {}) : order_(order) {}

  void Push(request::Priority priority, absl::Time enqueued, T item) {
    classes_[static_cast<int>(priority)].push_back({enqueued, std::move(item)});
    ++size_;
  }

  bool empty() const { return size_ == 0; }
  size_t size() const { return size_; }
  size_t size(request::Priority priority) const { return classes_[static_cast<int>(priority)].size(); }

  std::optional<request::Priority> HeadClass() const {
    std::optional<int> best;
    for (int rank = 0; rank < request::kNumPriorities; ++rank) {
      if (classes_[rank].empty()) continue;
      if (!best.has_value() || Precedes(rank, *best)) best = rank;
    }
    if (!best.has_value()) return std::nullopt;
    return static_cast<request::Priority>(*best);
  }

  // The queue must not be empty.
  T& Head() { return classes_[static_cast<int>(*HeadClass())].front().item; }
  T PopHead() {
    auto& queue = classes_[static_cast<int>(*HeadClass())];
    T item = std::move(queue.front().item);
    queue.pop_front();
    --size_;
    return item;
  }

  // Moves every item for which `predicate` is true to `out`; the others keep their order.
  template <typename Predicate, typename Out>
  void Extract(const Predicate& predicate, Out& out) {
    for (auto& queue : classes_) {
      std::deque<Entry> kept;
      for (Entry& entry : queue) {
        if (predicate(entry.item)) {
          out.push_back(std::move(entry.item));
          --size_;
        } else {
          kept.push_back(std::move(entry));
        }
      }
      queue = std::move(kept);
    }
  }

 private:
  struct Entry {
    absl::Time enqueued;
    T item;
  };

  // Whether the head of the less urgent class `rank` goes before that of the more urgent class `best`.
  bool Precedes(int rank, int best) const {
    if (order_.class_step == absl::InfiniteDuration()) return false;
    return classes_[rank].front().enqueued + rank * order_.class_step <
           classes_[best].front().enqueued + best * order_.class_step;
  }

  QueueOrder order_;
  std::array<std::deque<Entry>, request::kNumPriorities> classes_;
  size_t size_ = 0;
};

}  // namespace hadal::admission

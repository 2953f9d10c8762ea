// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>

namespace hadal::kernels::cuda {

// Where in a ring of pinned memory the next upload is staged. Regions are taken and given back in one order, so a
// region is free again when it is the oldest and its copy is done. Offsets only, no memory: not thread-safe, the owner
// locks.
class StagingPlan {
 public:
  explicit StagingPlan(int64_t capacity_bytes) : capacity_(capacity_bytes) {}

  int64_t capacity_bytes() const { return capacity_; }
  bool empty() const { return regions_.empty(); }

  // True if `bytes` (1 to the capacity) fit without giving back the oldest region.
  bool Fits(int64_t bytes) const { return FindOffset(bytes) >= 0; }
  // Takes `bytes`, which must fit; gives their offset.
  int64_t Take(int64_t bytes);
  // Gives back the oldest region; there must be one.
  void ReleaseOldest() { regions_.pop_front(); }

 private:
  int64_t FindOffset(int64_t bytes) const;

  const int64_t capacity_;
  int64_t next_ = 0;             // end of the newest region
  std::deque<int64_t> regions_;  // where each region begins, oldest first
};

inline int64_t StagingPlan::FindOffset(int64_t bytes) const {
  if (regions_.empty()) return bytes <= capacity_ ? 0 : -1;
  const int64_t oldest = regions_.front();
  if (next_ > oldest) {  // free: [next_, capacity) and [0, oldest)
    if (bytes <= capacity_ - next_) return next_;
    return bytes <= oldest ? 0 : -1;
  }
  return bytes <= oldest - next_ ? next_ : -1;  // wrapped; free: [next_, oldest)
}

inline int64_t StagingPlan::Take(int64_t bytes) {
  const int64_t offset = FindOffset(bytes);
  regions_.push_back(offset);
  next_ = offset + bytes;
  return offset;
}

}  // namespace hadal::kernels::cuda

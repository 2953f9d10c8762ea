// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "absl/types/span.h"

namespace hadal::kernels::cuda {

// The room of a step's lists on the device (StepLists::room), dealt out. In front lie the caller's arrays and behind
// them the lists that the host makes for the step's kernels, so that all of them are one upload; from the back comes
// memory that only kernels write. Pieces are 256-byte aligned and last until the next step; where a step's lists lie
// follows from their sizes alone. Arithmetic and host copies, no device calls. Not thread-safe.
class StepArea {
 public:
  // More is not brought in one copy: the ring of pinned memory has other users.
  static constexpr int64_t kMaxUploadBytes = int64_t{8} << 20;

  // A step begins whose arrays take the first bytes.
  void Begin(void* room, int64_t room_bytes, int64_t array_bytes) {
    room_ = static_cast<char*>(room);
    lists_at_ = front_ = RoundUp(array_bytes);
    back_ = room_bytes / kAlignment * kAlignment;
    lists_.clear();
  }

  // Memory for a list that the host writes; null when the room or an upload does not hold it.
  char* TakeFront(int64_t bytes) {
    if (front_ + bytes > kMaxUploadBytes || RoundUp(bytes) > back_ - front_) return nullptr;
    char* taken = room_ + front_;
    front_ += RoundUp(bytes);
    return taken;
  }
  // Memory that only kernels write; null when the room does not hold it.
  char* TakeBack(int64_t bytes) {
    if (RoundUp(bytes) > back_ - front_) return nullptr;
    back_ -= RoundUp(bytes);
    return room_ + back_;
  }
  // A list that goes up with the arrays: before UploadBytes is asked for. Its place on the device, or null.
  char* Put(const void* data, int64_t bytes) {
    const int64_t at = front_ - lists_at_;
    char* place = TakeFront(bytes);
    if (place == nullptr) return nullptr;
    lists_.resize(static_cast<size_t>(front_ - lists_at_));
    if (bytes > 0) std::memcpy(lists_.data() + at, data, static_cast<size_t>(bytes));
    return place;
  }

  // What has been Put, from lists_offset() in the room on.
  absl::Span<const std::byte> lists() const { return lists_; }
  int64_t lists_offset() const { return lists_at_; }

 private:
  static constexpr int64_t kAlignment = 256;
  static int64_t RoundUp(int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

  char* room_ = nullptr;
  int64_t lists_at_ = 0, front_ = 0, back_ = 0;
  std::vector<std::byte> lists_;
};

}  // namespace hadal::kernels::cuda

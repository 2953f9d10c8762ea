// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <utility>

namespace hadal::jinja {

// The bytes that the values of one render hold now. Not thread-safe; outlives the values.
class MemoryMeter {
 public:
  explicit MemoryMeter(size_t limit) : limit_(limit) {}
  bool Fits(size_t bytes) const { return bytes <= limit_ && used_ <= limit_ - bytes; }
  size_t limit() const { return limit_; }

 private:
  friend class MemoryCharge;
  size_t limit_;
  size_t used_ = 0;
};

// Bytes counted on a meter for as long as this lives; without a meter nothing is counted. Movable.
class MemoryCharge {
 public:
  MemoryCharge() = default;
  MemoryCharge(MemoryMeter* meter, size_t bytes) : meter_(meter), bytes_(bytes) { meter_->used_ += bytes_; }
  MemoryCharge(MemoryCharge&& other) noexcept
      : meter_(std::exchange(other.meter_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  MemoryCharge& operator=(MemoryCharge&& other) noexcept {
    std::swap(meter_, other.meter_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~MemoryCharge() {
    if (meter_ != nullptr) meter_->used_ -= bytes_;
  }

 private:
  MemoryMeter* meter_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace hadal::jinja

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace hadal::kernels {

// Bytes that a backend's buffers take of a limit. Thread-safe; it counts and allocates nothing itself.
class ByteBudget {
 public:
  static constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();

  explicit ByteBudget(int64_t limit_bytes = 0) : limit_bytes_(limit_bytes) {}

  // For a limit that is known later than the object. Before the first Take.
  void SetLimit(int64_t limit_bytes) { limit_bytes_ = limit_bytes; }

  // InvalidArgument for a negative number; ResourceExhausted, with nothing taken, for more than is left.
  absl::Status Take(int64_t bytes);
  // What Take has given.
  void Return(int64_t bytes) { used_bytes_.fetch_sub(bytes, std::memory_order_relaxed); }

  int64_t limit_bytes() const { return limit_bytes_; }
  int64_t used_bytes() const { return used_bytes_.load(std::memory_order_relaxed); }

 private:
  int64_t limit_bytes_;
  std::atomic<int64_t> used_bytes_{0};
};

// InvalidArgument, naming the call, for a negative number of bytes.
absl::Status CheckByteCount(absl::string_view call, int64_t bytes);

}  // namespace hadal::kernels

// SPDX-License-Identifier: Apache-2.0
#include "kernels/byte_budget.h"

#include "absl/strings/str_cat.h"

namespace hadal::kernels {

absl::Status ByteBudget::Take(int64_t bytes) {
  if (absl::Status s = CheckByteCount("allocate", bytes); !s.ok()) return s;
  int64_t used = used_bytes_.load(std::memory_order_relaxed);
  do {
    if (bytes > limit_bytes_ - used) {
      return absl::ResourceExhaustedError(
          absl::StrCat("allocate: ", bytes, " bytes asked for, ", limit_bytes_ - used, " of ", limit_bytes_, " left"));
    }
  } while (!used_bytes_.compare_exchange_weak(used, used + bytes, std::memory_order_relaxed));
  return absl::OkStatus();
}

absl::Status CheckByteCount(absl::string_view call, int64_t bytes) {
  if (bytes >= 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(call, ": expected bytes >= 0, found ", bytes));
}

}  // namespace hadal::kernels

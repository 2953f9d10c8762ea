// SPDX-License-Identifier: Apache-2.0
#include "server/service/call_rate.h"

namespace hadal::service {
namespace {

size_t Remainder(int64_t second, int64_t slots) { return static_cast<size_t>(((second % slots) + slots) % slots); }

}  // namespace

void CallRate::Add(absl::Time now) {
  const int64_t second = absl::ToUnixSeconds(now);
  base::MutexLock lock(&mutex_);
  Slot& slot = slots_[Remainder(second, kSeconds)];
  if (slot.second != second) slot = {second, 0};
  ++slot.count;
}

double CallRate::PerSecond(absl::Time now) const {
  const int64_t second = absl::ToUnixSeconds(now);
  int64_t count = 0;
  {
    base::MutexLock lock(&mutex_);
    for (const Slot& slot : slots_) {
      if (slot.second > second - kSeconds && slot.second <= second) count += slot.count;
    }
  }
  // The newest slot's second is not over yet.
  const absl::Duration window = now - absl::FromUnixSeconds(second - kSeconds + 1);
  return static_cast<double>(count) / absl::ToDoubleSeconds(window);
}

}  // namespace hadal::service
